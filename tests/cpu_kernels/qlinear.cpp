// Every int8 fully connected kernel against a plain 64-bit loop: equal bits.
#include "ops/qlinear.h"

#include "tests/cpu_kernels/int8_buffers.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

template <class X>
void check_linear(Rng& rng, int64_t n, int64_t k, int64_t o, int64_t x_max, bool extreme) {
  const int64_t gap = std::is_same_v<X, uint8_t> ? uniform(rng, 0, 5) : 0;
  Array<X> x({n, k + gap});
  Array<int8_t> w({o, k});
  Array<int32_t> bias({o});
  Array<float> multiplier({o}), y({n, o}), want({n, o});
  const int64_t x_min = std::is_same_v<X, uint8_t> ? 0 : -x_max;
  for (int64_t i = 0; i < x.size(); ++i) x[i] = X(extreme ? x_max : uniform(rng, x_min, x_max));
  for (int64_t i = 0; i < w.size(); ++i) w[i] = int8_t(extreme ? (i / k % 2 ? 127 : -127) : uniform(rng, -127, 127));
  for (int64_t i = 0; i < o; ++i) bias[i] = int32_t(uniform(rng, -100000, 100000));
  for (int64_t i = 0; i < o; ++i) multiplier[i] = uniform_real(rng, 1e-6f, 1e-3f);
  for (int64_t i = 0; i < n * o; ++i) {
    int64_t acc = bias[i % o];
    for (int64_t j = 0; j < k; ++j) acc += int64_t{x[i / o * (k + gap) + j]} * w[i % o * k + j];
    want[i] = float(int32_t(acc)) * multiplier[i % o];
  }
  op::QLinear a;
  a.x = std::as_const(x).view();
  a.x.shape[1] = k;
  a.x_max = int32_t(x_max);
  a.w = std::as_const(w).view();
  a.bias = std::as_const(bias).view();
  a.multiplier = std::as_const(multiplier).view();
  a.y = y.view();
  check_qlinear(a);
  INFO(n << " x " << k << " -> " << o);
  for_each_kernel<op::QLinear>(gives(a, y, want));
}

}  // namespace

TEST_CASE("qlinear kernels equal the definition") {
  const uint64_t seed = test_seed();
  Rng rng(seed);
  INFO("MININN_TEST_SEED=" << seed);
  for (int i = 0; i < 200; ++i) {
    const int64_t n = uniform(rng, 0, 5), k = uniform(rng, 0, 70), o = uniform(rng, 1, 20);
    check_linear<uint8_t>(rng, n, k, o, 255, false);
    check_linear<int32_t>(rng, n, k, o, 4080, false);
  }
}

TEST_CASE("qlinear is exact up to the bound that its check allows") {
  Rng rng(1);
  check_linear<int32_t>(rng, 2, 512, 3, 32000, true);  // 512 * 32000 * 127 is 97% of 2^31
  check_linear<uint8_t>(rng, 2, 4608, 3, 255, true);
}
