// Ordered queues of work on a device, and points in them.
//
// Work on one stream happens in the order of the calls that asked for it; the calls may return before it is done. On
// the CPU it is done when they return, and all of this costs nothing.
#pragma once

#include <memory>

#include "core/device.h"

namespace mininn {

struct Stream {
  Device device;
  std::shared_ptr<void> handle;  // the backend's; null: the device's default stream
};

// A point in a stream that other streams, or the host, can wait for.
struct Event {
  std::shared_ptr<void> handle;  // the backend's
};

namespace detail {
Stream guarded_stream(Device d);
}

// The stream that ops on `d` use in this thread: the innermost StreamGuard's, else the default one. The CPU has one.
inline Stream current_stream(Device d) {
  return d.type == DeviceType::cpu ? Stream{d, nullptr} : detail::guarded_stream(d);
}

// Makes `s` the current stream of its device in this thread, for the guard's lifetime. A tensor belongs to the stream
// that was current when it was made: what reads it on another one waits for it, and is waited for before it goes.
class StreamGuard {
 public:
  explicit StreamGuard(Stream s);
  ~StreamGuard();
  StreamGuard(const StreamGuard&) = delete;
  StreamGuard& operator=(const StreamGuard&) = delete;
};

// All throw DeviceError where the build has no backend for the device, and what the backend throws.
Stream new_stream(Device d);
// Returns when all work on it so far is done. Errors of that work are thrown here.
void synchronize(const Stream& s);
Event record(const Stream& s);
// Later work on `s` begins when what `e` marks is done.
void wait(const Stream& s, const Event& e);

}  // namespace mininn
