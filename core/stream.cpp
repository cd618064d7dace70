#include "core/stream.h"

#include <utility>
#include <vector>

#include "core/backend.h"

namespace mininn {
namespace {

// Innermost last. A guard is destroyed in the thread and in the reverse order of its making.
thread_local std::vector<Stream> guarded;

}  // namespace

Stream detail::guarded_stream(Device d) {
  for (auto s = guarded.rbegin(); s != guarded.rend(); ++s)
    if (s->device == d) return *s;
  return {d, nullptr};
}

StreamGuard::StreamGuard(Stream s) { guarded.push_back(std::move(s)); }
StreamGuard::~StreamGuard() { guarded.pop_back(); }

Stream new_stream(Device d) { return backend(d).new_stream(d.index); }
void synchronize(const Stream& s) { backend(s.device.type).synchronize(s); }
Event record(const Stream& s) { return backend(s.device.type).record(s); }
void wait(const Stream& s, const Event& e) { backend(s.device.type).wait(s, e); }

}  // namespace mininn
