#include "cpu_kernels/common/pixels.h"
#include "cpu_kernels/ref/int8.h"
#include "ops/requant.h"

namespace mininn::cpu::ref {
namespace {

void run(const op::Requantize& r, const ExecContext&) {
  const CodeRange range = code_range(r.y_zero, 0, 255);
  for_each_pixel(r.y.shape, [&](int64_t n, int64_t h, int64_t w) {
    const uint8_t* x = r.x.as<uint8_t>() + pixel_offset(r.x.strides, n, h, w);
    uint8_t* y = r.y.as<uint8_t>() + pixel_offset(r.y.strides, n, h, w);
    for (int64_t c = 0; c < r.y.shape[1]; ++c) y[c] = to_code(float(int32_t{x[c]} - r.x_zero) * r.scale, range);
  });
}

}  // namespace

const Kernel<op::Requantize> requantize{"ref", kReferenceInRegions, takes_all, run};

}  // namespace mininn::cpu::ref
