#include "ops/registry.h"

#include <limits>
#include <set>
#include <string>

#include "core/autograd.h"
#include "ops/batch_norm.h"
#include "ops/conv2d.h"
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
#include "tests/ops/gradcheck_cases.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

// Checks every recorded call against the op's definition.
class Comparer final : public Tracer {
 public:
  void record(std::string_view name, std::span<const Tensor> inputs, const Attrs& attrs, const Tensor& y) override {
    INFO(name);
    const OpDef* const op = find_op(name);
    REQUIRE(op);
    seen.insert(op->name);
    CHECK(inputs.size() >= op->inputs.least);
    CHECK(inputs.size() <= op->inputs.most);
    op->check(attrs);
    std::vector<TensorInfo> infos;
    for (size_t i = 0; i < inputs.size(); ++i) {
      CHECK((inputs[i] || op->inputs.may_lack(i)));
      infos.push_back(inputs[i] ? info_of(inputs[i]) : TensorInfo::none());
    }
    CHECK(op->infer(infos, attrs) == info_of(y));
    if (seen_random.contains(op->name)) return;
    Attrs eval = attrs;  // as an op of a graph, batch norm does not train
    for (Attr& a : eval)
      if (a.name == "training" && a.value != AttrValue(int64_t{0})) return;
    pending.emplace_back(op, std::vector<Tensor>(inputs.begin(), inputs.end()), eval, y);
  }

  std::set<std::string> seen;
  std::set<std::string> seen_random{"dropout"};
  std::vector<std::tuple<const OpDef*, std::vector<Tensor>, Attrs, Tensor>> pending;
};

// Every op on codes.
void run_ops_on_codes() {
  RandomTensors random(1);
  const QParams grid{0.0625f, 128}, wide{0.25f, 100};
  const Tensor x = quantize(random.tensor({2, 4, 6, 5}), grid);
  const Tensor w = Tensor::full({3, 4, 3, 3}, 2, DType::i8), scale = Tensor::full({3}, 0.5);
  const Tensor bias = Tensor::full({1, 3}, 7, DType::i32), table = Tensor::full({256}, 9, DType::u8);
  const Tensor codes = qconv2d(x, w, scale, bias, {}, {.conv = {.padding = 1}, .y = wide});
  qconv2d(x, w, scale, bias, codes, {.conv = {.padding = 1}, .y = {0, 0}});
  qadd(codes, qmax_pool2d(codes, {3, 1, 1}), {.y = wide});
  qavg_pool2d(codes, {.window = {2, 2, 0}, .y = grid});
  qlinear(qglobal_sum(x), Tensor::full({5, 4}, 3, DType::i8), Tensor::full({5}, 0.5), Tensor::full({5}, 2, DType::i32),
          {.pixels = 30});
  dequantize(qlut(x, table, wide));
  qmul(x, qavg_pool2d(x, {.window = {{6, 5}, 1, 0}, .y = grid}), {.y = wide});
  qcat({x, requantize(x, wide)}, grid);
  const Tensor bytes = qpack(Tensor::full({1, 3, 4, 4}, 77, DType::u8));
  real_max_pool2d(real_add(x, x), {2, 1, 0});
  real_avg_pool2d(x, {{2, 1, 0}, true});
  for (const Tensor& t : {reshape(x, {2, 4, 30}), flatten(x), permute(x, {0, 2, 3, 1}), slice(x, 1, 1, 3),
                          contiguous(x), expand(slice(x, 0, 0, 1), {3, 4, 6, 5})})
    CHECK(t.qparams() == grid);
  CHECK_FALSE(cat({x, x}, 1).qparams());
  CHECK_FALSE(pad(x, {{0, 0}, {1, 0}, {0, 0}, {0, 0}}).qparams());
  const auto unary = [&]<class F>() { real_unary(bytes, F::op, 0.5); };
  op::for_each_functor(op::UnaryOps(), unary);
  op::for_each_functor(op::ScalarOps(), unary);
}

}  // namespace

TEST_CASE("what an op records tells its result's shape and dtype, and gives the result again") {
  Comparer comparer;
  {
    const TracerGuard guard(comparer);
    for (const GradCase& c : grad_cases()) c.fn(c.inputs);
    run_ops_on_codes();
  }
  const NoGradGuard no_grad;
  for (const auto& [op, inputs, attrs, y] : comparer.pending) {
    INFO(op->name);
    CHECK(op->call(inputs, attrs).to_vector() == y.to_vector());
  }
  // Every other op of the list has been seen.
  const std::set<std::string> others{"conv2d_fused", "argmax"};
  for (const OpDef* op : all_ops()) {
    INFO(op->name);
    CHECK(comparer.seen.contains(op->name) != others.contains(op->name));
  }
}

TEST_CASE("infer refuses shapes that the op does not take") {
  const TensorInfo vector{{5}, DType::f32}, matrix{{2, 3}, DType::f32};
  const auto infer = [](const OpDef& op, const TensorInfo& x, const Attrs& attrs) {
    const std::vector<TensorInfo> in(op.inputs.least, x);
    return op.infer(in, attrs);
  };
  CHECK_THROWS_AS(infer(opdef::global_avg_pool2d, vector, {}), ShapeError);
  CHECK_THROWS_AS(infer(opdef::softmax, matrix, to_attrs(DimOptions{2})), ShapeError);
  CHECK_THROWS_AS(infer(opdef::batch_norm, vector, to_attrs(BatchNormOptions())), ShapeError);
  CHECK_THROWS_AS(infer(opdef::matmul, matrix, {}), ShapeError);
  const int64_t huge = std::numeric_limits<int64_t>::max();
  for (const Shape& wrong : {Shape{-2, 3}, Shape{-7, 2, 3}, Shape{-1, 2, 3}, Shape{huge, huge, 2, 3}})
    CHECK_THROWS_AS(infer(opdef::expand, matrix, to_attrs(ShapeOptions{wrong})), ShapeError);
  CHECK_THROWS_WITH(expand(Tensor::zeros({3}), {-1, 3}), Catch::Contains("expand"));
  CHECK_THROWS_AS(infer(opdef::contiguous, matrix, to_attrs(ContiguousOptions{MemoryFormat::channels_last})),
                  ShapeError);
  CHECK_THROWS_AS(infer(opdef::contiguous, matrix, to_attrs(ContiguousOptions{MemoryFormat(7)})), ValueError);
  const TensorInfo empty{{2, 0}, DType::f32};
  CHECK_THROWS_AS(infer(opdef::amax, empty, to_attrs(ReduceOptions{{1}, false})), ShapeError);
  CHECK_THROWS_AS(infer(opdef::argmax, empty, to_attrs(ArgmaxOptions{1, false})), ShapeError);
  CHECK(infer(opdef::sum, empty, to_attrs(ReduceOptions{{1}, false})).shape == Shape{2});
  CHECK_THROWS_AS(infer(opdef::functor<op::Add>, {{2, 3}, DType::f32}, {{"value", 1.0}}), ValueError);
}

TEST_CASE("ops are found by name, once each") {
  std::set<std::string> names;
  for (const OpDef* op : all_ops()) {
    CHECK(names.insert(op->name).second);
    CHECK(find_op(op->name) == op);
  }
  CHECK(find_op("conv2d") == &opdef::conv2d);
  CHECK(find_op("relu") == &opdef::functor<op::Relu>);
  CHECK(find_op("frobnicate") == nullptr);
}
