#include "core/capture.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

#include "core/error.h"
#include "core/integers.h"

namespace mininn {
namespace {

// No allocator's addresses: so far up that a processor has none, and an access ends the program where it stands. Each
// capture promises from a window of its own, so that what is left of one is not taken for memory of the next.
constexpr size_t kBegin = size_t{1} << 60, kWindow = size_t{1} << 44, kWindows = size_t{1} << 16;
constexpr size_t kAlign = 64;
std::atomic<size_t> captures{0};

}  // namespace

Capture::Capture() : next_(kBegin + captures++ % kWindows * kWindow) {
  if (current_) throw Error("this thread captures already");
  current_ = this;
}

Capture::~Capture() { current_ = nullptr; }

std::byte* Capture::promise(size_t bytes) {
  const size_t begin = next_;
  // Pieces do not touch: the end of one is not the beginning of the next.
  if (bytes >= kWindow || round_up(begin % kWindow + bytes + 1, kAlign) >= kWindow)
    throw Error(message("a capture cannot promise ", bytes, " bytes more"));
  next_ = round_up(begin + bytes + 1, kAlign);
  begins_.push_back(begin);
  bytes_.push_back(bytes);
  return std::bit_cast<std::byte*>(begin);
}

std::optional<Place> Capture::place_of(const void* address) const {
  const auto at = std::bit_cast<size_t>(address);
  if (begins_.empty() || at < begins_[0] || at >= next_) return {};
  const auto piece = size_t(std::upper_bound(begins_.begin(), begins_.end(), at) - begins_.begin()) - 1;
  return Place{piece, at - begins_[piece]};
}

CapturePause::CapturePause() : paused_(std::exchange(Capture::current_, nullptr)) {}
CapturePause::~CapturePause() { Capture::current_ = paused_; }

bool is_promised(const void* address) {
  const auto at = std::bit_cast<size_t>(address);
  return at >= kBegin && at < kBegin + kWindows * kWindow;
}

}  // namespace mininn
