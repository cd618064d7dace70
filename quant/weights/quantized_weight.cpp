#include "quant/weights/quantized_weight.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mininn::quant {
namespace {

std::vector<double> weight_scales(const std::vector<double>& w, size_t channels, const std::vector<double>& least_scale,
                                  bool per_channel) {
  const size_t size = channels ? w.size() / channels : 0;
  std::vector<double> scale(channels);
  double step = 0;  // that some weight needs
  for (size_t o = 0; o < channels; ++o) {
    double top = 0;
    for (size_t k = 0; k < size; ++k) {
      if (!std::isfinite(w[o * size + k]))
        throw ValueError(message("a weight of output channel ", o, " is not finite"));
      top = std::max(top, std::abs(w[o * size + k]));
    }
    step = std::max(step, top / 127);
    scale[o] = std::max(top / 127, least_scale[o]);
  }
  if (channels == 0) return scale;
  const double largest = *std::max_element(scale.begin(), scale.end());
  if (!std::isfinite(float(largest)) || (step > 0 && !std::isnormal(float(largest))))
    throw ValueError(message("no s8 grid covers weights that need a step of ", largest, ": it is no normal float"));
  if (!per_channel) std::fill(scale.begin(), scale.end(), largest);
  for (double& s : scale) {
    if (s == 0) s = 1;
    // What the file keeps. A channel that has died among others may have weights too small for a grid of their own.
    s = double(std::max(float(s), std::numeric_limits<float>::min()));
  }
  return scale;
}

}  // namespace

QWeights quantize_weights(std::string_view layer, const std::vector<double>& w, const Shape& shape,
                          const std::vector<double>& least_scale, bool per_channel, const Rounder& round) {
  if (shape.rank() == 0 || int64_t(w.size()) != numel(shape) || int64_t(least_scale.size()) != shape[0])
    throw ShapeError(message("quantize_weights: ", w.size(), " weights and ", least_scale.size(),
                             " least scales do not fit ", shape));
  QWeights q;
  q.scale = weight_scales(w, size_t(shape[0]), least_scale, per_channel);
  q.codes = round({layer, w, shape, q.scale});
  const auto is_code = [](int8_t v) { return v != -128; };
  if (!q.codes || q.codes.dtype() != DType::i8 || q.codes.shape() != shape || !q.codes.is_contiguous() ||
      !std::ranges::all_of(q.codes.data<int8_t>(), is_code))
    throw ValueError(message("quantize_weights: the rounder gave no s8 codes ", shape, " in -127..127",
                             layer.empty() ? "" : " for ", layer));
  return q;
}

}  // namespace mininn::quant
