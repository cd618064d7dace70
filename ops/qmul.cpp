#include "ops/qmul.h"

#include "ops/operand.h"

namespace mininn {
namespace {

// One pixel for each map.
bool is_gate(const Shape& b, const Shape& a) { return b == Shape{a[0], a[1], 1, 1}; }

// What a product of codes is multiplied by.
float product_scale(const QParams& a, const QParams& b, const QParams& y) {
  return float(double(a.scale) * double(b.scale) / double(y.scale));
}

}  // namespace

void check_qmul(const op::QMul& m) {
  check_codes("qmul", "a", m.a);
  check_codes("qmul", "y", m.y);
  if (m.a.shape != m.b.shape || m.a.shape != m.y.shape)
    throw ShapeError(message("qmul: shapes differ: ", m.a.shape, " * ", m.b.shape, " -> ", m.y.shape));
  const Strides& s = m.b.strides;
  if (m.b.dtype != DType::u8 || s[1] != 1 || s[2] != 0 || s[3] != 0) check_codes("qmul", "b", m.b);
  check_code_range("qmul", m.a_zero, 0, 255);
  check_code_range("qmul", m.b_zero, 0, 255);
  check_code_range("qmul", m.y_zero, m.lo, m.hi);
  check_scale("qmul", "scale", m.scale);
}

Tensor qmul(const Tensor& a, const Tensor& b, const QResult& o) {
  const QParams a_q = codes_of("qmul", "a", a), b_q = codes_of("qmul", "b", b);
  detail::Operand("qmul", "b", b).beside(detail::Operand("qmul", "a", a));
  Tensor y = empty_codes(a.shape(), 0, a.device()).with_qparams(o.y);
  op::QMul m;
  m.a = a.view();
  m.b = b.view();
  if (is_gate(b.shape(), a.shape()) && b.shape() != a.shape()) {
    m.b.shape = a.shape();
    m.b.strides = {b.strides()[0], 1, 0, 0};
  }
  m.a_zero = a_q.zero_point;
  m.b_zero = b_q.zero_point;
  m.scale = product_scale(a_q, b_q, o.y);
  m.y = y.mutable_view();
  m.y_zero = o.y.zero_point;
  m.lo = o.lo;
  m.hi = o.hi;
  check_qmul(m);
  kernels<op::QMul>().run(m, a.device());
  return recorded(opdef::qmul, {a, b}, o, y);
}

constinit const OpDef opdef::qmul =
    define_op<QResult, [](auto in, const auto& o) { return mininn::qmul(in[0], in[1], o); },
              [](auto in, const auto& o) {
                const TensorInfo y = codes_info("qmul", in[0].shape, o.y, o.lo, o.hi);
                check_scale("qmul", "scale",
                            product_scale(codes_of("qmul", "a", in[0]), codes_of("qmul", "b", in[1]), o.y));
                const Shape &a = in[0].shape, &b = in[1].shape;
                if (a != b && !is_gate(b, a)) throw ShapeError(message("qmul: ", a, " * ", b));
                return y;
              }>("qmul", kTwoInputs);

}  // namespace mininn
