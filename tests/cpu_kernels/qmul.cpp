// Every int8 multiplication and requantization kernel against its definition: equal bytes.
#include "ops/qmul.h"

#include "ops/requantize.h"
#include "tests/cpu_kernels/int8_buffers.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

Shape random_shape(Rng& rng) {
  return {uniform(rng, 0, 3), uniform(rng, 1, 70), uniform(rng, 1, 9), uniform(rng, 1, 9)};
}

// `y` with code(n, c, h, w) in place of its elements.
template <class Code>
Codes made_of(Codes y, const Code& code) {
  const Shape& s = y.shape();
  for (int64_t n = 0; n < s[0]; ++n)
    for (int64_t c = 0; c < s[1]; ++c)
      for (int64_t h = 0; h < s[2]; ++h)
        for (int64_t w = 0; w < s[3]; ++w) y.at(n, c, h, w) = code(n, c, h, w);
  return y;
}

}  // namespace

TEST_CASE("qmul kernels equal the definition, with maps and with one pixel for each map") {
  const uint64_t seed = test_seed();
  Rng rng(seed);
  INFO("MININN_TEST_SEED=" << seed);
  for (int i = 0; i < 200; ++i) {
    const Shape shape = random_shape(rng);
    const bool gate = chance(rng, 0.5);
    const Codes a = Codes::random(rng, shape), b = Codes::random(rng, gate ? Shape{shape[0], shape[1], 1, 1} : shape);
    Codes y = Codes::output(rng, shape);
    op::QMul m;
    m.a = a.view();
    m.b = b.view();
    if (gate) m.b = CView(m.b.data, shape, {m.b.strides[0], 1, 0, 0}, DType::u8);
    m.a_zero = int32_t(uniform(rng, 0, 255));
    m.b_zero = int32_t(uniform(rng, 0, 255));
    m.scale = chance(rng, 0.3) ? 1.0f / 64 : uniform_real(rng, 0.0001f, 0.1f);  // 1/64 makes ties
    m.y_zero = int32_t(uniform(rng, 0, 255));
    m.lo = chance(rng, 0.5) ? m.y_zero : 0;
    m.hi = std::max(m.lo, int32_t(uniform(rng, 100, 255)));
    m.y = y.view();
    check_qmul(m);
    INFO(shape << (gate ? " gate" : ""));
    for_each_kernel<op::QMul>(gives(m, y, made_of(y, [&](int64_t n, int64_t c, int64_t h, int64_t w) {
                                      const int product = (a.at(n, c, h, w) - m.a_zero) *
                                                          (b.at(n, c, gate ? 0 : h, gate ? 0 : w) - m.b_zero);
                                      return expected_code(float(product) * m.scale, m.y_zero, m.lo, m.hi);
                                    })));
  }
}

TEST_CASE("requantize kernels equal the definition") {
  const uint64_t seed = test_seed();
  Rng rng(seed);
  INFO("MININN_TEST_SEED=" << seed);
  for (int i = 0; i < 100; ++i) {
    const Shape shape = random_shape(rng);
    const Codes x = Codes::random(rng, shape);
    Codes y = Codes::output(rng, shape);
    const op::Requantize r{x.view(), int32_t(uniform(rng, 0, 255)),
                           chance(rng, 0.3) ? 0.5f : uniform_real(rng, 0.01f, 4), y.view(),
                           int32_t(uniform(rng, 0, 255))};
    check_requantize(r);
    INFO(shape);
    for_each_kernel<op::Requantize>(gives(r, y, made_of(y, [&](auto... at) {
                                            return expected_code(float(x.at(at...) - r.x_zero) * r.scale, r.y_zero, 0,
                                                                 255);
                                          })));
  }
}
