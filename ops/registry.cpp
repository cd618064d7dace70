#include "ops/registry.h"

#include <vector>

#include "ops/batch_norm.h"
#include "ops/cast.h"
#include "ops/conv2d.h"
#include "ops/cross_entropy.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/pool2d.h"
#include "ops/qadd.h"
#include "ops/qconv2d.h"
#include "ops/qlinear.h"
#include "ops/qlut.h"
#include "ops/qmul.h"
#include "ops/qpool.h"
#include "ops/qreal.h"
#include "ops/quantize.h"
#include "ops/reduce.h"
#include "ops/requantize.h"
#include "ops/softmax.h"

namespace mininn {
namespace opdef {
namespace {

std::vector<const OpDef*> list() {
  std::vector<const OpDef*> all{
      &conv2d, &conv2d_fused, &linear, &matmul, &batch_norm, &max_pool2d, &avg_pool2d, &global_avg_pool2d, &softmax,
      &log_softmax, &sum, &mean, &amax, &argmax, &cast, &reshape, &flatten, &permute, &expand, &slice, &cat, &pad,
      &contiguous, &dropout, &cross_entropy,
      // on codes
      &quantize, &dequantize, &qpack, &qconv2d, &qlinear, &qmax_pool2d, &qavg_pool2d, &qglobal_sum, &qlut, &qadd, &qmul,
      &requantize, &qcat, &real_add, &real_max_pool2d, &real_avg_pool2d};
  const auto add = [&]<class F>() { all.push_back(&functor<F>); };
  op::for_each_functor(op::UnaryOps(), add);
  op::for_each_functor(op::BinaryOps(), add);
  op::for_each_functor(op::ScalarOps(), add);
  const auto add_real = [&]<class F>() { all.push_back(real_unary(F::op)); };
  op::for_each_functor(op::UnaryOps(), add_real);
  op::for_each_functor(op::ScalarOps(), add_real);
  return all;
}

}  // namespace
}  // namespace opdef

std::span<const OpDef* const> all_ops() {
  static const std::vector<const OpDef*> all = opdef::list();
  return all;
}

const OpDef* find_op(std::string_view name) {
  for (const OpDef* op : all_ops())
    if (op->name == name) return op;
  return nullptr;
}

}  // namespace mininn
