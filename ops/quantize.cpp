#include "ops/quantize.h"

#include "ops/qlayout.h"

namespace mininn {
namespace {

void check_operand(const char* op, const char* what, const CView& v, DType dtype, const CView& codes) {
  if (v.dtype != dtype) throw DTypeError(message(op, ": ", what, " must be ", name(dtype), ", not ", name(v.dtype)));
  if (!(v.shape == codes.shape)) throw ShapeError(message(op, ": shapes differ: ", v.shape, " and ", codes.shape));
}

void check_qparams(const char* op, const QParams& q) {
  check_scale(op, "the scale", q.scale);
  check_code_range(op, q.zero_point, 0, 255);
}

}  // namespace

void check_quantize(const op::Quantize& a) {
  check_codes("quantize", "y", a.y);
  check_operand("quantize", "x", a.x, DType::f32, a.y);
  check_qparams("quantize", a.q);
}

void check_qpack(const op::QPack& a) {
  check_codes("qpack", "y", a.y);
  check_operand("qpack", "x", a.x, DType::u8, a.y);
}

void check_dequantize(const op::Dequantize& a) {
  check_codes("dequantize", "x", a.x);
  check_operand("dequantize", "y", a.y, DType::f32, a.x);
  check_qparams("dequantize", a.q);
}

}  // namespace mininn
