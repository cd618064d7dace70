#include "quant/qtensor.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/kernel.h"
#include "ops/qlayout.h"
#include "ops/quantize.h"

namespace mininn::quant {

QParams affine_u8(double lo, double hi) {
  if (!std::isfinite(lo) || !std::isfinite(hi)) throw ValueError(message("no u8 grid covers [", lo, ", ", hi, "]"));
  lo = std::min(lo, 0.0);
  hi = std::max(hi, 0.0);
  if (lo == hi) return {1.0f, 0};
  const double scale = (hi - lo) / 255;
  if (!std::isnormal(float(scale)))
    throw ValueError(message("no u8 grid covers [", lo, ", ", hi, "]: a step of ", scale, " is no normal float"));
  return {float(scale), int32_t(std::clamp(std::nearbyint(-lo / scale), 0.0, 255.0))};
}

QTensor quantize(const Tensor& x, const QParams& q) {
  QTensor y{empty_codes(x.shape()), q};
  const op::Quantize a{x.view(), q, y.codes.mutable_view()};
  check_quantize(a);
  kernels<op::Quantize>().run(a, x.device());
  return y;
}

Tensor dequantize(const QTensor& x) {
  Tensor y = Tensor::empty(x.codes.shape(), DType::f32, x.codes.device(), MemoryFormat::channels_last);
  const op::Dequantize a{x.codes.view(), x.q, y.mutable_view()};
  check_dequantize(a);
  kernels<op::Dequantize>().run(a, y.device());
  return y;
}

QWeights quantize_weights(const std::vector<double>& w, const Shape& shape, const std::vector<double>& least_scale,
                          bool per_channel) {
  if (shape.rank() == 0 || int64_t(w.size()) != numel(shape) || int64_t(least_scale.size()) != shape[0])
    throw ShapeError(message("quantize_weights: ", w.size(), " weights and ", least_scale.size(),
                             " least scales do not fit ", shape));
  const size_t channels = size_t(shape[0]), size = channels ? w.size() / channels : 0;
  QWeights out{Tensor::empty(shape, DType::i8), std::vector<double>(channels)};
  double step = 0;  // that some weight needs
  for (size_t o = 0; o < channels; ++o) {
    double top = 0;
    for (size_t k = 0; k < size; ++k) {
      if (!std::isfinite(w[o * size + k]))
        throw ValueError(message("a weight of output channel ", o, " is not finite"));
      top = std::max(top, std::abs(w[o * size + k]));
    }
    step = std::max(step, top / 127);
    out.scale[o] = std::max(top / 127, least_scale[o]);
  }
  if (channels == 0) return out;
  const double largest = *std::max_element(out.scale.begin(), out.scale.end());
  if (!std::isfinite(float(largest)) || (step > 0 && !std::isnormal(float(largest))))
    throw ValueError(message("no s8 grid covers weights that need a step of ", largest, ": it is no normal float"));
  if (!per_channel) std::fill(out.scale.begin(), out.scale.end(), largest);
  const std::span<int8_t> codes = out.codes.mutable_data<int8_t>();
  for (size_t o = 0; o < channels; ++o) {
    if (out.scale[o] == 0) out.scale[o] = 1;
    // What the file keeps. A channel that has died among others may have weights too small for a grid of their own.
    out.scale[o] = double(std::max(float(out.scale[o]), std::numeric_limits<float>::min()));
    for (size_t k = 0; k < size; ++k)
      codes[o * size + k] = int8_t(std::clamp(std::nearbyint(w[o * size + k] / out.scale[o]), -127.0, 127.0));
  }
  return out;
}

double SignalToNoise::decibel() const {
  if (noise_ == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal_ / noise_);
}

}  // namespace mininn::quant
