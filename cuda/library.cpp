#include "cuda/library.h"

#include <cuda_runtime.h>
#include <dlfcn.h>

#include <utility>

#include "core/backend.h"

namespace mininn::cuda {

Library::Library(std::string file) : file_(std::move(file)), handle_(::dlopen(file_.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (handle_) return;
  const std::string said = ::dlerror();
  // The loader begins with the file that it misses: this one, or one that this one needs.
  const bool absent = said.starts_with(file_ + ": cannot open");
  why_ = absent ? file_ + " was not found" : message(file_, " cannot be loaded: ", said);
}

void* Library::find(const char* name) {
  void* const f = handle_ ? ::dlsym(handle_, name) : nullptr;
  if (!f && why_.empty()) why_ = message(file_, " has no ", name, ": it is another version than this program needs");
  return f;
}

std::string cannot_start(const char* library, const char* said) {
  const Backend& devices = backend(DeviceType::cuda);
  return message(library, " cannot start", devices.count() == 0 ? message(": ", devices.why_none()) : "", " (", said,
                 ')');
}

}  // namespace mininn::cuda
