#include "tests/ops/gradcheck_cases.h"

#include <cmath>
#include <limits>

#include "core/dtype.h"
#include "ops/cast.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/reduce.h"
#include "tests/support/random_tensors.h"

namespace mininn::testing {

namespace {

using In = std::vector<Tensor>;

void add_elementwise(std::vector<GradCase>& cases, RandomTensors& random) {
  op::for_each_functor(op::UnaryOps(), [&]<class Op>() {
    // Every kink lies at 0 or 6; where the op is not defined for negative numbers it gets none.
    const bool positive = std::isnan(Op::f(-1.0));
    cases.push_back({Op::op, "2x3x2", {random.away_from_zero({2, 3, 2}, 0.3, 2.5, positive)}, [](const In& x) {
                       return unary<Op>(x[0]);
                     }});
    cases.push_back({Op::op, "beyond 6", {random.away_from_zero({5}, 6.5, 7.5, positive)}, [](const In& x) {
                       return unary<Op>(x[0]);
                     }});
    cases.push_back({Op::op, "permuted", {random.away_from_zero({2, 3, 2, 2}, 0.3, 2.5, positive)}, [](const In& x) {
                       return unary<Op>(permute(x[0], {0, 3, 1, 2}));
                     }});
  });
  const std::pair<Shape, Shape> shapes[] = {{{2, 3}, {2, 3}}, {{2, 3}, {3}},       {{2, 1, 3}, {4, 1}},
                                            {{}, {2, 2}},     {{1, 3}, {2, 1, 1}}, {{2, 3, 2, 2}, {3, 1, 1}}};
  op::for_each_functor(op::BinaryOps(), [&]<class Op>() {
    for (const auto& [a, b] : shapes)
      cases.push_back({Op::op,
                       message(a, " and ", b),
                       {random.away_from_zero(a, 0.5, 2), random.away_from_zero(b, 0.5, 2)},
                       [](const In& x) { return binary<Op>(x[0], x[1]); }});
    cases.push_back({Op::op, "an operand with itself", {random.away_from_zero({3}, 0.5, 2)}, [](const In& x) {
                       return binary<Op>(x[0], x[0]);
                     }});
  });
  op::for_each_functor(op::ScalarOps(), [&]<class Op>() {
    cases.push_back(
        {Op::op, "1.7", {random.away_from_zero({2, 3}, 0.5, 2)}, [](const In& x) { return scalar<Op>(x[0], 1.7); }});
  });
}

void add_layout(std::vector<GradCase>& cases, RandomTensors& random) {
  const auto add = [&](const char* op, const char* what, std::vector<Shape> shapes, auto fn) {
    In inputs;
    for (const Shape& s : shapes) inputs.push_back(random.away_from_zero(s, 0.5, 2));
    cases.push_back({op, what, inputs, fn});
  };
  add("reshape", "a view", {{2, 6}}, [](const In& x) { return reshape(x[0], {3, -1}); });
  add("reshape", "a copy", {{2, 3, 2}}, [](const In& x) { return reshape(permute(x[0], {2, 0, 1}), {4, 3}); });
  add("flatten", "from 1", {{2, 3, 2}}, [](const In& x) { return flatten(x[0]); });
  add("permute", "3 dims", {{2, 3, 4}}, [](const In& x) { return permute(x[0], {1, 2, 0}); });
  add("permute", "as transpose", {{2, 3}}, [](const In& x) { return transpose(x[0], 0, 1); });
  add("expand", "a new and an old dimension", {{3, 1}}, [](const In& x) { return expand(x[0], {2, 3, 4}); });
  add("slice", "every second of the middle", {{2, 7}}, [](const In& x) { return slice(x[0], 1, 1, -1, 2); });
  add("slice", "nothing", {{2, 3}}, [](const In& x) { return slice(x[0], 0, 1, 1); });
  add("cat", "three along dimension 1", {{2, 1}, {2, 3}, {2, 2}}, [](const In& x) { return cat(x, 1); });
  add("pad", "unequal sides", {{2, 3}}, [](const In& x) { return pad(x[0], {{1, 0}, {2, 1}}, 0.5); });
  add("contiguous", "channels-last", {{2, 3, 2, 2}},
      [](const In& x) { return contiguous(x[0], MemoryFormat::channels_last); });
}

void add_reductions(std::vector<GradCase>& cases, RandomTensors& random) {
  const DimList dim_lists[] = {{}, {0}, {-1}, {0, 2}};
  for (const auto& dims : dim_lists)
    for (const bool keepdim : {false, true}) {
      const std::string what = message(dims.rank(), " dims, keepdim ", keepdim);
      const Tensor x = random.away_from_zero({2, 3, 4}, 0.5, 2);
      cases.push_back({"sum", what, {x}, [=](const In& in) { return sum(in[0], dims, keepdim); }});
      cases.push_back({"mean", what, {x}, [=](const In& in) { return mean(in[0], dims, keepdim); }});
      cases.push_back({"amax", what, {x}, [=](const In& in) { return amax(in[0], dims, keepdim); }});
    }
}

}  // namespace

std::vector<GradCase> grad_cases() {
  RandomTensors random(test_seed());
  std::vector<GradCase> cases;
  add_elementwise(cases, random);
  add_layout(cases, random);
  add_reductions(cases, random);
  cases.push_back({"dropout", "p = 0.4", {random.away_from_zero({4, 5}, 0.5, 2)}, [](const In& x) {
                     Generator g(7);
                     return dropout(x[0], 0.4, true, g);
                   }});
  cases.push_back({"cast",
                   "to f32 and back",
                   {random.away_from_zero({2, 3}, 0.5, 2)},
                   [](const In& x) { return cast(cast(x[0], DType::f32), DType::f64); },
                   std::numeric_limits<float>::epsilon()});
  for (GradCase& c : nn_cases()) cases.push_back(std::move(c));
  return cases;
}

}  // namespace mininn::testing
