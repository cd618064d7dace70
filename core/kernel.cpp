#include "core/kernel.h"

#include <algorithm>
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
    if (!text || !*text) return false;
    if (std::strcmp(text, "dispatch") == 0) return true;
    throw ValueError(message("MININN_VERBOSE='", text, "' is not 'dispatch', the one thing that can be told"));
  }();
  return on;
}

// The user asked for this log by an environment variable; nothing else in the library prints.
void log_choice(std::string_view op, std::string_view kernel, std::string_view found, const std::string& others) {
  const std::string why = others.empty() ? "" : message("; ", found, ':', others);
  std::fprintf(stderr, "%s\n", message("mininn: ", op, " runs ", kernel, why).c_str());
}

namespace {

constexpr size_t kNone = ~size_t{0};

std::string refusals(const AnyCandidates& c) {
  std::string out;
  for (size_t i = 0; i < c.size(); ++i)
    if (const Refusal r = c.refusal(i)) out += message("\n  ", c.name(i), ": ", r.why);
  return out;
}

size_t first(const AnyCandidates& c) {
  const Preference p = preference();
  for (const bool preferred : {true, false})
    for (size_t i = 0; i < c.size(); ++i)
      if (prefers(p, c.family(i)) == preferred && !c.check(i) && c.pays(i) && !c.admission(i)) return i;
  return kNone;
}

size_t first_of(std::string_view names, const AnyCandidates& c) {
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find(','));
    for (size_t i = 0; i < c.size(); ++i)
      if (c.name(i) == name && !c.refusal(i)) return i;
    names.remove_prefix(std::min(name.size() + 1, names.size()));
  }
  return kNone;
}

}  // namespace

size_t select(std::string_view op, Device d, const AnyCandidates& c) {
  const std::string_view only = forced_kernel(op);
  const size_t chosen = only.empty() ? first(c) : first_of(only, c);
  if (chosen == kNone) {
    const std::string why = refusals(c);
    throw KernelError(message(op, " on ", to_string(d), ": no kernel takes this call",
                              only.empty() ? "" : message(" (only ", only, " is allowed)"),
                              why.empty() ? c.size() == 0 ? "; there is none" : "; none matches" : ":", why));
  }
  if (dispatch_verbose()) log_choice(op, c.name(chosen), "refused", refusals(c));
  return chosen;
}

}  // namespace detail
}  // namespace mininn
