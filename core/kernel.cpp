#include "core/kernel.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <set>
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

Preference checked(Preference p) {
  if (p != Preference::automatic && p != Preference::own && p != Preference::vendor)
    throw ValueError(message("there is no preference ", int(p)));
  return p;
}

thread_local std::optional<Preference> guarded;  // the innermost PreferenceGuard's

// Innermost last. A guard is destroyed in the thread and in the reverse order of its making.
thread_local std::vector<std::pair<std::string, std::string>> forced;

using Names = std::set<std::string, std::less<>>;
struct KnownKernels {
  std::mutex mutex;
  std::map<std::string, Names, std::less<>> by_op;
};
KnownKernels& known_kernels() {
  static KnownKernels known;
  return known;
}

std::string listed(const Names& names) {
  std::string out;
  for (const std::string& n : names) out += (out.empty() ? "" : ", ") + n;
  return out;
}

// `kernels` are names between commas.
void check_known(std::string_view op, std::string_view kernels) {
  detail::ensure_backends();
  KnownKernels& known = known_kernels();
  const std::lock_guard lock(known.mutex);
  const auto found = known.by_op.find(op);
  if (found == known.by_op.end()) {
    Names ops;
    for (const auto& [name, names] : known.by_op) ops.insert(name);
    throw KernelError(
        message("no kernel of '", excerpt(op), "' can be forced: there is no such op, but ", listed(ops)));
  }
  do {
    const std::string_view name = kernels.substr(0, kernels.find(','));
    if (!found->second.contains(name))
      throw KernelError(
          message("'", excerpt(name), "' cannot be forced: the kernels of ", op, " are ", listed(found->second)));
    kernels.remove_prefix(std::min(name.size() + 1, kernels.size()));
  } while (!kernels.empty());
}

}  // namespace

Preference preference() { return guarded ? *guarded : current_preference().load(std::memory_order_relaxed); }
void set_preference(Preference p) { current_preference().store(checked(p), std::memory_order_relaxed); }

PreferenceGuard::PreferenceGuard(Preference p) : previous_(std::exchange(guarded, checked(p))) {}
PreferenceGuard::~PreferenceGuard() { guarded = previous_; }

ForceKernel::ForceKernel(std::string op, std::string kernel) {
  check_known(op, kernel);
  forced.emplace_back(std::move(op), std::move(kernel));
}
ForceKernel::~ForceKernel() { forced.pop_back(); }

namespace detail {

void ensure_backends() { [[maybe_unused]] static const bool installed = (install_backends(), true); }

bool kernels_forced() { return !forced.empty(); }
std::string_view forced_kernel(std::string_view op) {
  for (auto it = forced.rbegin(); it != forced.rend(); ++it)
    if (it->first == op) return it->second;
  return {};
}

void add_kernel(std::string_view op, std::string_view kernel) {
  KnownKernels& known = known_kernels();
  const std::lock_guard lock(known.mutex);
  known.by_op[std::string(op)].emplace(kernel);
}

bool prefers(Preference p, Family f) {
  return p == Preference::automatic || f == (p == Preference::own ? Family::own : Family::vendor);
}

bool dispatch_verbose() {
  static const bool on = [] {
    const char* text = std::getenv("MININN_VERBOSE");
    return text && std::strstr(text, "dispatch");
  }();
  return on;
}

// The user asked for this log by an environment variable; nothing else in the library prints.
void log_choice(std::string_view op, std::string_view kernel, std::string_view found, const std::string& others) {
  const std::string why = others.empty() ? "" : message("; ", found, ':', others);
  std::fprintf(stderr, "%s\n", message("mininn: ", op, " runs ", kernel, why).c_str());
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
