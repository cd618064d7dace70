// Tracing: running a forward function once and writing down its op calls.
#pragma once

#include <functional>
#include <span>
#include <type_traits>

#include "nn/graph/graph.h"

namespace mininn::nn {

// Runs `fn` on `examples` without gradients and returns what it did as a graph. Tensors that do not depend on the
// examples become constants, copied as they are now, so data-dependent control flow is frozen as it ran, and training
// on changes nothing; rows made for each example (zeros, positions) are as many as the example had. The batch is the
// first size of the first example, and of the others that begin with it; let no other size of the network be equal to
// it, or a multiple, where reshapes move it. Trace in evaluation
// mode: throws ValueError for a batch_norm or dropout that trains, for an op in no list (ops/registry.h), for a result
// that no op made, and for an activation that reached an op by a way that is not recorded (detach, as_strided).
graph::Graph trace(const std::function<std::vector<Tensor>(std::span<const Tensor>)>& fn,
                   std::span<const Tensor> examples);

// The same for anything callable from one tensor to one: a Module, a lambda.
template <class F>
requires std::is_invocable_r_v<Tensor, F&, const Tensor&> graph::Graph trace(F&& fn, const Tensor& example) {
  return trace([&fn](std::span<const Tensor> in) { return std::vector<Tensor>{fn(in[0])}; },
               std::span<const Tensor>(&example, 1));
}

}  // namespace mininn::nn
