#include "nn/graph/recording.h"

#include <algorithm>
#include <limits>

#include "core/backend.h"
#include "core/parallel.h"

namespace mininn::nn::graph {

bool Recording::takes(std::span<const Tensor> in) const {
  return std::ranges::equal(in, inputs, [](const Tensor& t, const Layout& l) { return t && Layout(t) == l; });
}

void Recording::run(std::byte* const* memory) const {
  const auto joins = [](const auto& call) { return call->joins_region; };
  for (auto first = calls.begin(); first != calls.end();) {
    if (!joins(*first)) {
      (*first++)->run(memory);
      continue;
    }
    const auto last = std::find_if_not(first, calls.end(), joins);
    parallel_region([&] { std::for_each(first, last, [&](const auto& call) { call->run(memory); }); });
    first = last;
  }
}

void Recording::place(Capture& capture, const std::set<size_t>& values, const std::vector<size_t>& results) {
  const std::vector<size_t>& bytes = capture.promised_bytes();
  constexpr size_t kUnused = std::numeric_limits<size_t>::max();
  std::vector<Lifetime> lives(bytes.size(), Lifetime{0, kUnused, 0});
  for (size_t i = 0; i < capture.calls().size(); ++i)
    for (const auto& operand : capture.calls()[i]->operands) {
      Lifetime& life = lives[operand.place.memory];
      life = {bytes[operand.place.memory], std::min(life.first, i), i};
    }
  std::vector<Place> places(bytes.size());
  std::vector<Lifetime> shared;
  std::vector<size_t> sharing;
  for (size_t piece = 0; piece < bytes.size(); ++piece) {
    const auto output = std::find(results.begin(), results.end(), piece);
    if (piece < inputs.size()) {
      places[piece] = {piece, 0};
    } else if (output != results.end()) {
      places[piece] = {inputs.size() + size_t(output - results.begin()), 0};
    } else if (lives[piece].first != kUnused) {
      shared.push_back(lives[piece]);
      sharing.push_back(piece);
    }
  }
  const MemoryPlan plan = plan_memory(shared);
  const auto node_of = [&](size_t made) {  // copies of results come behind the last node
    return std::min(size_t(std::ranges::upper_bound(ends, made) - ends.begin()), ends.size() - 1);
  };
  for (size_t i = 0; i < sharing.size(); ++i) {
    places[sharing[i]] = {inputs.size() + results.size(), plan.offset[i]};
    arena.push_back({.is_value = values.contains(sharing[i]),
                     .offset = int64_t(plan.offset[i]),
                     .bytes = int64_t(shared[i].bytes),
                     .first = node_of(shared[i].first),
                     .last = node_of(shared[i].last)});
  }
  for (auto& call : capture.calls()) {
    for (auto& operand : call->operands) {
      const Place at = places[operand.place.memory];
      operand.place = {at.memory, at.offset + operand.place.offset};
    }
    calls.push_back(std::move(call));
  }
  kept = std::move(capture.kept());
  arena_bytes = plan.bytes;
}

Arena::Arena(size_t bytes, const Stream& s)
    : block_(Tensor::empty({int64_t(bytes)}, DType::u8, s.device)), stream_(s) {}

bool Arena::serves(size_t bytes, const Stream& s) const {
  return block_.numel() >= int64_t(bytes) && stream_.device == s.device && stream_.handle == s.handle;
}

std::byte* const* Arena::place(const Recording& r, std::span<const Tensor> inputs, std::span<Tensor> outputs) {
  memory_.clear();
  for (size_t i = 0; i < inputs.size(); ++i)
    memory_.push_back(const_cast<std::byte*>(inputs[i].view().data) - r.inputs[i].extent().before);
  for (Tensor& t : outputs) memory_.push_back(t.mutable_view().data);
  memory_.push_back(block_.mutable_view().data);
  return memory_.data();
}

void Arena::run(const std::shared_ptr<const Recording>& r) {
  const auto ask = [&] { r->run(memory_.data()); };
  if (stream_.device.type == DeviceType::cpu) return ask();
  Backend& device = backend(stream_.device);
  const bool again = recording_ == r && seen_ == memory_;
  if (!again) {
    recording_ = r;
    seen_ = memory_;
    taken_.reset();
  } else if (!taken_) {
    taken_ = device.take_down(stream_, ask);
  }
  if (taken_ && *taken_)
    device.replay(stream_, *taken_);
  else
    ask();
}

}  // namespace mininn::nn::graph
