#include "ops/qlinear.h"

#include <cmath>
#include <cstdlib>

#include "ops/qlayout.h"

namespace mininn {

void check_qlinear(const op::QLinear& a) {
  const bool codes = a.x.dtype == DType::u8;
  if (!codes && a.x.dtype != DType::i32)
    throw DTypeError(message("qlinear: x must be u8 or i32, not ", name(a.x.dtype)));
  if (a.w.dtype != DType::i8 || a.bias.dtype != DType::i32 || a.multiplier.dtype != DType::f32 ||
      a.y.dtype != DType::f32)
    throw DTypeError(message("qlinear: w, bias, multiplier, y must be i8, i32, f32, f32, not ", name(a.w.dtype), ", ",
                             name(a.bias.dtype), ", ", name(a.multiplier.dtype), ", ", name(a.y.dtype)));
  const bool ranks = a.x.shape.rank() == 2 && a.w.shape.rank() == 2;
  const int64_t n = ranks ? a.x.shape[0] : 0, k = ranks ? a.x.shape[1] : 0, o = ranks ? a.w.shape[0] : 0;
  if (!ranks || a.w.shape[1] != k || !(a.bias.shape == Shape{o}) || !(a.multiplier.shape == Shape{o}) ||
      !(a.y.shape == Shape{n, o}))
    throw ShapeError(message("qlinear: [N,K] x [O,K] + [O] times [O] -> [N,O] expected, not ", a.x.shape, " x ",
                             a.w.shape, " + ", a.bias.shape, " times ", a.multiplier.shape, " -> ", a.y.shape));
  const bool x_layout = codes ? a.x.strides[1] == 1 && a.x.strides[0] >= k : a.x.contiguous();
  if (!x_layout || !a.w.contiguous() || !a.bias.contiguous() || !a.multiplier.contiguous() || !a.y.contiguous())
    throw ShapeError(
        message("qlinear: operands must be contiguous (u8 rows may have gaps), x has strides ", a.x.strides));
  if (a.x_max < (codes ? 255 : 0)) throw ValueError(message("qlinear: x_max ", a.x_max, " is too small"));
  const auto* w = a.w.as<int8_t>();
  for (int64_t i = 0; i < o; ++i) {
    check_accumulator("qlinear", i, {w + i * k, size_t(k)}, a.x_max, std::abs(int64_t{a.bias.as<int32_t>()[i]}));
    if (!std::isfinite(a.multiplier.as<float>()[i]))
      throw ValueError(message("qlinear: multiplier ", i, " is not finite"));
  }
}

}  // namespace mininn
