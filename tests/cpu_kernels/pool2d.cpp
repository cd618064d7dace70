// Every pooling kernel against plain loops.
#include "ops/pool2d.h"

#include <limits>

#include "cpu_kernels/common/cpu_features.h"
#include "tests/support/kernel_operands.h"
#include "tests/support/run_kernel.h"

namespace mininn {
namespace {

using testing::for_each_kernel;
using testing::Guarded;
using testing::run_kernel;

constexpr auto kChannelsLast = MemoryFormat::channels_last;
constexpr DType kDTypes[] = {DType::f32, DType::f64, DType::bf16};

std::string describe(std::string_view kernel, DType dtype, const Pool2dGeometry& g) {
  return message(kernel, ' ', name(dtype), ": x ", Shape{g.n, g.c, g.ih, g.iw}, ", kernel ", g.kh, "x", g.kw,
                 ", stride ", g.stride_h, ",", g.stride_w, ", padding ", g.pad_h, ",", g.pad_w);
}

// A gradient is added up window by window, by some kernels in place: they round each partial sum to bf16.

// Overlapping, gapped and padded windows; channel counts around the vector lengths.
std::vector<Pool2dGeometry> geometries(Generator& g) {
  std::vector<Pool2dGeometry> all;
  const auto add = [&](const Shape& x, const Pool2dOptions& o) { all.push_back(Pool2dGeometry::make("test", x, o)); };
  add({2, 64, 8, 8}, {.kernel = 3, .stride = 2, .padding = 1});
  add({1, 512, 4, 4}, {.kernel = 4});
  add({2, 130, 7, 5}, {.kernel = {7, 5}});
  add({0, 8, 4, 4}, {.kernel = 2});
  add({1, 1, 1, 1}, {.kernel = 2, .stride = 1, .padding = 1});
  for (int i = 0; i < 30; ++i) {
    const auto upto = [&](uint64_t n) { return int64_t(g.below(n)); };
    const Hw kernel(1 + upto(4), 1 + upto(4)),
        padding(upto(uint64_t(kernel.h / 2 + 1)), upto(uint64_t(kernel.w / 2 + 1)));
    add({1 + upto(3), 1 + upto(70), kernel.h + upto(8), kernel.w + upto(8)},
        {.kernel = kernel, .stride = {upto(4), upto(4)}, .padding = padding});
  }
  return all;
}

Shape x_shape(const Pool2dGeometry& g) { return {g.n, g.c, g.ih, g.iw}; }
Shape y_shape(const Pool2dGeometry& g) { return {g.n, g.c, g.oh, g.ow}; }

void check_max(const Pool2dGeometry& g, DType dtype, const Tensor& x, Generator& random) {
  const auto expected = reference::max_pool2d(g, x.to_vector());
  const Tensor gy = testing::random_tensor(y_shape(g), random, dtype, kChannelsLast);
  const auto gradient = reference::max_pool2d_gradient(g, gy.to_vector(), expected.index);
  Tensor index = Tensor::empty(y_shape(g), DType::i32, Device::cpu(), kChannelsLast);
  index.copy_from(Tensor::from(expected.index, y_shape(g)));
  for_each_kernel<op::MaxPool2dFwd>([&](Device device, const auto& kernel) {
    for (const bool with_index : {true, false}) {
      Guarded y(y_shape(g), dtype, kChannelsLast), where(y_shape(g), DType::i32, kChannelsLast);
      INFO(to_string(device) << ' ' << describe(kernel.name, dtype, g));
      if (!run_kernel(device, kernel, {g, x.view(), y.view(), with_index ? where.view() : View()})) continue;
      const auto got = y.values();
      bool equal = got.size() == expected.value.size();
      for (size_t i = 0; i < got.size() && equal; ++i)
        equal = got[i] == expected.value[i] || (std::isnan(got[i]) && std::isnan(expected.value[i]));
      CHECK(equal);
      if (with_index) CHECK(where.values() == expected.index);
    }
  });
  for_each_kernel<op::MaxPool2dBwd>([&](Device device, const auto& kernel) {
    Guarded gx(x_shape(g), dtype, kChannelsLast);
    INFO(to_string(device) << ' ' << describe(kernel.name, dtype, g));
    if (!run_kernel(device, kernel, {g, gy.view(), index.view(), gx.view()})) return;
    testing::check_close(gx.values(), gradient, dtype, testing::unit_roundoff(dtype));
  });
}

TEST_CASE("every max pooling kernel agrees with plain loops") {
  const uint64_t seed = testing::test_seed();
  INFO("MININN_TEST_SEED=" << seed);
  Generator random(seed);
  for (const auto& g : geometries(random))
    for (const DType dtype : kDTypes)
      check_max(g, dtype, testing::random_tensor(x_shape(g), random, dtype, kChannelsLast), random);
}

TEST_CASE("every max pooling kernel takes the first of equals, all minus infinity, and NaN over numbers") {
  Generator random(testing::test_seed());
  const auto g = Pool2dGeometry::make("test", {2, 37, 6, 6}, {.kernel = 3, .stride = 2, .padding = 1});
  for (const DType dtype : kDTypes) {
    Tensor x = Tensor::empty(x_shape(g), dtype, Device::cpu(), kChannelsLast);
    std::vector<double> values(size_t(x.numel()));
    const auto fill = [&](const auto& value) {
      for (double& v : values) v = value();
      x.copy_from(Tensor::from(values, x_shape(g)));
    };
    fill([&] { return double(random.below(3)); });
    check_max(g, dtype, x, random);
    fill([&] { return -std::numeric_limits<double>::infinity(); });
    check_max(g, dtype, x, random);
    fill([&] { return random.below(6) ? random.normal() : std::numeric_limits<double>::quiet_NaN(); });
    check_max(g, dtype, x, random);
  }
}

TEST_CASE("every average pooling kernel agrees with plain loops") {
  const uint64_t seed = testing::test_seed();
  INFO("MININN_TEST_SEED=" << seed);
  Generator random(seed);
  for (const auto& g : geometries(random))
    for (const DType dtype : kDTypes)
      for (const bool count_pad : {true, false}) {
        const Tensor x = testing::random_tensor(x_shape(g), random, dtype, kChannelsLast);
        const Tensor gy = testing::random_tensor(y_shape(g), random, dtype, kChannelsLast);
        const auto expected = reference::avg_pool2d(g, count_pad, x.to_vector());
        const auto gradient = reference::avg_pool2d_gradient(g, count_pad, gy.to_vector());
        for_each_kernel<op::AvgPool2dFwd>([&](Device device, const auto& kernel) {
          Guarded y(y_shape(g), dtype, kChannelsLast);
          INFO(to_string(device) << ' ' << describe(kernel.name, dtype, g));
          if (!run_kernel(device, kernel, {g, count_pad, x.view(), y.view()})) return;
          testing::check_close(y.values(), expected, dtype);
        });
        for_each_kernel<op::AvgPool2dBwd>([&](Device device, const auto& kernel) {
          Guarded gx(x_shape(g), dtype, kChannelsLast);
          INFO(to_string(device) << ' ' << describe(kernel.name, dtype, g));
          if (!run_kernel(device, kernel, {g, count_pad, gy.view(), gx.view()})) return;
          testing::check_close(gx.values(), gradient, dtype, testing::unit_roundoff(dtype));
        });
      }
}

TEST_CASE("own pooling kernels take f32 and bf16") {
  if (!cpu::has(cpu::Isa::avx2)) return;
  Generator random(testing::test_seed());
  const auto g = Pool2dGeometry::make("test", {2, 37, 6, 6}, {.kernel = 3, .stride = 2, .padding = 1});
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor x = testing::random_tensor(x_shape(g), random, dtype, kChannelsLast);
    const Tensor gy = testing::random_tensor(y_shape(g), random, dtype, kChannelsLast);
    Tensor y = gy.clone(), gx = x.clone(), index = Tensor::zeros(y_shape(g), DType::i32);
    const auto owned = []<class Args>(const Args& a) {
      return kernels<Args>().select(a, Device::cpu()).traits.family == Family::own;
    };
    CHECK(owned(op::MaxPool2dFwd{g, x.view(), y.mutable_view(), {}}));
    CHECK(owned(op::MaxPool2dBwd{g, gy.view(), index.view(), gx.mutable_view()}));
    CHECK(owned(op::AvgPool2dFwd{g, true, x.view(), y.mutable_view()}));
    CHECK(owned(op::AvgPool2dBwd{g, true, gy.view(), gx.mutable_view()}));
  }
}

TEST_CASE("the mean of many pixels keeps its digits in every average pooling kernel") {
  Generator random(testing::test_seed());
  INFO("MININN_TEST_SEED=" << testing::test_seed());
  for (const int64_t side : {7, 224, 4200})
    for (const double base : {0.1, 1e6}) {
      const int64_t c = side == 7 ? 37 : 1;
      const auto g = Pool2dGeometry::make("test", {1, c, side, side}, {.kernel = side});
      Tensor x = Tensor::empty(x_shape(g), DType::f32, Device::cpu(), kChannelsLast);
      std::vector<double> expected(size_t(c), 0.0);
      size_t i = 0;
      for (float& v : x.mutable_data<float>()) {
        v = float(base == 1e6 ? base + 2 * random.uniform() - 1 : base);
        expected[i++ % size_t(c)] += double(v) / double(side * side);
      }
      for_each_kernel<op::AvgPool2dFwd>([&](Device device, const auto& kernel) {
        Tensor y = Tensor::zeros(y_shape(g));
        INFO(to_string(device) << ' ' << kernel.name << ' ' << side << ' ' << base);
        if (!run_kernel(device, kernel, {g, true, x.view(), y.mutable_view()})) return;
        double worst = 0;
        for (size_t k = 0; k < expected.size(); ++k)
          worst = std::max(worst, std::abs(y.to_vector()[k] / expected[k] - 1));
        CHECK(worst < 64 * 0x1p-24);  // chains of 64 additions in f32
      });
    }
}

}  // namespace
}  // namespace mininn
