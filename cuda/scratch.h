// Working memory of a kernel's call, in the order of the stream.
#pragma once

#include "core/kernel.h"
#include "core/tensor.h"

namespace mininn::cuda {

// n elements of a C++ type that has a DType; what they hold means nothing. Free again for later work on the stream when
// this object goes.
template <class T>
class Scratch {
 public:
  Scratch(int64_t n, const ExecContext& at) : memory_(Tensor::empty({n}, dtype_of<T>, at.device)) {}
  T* data() { return reinterpret_cast<T*>(memory_.mutable_view().data); }

 private:
  Tensor memory_;
};

}  // namespace mininn::cuda
