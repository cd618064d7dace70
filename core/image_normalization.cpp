#include "core/image_normalization.h"

#include <cmath>

#include "core/error.h"

namespace mininn {

void ImageNormalization::check(int64_t channels) const {
  if (int64_t(mean.size()) != channels || int64_t(std.size()) != channels)
    throw ValueError(message("image normalisation: ", channels, " channels need as many means and deviations, not ",
                             mean.size(), " and ", std.size()));
  for (size_t c = 0; c < mean.size(); ++c)
    if (!std::isfinite(mean[c]) || !std::isfinite(std[c]) || std[c] <= 0)
      throw ValueError(message("image normalisation: channel ", c, " has mean ", mean[c], " and deviation ", std[c],
                               "; finite numbers are needed, the deviation positive"));
}

}  // namespace mininn
