#include "quant/replay.h"

namespace mininn::quant {

using nn::graph::kAbsent;

Replay::Replay(const nn::graph::Graph& g) : g_(g), left_(nn::graph::use_counts(g)) {}

void Replay::enter(const Tensor& x) {
  batches_.emplace_back();
  batches_.back()[g_.inputs[0]] = x;
}

void Replay::each(const nn::graph::Node& n, const std::function<void(std::span<const Tensor>)>& fn) const {
  std::vector<Tensor> in;
  for (const Batch& batch : batches_) {
    in.clear();
    for (const int id : n.inputs)
      in.push_back(id == kAbsent ? Tensor() : g_.is_constant(id) ? g_.values[size_t(id)].constant : batch.at(id));
    fn(in);
  }
}

void Replay::pass(const nn::graph::Node& n) {
  size_t batch = 0;
  each(n, [&](std::span<const Tensor> in) { batches_[batch++][n.output] = n.op->call(in, n.attrs); });
  for (const int id : n.inputs)
    if (id != kAbsent && --left_[size_t(id)] == 0)
      for (Batch& b : batches_) b.erase(id);
}

}  // namespace mininn::quant
