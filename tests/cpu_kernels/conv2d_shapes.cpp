// Every convolution kernel of the three tables against plain loops: values, tails and guards, shape by shape.
#include <limits>

#include "tests/cpu_kernels/conv2d_case.h"

namespace mininn::testing::conv2d {
namespace {

TEST_CASE("every conv2d kernel agrees with plain loops on random shapes") {
  const uint64_t seed = testing::test_seed();
  INFO("MININN_TEST_SEED=" << seed);
  testing::RandomTensors random(seed);
  const auto hw = [&](int64_t low, int64_t high) { return Hw(random.between(low, high), random.between(low, high)); };
  for (int i = 0; i < 120; ++i) {
    Conv2dParams o{.stride = hw(1, 3), .padding = hw(0, 3), .dilation = hw(1, 2)};
    if (random.chance(0.3)) o.groups = random.between(2, 4);
    const Hw kernel = hw(1, 4), extra = hw(0, 9);
    const int64_t icg = random.chance(0.7) ? random.between(1, 20) : random.between(28, 40);
    const int64_t ocg = random.chance(0.7) ? random.between(1, 20) : random.between(28, 70);
    const auto input = [](int64_t k, int64_t dil, int64_t pad, int64_t more) {  // at least one output
      return std::max<int64_t>(1, dil * (k - 1) + 1 - 2 * pad) + more;
    };
    const Shape x{random.between(1, 3), o.groups * icg, input(kernel.h, o.dilation.h, o.padding.h, extra.h),
                  input(kernel.w, o.dilation.w, o.padding.w, extra.w)};
    Case c = make(x, {o.groups * ocg, icg, kernel.h, kernel.w}, o);
    c.bias = random.chance(0.5);
    c.residual = random.chance(0.5);
    c.relu = random.chance(0.5);
    check_all(c, random.generator());
  }
}

TEST_CASE("conv2d kernels handle tails around every tile") {
  Generator r(testing::test_seed());
  for (const int64_t pixels : {1, 5, 6, 7, 13, 14, 15, 27, 28, 29})
    for (const int64_t channels : {1, 15, 16, 17, 31, 32, 33}) {
      check(make({1, channels, 1, pixels}, {channels + 1, channels, 1, 3}, {.padding = {0, 1}}), DType::f32, r);
      check(make({1, 3, 1, pixels}, {channels, 3, 1, 1}), DType::f32, r);
    }
}

TEST_CASE("conv2d kernels handle the layers of a ResNet for small images") {
  Generator r(testing::test_seed());
  for (const int64_t n : {1, 17}) {
    check(make({n, 3, 8, 8}, {64, 3, 3, 3}, {.padding = 1}), DType::f32, r);
    check(make({n, 64, 8, 8}, {64, 64, 3, 3}, {.padding = 1}), DType::f32, r);
    check(make({n, 40, 8, 8}, {48, 40, 3, 3}, {.stride = 2, .padding = 1}), DType::f32, r);
    check(make({n, 40, 8, 8}, {48, 40, 1, 1}, {.stride = 2}), DType::f32, r);
    check(make({n, 64, 4, 4}, {64, 64, 3, 3}, {.padding = 1}), DType::f32, r);
    check(make({n, 3, 8, 8}, {64, 3, 3, 3}, {.padding = 1}), DType::bf16, DType::f32, r);
    check(make({n, 64, 8, 8}, {64, 64, 3, 3}, {.padding = 1}), DType::bf16, DType::f32, r);
    check(make({n, 40, 8, 8}, {48, 40, 3, 3}, {.stride = 2, .padding = 1}), DType::bf16, DType::f32, r);
  }
}

TEST_CASE("conv2d kernels handle channels that have a kernel each") {
  const CpuOnly cases_of_its_kernels;
  Generator r(testing::test_seed());
  const int64_t channels = GENERATE(2, 20, 48, 70);  // one to four vectors for a tile of the weight gradient, and more
  const auto filter = [&](int64_t h, int64_t w) { return Shape{channels, 1, h, w}; };
  const auto x = [&](int64_t n, int64_t h, int64_t w) { return Shape{n, channels, h, w}; };
  Case c = GENERATE_COPY(make(x(2, 9, 20), filter(3, 3), {.padding = 1, .groups = channels}),
                         make(x(3, 12, 34), filter(3, 3), {.stride = 2, .padding = 1, .groups = channels}),
                         make(x(2, 8, 17), filter(5, 3), {.padding = 4, .dilation = {2, 1}, .groups = channels}),
                         make(x(17, 4, 4), filter(3, 3), {.padding = 1, .groups = channels}),
                         make(x(2, 5, 7), filter(2, 1), {.stride = 3, .padding = {0, 2}, .groups = channels}),
                         make(x(9, 30, 30), filter(1, 1), {.groups = channels}));
  check(c, DType::bf16, DType::f32, r);
  for (const bool bias : {false, true})
    for (const bool residual : {false, true}) {
      c.bias = bias;
      c.residual = c.relu = residual;
      check(c, DType::f32, r);
    }
}

TEST_CASE("conv2d weight gradients agree with plain loops however they read the input") {
  Generator r(testing::test_seed());
  const Case c =
      GENERATE(make({2, 3, 9, 20}, {40, 3, 3, 3}, {.padding = 1}),  // a row of the kernel as one tap
               make({2, 1, 12, 21}, {17, 1, 5, 7}, {.stride = {2, 3}, .padding = {1, 3}}),
               make({3, 2, 8, 8}, {64, 2, 2, 3}, {.stride = 2}),
               make({5, 40, 7, 9}, {200, 40, 1, 1}, {.stride = 2}),  // one tap, many panels
               make({5, 40, 7, 9}, {16, 40, 1, 1}, {.stride = {1, 2}}), make({5, 13, 17, 20}, {64, 13, 1, 1}));
  check(c, DType::f32, r);
}

TEST_CASE("bf16 conv2d kernels handle rows that lie apart") {
  Generator r(testing::test_seed());
  const Case c = GENERATE(make({1, 16, 32, 32}, {16, 1, 3, 3}, {.padding = 2, .dilation = 2, .groups = 16}),
                          make({1, 10, 10, 29}, {10, 2, 1, 1}, {.dilation = {2, 1}, .groups = 5}),
                          make({3, 17, 30, 36}, {34, 17, 1, 1}, {.dilation = 2}));
  check(c, DType::bf16, DType::f32, r);
  check(c, DType::bf16, DType::bf16, r);
}

TEST_CASE("bf16 conv2d kernels cut a batch that does not stay in the cache") {
  Generator r(testing::test_seed());
  check(make({9, 40, 40, 40}, {24, 40, 1, 1}, {.stride = 2}), DType::bf16, DType::f32, r);
}

TEST_CASE("bf16 conv2d kernels agree with plain loops where they rearrange rows or batches") {
  Generator r(testing::test_seed());
  const Case c = GENERATE(make({2, 3, 9, 20}, {64, 3, 3, 3}, {.padding = 1}),    // a row of the kernel as one tap
                          make({2, 32, 5, 37}, {48, 32, 3, 3}, {.padding = 1}),  // wide rows
                          make({2, 33, 6, 41}, {33, 33, 3, 3}, {.stride = 2, .padding = 1}),
                          make({2, 34, 9, 18}, {17, 34, 5, 5}, {.padding = 3, .dilation = 2}),
                          make({17, 40, 7, 7}, {70, 40, 3, 3}, {.padding = 1}),               // 16 images together
                          make({35, 40, 6, 5}, {33, 40, 3, 3}, {.stride = 2, .padding = 1}),  // 32 images together
                          make({70, 20, 4, 4}, {70, 20, 3, 3}, {.padding = 1}),
                          make({33, 33, 6, 6}, {20, 33, 1, 1}, {.stride = 2}),
                          make({33, 16, 9, 3}, {20, 16, 2, 1}, {.stride = 3}),  // rows that no window meets
                          make({33, 8, 12, 12}, {8, 8, 7, 3}, {.stride = {5, 1}, .padding = {0, 1}}),
                          make({33, 16, 1, 1}, {20, 16, 3, 3}, {.stride = 2, .padding = 1}),  // smaller than the stride
                          make({3, 16, 1, 9}, {20, 16, 3, 3}, {.stride = 3, .padding = 1}),
                          make({1, 4, 2, 2}, {8, 4, 1, 1}, {.stride = 3, .padding = 1}));  // no pixel has a tap
  const Ran ran = check(c, DType::bf16, DType::f32, r);
  CHECK(testing::fewest(ran.fwd) >= 1);
  CHECK(testing::fewest(ran.bwd_data) >= 1);
  CHECK(testing::fewest(ran.bwd_weights) >= 1);
}

TEST_CASE("what own bf16 conv2d kernels read beside a pixel's channels decides nothing") {
  Generator r(testing::test_seed());
  const int64_t channels = GENERATE(3, 33, 40), width = GENERATE(5, 20);
  const Case c = make({16, channels, 6, width}, {20, channels, 3, 3}, {.padding = 1});
  Operands o(c, DType::bf16, DType::f32, r);
  reference::Values x = o.x.to_vector();
  for (int64_t i = 0; i < 16 * channels * 6 * width; i += channels * 6 * width)  // channel 0 of each image
    x[size_t(i + 3 * width + 2)] = std::numeric_limits<double>::infinity();      // in row 3, column 2
  o.x.copy_from(Tensor::from(x, o.x.shape()));
  for_each_kernel<op::Conv2dFwd>([&](Device device, const auto& kernel) {
    if (kernel.name.find("winograd") != kernel.name.npos) return;  // which says that it spreads such a pixel
    if (kernel.traits.family == Family::vendor) return;            // oneDNN 3.2 spreads that of a stem
    INFO(to_string(device) << ' ' << kernel.name << ", " << channels << " channels, " << width << " columns");
    const auto y = run_guarded(device, kernel, o.gy, kChannelsLast, [&](View v) { return forward(c, o, v); });
    if (!y) return;
    int64_t wrong = 0;
    for (int64_t i = 0; i < int64_t(y->size()); ++i) {
      const int64_t h = i / width % 6, w = i % width;
      const bool meets = h >= 2 && h <= 4 && w >= 1 && w <= 3;
      wrong += std::isfinite((*y)[size_t(i)]) == meets;
    }
    CHECK(wrong == 0);
  });
}

TEST_CASE("conv2d kernels handle more input channels and more tiles than one sum adds up") {
  Generator r(testing::test_seed());
  check(make({1, 9000, 2, 3}, {20, 9000, 1, 1}), DType::f32, r);
  check(make({1, 20, 2, 3}, {8200, 20, 2, 2}, {.padding = 1}), DType::f32, r);
  check(make({1, 530, 5, 3}, {20, 530, 3, 3}, {.padding = 1}), DType::f32, r);
  check(make({1, 20, 4, 4}, {530, 20, 3, 3}, {.padding = 1}), DType::f32, r);
  check(make({45, 18, 7, 6}, {20, 18, 3, 3}, {.padding = {0, 2}}), DType::f32, r);
}

}  // namespace
}  // namespace mininn::testing::conv2d
