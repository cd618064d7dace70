// New tensors.
#pragma once

#include "core/random.h"
#include "core/tensor.h"

namespace mininn {

Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());
Tensor ones(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());
Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = Device::cpu());

// [n]: begin, begin + step, ... below end (above, for a negative step), where n = ceil((end - begin) / step) as it is
// rounded in double: steps that are no binary fractions may reach end, as NumPy's do. Throws ValueError for step 0 and
// a number that is not finite or not in `dtype`, ShapeError for more elements than int64 counts.
Tensor arange(double begin, double end, double step = 1, DType dtype = DType::f32, Device device = Device::cpu());

// [n,n] with ones on the diagonal.
Tensor eye(int64_t n, DType dtype = DType::f32, Device device = Device::cpu());

// Uniform in [0, 1) and normal with mean 0 and variance 1, drawn row-major from `g`, in double before rounding to
// `dtype`. Floating dtypes only (DTypeError).
Tensor rand(const Shape& shape, Generator& g, DType dtype = DType::f32, Device device = Device::cpu());
Tensor randn(const Shape& shape, Generator& g, DType dtype = DType::f32, Device device = Device::cpu());
// The same from default_generator().
Tensor rand(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());
Tensor randn(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());

}  // namespace mininn
