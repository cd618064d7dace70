#include "ops/qlut.h"

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

}  // namespace mininn
