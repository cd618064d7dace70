#include "ops/qlut.h"

#include "ops/operand.h"
#include "ops/qlayout.h"

namespace mininn {

void check_qlut(const op::QLut& a) {
  check_codes("qlut", "x", a.x);
  check_codes("qlut", "y", a.y);
  if (!(a.x.shape == a.y.shape)) throw ShapeError(message("qlut: shapes differ: ", a.x.shape, " -> ", a.y.shape));
  if (a.table.dtype != DType::u8) throw DTypeError(message("qlut: the table must be u8, not ", name(a.table.dtype)));
  if (!(a.table.shape == Shape{256}) || !a.table.contiguous())
    throw ShapeError(message("qlut: the table must be a contiguous [256], not ", a.table.shape));
}

Tensor qlut(const Tensor& x, const Tensor& table, const QParams& q) {
  codes_of("qlut", "x", x);
  detail::Operand("qlut", "table", table).beside(detail::Operand("qlut", "x", x));
  Tensor y = empty_codes(x.shape(), 0, x.device()).with_qparams(q);
  const op::QLut a{x.view(), table.view(), y.mutable_view()};
  check_qlut(a);
  kernels<op::QLut>().run(a, x.device());
  return recorded(opdef::qlut, {x, table}, q, y);
}

constinit const OpDef opdef::qlut =
    define_op<QParams, [](auto in, const auto& q) { return mininn::qlut(in[0], in[1], q); },
              [](auto in, const auto& q) {
                codes_of("qlut", "x", in[0]);
                detail::check_info("qlut", "table", in[1], {{256}, DType::u8});
                return codes_info("qlut", in[0].shape, q);
              }>("qlut", kTwoInputs);

}  // namespace mininn
