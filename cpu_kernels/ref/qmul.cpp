#include "cpu_kernels/common/pixels.h"
#include "cpu_kernels/ref/int8.h"
#include "ops/requant.h"

namespace mininn::cpu::ref {
namespace {

void run(const op::QMul& m, const ExecContext&) {
  const CodeRange range = code_range(m.y_zero, m.lo, m.hi);
  for_each_pixel(m.y.shape, [&](int64_t n, int64_t h, int64_t w) {
    const uint8_t* a = m.a.as<uint8_t>() + pixel_offset(m.a.strides, n, h, w);
    const uint8_t* b = m.b.as<uint8_t>() + pixel_offset(m.b.strides, n, h, w);
    uint8_t* y = m.y.as<uint8_t>() + pixel_offset(m.y.strides, n, h, w);
    for (int64_t c = 0; c < m.y.shape[1]; ++c)
      y[c] = to_code(float((int32_t{a[c]} - m.a_zero) * (int32_t{b[c]} - m.b_zero)) * m.scale, range);
  });
}

}  // namespace

const Kernel<op::QMul> qmul{"ref", kReferenceInRegions, takes_all, run};

}  // namespace mininn::cpu::ref
