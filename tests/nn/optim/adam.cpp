#include "nn/optim/adam.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/random.h"
#include "tests/support/catch.h"

using namespace mininn;

namespace {

// torch.optim.Adam and AdamW, written out for one number.
struct Oracle {
  optim::AdamOptions o;
  bool decoupled;
  double p, m = 0, v = 0;
  int t = 0;

  void step(double g, double lr) {
    ++t;
    if (decoupled)
      p *= 1 - lr * o.weight_decay;
    else
      g += o.weight_decay * p;
    m = o.beta1 * m + (1 - o.beta1) * g;
    v = o.beta2 * v + (1 - o.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(o.beta1, t)), v_hat = v / (1 - std::pow(o.beta2, t));
    p -= lr * m_hat / (std::sqrt(v_hat) + o.eps);
  }
};

template <class Opt>
void check(const optim::AdamOptions& o, bool decoupled, DType dtype) {
  Generator g(12);
  std::vector<Oracle> oracles;
  std::vector<double> start;
  for (int i = 0; i < 13; ++i) {
    start.push_back(g.normal());
    oracles.push_back({o, decoupled, start.back()});
  }
  Tensor p = Tensor::empty({13}, dtype);
  p.copy_from(Tensor::from(start, {13}));
  p.set_requires_grad(true);
  Opt opt({p}, o);
  for (int step = 0; step < 6; ++step) {
    std::vector<double> grad;
    const double lr = 0.1 / (step + 1);
    for (Oracle& each : oracles) {
      grad.push_back(g.normal());
      each.step(grad.back(), lr);
    }
    Tensor t = Tensor::empty({13}, dtype);
    t.copy_from(Tensor::from(grad, {13}));
    p.set_grad(t);
    opt.step(lr);
  }
  // A step moves by about lr <= 0.1 and rounds about ten times; p is below 5. In f32, 1 - beta2 itself is off by
  // 3e-5 of its value, which v and the correction share only in part.
  const double margin = dtype == DType::f32 ? 6 * 0.1 * 3e-5 : 6 * 10 * 5 * 1.2e-16;
  for (size_t i = 0; i < 13; ++i) CHECK(p.to_vector()[i] == Approx(oracles[i].p).epsilon(0).margin(margin));
}

}  // namespace

TEST_CASE("Adam and AdamW follow PyTorch's formulas") {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const optim::AdamOptions& o :
         {optim::AdamOptions{}, optim::AdamOptions{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.2}}) {
      check<optim::Adam>(o, false, dtype);
      check<optim::AdamW>(o, true, dtype);
    }
}

TEST_CASE("AdamW decays by default, Adam does not") {
  Tensor a = Tensor::full({1}, 2, DType::f64), b = a.clone();
  for (Tensor* t : {&a, &b}) {
    t->set_requires_grad(true);
    t->set_grad(Tensor::zeros({1}, DType::f64));
  }
  optim::Adam({a}).step(0.5);
  optim::AdamW({b}).step(0.5);
  CHECK(a.item() == 2);
  CHECK(b.item() == Approx(2 * (1 - 0.5 * 0.01)));
}

TEST_CASE("Adam refuses options out of range") {
  CHECK_THROWS_AS(optim::Adam({}, {.beta1 = 1}), ValueError);
  CHECK_THROWS_AS(optim::Adam({}, {.beta2 = -0.1}), ValueError);
  CHECK_THROWS_AS(optim::Adam({}, {.eps = -1}), ValueError);
  CHECK_THROWS_AS(optim::AdamW({}, {.weight_decay = -1}), ValueError);
}

TEST_CASE("Adam takes no number of steps that cannot have been made") {
  Tensor p = Tensor::full({1}, 2);
  p.set_requires_grad(true);
  p.set_name("p");
  p.set_grad(Tensor::zeros({1}));
  optim::Adam adam({p});
  adam.step(0.5);
  for (const int64_t steps : {std::numeric_limits<int64_t>::max(), int64_t{-1}}) {
    optim::State state = adam.state();
    for (auto& [name, t] : state)
      if (t.dtype() == DType::i64) t.mutable_data<int64_t>()[0] = steps;
    CHECK_THROWS_AS(adam.load_state(state), ValueError);
  }
}
