#include "quant/grid/affine.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

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

double SignalToNoise::decibel() const {
  if (noise_ == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal_ / noise_);
}

}  // namespace mininn::quant
