// Every convolution kernel of the three tables against plain loops: values, tails, guards, and equal bits whatever the
// threads and the batch.
#include "ops/conv2d.h"

#include <array>
#include <optional>

#include "core/parallel.h"
#include "tests/cpu_kernels/emulated_amx.h"
#include "tests/support/kernel_operands.h"
#include "tests/support/run_kernel.h"

namespace mininn {
namespace {

using testing::Guarded;
using testing::random_tensor;
using testing::run_kernel;

// Calls fn(device, kernel) for the kernels of every device, and for the emulated one.
template <class Args, class Fn>
void for_each_kernel(const Fn& fn) {
  testing::for_each_kernel<Args>(fn);
  fn(Device::cpu(), testing::emulated_amx<Args>());
}

constexpr MemoryFormat kChannelsLast = MemoryFormat::channels_last;

struct Case {
  Conv2dGeometry g;
  bool bias = false, residual = false, relu = false;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  const Conv2dGeometry& g = c.g;
  return out << "x [" << g.n << ',' << g.ic << ',' << g.ih << ',' << g.iw << "], w [" << g.oc << ',' << g.icg() << ','
             << g.kh << ',' << g.kw << "], stride " << g.stride_h << ',' << g.stride_w << ", padding " << g.pad_h << ','
             << g.pad_w << ", dilation " << g.dil_h << ',' << g.dil_w << ", groups " << g.groups
             << (c.bias ? ", bias" : "") << (c.residual ? ", residual" : "") << (c.relu ? ", relu" : "");
}

Case make(const Shape& x, const Shape& w, const Conv2dParams& o = {}) {
  return {Conv2dGeometry::make("conv2d", x, w, o)};
}

// All operands of the three operations for one case.
struct Operands {
  Operands(const Case& c, DType dtype, Generator& r) : Operands(c, dtype, dtype, r) {}
  Operands(const Case& c, DType dtype, DType weights, Generator& r)
      : x(random_tensor({c.g.n, c.g.ic, c.g.ih, c.g.iw}, r, dtype, kChannelsLast)),
        w(random_tensor({c.g.oc, c.g.icg(), c.g.kh, c.g.kw}, r, weights)),
        gy(random_tensor({c.g.n, c.g.oc, c.g.oh, c.g.ow}, r, dtype, kChannelsLast)),
        bias(c.bias ? random_tensor({c.g.oc}, r, weights) : Tensor()),
        residual(c.residual ? random_tensor(gy.shape(), r, dtype, kChannelsLast) : Tensor()) {}
  Tensor x, w, gy, bias, residual;
};

CView optional(const Tensor& t) { return t ? t.view() : CView(); }
reference::Values optional_values(const Tensor& t) { return t ? t.to_vector() : reference::Values(); }

op::Conv2dFwd forward(const Case& c, const Operands& o, View y) {
  return {c.g, o.x.view(), o.w.view(), optional(o.bias), optional(o.residual), c.relu, y};
}

// Runs `kernel` with one and with two threads into fresh guarded memory; the bits must be equal. Nothing if it refuses.
template <class Args, class Fill>
std::optional<reference::Values> run_guarded(Device device, const Kernel<Args>& kernel, const Tensor& like,
                                             MemoryFormat format, const Fill& args, const Tensor& packed = {}) {
  std::optional<reference::Values> result;
  const int before = num_threads();
  for (const int threads : testing::thread_counts(device)) {
    set_num_threads(threads);
    Guarded out(like.shape(), like.dtype(), format);
    if (!run_kernel(device, kernel, args(out.view()), packed)) break;
    const reference::Values values = out.values();
    if (threads == 1)
      result = values;
    else if (kernel.traits.family == Family::own)
      CHECK(values == result);
  }
  set_num_threads(before);
  return result;
}

// Packed weights must give the same bits as plain ones, with the number of threads that they were made for and with
// another one. In the first case the plain weights must not be read.
void check_packed(Device device, const Kernel<op::Conv2dFwd>& kernel, const Case& c, const Operands& o) {
  const int before = num_threads();
  const Tensor garbage = Tensor::full(o.w.shape(), std::numeric_limits<double>::quiet_NaN(), o.w.dtype());
  const auto run = [&](const Tensor& w, const Tensor& packed) {
    Guarded out(o.gy.shape(), o.gy.dtype(), kChannelsLast);
    op::Conv2dFwd a = forward(c, o, out.view());
    a.w = w.view();
    CHECK(run_kernel(device, kernel, a, packed));
    return out.values();
  };
  for (const int threads : testing::thread_counts(device)) {
    set_num_threads(threads);
    const Tensor packed =
        testing::pack_kernel(device, kernel, forward(c, o, Guarded(o.gy.shape(), o.gy.dtype(), kChannelsLast).view()));
    CHECK(run(garbage, packed) == run(o.w, {}));
    set_num_threads(3 - threads);
    CHECK(run(o.w, packed) == run(o.w, {}));
  }
  set_num_threads(before);
}

// Like testing::check_close(), for a result of type `dtype`. Winograd's kernels add up transformed numbers, which are
// larger and lose more digits; some kernels round f32 weights to bf16 before they multiply (`mixed`).
template <class Args>
void check_close(const reference::Values& got, const reference::Sums& expected, DType dtype, const Kernel<Args>& kernel,
                 bool mixed) {
  const bool winograd = kernel.name.find("winograd") != kernel.name.npos;
  const DType sums = mixed && kernel.traits.rounds_weights ? DType::bf16 : dtype == DType::bf16 ? DType::f32 : dtype;
  testing::check_close(got, expected, dtype, testing::unit_roundoff(sums) * (winograd ? 32 : 1));
}

struct Ran {
  testing::Takers fwd, bwd_data, bwd_weights;
};

Ran check(const Case& c, DType dtype, DType weights, Generator& r) {
  Ran ran;
  const bool mixed = dtype != weights;
  const Operands o(c, dtype, weights, r);
  const reference::Values x = o.x.to_vector(), w = o.w.to_vector(), gy = o.gy.to_vector();

  auto y = reference::conv2d(c.g, x, w, optional_values(o.bias), optional_values(o.residual));
  if (c.relu)
    for (auto& s : y) s.value = std::max(s.value, 0.0);
  for_each_kernel<op::Conv2dFwd>([&](Device device, const auto& kernel) {
    int& taken = ran.fwd[device.type];
    INFO("conv2d_fwd " << to_string(device) << ' ' << kernel.name << ' ' << name(dtype) << '*' << name(weights) << ": "
                       << c);
    const auto got = run_guarded(device, kernel, o.gy, kChannelsLast, [&](View v) { return forward(c, o, v); });
    if (!got) return;
    check_close(*got, y, dtype, kernel, mixed);
    if (kernel.pack) check_packed(device, kernel, c, o);
    ++taken;
  });
  const auto gx = reference::conv2d_input_gradient(c.g, gy, w);
  for_each_kernel<op::Conv2dBwdData>([&](Device device, const auto& kernel) {
    int& taken = ran.bwd_data[device.type];
    INFO("conv2d_bwd_data " << to_string(device) << ' ' << kernel.name << ' ' << name(dtype) << '*' << name(weights)
                            << ": " << c);
    const auto args = [&](View v) { return op::Conv2dBwdData{c.g, o.gy.view(), o.w.view(), v}; };
    const auto got = run_guarded(device, kernel, o.x, kChannelsLast, args);
    if (!got) return;
    check_close(*got, gx, dtype, kernel, mixed);
    ++taken;
  });
  const auto gw = reference::conv2d_weight_gradient(c.g, x, gy);
  for_each_kernel<op::Conv2dBwdWeights>([&](Device device, const auto& kernel) {
    int& taken = ran.bwd_weights[device.type];
    INFO("conv2d_bwd_weights " << to_string(device) << ' ' << kernel.name << ' ' << name(dtype) << '*' << name(weights)
                               << ": " << c);
    const auto args = [&](View v) { return op::Conv2dBwdWeights{c.g, o.x.view(), o.gy.view(), v}; };
    const auto got = run_guarded(device, kernel, o.w, MemoryFormat::contiguous, args);
    if (!got) return;
    check_close(*got, gw, weights, kernel, mixed);
    ++taken;
  });
  return ran;
}

Ran check(const Case& c, DType dtype, Generator& r) { return check(c, dtype, dtype, r); }

void check_all(const Case& c, Generator& r) {
  using enum DType;
  for (const auto& [dtype, weights] : {std::pair(f32, f32), {f64, f64}, {bf16, bf16}, {bf16, f32}}) {
    const Ran ran = check(c, dtype, weights, r);
    CHECK(testing::fewest(ran.fwd) >= 1);
    CHECK(testing::fewest(ran.bwd_data) >= 1);
    CHECK(testing::fewest(ran.bwd_weights) >= 1);
  }
}

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
  check(make({1, 530, 5, 3}, {20, 530, 3, 3}, {.padding = 1}), DType::f32, r);
  check(make({1, 20, 4, 4}, {530, 20, 3, 3}, {.padding = 1}), DType::f32, r);
  check(make({45, 18, 7, 6}, {20, 18, 3, 3}, {.padding = {0, 2}}), DType::f32, r);
}

TEST_CASE("own conv2d kernels give the same bits on six threads as on one") {
  Generator r(testing::test_seed());
  // The second and third add up few products: tiles go along rows, of which the third has one.
  const Case c = GENERATE(make({9, 40, 12, 12}, {70, 40, 3, 3}, {.padding = 1}),
                          make({33, 40, 8, 8}, {512, 40, 1, 1}),  // 32 images at a time, many panels
                          make({9, 16, 12, 40}, {40, 16, 3, 3}, {.stride = 2, .padding = 1}),
                          make({1, 64, 1, 3000}, {60, 64, 1, 1}, {}));
  const DType dtype = GENERATE(DType::f32, DType::bf16);
  INFO(c.g.ih << "x" << c.g.iw << ' ' << name(dtype));
  const Operands o(c, dtype, DType::f32, r);
  const int before = num_threads();
  const auto check_bits = [&](Device device, const auto& kernel, const Tensor& like, MemoryFormat format,
                              const auto& args) {
    if (device.type != DeviceType::cpu || kernel.traits.family != Family::own) return;
    INFO(kernel.name);
    std::optional<reference::Values> first;
    for (const int threads : {1, 6}) {
      set_num_threads(threads);
      Guarded out(like.shape(), like.dtype(), format);
      if (!run_kernel(device, kernel, args(out.view()))) break;
      const reference::Values values = out.values();
      if (first) CHECK(values == *first);
      first = values;
    }
    set_num_threads(before);
  };
  for_each_kernel<op::Conv2dFwd>([&](Device device, const auto& kernel) {
    check_bits(device, kernel, o.gy, kChannelsLast, [&](View v) { return forward(c, o, v); });
  });
  for_each_kernel<op::Conv2dBwdData>([&](Device device, const auto& kernel) {
    check_bits(device, kernel, o.x, kChannelsLast, [&](View v) {
      return op::Conv2dBwdData{c.g, o.gy.view(), o.w.view(), v};
    });
  });
  for_each_kernel<op::Conv2dBwdWeights>([&](Device device, const auto& kernel) {
    check_bits(device, kernel, o.w, MemoryFormat::contiguous, [&](View v) {
      return op::Conv2dBwdWeights{c.g, o.x.view(), o.gy.view(), v};
    });
  });
}

TEST_CASE("which own kernel a conv2d takes does not depend on the batch") {
  for (const auto& [channels, size] : {std::pair<int64_t, int64_t>{3, 32}, {64, 32}, {256, 8}, {512, 4}, {16, 5}}) {
    const auto chosen = [&](int64_t n) {
      const Tensor x = Tensor::empty({n, channels, size, size}, DType::f32, Device::cpu(), kChannelsLast);
      const Tensor w = Tensor::empty({64, channels, 3, 3});
      const Case c = make(x.shape(), w.shape(), {.padding = 1});
      Tensor y = Tensor::empty({n, 64, size, size}, DType::f32, Device::cpu(), kChannelsLast);
      const PreferenceGuard own(Preference::own);
      return kernels<op::Conv2dFwd>()
          .select({c.g, x.view(), w.view(), {}, {}, false, y.mutable_view()}, Device::cpu())
          .name;
    };
    CHECK(chosen(1) == chosen(100));
  }
}

TEST_CASE("which own kernel a weight gradient takes does not depend on the number of threads") {
  const int before = num_threads();
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const auto& [in, out, kernel] : {std::array<int64_t, 3>{3, 64, 3}, {16, 16, 3}, {32, 32, 1}, {64, 64, 3}}) {
      const Tensor x = Tensor::empty({64, in, 16, 16}, dtype, Device::cpu(), kChannelsLast);
      const Case c = make(x.shape(), {out, in, kernel, kernel}, {.padding = kernel / 2});
      const Tensor gy = Tensor::empty({64, out, 16, 16}, dtype, Device::cpu(), kChannelsLast);
      Tensor gw = Tensor::empty({out, in, kernel, kernel});
      const PreferenceGuard own(Preference::own);
      const auto chosen = [&](int threads) {
        set_num_threads(threads);
        return kernels<op::Conv2dBwdWeights>()
            .select({c.g, x.view(), gy.view(), gw.mutable_view()}, Device::cpu())
            .name;
      };
      INFO(name(dtype) << ", " << in << " to " << out << " channels");
      for (const int threads : {2, 3, 7, 16, 64}) CHECK(chosen(threads) == chosen(1));
    }
  set_num_threads(before);
}

