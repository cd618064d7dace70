// Conversion of the element type.
#pragma once

#include "core/tensor.h"

namespace mininn {

// The elements of x as `dtype` (by core/convert.h), contiguous or, as x, channels-last; x itself if it has that dtype.
// Integers saturate; floating to integer drops the fraction, and NaN becomes 0. Differentiable between floating dtypes.
Tensor cast(const Tensor& x, DType dtype);

}  // namespace mininn
