// Every int8 addition kernel against the definition in ops/qadd.h: equal bytes.
#include "ops/qadd.h"

#include <cmath>

#include "tests/cpu_kernels/int8_buffers.h"

using namespace mininn;
using namespace mininn::testing;

TEST_CASE("qadd kernels equal the definition") {
  const uint64_t seed = test_seed();
  Rng rng(seed);
  INFO("MININN_TEST_SEED=" << seed);
  for (int i = 0; i < 300; ++i) {
    const Shape shape{uniform(rng, 0, 3), uniform(rng, 1, 70), uniform(rng, 1, 9), uniform(rng, 1, 9)};
    const bool gapless = chance(rng, 0.2) && shape[1] % 4 == 0;  // all pixels are one span then
    Codes a = Codes::random(rng, shape), b = Codes::random(rng, shape), y = Codes::output(rng, shape);
    if (gapless) {
      a = Codes::constant(shape, uint8_t(i));
      b = Codes::constant(shape, uint8_t(255 - i % 256));
      y = Codes(shape, shape[1]);
    }
    op::QAdd q;
    q.a = std::as_const(a).view();
    q.b = std::as_const(b).view();
    q.a_zero = int32_t(uniform(rng, 0, 255));
    q.b_zero = int32_t(uniform(rng, 0, 255));
    q.a_scale = chance(rng, 0.2) ? 0.5f : uniform_real(rng, 0.01f, 3.0f);  // 0.5 makes ties
    q.b_scale = chance(rng, 0.2) ? 0.5f : uniform_real(rng, 0.01f, 3.0f);
    q.y_zero = int32_t(uniform(rng, 0, 255));
    q.lo = chance(rng, 0.5) ? q.y_zero : 0;
    q.hi = std::max(q.lo, int32_t(uniform(rng, 100, 255)));
    q.y = y.view();
    check_qadd(q);
    Codes want = y;
    for (int64_t n = 0; n < shape[0]; ++n)
      for (int64_t c = 0; c < shape[1]; ++c)
        for (int64_t h = 0; h < shape[2]; ++h)
          for (int64_t w = 0; w < shape[3]; ++w) {
            const float tb = float(b.at(n, c, h, w) - q.b_zero) * q.b_scale;
            const float t = std::fmaf(float(a.at(n, c, h, w) - q.a_zero), q.a_scale, tb);
            want.at(n, c, h, w) = expected_code(t, q.y_zero, q.lo, q.hi);
          }
    INFO(shape);
    for_each_kernel<op::QAdd>(gives(q, y, want));
  }
}
