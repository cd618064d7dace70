// The list of the library's ops. A program for int8 networks alone is linked with ops/install_int8.cpp in its place.
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
#include "ops/reduce.h"
#include "ops/registry.h"
#include "ops/softmax.h"

namespace mininn {
namespace opdef {
namespace {

std::vector<const OpDef*> list() {
  std::vector<const OpDef*> all{
      &conv2d,  &conv2d_fused, &linear, &matmul, &batch_norm, &max_pool2d, &avg_pool2d, &global_avg_pool2d,
      &softmax, &log_softmax,  &sum,    &mean,   &amax,       &argmax,     &cast,       &flatten,
      &permute, &expand,       &slice,  &cat,    &pad,        &contiguous, &dropout,    &cross_entropy};
  const auto add = [&]<class F>() { all.push_back(&functor<F>); };
  op::for_each_functor(op::UnaryOps(), add);
  op::for_each_functor(op::BinaryOps(), add);
  op::for_each_functor(op::ScalarOps(), add);
  all.insert(all.end(), int8_ops().begin(), int8_ops().end());
  return all;
}

}  // namespace
}  // namespace opdef

std::span<const OpDef* const> all_ops() {
  static const std::vector<const OpDef*> ops = opdef::list();
  return ops;
}

}  // namespace mininn
