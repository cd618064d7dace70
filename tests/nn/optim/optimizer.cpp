#include "nn/optim/optimizer.h"

#include <limits>

#include "core/error.h"
#include "core/random.h"
#include "nn/optim/adam.h"
#include "nn/optim/sgd.h"
#include "nn/serialize.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"

using namespace mininn;

namespace {

// Parameters "a" [7] and "b" [2,3], the same for each call.
std::vector<Tensor> make_params() {
  std::vector<Tensor> params;
  Generator g(1);
  for (const auto& [name, shape] : {std::pair("a", Shape{7}), std::pair("b", Shape{2, 3})}) {
    Tensor t = Tensor::empty(shape);
    for (float& v : t.mutable_data<float>()) v = float(g.normal());
    params.push_back(t.set_name(name).set_requires_grad(true));
  }
  return params;
}

// Runs steps [begin, end) with gradients that depend on the step and the parameters.
void run(optim::Optimizer& opt, std::vector<Tensor>& params, int begin, int end) {
  for (int step = begin; step < end; ++step) {
    Generator g(uint64_t(step) + 100);
    for (Tensor& p : params) {
      Tensor grad = Tensor::empty(p.shape());
      for (size_t i = 0; i < grad.data<float>().size(); ++i)
        grad.mutable_data<float>()[i] = float(g.normal()) + p.data<float>()[i];
      p.set_grad(grad);
    }
    opt.step(0.01 * (step + 1));
  }
}

template <class Opt, class Options>
void check_resume(const Options& o) {
  std::vector<Tensor> straight = make_params();
  Opt one(straight, o);
  run(one, straight, 0, 9);

  const testing::TempFolder folder;
  const auto path = folder / "optimizer.safetensors";
  std::vector<Tensor> interrupted = make_params();
  {
    Opt first(interrupted, o);
    run(first, interrupted, 0, 4);
    nn::SafeTensors{.metadata = {}, .tensors = first.state()}.write(path);
  }
  Opt second(interrupted, o);
  second.load_state(nn::SafeTensors::read(path).tensors);
  run(second, interrupted, 4, 9);

  for (size_t i = 0; i < straight.size(); ++i) CHECK(straight[i].to_vector() == interrupted[i].to_vector());
  const optim::State s = one.state(), t = second.state();
  REQUIRE(s.size() == t.size());
  for (size_t i = 0; i < s.size(); ++i) {
    CHECK(s[i].first == t[i].first);
    CHECK(s[i].second.to_vector() == t[i].second.to_vector());
  }
}

}  // namespace

TEST_CASE("an optimizer resumes from a file as if it had not stopped, to the bit") {
  check_resume<optim::Sgd>(optim::SgdOptions{});
  check_resume<optim::Sgd>(optim::SgdOptions{.momentum = 0.9, .weight_decay = 1e-2});
  check_resume<optim::Sgd>(optim::SgdOptions{.momentum = 0.9, .nesterov = true});
  check_resume<optim::Adam>(optim::AdamOptions{.weight_decay = 1e-2});
  check_resume<optim::AdamW>(optim::AdamOptions{.weight_decay = 1e-2});
}

TEST_CASE("zero_grad drops gradients, and a step without them changes nothing") {
  std::vector<Tensor> params = make_params();
  optim::Sgd opt(params, {.momentum = 0.9});
  run(opt, params, 0, 1);
  opt.zero_grad();
  for (const Tensor& p : params) CHECK(!p.grad());
  const auto before = params[0].to_vector();
  opt.step(1);
  CHECK(params[0].to_vector() == before);
}

TEST_CASE("a state that does not fit is refused as a whole") {
  std::vector<Tensor> params = make_params();
  optim::Sgd opt(params, {.momentum = 0.9});
  run(opt, params, 0, 1);
  const auto before = opt.state()[0].second.to_vector();
  const Tensor good = Tensor::zeros({7});
  CHECK_THROWS_AS(opt.load_state({{"a.momentum", good}, {"c.momentum", good}}), ValueError);
  CHECK_THROWS_AS(opt.load_state({{"a.momentum", good}, {"b.v", good}}), ValueError);
  CHECK_THROWS_WITH(opt.load_state({{"a.momentum", good}, {"a.momentum", good}}), Catch::Contains("twice"));
  CHECK_THROWS_AS(opt.load_state({{"a.momentum", good}, {"momentum", good}}), ValueError);
  CHECK_THROWS_AS(opt.load_state({{"a.momentum", good}, {"b.momentum", good}}), ShapeError);
  CHECK_THROWS_AS(opt.load_state({{"a.momentum", Tensor::zeros({7}, DType::f64)}}), DTypeError);
  CHECK(opt.state()[0].second.to_vector() == before);

  optim::Adam adam(params);
  CHECK_THROWS_AS(adam.load_state({{"a.m", good}}), ValueError);
  CHECK_THROWS_WITH(adam.load_state({{"a.m", good}, {"a.m", good}}), Catch::Contains("twice"));
  CHECK_THROWS_AS(adam.load_state({{"a.m", good}, {"a.v", good}}), ValueError);
  CHECK_THROWS_AS(adam.load_state({{"a.step", good}}), DTypeError);
  CHECK_THROWS_AS(adam.load_state({{"a.momentum", good}}), ValueError);
}

