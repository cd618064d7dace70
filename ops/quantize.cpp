#include "ops/quantize.h"

#include <vector>

#include "ops/operand.h"
#include "ops/qlayout.h"

namespace mininn {
namespace {

using detail::Operand;

void check_operand(const char* op, const char* what, const CView& v, DType dtype, const CView& codes) {
  if (v.dtype != dtype) throw DTypeError(message(op, ": ", what, " must be ", name(dtype), ", not ", name(v.dtype)));
  if (!(v.shape == codes.shape)) throw ShapeError(message(op, ": shapes differ: ", v.shape, " and ", codes.shape));
}

void check_dtype(const char* op, const TensorInfo& x, DType dtype) {
  if (x.dtype != dtype) throw DTypeError(message(op, ": x must be ", name(dtype), ", not ", name(x.dtype)));
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

Tensor quantize(const Tensor& x, const QParams& q) {
  Operand("quantize", "x", x).is(DType::f32);
  Tensor y = empty_codes(x.shape(), 0, x.device()).with_qparams(q);
  const op::Quantize a{x.view(), q, y.mutable_view()};
  check_quantize(a);
  kernels<op::Quantize>().run(a, x.device());
  return recorded(opdef::quantize, {x}, q, y);
}

Tensor qpack(const Tensor& bytes) {
  Operand("qpack", "x", bytes).is(DType::u8);
  Tensor y = empty_codes(bytes.shape(), 0, bytes.device()).with_qparams({});
  const op::QPack a{bytes.view(), y.mutable_view()};
  check_qpack(a);
  kernels<op::QPack>().run(a, bytes.device());
  return recorded(opdef::qpack, {bytes}, NoOptions(), y);
}

Tensor dequantize(const Tensor& x) {
  const QParams q = codes_of("dequantize", "x", x);
  Tensor y = Tensor::empty(x.shape(), DType::f32, x.device(), MemoryFormat::channels_last);
  const op::Dequantize a{x.view(), q, y.mutable_view()};
  check_dequantize(a);
  kernels<op::Dequantize>().run(a, x.device());
  return recorded(opdef::dequantize, {x}, NoOptions(), y);
}

Tensor multipliers(double x_scale, const Tensor& w_scale, double y_scale) {
  std::vector<float> m;
  for (const double s : w_scale.to_vector()) m.push_back(float(x_scale * s / y_scale));
  return Tensor::from(m, w_scale.shape()).to(w_scale.device());
}

constinit const OpDef opdef::quantize =
    define_op<QParams, [](auto in, const auto& q) { return mininn::quantize(in[0], q); },
              [](auto in, const auto& q) {
                check_dtype("quantize", in[0], DType::f32);
                return codes_info("quantize", in[0].shape, q);
              }>("quantize");
constinit const OpDef opdef::qpack = define_op<NoOptions, [](auto in, const auto&) { return mininn::qpack(in[0]); },
                                               [](auto in, const auto&) {
                                                 check_dtype("qpack", in[0], DType::u8);
                                                 return codes_info("qpack", in[0].shape, {});
                                               }>("qpack");
constinit const OpDef opdef::dequantize =
    define_op<NoOptions, [](auto in, const auto&) { return mininn::dequantize(in[0]); },
              [](auto in, const auto&) {
                codes_of("dequantize", "x", in[0]);
                return TensorInfo{in[0].shape, DType::f32};
              }>("dequantize");

}  // namespace mininn
