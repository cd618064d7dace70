// The maximum, dropout and the engine's sum, every kernel against plain loops; the exponentials and logarithms of f32.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/autograd.h"
#include "core/memory_ops.h"
#include "core/random.h"
#include "ops/dropout.h"
#include "ops/functors.h"
#include "ops/reduce.h"
#include "tests/support/kernel_operands.h"
#include "tests/support/run_kernel.h"

namespace mininn {
namespace {

using namespace testing;
using reference::Values;

constexpr DType kFloating[] = {DType::f32, DType::f64, DType::bf16};

TEST_CASE("every amax kernel gives the maximum, its first place and the gradient there, and nothing else") {
  Generator g(test_seed());
  INFO("MININN_TEST_SEED=" << test_seed());
  // [outer, n, inner], over n; and over outer and inner together, whose index counts both.
  for (const DType t : kFloating)
    for (const Shape& s : {Shape{1, 1, 1}, Shape{3, 7, 1}, Shape{2, 300, 5}, Shape{1, 4, 40}})
      for (const bool middle : {true, false}) {
        const Tensor x = s[1] == 7 ? Tensor::full(s, 2, t) : random_tensor(s, g, t);  // of equal ones the first counts
        const Shape kept = middle ? Shape{s[0], 1, s[2]} : Shape{1, s[1], 1};
        const Values in = x.to_vector();
        Values most(size_t(numel(kept)), -std::numeric_limits<double>::infinity()), place(most.size(), 0);
        for (int64_t o = 0; o < s[0]; ++o)
          for (int64_t j = 0; j < s[1]; ++j)
            for (int64_t i = 0; i < s[2]; ++i) {
              const size_t to = size_t(middle ? o * s[2] + i : j);
              const double v = in[size_t((o * s[1] + j) * s[2] + i)];
              if (v > most[to]) most[to] = v, place[to] = double(middle ? j : o * s[2] + i);
            }
        for_each_kernel<op::AmaxFwd>([&](Device device, const auto& kernel) {
          Guarded y(kept, t), index(kept, DType::i64);
          INFO(to_string(device) << ' ' << kernel.name << ' ' << name(t) << s << kept);
          if (!run_kernel(device, kernel, {x.view(), y.view(), index.view()})) return;
          CHECK(y.values() == most);
          CHECK(index.values() == place);
        });
        const Tensor gy = random_tensor(kept, g, t);
        Tensor index = Tensor::empty(kept, DType::i64);
        index.copy_from(Tensor::from(place, kept));
        Values expected(in.size());
        const Values grad = gy.to_vector();
        for (int64_t o = 0; o < s[0]; ++o)
          for (int64_t j = 0; j < s[1]; ++j)
            for (int64_t i = 0; i < s[2]; ++i) {
              const size_t to = size_t(middle ? o * s[2] + i : j);
              if (double(middle ? j : o * s[2] + i) == place[to])
                expected[size_t((o * s[1] + j) * s[2] + i)] = grad[to];
            }
        for_each_kernel<op::AmaxBwd>([&](Device device, const auto& kernel) {
          Guarded gx(s, t);
          INFO(to_string(device) << ' ' << kernel.name << ' ' << name(t) << s << kept);
          if (!run_kernel(device, kernel, {gy.view(), index.view(), gx.view()})) return;
          CHECK(gx.values() == expected);
        });
      }
}

TEST_CASE(
    "every dropout kernel keeps what the generator's words say, forwards and backwards, and writes nothing else") {
  constexpr uint64_t kSeed = 9, kStream = 3, kPosition = 5;
  constexpr uint32_t kThreshold = 0x50000000;
  Generator g(test_seed());
  INFO("MININN_TEST_SEED=" << test_seed());
  for (const DType t : kFloating)
    for (const auto& [shape, format] : {std::pair{Shape{1}, MemoryFormat::contiguous},
                                        {Shape{3, 5, 7, 2}, MemoryFormat::channels_last},
                                        {Shape{40001}, MemoryFormat::contiguous}}) {
      const Tensor x = random_tensor(shape, g, t, format), gy = random_tensor(shape, g, t, format);
      Generator words(kSeed, kStream);
      words.set_position(kPosition);
      Values kept;
      for (int64_t i = 0; i < x.numel(); ++i) kept.push_back(words.next_u32() >= kThreshold);
      const auto scaled = [&](const Tensor& in) {
        Tensor out = Tensor::empty(shape, t);
        Values v = in.to_vector();
        for (size_t i = 0; i < v.size(); ++i) v[i] = kept[i] ? v[i] * 1.25 : 0;
        out.copy_from(Tensor::from(v, shape));  // of at most 25 bits times 5 / 4: rounded once
        return out.to_vector();
      };
      Tensor mask = Tensor::empty(shape, DType::u8);
      mask.copy_from(Tensor::from(kept, shape));
      for_each_kernel<op::DropoutFwd>([&](Device device, const auto& kernel) {
        Guarded y(shape, t, format), out_mask(shape, DType::u8);
        const op::DropoutFwd args{x.view(), kSeed, kStream, kPosition, kThreshold, 1.25, y.view(), out_mask.view()};
        INFO(to_string(device) << ' ' << kernel.name << ' ' << name(t) << shape);
        if (!run_kernel(device, kernel, args)) return;
        CHECK(y.values() == scaled(x));
        CHECK(out_mask.values() == kept);
      });
      for_each_kernel<op::DropoutBwd>([&](Device device, const auto& kernel) {
        Guarded gx(shape, t, format);
        INFO(to_string(device) << ' ' << kernel.name << ' ' << name(t) << shape);
        if (!run_kernel(device, kernel, {gy.view(), mask.view(), 1.25, gx.view()})) return;
        CHECK(gx.values() == scaled(gy));
      });
    }
}

TEST_CASE("every accumulation kernel adds any layouts, also in place, and writes nothing else") {
  RandomTensors random(test_seed());
  INFO("MININN_TEST_SEED=" << test_seed());
  for_each_kernel<op::Accumulate>([&](Device device, const auto& kernel) {
    for (const DType t : kFloating)
      for (int trial = 0; trial < 50; ++trial) {
        const Shape s = trial == 0 ? Shape{40001} : random.shape();
        const Tensor a = random.tensor(s, t), b = random.tensor(s, t);
        Guarded y(s, t);
        INFO(to_string(device) << ' ' << kernel.name << ' ' << name(t) << s << a.strides() << b.strides());
        if (!run_kernel(device, kernel, {a.view(), b.view(), y.view()})) continue;
        Values sums = a.to_vector();
        const Values other = b.to_vector();
        for (size_t i = 0; i < sums.size(); ++i) sums[i] += other[i];
        Tensor rounded = Tensor::empty(s, t);
        rounded.copy_from(Tensor::from(sums, s));
        CHECK(y.values() == rounded.to_vector());
        Tensor in_place = a.clone();
        REQUIRE(run_kernel(device, kernel, {in_place.view(), b.view(), in_place.mutable_view()}));
        CHECK(in_place.to_vector() == rounded.to_vector());
      }
  });
}

// Each of the floats with one bit pattern in 4999, of both signs; `got` against `exact` in units in the last place.
double worst_error(float (*got)(float), double (*exact)(double)) {
  double worst = 0;
  for (uint32_t bits = 0; bits < 0x7f800000u; bits += 4999)
    for (const uint32_t sign : {0u, 0x80000000u}) {
      const auto x = std::bit_cast<float>(bits | sign);
      const double expected = exact(double(x));
      const float y = got(x);
      if (std::isnan(expected) || std::abs(expected) >= 0x1.ffffffp127) {  // no number, or rounds to infinity
        if (std::isnan(expected) ? !std::isnan(y) : y != float(expected)) CHECK(double(y) == expected);
        continue;
      }
      const float nearest = std::abs(float(expected));
      const double unit = double(std::nextafter(nearest, std::numeric_limits<float>::infinity())) - double(nearest);
      worst = std::max(worst, std::abs(double(y) - expected) / unit);
    }
  return worst;
}

TEST_CASE("exponentials and logarithms of f32 are as exact as they say, from one end to the other") {
  const auto exp_f32 = [](float x) { return op::exponential(x); };
  const auto tanh_f32 = [](float x) { return op::hyperbolic_tangent(x); };
  CHECK(worst_error(exp_f32, [](double x) { return std::exp(x); }) < 1.5);
  CHECK(worst_error(tanh_f32, [](double x) { return std::tanh(x); }) < 3);
  const auto log_f32 = [](float x) { return op::logarithm(x); };
  const auto gaussian_f32 = [](float x) { return op::gaussian(x); };
  const auto cdf_f32 = [](float x) { return op::normal_cdf(x); };
  CHECK(worst_error(log_f32, [](double x) { return std::log(x); }) < 2);
  CHECK(worst_error(gaussian_f32, [](double x) { return std::exp(-x * x / 2); }) < 3);
  CHECK(worst_error(cdf_f32, [](double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; }) < 8);
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(op::exponential(inf) == inf);
  CHECK(op::exponential(-inf) == 0);
  for (const auto f : {+exp_f32, +tanh_f32, +log_f32, +gaussian_f32, +cdf_f32}) CHECK(std::isnan(f(nan)));
  CHECK(op::logarithm(inf) == inf);
  CHECK(op::gaussian(-inf) == 0);
  CHECK(op::normal_cdf(-inf) == 0);
  CHECK(op::normal_cdf(inf) == 1);
  CHECK(op::hyperbolic_tangent(inf) == 1);
  CHECK(op::hyperbolic_tangent(-inf) == -1);
  CHECK(std::signbit(op::hyperbolic_tangent(-0.0f)));
}

}  // namespace
}  // namespace mininn
