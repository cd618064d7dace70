#include "ops/registry.h"

#include <vector>

#include "ops/layout.h"
#include "ops/qadd.h"
#include "ops/qconv2d.h"
#include "ops/qlinear.h"
#include "ops/qlut.h"
#include "ops/qmul.h"
#include "ops/qpool.h"
#include "ops/qreal.h"
#include "ops/quantize.h"
#include "ops/requantize.h"

namespace mininn {
namespace opdef {
namespace {

std::vector<const OpDef*> list() {
  std::vector<const OpDef*> all{
      &quantize, &dequantize, &qpack,      &qconv2d, &qlinear,  &qmax_pool2d,     &qavg_pool2d,     &qglobal_sum, &qlut,
      &qadd,     &qmul,       &requantize, &qcat,    &real_add, &real_max_pool2d, &real_avg_pool2d, &reshape};
  const auto add_real = [&]<class F>() { all.push_back(real_unary(F::op)); };
  op::for_each_functor(op::UnaryOps(), add_real);
  op::for_each_functor(op::ScalarOps(), add_real);
  return all;
}

}  // namespace
}  // namespace opdef

std::span<const OpDef* const> int8_ops() {
  static const std::vector<const OpDef*> ops = opdef::list();
  return ops;
}

const OpDef* find_op(std::string_view name) {
  for (const OpDef* op : all_ops())
    if (op->name == name) return op;
  return nullptr;
}

}  // namespace mininn
