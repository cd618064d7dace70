#include "core/autograd.h"

#include <algorithm>
#include <cmath>

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

namespace {

struct Doubled final : Recipe {
  Doubled(const Tensor& operand, int& count) : x(operand), made(count) { depends_on(x); }
  Tensor make() const override {
    ++made;
    return Tensor::full({}, 2 * x.get().item());
  }
  Saved x;
  int& made;
};

}  // namespace

TEST_CASE("a result with a recipe is saved as that, and made again once, by the first who reads it") {
  int made = 0;
  const Tensor x = scalar(3);
  Tensor y = scalar(6);
  auto recipe = std::make_shared<Doubled>(x, made);
  set_recipe(y, recipe);
  const Saved first(y), second(y);
  recipe.reset();
  CHECK(first.get().item() == 6);
  CHECK(made == 0);  // y is still there
  const std::weak_ptr storage = y.storage();
  y = {};
  CHECK(storage.expired());
  CHECK(first.get().item() == 6);
  CHECK(second.get().item() == 6);
  CHECK(bool(second));
  CHECK(made == 1);
}

TEST_CASE("who writes to a result that has a recipe changes what is saved afterwards, not what was before") {
  int made = 0;
  const Tensor x = scalar(3);
  Tensor y = scalar(6);
  const auto recipe = std::make_shared<Doubled>(x, made);
  set_recipe(y, recipe);
  const Saved before(y);
  y.fill(7);
  const Saved after(y);
  CHECK(before.get().item() == 6);
  CHECK(after.get().item() == 7);
  y.fill(8);
  CHECK_THROWS_AS(after.get(), AutogradError);
}

TEST_CASE("a recipe whose operand was overwritten is refused") {
  int made = 0;
  Tensor x = scalar(3), y = scalar(6);
  const auto recipe = std::make_shared<Doubled>(x, made);
  set_recipe(y, recipe);
  const Saved saved(y);
  y = {};
  x.fill(4);
  CHECK_THROWS_WITH(saved.get(), Catch::Contains("overwritten"));
}

TEST_CASE("a recipe goes with the last who saved the result, whoever holds the result itself") {
  int made = 0;
  Tensor x = scalar(3), y = scalar(6);
  {
    auto recipe = std::make_shared<Doubled>(x, made);
    set_recipe(y, recipe);
    const Saved saved(y);
    recipe.reset();
    const std::weak_ptr operand = x.storage();
    x = {};
    CHECK_FALSE(operand.expired());
  }
  const Saved later(y);
  y = {};
  CHECK(later.get().item() == 6);
  CHECK(made == 0);
}

TEST_CASE("in a long chain of recipes some results are kept") {
  int made = 0;
  std::vector<std::shared_ptr<Doubled>> recipes;
  std::vector<std::weak_ptr<Storage>> results;
  Tensor x = scalar(1);
  for (int i = 0; i < 20; ++i) {
    Tensor y = scalar(2 * x.item());
    recipes.push_back(std::make_shared<Doubled>(x, made));
    set_recipe(y, recipes.back());
    results.push_back(y.storage());
    x = y;
  }
  const Saved last(x);
  x = {};
  const auto kept = std::count_if(results.begin(), results.end(), [](const auto& r) { return !r.expired(); });
  CHECK(kept >= 3);
  CHECK(kept <= 5);
  CHECK(last.get().item() == std::pow(2, 20));
  CHECK(made <= 4);
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
