// Conversion of the element type.
#pragma once

#include "core/tensor.h"

namespace mininn {

// The elements of x as `dtype`, contiguous or, as x, channels-last; x itself if it has that dtype. Floating to integer
// drops the fraction and saturates, NaN becomes 0; integer to integer wraps; f64 goes to bf16 by way of f32.
// Differentiable between floating dtypes.
Tensor cast(const Tensor& x, DType dtype);

}  // namespace mininn