// Of the largest result: what Winograd's transforms cost where a direct sum loses less than 1e-6.
TEST_CASE("every conv2d kernel keeps five digits on the layers of ResNet-18") {
  Generator r(testing::test_seed());
  for (const auto& [channels, size] : {std::pair<int64_t, int64_t>{64, 16}, {128, 8}, {256, 8}, {512, 4}}) {
    const Case c = make({1, channels, size, size}, {64, channels, 3, 3}, {.padding = 1});
    const Operands o(c, DType::f32, r);
    const auto worst = [](const reference::Values& got, const reference::Sums& expected) {
      double error = 0, top = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        error = std::max(error, std::abs(got[i] - expected[i].value));
        top = std::max(top, std::abs(expected[i].value));
      }
      return error / top;
    };
    const reference::Values x = o.x.to_vector(), w = o.w.to_vector(), gy = o.gy.to_vector();
    const auto y = reference::conv2d(c.g, x, w);
    for_each_kernel<op::Conv2dFwd>([&](Device device, const auto& kernel) {
      INFO("conv2d_fwd " << to_string(device) << ' ' << kernel.name << ": " << c);
      const auto got = run_guarded(device, kernel, o.gy, kChannelsLast, [&](View v) { return forward(c, o, v); });
      if (got) CHECK(worst(*got, y) <= 1e-5);
    });
    const auto gx = reference::conv2d_input_gradient(c.g, gy, w);
    for_each_kernel<op::Conv2dBwdData>([&](Device device, const auto& kernel) {
      INFO("conv2d_bwd_data " << to_string(device) << ' ' << kernel.name << ": " << c);
      const auto args = [&](View v) { return op::Conv2dBwdData{c.g, o.gy.view(), o.w.view(), v}; };
      if (const auto got = run_guarded(device, kernel, o.x, kChannelsLast, args)) CHECK(worst(*got, gx) <= 1e-5);
    });
    const auto gw = reference::conv2d_weight_gradient(c.g, x, gy);
    for_each_kernel<op::Conv2dBwdWeights>([&](Device device, const auto& kernel) {
      INFO("conv2d_bwd_weights " << to_string(device) << ' ' << kernel.name << ": " << c);
      const auto args = [&](View v) { return op::Conv2dBwdWeights{c.g, o.x.view(), o.gy.view(), v}; };
      if (const auto got = run_guarded(device, kernel, o.w, MemoryFormat::contiguous, args))
        CHECK(worst(*got, gw) <= 1e-5);
    });
  }
}

