#include "core/autograd.h"

#include "tests/core/toy_ops.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("only floating leaves can require a gradient") {
  Tensor i = Tensor::zeros({2}, DType::i64);
  CHECK_THROWS_AS(i.set_requires_grad(true), AutogradError);
  Tensor x = scalar(2);
  CHECK_FALSE(x.requires_grad());
  x.set_requires_grad(true);
  Tensor y = toy_mul(x, x);
  CHECK(y.requires_grad());
  CHECK_FALSE(y.is_leaf());
  CHECK_THROWS_AS(y.set_requires_grad(false), AutogradError);
  CHECK_FALSE(y.detach().requires_grad());
}

TEST_CASE("nothing is recorded without need") {
  Tensor x = scalar(2).set_requires_grad(true);
  CHECK_FALSE(toy_mul(scalar(1), scalar(2)).requires_grad());
  {
    const NoGradGuard no_grad;
    CHECK_FALSE(grad_enabled());
    CHECK_FALSE(toy_mul(x, x).requires_grad());
  }
  CHECK(grad_enabled());
}

TEST_CASE("a saved tensor that was overwritten is refused") {
  Tensor x = scalar(2).set_requires_grad(true), w = scalar(3);
  const Tensor y = toy_mul(x, w);
  w.fill(5);
  CHECK_THROWS_WITH(y.backward(), Catch::Contains("overwritten"));
}

TEST_CASE("a tracer sees each op with inputs, attributes and output") {
  struct Recorder final : Tracer {
    std::vector<std::string> ops;
    std::vector<const void*> ids;
    void record(std::string_view op, std::span<const Tensor> inputs, const Attrs& attrs, const Tensor& y) override {
      ops.push_back(message(op, inputs.size(), attrs.empty() ? "" : attrs[0].name));
      ids.push_back(y.id());
    }
  } recorder;
  const Tensor a = scalar(1), b = scalar(2);
  Tensor y;
  {
    const TracerGuard guard(recorder);
    y = toy_mul(a, b);
  }
  toy_mul(a, b);
  CHECK(recorder.ops == std::vector<std::string>{"toy_mul2power"});
  CHECK(recorder.ids == std::vector<const void*>{y.id()});
}

TEST_CASE("from the 65th input on, a gradient is always wanted") {
  const Wants w(0b101);
  CHECK(w[0]);
  CHECK_FALSE(w[1]);
  CHECK(w[2]);
  CHECK_FALSE(w[63]);
  CHECK(w[64]);
}
