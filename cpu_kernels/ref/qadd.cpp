#include <cmath>

#include "cpu_kernels/common/pixels.h"
#include "cpu_kernels/ref/int8.h"
#include "ops/requant.h"

namespace mininn::cpu::ref {
namespace {

void run(const op::QAdd& q, const ExecContext&) {
  const CodeRange range = code_range(q.y_zero, q.lo, q.hi);
  for_each_pixel(q.y.shape, [&](int64_t n, int64_t h, int64_t w) {
    const uint8_t* a = q.a.as<uint8_t>() + pixel_offset(q.a.strides, n, h, w);
    const uint8_t* b = q.b.as<uint8_t>() + pixel_offset(q.b.strides, n, h, w);
    uint8_t* y = q.y.as<uint8_t>() + pixel_offset(q.y.strides, n, h, w);
    for (int64_t c = 0; c < q.y.shape[1]; ++c) {
      const float tb = float(int32_t{b[c]} - q.b_zero) * q.b_scale;
      y[c] = to_code(std::fmaf(float(int32_t{a[c]} - q.a_zero), q.a_scale, tb), range);
    }
  });
}

}  // namespace

const Kernel<op::QAdd> qadd{"ref", kReferenceInRegions, takes_all, run};

}  // namespace mininn::cpu::ref
