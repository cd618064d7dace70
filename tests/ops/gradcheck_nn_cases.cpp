#include "ops/batch_norm.h"
#include "ops/conv2d.h"
#include "ops/cross_entropy.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/pool2d.h"
#include "ops/softmax.h"
#include "tests/ops/gradcheck_cases.h"
#include "tests/support/random_tensors.h"

namespace mininn::testing {

namespace {

using In = std::vector<Tensor>;
using Fn = std::function<Tensor(const In&)>;

class Cases {
 public:
  explicit Cases(RandomTensors& random) : random_(random) {}

  void add(const char* op, std::string what, const std::vector<Shape>& shapes, Fn fn) {
    In inputs;
    for (const Shape& s : shapes) inputs.push_back(random_.away_from_zero(s, 0.2, 2));
    list.push_back({op, std::move(what), std::move(inputs), std::move(fn)});
  }

  std::vector<GradCase> list;

 private:
  RandomTensors& random_;
};

void add_conv2d(Cases& cases) {
  const auto add = [&](const char* what, const Shape& x, const Shape& w, const Conv2dParams& o) {
    cases.add("conv2d", what, {x, w}, [o](const In& in) { return conv2d(in[0], in[1], {}, o); });
    cases.add("conv2d", std::string(what) + ", bias", {x, w, {w[0]}},
              [o](const In& in) { return conv2d(in[0], in[1], in[2], o); });
  };
  add("3x3", {2, 3, 5, 4}, {4, 3, 3, 3}, {});
  add("3x3, padding 1", {1, 2, 4, 4}, {3, 2, 3, 3}, {.padding = 1});
  add("3x3, stride 2, padding 1", {2, 2, 6, 5}, {3, 2, 3, 3}, {.stride = 2, .padding = 1});
  add("unequal stride, padding and kernel", {1, 2, 6, 7}, {2, 2, 3, 2}, {.stride = {1, 3}, .padding = {0, 1}});
  add("dilation", {1, 2, 7, 7}, {2, 2, 3, 3}, {.padding = {2, 1}, .dilation = {2, 3}});
  add("groups", {2, 4, 4, 4}, {6, 2, 3, 3}, {.padding = 1, .groups = 2});
  add("depthwise", {1, 4, 5, 5}, {4, 1, 3, 3}, {.stride = 2, .padding = 1, .groups = 4});
  add("1x1", {2, 3, 3, 3}, {5, 3, 1, 1}, {});
  add("1x1, stride 2", {1, 3, 5, 4}, {2, 3, 1, 1}, {.stride = 2});
  cases.add("conv2d", "operands in other layouts", {{2, 4, 5, 2}, {3, 3, 4, 2}}, [](const In& in) {
    return conv2d(permute(in[0], {0, 3, 1, 2}), permute(in[1], {2, 3, 0, 1}), {}, {.padding = 1});
  });
}

void add_pools(Cases& cases, RandomTensors& random) {
  const auto add = [&](const char* what, const Shape& x, const Pool2dOptions& o) {
    // Numbers that differ by 0.1 or more, so that no step of the check changes which is the largest.
    std::vector<double> distinct(size_t(numel(x)));
    const auto order = permutation(numel(x), random.generator());
    for (size_t i = 0; i < distinct.size(); ++i) distinct[i] = 0.1 * double(order[i]) - 2;
    cases.list.push_back(
        {"max_pool2d", what, {Tensor::from(distinct, x)}, [o](const In& in) { return max_pool2d(in[0], o); }});
    for (const bool count : {true, false})
      cases.add("avg_pool2d", std::string(what) + (count ? "" : ", padding not counted"), {x},
                [=](const In& in) { return avg_pool2d(in[0], o, count); });
  };
  add("2x2", {2, 3, 4, 6}, {.kernel = 2});
  add("3x3, stride 2, padding 1", {1, 3, 7, 6}, {.kernel = 3, .stride = 2, .padding = 1});
  add("3x2, stride 1", {2, 2, 5, 4}, {.kernel = {3, 2}, .stride = 1});
  add("1x2, stride 3: pixels left out", {1, 2, 5, 8}, {.kernel = {1, 2}, .stride = 3});
  add("unequal stride and padding", {1, 2, 6, 5}, {.kernel = {4, 3}, .stride = {1, 2}, .padding = {2, 0}});
  cases.add("global_avg_pool2d", "3x5", {{2, 4, 3, 5}}, [](const In& in) { return global_avg_pool2d(in[0]); });
}

void add_batch_norm(Cases& cases) {
  for (const Shape& x : {Shape{3, 4, 2, 3}, Shape{5, 3}})
    for (const bool training : {true, false})
      cases.add("batch_norm", message(x, training ? " training" : ""), {x, {x[1]}, {x[1]}}, [=](const In& in) {
        const Device device = in[0].device();
        Tensor mean = Tensor::full({x[1]}, 0.3, DType::f64, device),
               var = Tensor::full({x[1]}, 1.7, DType::f64, device);
        return batch_norm(in[0], in[1], in[2], mean, var, {.training = training});
      });
}

void add_products(Cases& cases) {
  const Fn product = [](const In& in) { return matmul(in[0], in[1]); };
  cases.add("matmul", "plain", {{3, 4}, {4, 5}}, product);
  cases.add("matmul", "batched", {{2, 3, 4}, {2, 4, 2}}, product);
  cases.add("matmul", "transposed operands", {{4, 3}, {5, 4}},
            [](const In& in) { return matmul(transpose(in[0], 0, 1), transpose(in[1], 0, 1)); });
  cases.add("matmul", "a matrix with itself", {{3, 3}}, [](const In& in) { return matmul(in[0], in[0]); });
  cases.add("linear", "no bias", {{3, 4}, {2, 4}}, [](const In& in) { return linear(in[0], in[1], {}); });
  cases.add("linear", "bias", {{3, 4}, {2, 4}, {2}}, [](const In& in) { return linear(in[0], in[1], in[2]); });
}

void add_losses(Cases& cases, RandomTensors& random) {
  for (const int dim : {0, 1, -1}) {
    const std::string what = message("dim ", dim);
    cases.add("softmax", what, {{3, 4, 2}}, [dim](const In& in) { return softmax(in[0], dim); });
    cases.add("log_softmax", what, {{3, 4, 2}}, [dim](const In& in) { return log_softmax(in[0], dim); });
  }
  for (const double smoothing : {0.0, 0.1})
    cases.list.push_back({"cross_entropy",
                          message("smoothing ", smoothing),
                          {random.away_from_zero({4, 3}, 0.2, 2), Tensor::from<int64_t>({2, 0, 1, 1}, {4})},
                          [=](const In& in) { return cross_entropy(in[0], in[1], {.label_smoothing = smoothing}); }});
}

}  // namespace

std::vector<GradCase> nn_cases() {
  RandomTensors random(test_seed());
  Cases cases(random);
  add_conv2d(cases);
  add_pools(cases, random);
  add_batch_norm(cases);
  add_products(cases);
  add_losses(cases, random);
  return std::move(cases.list);
}

}  // namespace mininn::testing
