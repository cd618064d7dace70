#include "core/storage.h"

#include "core/allocator.h"
#include "core/capture.h"

namespace mininn {

Storage::Storage(size_t bytes, Device device) : bytes_(bytes), stream_(current_stream(device)) {
  if (Capture* const capture = Capture::current()) {
    data_ = capture->promise(bytes);
    owner_ = std::shared_ptr<void>(std::shared_ptr<void>(), data_);
    return;
  }
  data_ = static_cast<std::byte*>(allocator(device).allocate(bytes, stream_));
}

Storage::Storage(void* data, size_t bytes, Device device, std::shared_ptr<void> owner)
    : data_(static_cast<std::byte*>(data)), bytes_(bytes), stream_{device, nullptr}, owner_(std::move(owner)) {}

Storage::~Storage() {
  if (!owner_) allocator(device()).deallocate(data_, bytes_, stream_);
}

}  // namespace mininn