TEST_CASE("conv2d kernels handle extreme geometry") {
  Generator r(testing::test_seed());
  check_all(make({0, 5, 4, 4}, {7, 5, 3, 3}, {.padding = 1}), r);               // no images: the weight gradient is 0
  check_all(make({2, 6, 1, 1}, {4, 6, 3, 3}, {.padding = 1}), r);               // only the middle tap inside
  check_all(make({2, 6, 9, 9}, {4, 6, 2, 2}, {.stride = 4}), r);                // some inputs under no tap
  check_all(make({1, 3, 2, 2}, {5, 3, 1, 1}, {.stride = 3, .padding = 3}), r);  // whole outputs on padding
  check_all(make({1, 2, 3, 3}, {3, 2, 5, 5}, {.padding = 4}), r);               // kernel larger than the input
  check_all(make({2, 9, 6, 5}, {9, 1, 3, 3}, {.padding = 1, .groups = 9}), r);  // depthwise
  check_all(make({1, 2, 7, 7}, {2, 2, 3, 3}, {.padding = 3, .dilation = 3}), r);
}

TEST_CASE("own conv2d kernels give an image the same bits in any batch") {
  Generator r(testing::test_seed());
  for (const auto& [size, kernel, stride] : {std::array<int64_t, 3>{4, 3, 1}, {8, 3, 2}, {8, 3, 1}, {9, 1, 2}}) {
    const Conv2dParams o{.stride = stride, .padding = kernel / 2};
    const Case batch = make({20, 24, size, size}, {40, 24, kernel, kernel}, o);
    const Case image = make({1, 24, size, size}, {40, 24, kernel, kernel}, o);
    const Operands all(batch, DType::f32, r);
    Operands one = all;
    const auto alone = [](const Tensor& t) {  // image 13
      const Shape& s = t.shape();
      return t.as_strided({1, s[1], s[2], s[3]}, t.strides(), 13 * s[1] * s[2] * s[3]);
    };
    one.x = alone(all.x);
    one.gy = alone(all.gy);
    const auto same = [&](const reference::Values& many, const reference::Values& single) {
      const auto begin = many.begin() + 13 * int64_t(single.size());
      CHECK(std::equal(single.begin(), single.end(), begin));
    };
    for_each_kernel<op::Conv2dFwd>([&](Device device, const auto& kernel_) {
      const auto args = [&](const Case& c, const Operands& operands) {
        return [&](View v) { return forward(c, operands, v); };
      };
      if (kernel_.traits.family != Family::own || testing::refuses(device, kernel_, args(batch, all)({}))) return;
      INFO("conv2d_fwd " << to_string(device) << ' ' << kernel_.name << ": " << batch);
      const Tensor packed = kernel_.pack ? testing::pack_kernel(device, kernel_, args(batch, all)({})) : Tensor();
      const auto many = run_guarded(device, kernel_, all.gy, kChannelsLast, args(batch, all));
      same(*many, *run_guarded(device, kernel_, one.gy, kChannelsLast, args(image, one)));
      same(*many, *run_guarded(device, kernel_, one.gy, kChannelsLast, args(image, one), packed));
    });
    for_each_kernel<op::Conv2dBwdData>([&](Device device, const auto& kernel_) {
      const auto args = [&](const Case& c, const Operands& operands) {
        return [&](View v) { return op::Conv2dBwdData{c.g, operands.gy.view(), operands.w.view(), v}; };
      };
      if (kernel_.traits.family != Family::own || testing::refuses(device, kernel_, args(batch, all)({}))) return;
      INFO("conv2d_bwd_data " << to_string(device) << ' ' << kernel_.name << ": " << batch);
      same(*run_guarded(device, kernel_, all.x, kChannelsLast, args(batch, all)),
           *run_guarded(device, kernel_, one.x, kChannelsLast, args(image, one)));
    });
  }
}

