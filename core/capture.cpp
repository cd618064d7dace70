#include "core/capture.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/error.h"
#include "core/integers.h"

namespace mininn {
namespace {

thread_local Capture* active = nullptr;

// No allocator's addresses: so far up that a processor has none, and an access ends the program where it stands.
constexpr size_t kBegin = size_t{1} << 60, kEnd = size_t{1} << 62;
constexpr size_t kAlign = 64;

}  // namespace

Capture::Capture() {
  if (active) throw Error("this thread captures already");
  active = this;
}

Capture::~Capture() { active = nullptr; }

Capture* Capture::current() { return active; }

std::byte* Capture::promise(size_t bytes) {
  // Pieces do not touch: the end of one is not the beginning of the next.
  const size_t begin = begins_.empty() ? kBegin : round_up(begins_.back() + bytes_.back() + 1, kAlign);
  if (bytes >= kEnd - begin) throw Error(message("a capture cannot promise ", bytes, " bytes more"));
  begins_.push_back(begin);
  bytes_.push_back(bytes);
  return std::bit_cast<std::byte*>(begin);
}

std::optional<Place> Capture::place_of(const void* address) const {
  const auto at = std::bit_cast<size_t>(address);
  if (!is_promised(address) || begins_.empty() || at < begins_[0]) return {};
  const auto piece = size_t(std::upper_bound(begins_.begin(), begins_.end(), at) - begins_.begin()) - 1;
  return Place{piece, at - begins_[piece]};
}

CapturePause::CapturePause() : paused_(std::exchange(active, nullptr)) {}
CapturePause::~CapturePause() { active = paused_; }

bool is_promised(const void* address) {
  const auto at = std::bit_cast<size_t>(address);
  return at >= kBegin && at < kEnd;
}

}  // namespace mininn
