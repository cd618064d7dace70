// One output at a time.
#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "cpu_kernels/ref/int8.h"
#include "ops/requant.h"

namespace mininn::cpu::ref {
namespace {

Refusal check(const op::QConv2d&) { return {}; }

// The sum is at most icg*kh*kw*255*127 in size; 64 bits hold that for any tensor that fits into memory.
int32_t accumulate(const op::QConv2d& a, int64_t n, int64_t o, int64_t oh, int64_t ow) {
  const Conv2dGeometry& g = a.g;
  const int64_t row = a.row_class ? a.row_class.as<int32_t>()[oh] + a.col_class.as<int32_t>()[ow] : 0;
  int64_t acc = a.bias.as<int32_t>()[row * g.oc + o];
  const auto* x = a.x.as<uint8_t>() + n * a.x.strides[0] + o / g.ocg() * g.icg();
  const auto* w = a.w.as<int8_t>() + o * g.icg() * g.kh * g.kw;
  for (int64_t kh = 0; kh < g.kh; ++kh)
    for (int64_t kw = 0; kw < g.kw; ++kw) {
      const int64_t ih = oh * g.stride_h - g.pad_h + kh * g.dil_h, iw = ow * g.stride_w - g.pad_w + kw * g.dil_w;
      if (ih < 0 || ih >= g.ih || iw < 0 || iw >= g.iw) continue;  // padding is the code x_zero, which adds nothing
      const uint8_t* pixel = x + ih * a.x.strides[2] + iw * a.x.strides[3];
      for (int64_t c = 0; c < g.icg(); ++c) acc += (int64_t{pixel[c]} - a.x_zero) * w[(c * g.kh + kh) * g.kw + kw];
    }
  return int32_t(acc);
}

void run(const op::QConv2d& a, const ExecContext&) {
  const Conv2dGeometry& g = a.g;
  const CodeRange range = code_range(a.y_zero, a.lo, a.hi);
  const bool f32 = a.y.dtype == DType::f32;
  const int64_t y_pixel = f32 ? g.oc : a.y.strides[3];
  const int64_t macs_per_row = std::max<int64_t>(1, g.ow * g.oc * g.icg() * g.kh * g.kw);
  parallel_for(g.n * g.oh, std::max<int64_t>(1, 100000 / macs_per_row), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t ow = 0; ow < g.ow; ++ow)
        for (int64_t o = 0; o < g.oc; ++o) {
          const int64_t n = i / g.oh, oh = i % g.oh;
          float t = float(accumulate(a, n, o, oh, ow)) * a.multiplier.as<float>()[o];
          if (a.residual) {
            const uint8_t r = a.residual.as<uint8_t>()[(i * g.ow + ow) * a.residual.strides[3] + o];
            t = std::fmaf(float(int32_t{r} - a.residual_zero), a.residual_scale, t);
          }
          const int64_t at = (i * g.ow + ow) * y_pixel + o;
          if (f32)
            a.y.as<float>()[at] = t;
          else
            a.y.as<uint8_t>()[at] = to_code(t, range);
        }
  });
}

Tensor pack(const op::QConv2d& a) {
  check_qconv2d_constants(a);
  return Tensor::empty({0}, DType::u8);  // run() reads w itself
}

}  // namespace

const Kernel<op::QConv2d> qconv2d{"ref", kReferenceInRegions, check, run, pack};

}  // namespace mininn::cpu::ref