TEST_CASE("a loaded state is a copy") {
  std::vector<Tensor> params = make_params();
  optim::Sgd opt(params, {.momentum = 0.9});
  const Tensor mine = Tensor::zeros({7});
  opt.load_state({{"a.momentum", mine}});
  run(opt, params, 0, 1);
  CHECK(mine.to_vector() == std::vector<double>(7, 0));
}

TEST_CASE("parameters must have different names; unnamed ones go by position") {
  Tensor a = Tensor::zeros({1}), b = Tensor::zeros({1});
  a.set_requires_grad(true);
  a.set_grad(Tensor::zeros({1}));
  const optim::Sgd warm({a}, {.momentum = 0.5});
  optim::Sgd opt({b, a}, {.momentum = 0.5});
  opt.step(1);
  REQUIRE(opt.state().size() == 1);
  CHECK(opt.state()[0].first == "1.momentum");
  a.set_name("x");
  b.set_name("x");
  CHECK_THROWS_AS(optim::Sgd({a, b}), ValueError);
}

TEST_CASE("optimizers refuse options and rates that are negative or not finite") {
  Tensor p = Tensor::full({1}, 2);
  p.set_requires_grad(true);
  p.set_grad(Tensor::full({1}, 1));
  optim::Sgd sgd({p});
  optim::Adam adam({p});
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), -1.0}) {
    CHECK_THROWS_AS(sgd.step(bad), ValueError);
    CHECK_THROWS_AS(adam.step(bad), ValueError);
    CHECK_THROWS_AS(optim::Sgd({}, {.momentum = bad}), ValueError);
    CHECK_THROWS_AS(optim::Sgd({}, {.dampening = bad}), ValueError);
    CHECK_THROWS_AS(optim::Sgd({}, {.weight_decay = bad}), ValueError);
    CHECK_THROWS_AS(optim::Adam({}, {.beta1 = bad}), ValueError);
    CHECK_THROWS_AS(optim::Adam({}, {.eps = bad}), ValueError);
    CHECK_THROWS_AS(optim::Adam({}, {.weight_decay = bad}), ValueError);
  }
  CHECK(p.item() == 2);
}

TEST_CASE("optimizers refuse coefficients that the parameters' dtype cannot hold") {
  for (const DType t : {DType::f32, DType::f64}) {
    Tensor p = Tensor::full({2}, 1, t).set_requires_grad(true);
    p.set_grad(Tensor::full({2}, 1, t));
    const auto refused = [&](const auto& make) {
      bool threw = false;
      try {
        make();
      } catch (const ValueError&) {
        threw = true;
      }
      CHECK(threw == (t == DType::f32));
    };
    refused([&] { optim::Sgd({p}, {.momentum = 1e300}); });
    refused([&] { optim::Sgd({p}, {.momentum = 0.9, .dampening = 1e300}); });
    refused([&] { optim::Sgd({p}, {.weight_decay = 1e300}); });
    refused([&] { optim::Adam({p}, {.eps = 1e-50}); });
    refused([&] { optim::Adam({p}, {.eps = 1e300}); });
    refused([&] { optim::Adam({p}, {.beta2 = 1 - 1e-12}); });
    refused([&] { optim::Adam({p}, {.weight_decay = 1e39}); });
    refused([&] { optim::Sgd({p}).step(1e39); });
    refused([&] { optim::Adam({p}).step(3e38); });  // divided by 1 - beta1
    CHECK_NOTHROW(optim::Adam({p}, {.eps = 0}));
    CHECK_NOTHROW(optim::Sgd({p}).step(1e-60));
  }
}

TEST_CASE("a step that is refused leaves parameters and state as they were") {
  Tensor a = Tensor::full({2}, 1).set_requires_grad(true), b = Tensor::full({2}, 1).set_requires_grad(true);
  for (Tensor* p : {&a, &b}) p->set_grad(Tensor::full({2}, 0.5));
  const auto unchanged = [&](optim::Optimizer& opt, double lr, double value) {
    const optim::State before = opt.state();
    CHECK_THROWS_AS(opt.step(lr), ValueError);
    const optim::State after = opt.state();
    REQUIRE(after.size() == before.size());
    for (size_t i = 0; i < after.size(); ++i) CHECK(after[i].second.to_vector() == before[i].second.to_vector());
    for (const Tensor& p : {a, b}) CHECK(p.to_vector()[0] == value);
  };
  optim::AdamW decays({a, b}, {.weight_decay = 1e30});
  unchanged(decays, 1e30, 1);
  CHECK(decays.state().empty());
  optim::Adam adam({a, b});
  unchanged(adam, 3e38, 1);  // divided by 1 - beta1
  CHECK(adam.state().empty());
  // One of the parameters is in its second step, where this rate would do.
  b.set_grad({});
  adam.step(0);
  b.set_grad(Tensor::full({2}, 0.5));
  unchanged(adam, 5e37, 1);
  optim::Sgd sgd({a, b}, {.momentum = 0.9});
  unchanged(sgd, 1e39, 1);
  CHECK(sgd.state().empty());
}

TEST_CASE("an update that is refused leaves no half-made state") {
  const auto check = [](auto&& opt) {
    CHECK_THROWS_AS(opt.step(0.1), ShapeError);
    CHECK(opt.state().empty());
  };
  Tensor gaps = Tensor::full({4, 4}, 1).as_strided({2}, {3}).set_requires_grad(true);  // no kernel updates it
  gaps.set_grad(Tensor::full({2}, 0.5));
  check(optim::Sgd({gaps}, {.momentum = 0.9}));
  check(optim::Adam({gaps}));
}
