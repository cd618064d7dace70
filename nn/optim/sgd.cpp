#include "nn/optim/sgd.h"

#include "core/error.h"
#include "ops/optimizer.h"

namespace mininn::optim {

Sgd::Sgd(std::vector<Tensor> params, const SgdOptions& o)
    : Optimizer(std::move(params)), options_(o), momentum_(params_.size()) {
  for (const double v : {o.momentum, o.dampening, o.weight_decay})
    if (!usable(v))
      throw ValueError(message("optim::Sgd: momentum ", o.momentum, ", dampening ", o.dampening, " and weight_decay ",
                               o.weight_decay, " must be finite in the parameters' dtype and not negative"));
  if (o.nesterov && (o.momentum == 0 || o.dampening != 0))
    throw ValueError("optim::Sgd: nesterov needs a momentum and no dampening");
}

void Sgd::step(double lr) {
  check_lr(lr);
  for (size_t i = 0; i < params_.size(); ++i) {
    const Tensor g = params_[i].grad();
    if (!g) continue;
    const bool first = !momentum_[i];
    Tensor buffer = momentum_[i];
    if (options_.momentum != 0 && first) buffer = Tensor::empty_like(params_[i]);
    sgd_update(params_[i], g, buffer,
               {.first = first,
                .nesterov = options_.nesterov,
                .lr = lr,
                .momentum = options_.momentum,
                .dampening = options_.dampening,
                .weight_decay = options_.weight_decay});
    momentum_[i] = std::move(buffer);
  }
}

State Sgd::state() const {
  State s;
  for (size_t i = 0; i < params_.size(); ++i)
    if (momentum_[i]) s.emplace_back(names_[i] + ".momentum", momentum_[i]);
  return s;
}

void Sgd::load_state(const State& s) {
  require_distinct(s);
  std::vector<Tensor> momentum(params_.size());
  for (const auto& [name, t] : s) {
    const auto [i, what] = split(name);
    if (what != "momentum" || options_.momentum == 0)
      throw ValueError(message("optim::Sgd: this optimizer has no state \"", name, "\""));
    momentum[i] = like_param(i, name, t);
  }
  momentum_ = std::move(momentum);
}

}  // namespace mininn::optim
