// Conversion of the element type.
#pragma once

#include "core/tensor.h"
#include "ops/op.h"

namespace mininn {

// The elements of x as `dtype` (by core/convert.h), contiguous or, as x, channels-last; x itself if it has that dtype.
// Integers saturate; floating to integer drops the fraction, and NaN becomes 0. Differentiable between floating dtypes.
Tensor cast(const Tensor& x, DType dtype);

struct CastOptions {
  DType dtype = DType::f32;
};
template <class F>
void each_field(CastOptions& o, const F& field) {
  field("dtype", o.dtype);
}

namespace opdef {
extern const OpDef cast;
}

}  // namespace mininn
