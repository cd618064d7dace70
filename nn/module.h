// The base of everything that maps a tensor to a tensor and may own parameters.
#pragma once

#include "core/tensor.h"

namespace mininn::nn {

// A module holds its children as plain members and makes its parameters through the Scope it is built with. It is
// pinned: neither copied nor moved, so parameters have one owner. The mode (training or not) belongs to the ParamStore.
class Module {
 public:
  Module() = default;
  virtual ~Module();
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  virtual Tensor forward(const Tensor& x) = 0;
  Tensor operator()(const Tensor& x) { return forward(x); }
};

}  // namespace mininn::nn
