// The seam of a device: everything that knows a device's API stands behind these interfaces. Kernels are registered
// beside it, in tables (core/kernel.h).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "core/allocator.h"
#include "core/device.h"
#include "core/stream.h"

namespace mininn {

class Backend {
 public:
  virtual ~Backend() = default;
  // Usable devices.
  virtual int count() const = 0;
  // Why that is 0: a sentence without its full stop.
  virtual std::string why_none() const { return "there is none"; }
  virtual Allocator& memory(int index) = 0;
  // Between devices of this type, or one of them and the host. Asynchronous, with two promises about the host's end:
  // what is read there has been read when this returns, and what is written there is there after synchronize(stream).
  virtual void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes,
                    const Stream& stream) = 0;
  // What core/stream.h says.
  virtual Stream new_stream(int index) = 0;
  virtual void synchronize(const Stream& stream) = 0;
  virtual Event record(const Stream& stream) = 0;
  virtual void wait(const Stream& stream, const Event& event) = 0;
  // What `ask` asks of the stream, taken down instead of done, so that replay() can ask for all of it at once: with the
  // same addresses, and what lies there then. Null where a device has nothing of the kind (a CUDA graph is), and for
  // what cannot be repeated, like a copy from or to the host.
  virtual std::shared_ptr<void> take_down(const Stream&, const std::function<void()>&) { return nullptr; }
  virtual void replay(const Stream&, const std::shared_ptr<void>&) {}
};

// The CPU always has one. Throws DeviceError where the build has none.
Backend& backend(DeviceType type);
// The same, and throws DeviceError for an index that no device of the type has.
Backend& backend(Device d);
// Null where the build has none.
Backend* find_backend(DeviceType type);
// To be called before the first use of that type, by what install_backends() calls or by a program that brings a
// device of its own (DeviceType::custom). `b` lives as long as the program.
void set_backend(DeviceType type, Backend& b);

}  // namespace mininn
