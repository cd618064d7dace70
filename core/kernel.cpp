#include "core/kernel.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

namespace mininn {
namespace {

Preference initial_preference() {
  const char* text = std::getenv("MININN_PREFER");
  if (!text || std::strcmp(text, "auto") == 0) return Preference::automatic;
  if (std::strcmp(text, "own") == 0) return Preference::own;
  if (std::strcmp(text, "vendor") == 0) return Preference::vendor;
  throw ValueError(message("MININN_PREFER='", text, "' is none of auto, own, vendor"));
}

std::atomic<Preference>& current_preference() {
  static std::atomic<Preference> p{initial_preference()};
  return p;
}

// Innermost last. A guard is destroyed in the thread and in the reverse order of its making.
thread_local std::vector<std::pair<std::string, std::string>> forced;

}  // namespace

Preference preference() { return current_preference().load(std::memory_order_relaxed); }
void set_preference(Preference p) { current_preference().store(p, std::memory_order_relaxed); }

ForceKernel::ForceKernel(std::string op, std::string kernel) { forced.emplace_back(std::move(op), std::move(kernel)); }
ForceKernel::~ForceKernel() { forced.pop_back(); }

namespace detail {

void ensure_backends() {
  static std::once_flag once;
  std::call_once(once, install_backends);
}

std::string_view forced_kernel(std::string_view op) {
  for (auto it = forced.rbegin(); it != forced.rend(); ++it)
    if (it->first == op) return it->second;
  return {};
}

bool in_family(std::string_view kernel, Preference p) {
  const bool own = kernel.starts_with("own."), ref = kernel == "ref" || kernel.starts_with("ref.");
  switch (p) {
    case Preference::automatic: return true;
    case Preference::own: return own;
    case Preference::vendor: return !own && !ref;
  }
  return true;
}

bool dispatch_verbose() {
  static const bool on = [] {
    const char* text = std::getenv("MININN_VERBOSE");
    return text && std::strstr(text, "dispatch");
  }();
  return on;
}

// The user asked for this log by an environment variable; nothing else in the library prints.
void log_choice(std::string_view op, std::string_view kernel, const std::string& refusals) {
  std::fprintf(stderr, "mininn: %.*s runs %.*s%s%s\n", int(op.size()), op.data(), int(kernel.size()), kernel.data(),
               refusals.empty() ? "" : "; refused:", refusals.c_str());
}

void throw_no_kernel(std::string_view op, Device d, const std::string& refusals) {
  const std::string_view only = forced_kernel(op);
  throw KernelError(
      message(op, " on ", to_string(d), ": no kernel takes this call",
              only.empty() ? "" : message(" (only ", only, " is allowed)"),
              refusals.empty() ? d.type == DeviceType::cuda ? "; is this build without CUDA?" : "; none matches" : ":",
              refusals));
}

}  // namespace detail
}  // namespace mininn
