// What optimizers share: the parameters, and state that a checkpoint saves and restores exactly.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace mininn::optim {

using State = std::vector<std::pair<std::string, Tensor>>;

class Optimizer {
 public:
  // Keeps handles: updates are in place. Throws ValueError if two parameters have one name. Parameters without a name
  // are called by their position.
  explicit Optimizer(std::vector<Tensor> params);
  virtual ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // Updates every parameter that has a gradient. `lr` may change from step to step (nn/optim/schedule.h). Throws
  // ValueError if it, or a coefficient made of it, is negative or not finite in the parameters' dtype; then nothing
  // changes. What the update of a parameter refuses (ops/optimizer.h) leaves that one and its state as they were.
  virtual void step(double lr) = 0;
  // Drops all gradients.
  void zero_grad();

  // Everything but the parameters that the next step depends on, as tensors called "<parameter>.<what>". They share
  // the elements: write them to a file, or clone them, before the next step.
  virtual State state() const = 0;
  // Takes over a state() of the same parameters: training goes on as if it had not stopped, to the bit. Throws
  // ValueError for an unknown name and for one that is there twice, ShapeError or DTypeError for a tensor that does not
  // fit; then nothing changes.
  virtual void load_state(const State& s) = 0;

 protected:
  // A coefficient as the parameters' dtype has it (f32 if one of them is).
  double rounded(double v) const;
  // Whether it may be a rate, a factor or a decay of the parameters.
  bool usable(double v) const { return v >= 0 && std::isfinite(rounded(v)); }
  void check_lr(double lr) const;
  // A copy of `t` beside parameter `i`, after checking that it has the parameter's shape and dtype.
  Tensor like_param(size_t i, const std::string& name, const Tensor& t) const;
  // Throws ValueError for a name that is there twice.
  static void require_distinct(const State& s);
  // Splits "<parameter>.<what>" into the parameter's position and what. Throws ValueError for an unknown parameter.
  std::pair<size_t, std::string> split(const std::string& name) const;

  std::vector<Tensor> params_;
  std::vector<std::string> names_;
};

}  // namespace mininn::optim
