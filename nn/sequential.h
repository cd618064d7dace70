// Modules in a row.
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "nn/module.h"
#include "nn/scope.h"

namespace mininn::nn {

// Owns its children and builds them in place, in the scopes "0", "1", ... (as PyTorch names them):
//
//   nn::Sequential net(params.root());
//   net.add<nn::Linear>({.in = 2, .out = 16}).add<nn::ReLU>().add<nn::Linear>({.in = 16, .out = 2});
class Sequential final : public Module {
 public:
  explicit Sequential(const Scope& scope) : scope_(scope) {}

  // Appends M(scope, args...), or M(args...) where M takes no scope.
  template <class M, class... Args>
  Sequential& add(Args&&... args) {
    if constexpr (std::is_constructible_v<M, Scope, Args...>)
      children_.push_back(std::make_unique<M>(scope_ / std::to_string(children_.size()), std::forward<Args>(args)...));
    else
      children_.push_back(std::make_unique<M>(std::forward<Args>(args)...));
    return *this;
  }
  // The same with the options in braces.
  template <class M>
  Sequential& add(const typename M::Options& o) {
    return add<M, const typename M::Options&>(o);
  }

  Tensor forward(const Tensor& x) override;

  size_t size() const { return children_.size(); }
  Module& operator[](size_t i);  // throws ValueError unless i < size()

 private:
  Scope scope_;
  std::vector<std::unique_ptr<Module>> children_;
};

}  // namespace mininn::nn
