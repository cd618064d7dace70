#include "nn/optim/optimizer.h"

#include <algorithm>
#include <set>

#include "core/error.h"

namespace mininn::optim {

Optimizer::Optimizer(std::vector<Tensor> params) : params_(std::move(params)) {
  std::set<std::string> seen;
  for (size_t i = 0; i < params_.size(); ++i) {
    names_.push_back(params_[i].name().empty() ? std::to_string(i) : params_[i].name());
    if (!seen.insert(names_.back()).second)
      throw ValueError(message("optim: two parameters are called \"", names_.back(), "\""));
  }
}

Optimizer::~Optimizer() = default;

void Optimizer::zero_grad() {
  for (Tensor& p : params_) p.set_grad({});
}

double Optimizer::rounded(double v) const {
  const bool single = std::any_of(params_.begin(), params_.end(), [](auto& p) { return p.dtype() == DType::f32; });
  return single ? double(float(v)) : v;
}

void Optimizer::check_lr(double lr) const {
  if (!usable(lr))
    throw ValueError(
        message("optim: the learning rate is ", lr, ", it must be finite in the parameters' dtype and not negative"));
}

Tensor Optimizer::like_param(size_t i, const std::string& name, const Tensor& t) const {
  const Tensor& p = params_[i];
  if (t.shape() != p.shape())
    throw ShapeError(message("optim: the state ", name, " is ", t.shape(), ", the parameter ", p.shape()));
  if (t.dtype() != p.dtype())
    throw DTypeError(message("optim: the state ", name, " is ", mininn::name(t.dtype()), ", the parameter ",
                             mininn::name(p.dtype())));
  Tensor copy = Tensor::empty_like(p);
  copy.copy_from(t);
  return copy;
}

void Optimizer::require_distinct(const State& s) {
  std::set<std::string> seen;
  for (const auto& entry : s)
    if (!seen.insert(entry.first).second) throw ValueError(message("optim: the state has \"", entry.first, "\" twice"));
}

std::pair<size_t, std::string> Optimizer::split(const std::string& name) const {
  const size_t dot = name.rfind('.');
  if (dot != std::string::npos)
    if (const auto it = std::find(names_.begin(), names_.end(), name.substr(0, dot)); it != names_.end())
      return {size_t(it - names_.begin()), name.substr(dot + 1)};
  throw ValueError(message("optim: the state has \"", name, "\", which belongs to none of the parameters"));
}

}  // namespace mininn::optim
