#include "cpu_kernels/common/pixels.h"
#include "cpu_kernels/ref/int8.h"
#include "ops/requant.h"

namespace mininn::cpu::ref {
namespace {

void run_quantize(const op::Quantize& a, const ExecContext&) {
  const CodeRange range = code_range(a.q.zero_point, 0, 255);
  for_each_pixel(a.y.shape, [&](int64_t n, int64_t h, int64_t w) {
    const float* x = a.x.as<float>() + pixel_offset(a.x.strides, n, h, w);
    uint8_t* y = a.y.as<uint8_t>() + pixel_offset(a.y.strides, n, h, w);
    for (int64_t c = 0; c < a.y.shape[1]; ++c) y[c] = to_code(x[c * a.x.strides[1]] / a.q.scale, range);
  });
}

void run_pack(const op::QPack& a, const ExecContext&) {
  const int64_t channels = a.y.shape[1], pixel = a.y.strides[3];
  for_each_pixel(a.y.shape, [&](int64_t n, int64_t h, int64_t w) {
    const uint8_t* x = a.x.as<uint8_t>() + pixel_offset(a.x.strides, n, h, w);
    uint8_t* y = a.y.as<uint8_t>() + pixel_offset(a.y.strides, n, h, w);
    for (int64_t c = 0; c < channels; ++c) y[c] = x[c * a.x.strides[1]];
    for (int64_t c = channels; c < pixel; ++c) y[c] = 0;
  });
}

void run_dequantize(const op::Dequantize& a, const ExecContext&) {
  for_each_pixel(a.y.shape, [&](int64_t n, int64_t h, int64_t w) {
    const uint8_t* x = a.x.as<uint8_t>() + pixel_offset(a.x.strides, n, h, w);
    float* y = a.y.as<float>() + pixel_offset(a.y.strides, n, h, w);
    for (int64_t c = 0; c < a.y.shape[1]; ++c)
      y[c * a.y.strides[1]] = float(int32_t{x[c]} - a.q.zero_point) * a.q.scale;
  });
}

}  // namespace

const Kernel<op::Quantize> quantize{"ref", kReferenceInRegions, takes_all, run_quantize};
const Kernel<op::QPack> qpack{"ref", kReferenceInRegions, takes_all, run_pack};
const Kernel<op::Dequantize> dequantize{"ref", kReferenceInRegions, takes_all, run_dequantize};

}  // namespace mininn::cpu::ref
