// Two ops on scalars, enough to test the engine without ops/.
#pragma once

#include "core/autograd.h"

namespace mininn {

inline Tensor scalar(double v) { return Tensor::full({}, v, DType::f64); }

struct ToyOptions {
  int64_t power = 1;
};
template <class F>
void each_field(ToyOptions& o, const F& field) {
  field("power", o.power);
}

struct ToyMulBackward {
  static constexpr const char* op = "toy_mul";
  Saved a, b;
  Grads backward(const Tensor& gy, const Wants& wants) const {
    return {wants[0] ? scalar(gy.item() * b.get().item()) : Tensor(),
            wants[1] ? scalar(gy.item() * a.get().item()) : Tensor()};
  }
};

inline Tensor toy_mul(const Tensor& a, const Tensor& b) {
  return attach<ToyMulBackward>(scalar(a.item() * b.item()), {a, b}, ToyOptions{}, a, b);
}

// Passes its gradient on as it is: the very tensor goes to both inputs.
struct ToyAddBackward {
  static constexpr const char* op = "toy_add";
  Grads backward(const Tensor& gy, const Wants&) const { return {gy, gy}; }
};

inline Tensor toy_add(const Tensor& a, const Tensor& b) {
  return attach<ToyAddBackward>(scalar(a.item() + b.item()), {a, b}, {});
}

}  // namespace mininn
