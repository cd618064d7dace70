#include "ops/create.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/convert.h"
#include "core/error.h"
#include "core/parallel.h"
#include "ops/cast.h"

namespace mininn {

namespace {

// Element i is draw(g) with g at position + i * words: any split over threads gives the same numbers.
template <class Draw>
Tensor draw_elements(const char* op, const Shape& shape, Generator& g, DType dtype, Device device, uint64_t words,
                     const Draw& draw) {
  if (!is_floating(dtype)) throw DTypeError(message(op, ": needs a floating dtype, got ", name(dtype)));
  const auto fill = [&]<class T>(T) {
    Tensor t = Tensor::empty(shape, dtype_of<T>);
    T* const out = t.mutable_data<T>().data();
    parallel_for(t.numel(), 4096, [&](int64_t begin, int64_t end) {
      Generator at = g;
      at.set_position(g.position() + uint64_t(begin) * words);
      for (int64_t i = begin; i < end; ++i) out[i] = T(draw(at));
    });
    g.set_position(g.position() + uint64_t(t.numel()) * words);
    return t;
  };
  return (dtype == DType::f64 ? fill(double()) : cast(fill(float()), dtype)).to(device);
}

}  // namespace

Tensor zeros(const Shape& shape, DType dtype, Device device) { return Tensor::zeros(shape, dtype, device); }

Tensor ones(const Shape& shape, DType dtype, Device device) { return Tensor::full(shape, 1, dtype, device); }

Tensor full(const Shape& shape, double value, DType dtype, Device device) {
  return Tensor::full(shape, value, dtype, device);
}

Tensor arange(double begin, double end, double step, DType dtype, Device device) {
  if (!std::isfinite(begin) || !std::isfinite(end) || !std::isfinite(step) || step == 0)
    throw ValueError(message("arange: from ", begin, " to ", end, " in steps of ", step,
                             ": all must be finite, and the step not 0"));
  const double unit = std::isfinite(end - begin) ? 1 : 0.5;  // halves do not overflow
  const double count = std::max(0.0, std::ceil((end * unit - begin * unit) / (step * unit)));
  if (!(count < 0x1p63))
    throw ShapeError(message("arange: from ", begin, " to ", end, " in steps of ", step, " are too many elements"));
  const auto n = int64_t(count);
  if (dtype == DType::i64 && n > 0 && begin == std::trunc(begin) && step == std::trunc(step)) {
    if (!(std::max({std::abs(begin), std::abs(end), std::abs(step)}) < 0x1p63))
      throw ValueError(message("arange: from ", begin, " to ", end, " in steps of ", step, " is beyond i64"));
    Tensor t = Tensor::empty({n}, DType::i64);  // whole numbers beyond 2^53 are no doubles
    int64_t next = int64_t(begin);
    for (int64_t& x : t.mutable_data<int64_t>())
      x = std::exchange(next, int64_t(uint64_t(next) + uint64_t(int64_t(step))));
    return t.to(device);
  }
  Tensor t = Tensor::empty({n}, DType::f64);
  const auto out = t.mutable_data<double>();
  for (int64_t i = 0; i < n; ++i) out[size_t(i)] = (begin * unit + double(i) * (step * unit)) / unit;
  for (int64_t i = 0; i < n; i += std::max<int64_t>(n - 1, 1))  // the first and the last
    if (!is_within(out[size_t(i)], dtype))
      throw ValueError(message("arange: ", out[size_t(i)], " is beyond ", name(dtype)));
  return cast(t, dtype).to(device);
}

Tensor eye(int64_t n, DType dtype, Device device) {
  Tensor t = Tensor::zeros({n, n}, dtype);
  t.as_strided({n}, {n + 1}).fill(1);
  return t.to(device);
}

// Generator::uniform() takes two words and normal() four, always.
Tensor rand(const Shape& shape, Generator& g, DType dtype, Device device) {
  // The largest number below 1: what is nearer to 1 must not be rounded to it.
  const double most = 1 - (dtype == DType::f64 ? 0x1p-53 : dtype == DType::f32 ? 0x1p-24 : 0x1p-8);
  return draw_elements("rand", shape, g, dtype, device, 2, [=](Generator& at) { return std::min(at.uniform(), most); });
}

Tensor randn(const Shape& shape, Generator& g, DType dtype, Device device) {
  return draw_elements("randn", shape, g, dtype, device, 4, [](Generator& at) { return at.normal(); });
}

Tensor rand(const Shape& shape, DType dtype, Device device) { return rand(shape, default_generator(), dtype, device); }

Tensor randn(const Shape& shape, DType dtype, Device device) {
  return randn(shape, default_generator(), dtype, device);
}

}  // namespace mininn