TEST_CASE("conv2d kernels pass NaN through ReLU") {
  const Case c{make({1, 1, 1, 1}, {1, 1, 3, 3}, {.padding = 1}).g, false, false, true};
  Generator r(1);
  Operands o(c, DType::f32, r);
  o.x.fill(std::numeric_limits<double>::quiet_NaN());
  for_each_kernel<op::Conv2dFwd>([&](Device device, const auto& kernel) {
    Tensor y = Tensor::zeros({1, 1, 1, 1});
    INFO(to_string(device) << ' ' << kernel.name);
    if (run_kernel(device, kernel, forward(c, o, y.mutable_view()))) CHECK(std::isnan(y.item()));
  });
}

TEST_CASE("a long sum keeps its digits in every conv2d kernel") {
  constexpr int64_t kTerms = 1 << 18;
  const auto check_sum = [](const auto& args) {
    return [args]<class Args>(Device device, const Kernel<Args>& kernel) {
      Tensor y = Tensor::zeros({1, 1, 1, 1});
      INFO(Args::op << ' ' << to_string(device) << ' ' << kernel.name);
      if (run_kernel(device, kernel, args(y.mutable_view()))) CHECK(y.item() == Approx(0.1 * kTerms).epsilon(2e-4));
    };
  };
  const auto full = [](const Shape& s, double v) { return Tensor::full(s, v); };
  const Tensor one = full({1, 1, 1, 1}, 1), many_in = full({1, kTerms, 1, 1}, 0.1),
               many_out = full({kTerms, 1, 1, 1}, 1), ones = full({1, kTerms, 1, 1}, 1),
               row = full({1, 1, 1, kTerms}, 0.1), row_of_ones = full({1, 1, 1, kTerms}, 1);
  for_each_kernel<op::Conv2dFwd>(check_sum([&](View y) {
    return op::Conv2dFwd{make(many_in.shape(), ones.shape()).g, many_in.view(), ones.view(), {}, {}, false, y};
  }));
  for_each_kernel<op::Conv2dBwdData>(check_sum([&](View y) {
    return op::Conv2dBwdData{make(one.shape(), many_out.shape()).g, many_in.view(), many_out.view(), y};
  }));
  for_each_kernel<op::Conv2dBwdWeights>(check_sum([&](View y) {
    return op::Conv2dBwdWeights{make(row.shape(), one.shape()).g, row.view(), row_of_ones.view(), y};
  }));
}

}  // namespace
}  // namespace mininn
