#include "ops/qadd.h"

#include "ops/operand.h"

namespace mininn {

void check_qadd(const op::QAdd& a) {
  check_codes("qadd", "a", a.a);
  check_codes("qadd", "b", a.b);
  check_codes("qadd", "y", a.y);
  if (!(a.a.shape == a.b.shape && a.a.shape == a.y.shape))
    throw ShapeError(message("qadd: shapes differ: ", a.a.shape, " + ", a.b.shape, " -> ", a.y.shape));
  check_code_range("qadd", a.a_zero, 0, 255);
  check_code_range("qadd", a.b_zero, 0, 255);
  check_code_range("qadd", a.y_zero, a.lo, a.hi);
  check_scale("qadd", "a_scale", a.a_scale);
  check_scale("qadd", "b_scale", a.b_scale);
}

Tensor qadd(const Tensor& a, const Tensor& b, const QResult& o) {
  const QParams a_q = codes_of("qadd", "a", a), b_q = codes_of("qadd", "b", b);
  detail::Operand("qadd", "b", b).beside(detail::Operand("qadd", "a", a));
  Tensor y = empty_codes(a.shape(), 0, a.device()).with_qparams(o.y);
  op::QAdd args;
  args.a = a.view();
  args.b = b.view();
  args.a_zero = a_q.zero_point;
  args.b_zero = b_q.zero_point;
  args.a_scale = float(double(a_q.scale) / double(o.y.scale));
  args.b_scale = float(double(b_q.scale) / double(o.y.scale));
  args.y = y.mutable_view();
  args.y_zero = o.y.zero_point;
  args.lo = o.lo;
  args.hi = o.hi;
  check_qadd(args);
  kernels<op::QAdd>().run(args, a.device());
  return recorded(opdef::qadd, {a, b}, o, y);
}

constinit const OpDef opdef::qadd =
    define_op<QResult, [](auto in, const auto& o) { return mininn::qadd(in[0], in[1], o); },
              [](auto in, const auto& o) {
                const TensorInfo y = codes_info("qadd", in[0].shape, o.y, o.lo, o.hi);
                for (const TensorInfo& x : in)
                  check_scale("qadd", "a scale",
                              float(double(codes_of("qadd", "an operand", x).scale) / double(o.y.scale)));
                if (in[0].shape != in[1].shape)
                  throw ShapeError(message("qadd: shapes differ: ", in[0].shape, " + ", in[1].shape));
                return y;
              }>("qadd", kTwoInputs);

}  // namespace mininn
