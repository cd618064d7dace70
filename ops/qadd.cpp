#include "ops/qadd.h"

#include "ops/qlayout.h"

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

}  // namespace mininn
