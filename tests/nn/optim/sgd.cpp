#include "nn/optim/sgd.h"

#include "core/error.h"
#include "core/random.h"
#include "tests/support/catch.h"

using namespace mininn;

namespace {

// torch.optim.SGD, written out for one number.
struct Oracle {
  optim::SgdOptions o;
  double p, buffer = 0;
  bool first = true;

  void step(double grad, double lr) {
    double g = grad + o.weight_decay * p;
    if (o.momentum != 0) {
      buffer = first ? g : o.momentum * buffer + (1 - o.dampening) * g;
      first = false;
      g = o.nesterov ? g + o.momentum * buffer : buffer;
    }
    p -= lr * g;
  }
};

}  // namespace

TEST_CASE("Sgd follows PyTorch's formulas") {
  const optim::SgdOptions options[] = {{},
                                       {.weight_decay = 0.1},
                                       {.momentum = 0.9},
                                       {.momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01},
                                       {.momentum = 0.8, .weight_decay = 0.01, .nesterov = true}};
  for (const auto& o : options)
    for (const DType dtype : {DType::f32, DType::f64}) {
      Generator g(11);
      Tensor p = Tensor::empty({13}, dtype);
      std::vector<Oracle> oracles;
      for (int i = 0; i < 13; ++i) oracles.push_back({o, g.normal()});
      std::vector<double> start;
      for (const Oracle& each : oracles) start.push_back(each.p);
      p.copy_from(Tensor::from(start, {13}));
      p.set_requires_grad(true);
      optim::Sgd opt({p}, o);
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
      // Each of 6 steps rounds a handful of numbers of size about 5.
      const double margin = dtype == DType::f32 ? 6 * 5 * 5 * 6e-8 : 6 * 5 * 5 * 1.2e-16;
      for (size_t i = 0; i < 13; ++i) CHECK(p.to_vector()[i] == Approx(oracles[i].p).epsilon(0).margin(margin));
    }
}

TEST_CASE("a parameter that has no gradient yet takes its first step later") {
  Tensor a = Tensor::zeros({1}), b = Tensor::zeros({1});
  a.set_name("a").set_requires_grad(true);
  b.set_name("b").set_requires_grad(true);
  optim::Sgd opt({a, b}, {.momentum = 0.5, .dampening = 0.5});
  a.set_grad(Tensor::full({1}, 1));
  opt.step(1);
  b.set_grad(Tensor::full({1}, 1));
  opt.step(1);
  CHECK(a.item() == -2);  // 1, then 0.5 * 1 + 0.5 * 1
  CHECK(b.item() == -1);  // its first step is not dampened
}

TEST_CASE("Sgd refuses options without a meaning") {
  CHECK_THROWS_AS(optim::Sgd({}, {.momentum = -1}), ValueError);
  CHECK_THROWS_AS(optim::Sgd({}, {.weight_decay = -1}), ValueError);
  CHECK_THROWS_AS(optim::Sgd({}, {.nesterov = true}), ValueError);
  CHECK_THROWS_AS(optim::Sgd({}, {.momentum = 0.9, .dampening = 0.1, .nesterov = true}), ValueError);
}
