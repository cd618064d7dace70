#include "nn/optim/adam.h"

#include <cmath>

#include "core/convert.h"
#include "core/error.h"
#include "ops/optimizer.h"

namespace mininn::optim {

Adam::Adam(std::vector<Tensor> params, const AdamOptions& o, bool decoupled)
    : Optimizer(std::move(params)), options_(o), decoupled_(decoupled), moments_(params_.size()) {
  const auto below_one = [&](double beta) { return beta >= 0 && rounded(beta) < 1; };
  const bool vanishes = o.eps > 0 && rounded(o.eps) == 0;  // then 0 / 0 is met where eps was to prevent it
  if (!below_one(o.beta1) || !below_one(o.beta2) || !usable(o.eps) || vanishes || !usable(o.weight_decay))
    throw ValueError(message("optim::Adam: in the parameters' dtype beta1 ", o.beta1, " and beta2 ", o.beta2,
                             " must be in [0, 1), eps ", o.eps, " and weight_decay ", o.weight_decay,
                             " finite and not negative, and a positive eps not 0"));
}

void Adam::step(double lr) {
  check_lr(lr);
  const double decay = options_.weight_decay, keep = decoupled_ ? 1 - lr * decay : 1;
  const auto step_size = [&](size_t i) { return lr / (1 - std::pow(options_.beta1, double(moments_[i].step + 1))); };
  // Before anything changes: a step is made by all parameters or none.
  for (size_t i = 0; i < params_.size(); ++i)
    if (params_[i].grad() &&
        (!stays_finite(keep, params_[i].dtype()) || !stays_finite(step_size(i), params_[i].dtype())))
      throw ValueError(message("optim::Adam: a learning rate of ", lr, " with weight_decay ", decay,
                               " leaves the parameters' dtype at \"", names_[i], "\""));
  for (size_t i = 0; i < params_.size(); ++i) {
    Tensor& p = params_[i];
    const Tensor g = p.grad();
    if (!g) continue;
    Moments next = moments_[i];
    if (next.step == 0)
      for (Tensor* moment : {&next.m, &next.v}) {
        *moment = Tensor::empty_like(p);
        moment->fill(0);
      }
    ++next.step;
    adam_update(p, g, next.m, next.v,
                {.l2 = decoupled_ ? 0 : decay,
                 .keep = keep,
                 .beta1 = options_.beta1,
                 .beta2 = options_.beta2,
                 .eps = options_.eps,
                 .step_size = step_size(i),
                 .v_scale = std::sqrt(1 - std::pow(options_.beta2, double(next.step)))});
    moments_[i] = std::move(next);
  }
}

State Adam::state() const {
  State s;
  for (size_t i = 0; i < params_.size(); ++i) {
    const auto& [m, v, step] = moments_[i];
    if (step == 0) continue;
    s.emplace_back(names_[i] + ".m", m);
    s.emplace_back(names_[i] + ".v", v);
    s.emplace_back(names_[i] + ".step", Tensor::from(std::vector<int64_t>{step}, {}));
  }
  return s;
}

void Adam::load_state(const State& s) {
  require_distinct(s);
  std::vector<Moments> moments(params_.size());
  for (const auto& [name, t] : s) {
    const auto [i, what] = split(name);
    if (what == "m") {
      moments[i].m = like_param(i, name, t);
    } else if (what == "v") {
      moments[i].v = like_param(i, name, t);
    } else if (what == "step") {
      if (t.dtype() != DType::i64 || t.numel() != 1)
        throw DTypeError(message("optim::Adam: the state ", name, " must be one i64"));
      if (!(t.item() >= 0 && t.item() <= 0x1p53))
        throw ValueError(message("optim::Adam: the state ", name, " is ", t.item(), ", no number of steps"));
      moments[i].step = convert<int64_t>(t.item());
    } else {
      throw ValueError(message("optim::Adam: this optimizer has no state \"", name, "\""));
    }
  }
  for (size_t i = 0; i < moments.size(); ++i) {
    const auto& [m, v, step] = moments[i];
    if (bool(m) != bool(v) || bool(m) != (step > 0))
      throw ValueError(message("optim::Adam: the state of \"", names_[i], "\" is incomplete"));
  }
  moments_ = std::move(moments);
}

}  // namespace mininn::optim
