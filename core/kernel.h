// Kernel tables: an ordered list of candidates per op and device. The first that takes the call and pays there runs; a
// preference asks one family before the others.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/capture.h"
#include "core/device.h"
#include "core/error.h"
#include "core/members.h"
#include "core/stream.h"
#include "core/tensor.h"

namespace mininn {

// Why a kernel does not take a call; empty: it does.
struct Refusal {
  const char* why = nullptr;
  explicit operator bool() const { return why != nullptr; }
};

// check() of a kernel that takes every call.
template <class Args>
Refusal takes_all(const Args&) {
  return {};
}

// Where a kernel runs.
struct ExecContext {
  Device device;
  Stream stream;
};

enum class Family { own, vendor, reference };

// What callers need to know about a kernel besides its functions. A name is never asked.
struct Traits {
  Family family = Family::own;
  bool packing_serves_any_batch = true;  // of this convolution, on any number of threads
  // run() may be called by all threads of a parallel_region() at once (core/parallel.h): it writes to memory that they
  // share inside of parallel_for() only, and does so at least once. One that packs its constants itself does not.
  bool joins_region = false;
  bool rounds_weights = false;  // f32 ones, or their gradient, to bf16, beside activations of bf16
};
inline constexpr Traits kOwn{}, kOwnInRegions{.joins_region = true};
inline constexpr Traits kReference{.family = Family::reference};
inline constexpr Traits kReferenceInRegions{.family = Family::reference, .joins_region = true};

// A candidate for calls with these arguments. Whether it runs is asked in three steps, cheapest first: check() looks at
// shapes, types, layout and the processor, reads no element, makes nothing; admits() may read the constants (weights,
// multipliers) or compile something, and is asked once where a kernel is chosen for many calls; pays() is a rule of
// thumb where nothing was measured. Null: yes.
template <class Args>
struct Kernel {
  std::string_view name;  // family.algorithm.isa: "own.direct.avx512", "onednn.auto", "ref"
  Traits traits;
  Refusal (*check)(const Args&);
  void (*run)(const Args&, const ExecContext&);
  // The constants as run() wants them behind Args::packed: [size] u8, 64-byte aligned. Null: run() reads them as they
  // are.
  Tensor (*pack)(const Args&) = nullptr;
  Refusal (*admits)(const Args&) = nullptr;
  bool (*pays)(const Args&) = nullptr;

  // Why it does not take a call at all: by check(), then by admits().
  Refusal refusal(const Args& a) const {
    const Refusal r = check(a);
    return r ? r : admission(a);
  }
  // Whether this call may be made in a region.
  bool joins_region(const Args& a) const {
    if constexpr (requires { a.packed; })
      if (pack && !a.packed) return false;
    return traits.joins_region;
  }
  // The answer of admits().
  Refusal admission(const Args& a) const {
    if (!admits) return {};
    const CapturePause pause;  // it may need memory
    return admits(a);
  }
};

template <class Args>
struct Rehearsal;  // core/tuner.h

// Which family goes to the front of every list: MININN_PREFER=own|vendor, or set here for the whole process, or by a
// PreferenceGuard for one thread. "auto" keeps the lists' order. A kernel is chosen in the thread that calls the op,
// before others take part.
enum class Preference { automatic, own, vendor };
Preference preference();  // this thread's
// Throws ValueError for a number that is no preference, and so does a guard.
void set_preference(Preference p);

// While alive, `p` is this thread's preference.
class PreferenceGuard {
 public:
  explicit PreferenceGuard(Preference p);
  ~PreferenceGuard();
  PreferenceGuard(const PreferenceGuard&) = delete;
  PreferenceGuard& operator=(const PreferenceGuard&) = delete;

 private:
  std::optional<Preference> previous_;
};

// While alive, `op` runs only the kernel called `kernel` in this thread, or of several names between commas the first
// one that accepts the call (KernelError if none does).
class ForceKernel {
 public:
  // Throws KernelError if there is no such op or kernel, with the names that there are.
  ForceKernel(std::string op, std::string kernel);
  ~ForceKernel();
  ForceKernel(const ForceKernel&) = delete;
  ForceKernel& operator=(const ForceKernel&) = delete;
};

// Registers every built backend, once; the first lookup calls it. Defined in ops/install.cpp, the composition root.
void install_backends();

namespace detail {
void ensure_backends();
std::string_view forced_kernel(std::string_view op);            // empty: none is forced
bool kernels_forced();                                          // of any op, in this thread
bool prefers(Preference p, Family f);                           // every family, if automatic
void add_kernel(std::string_view op, std::string_view kernel);  // to the names that ForceKernel knows
bool dispatch_verbose();                                        // MININN_VERBOSE=dispatch
// The candidates for one call without its type, so that choosing among them is not compiled for every op.
class AnyCandidates {
 public:
  virtual size_t size() const = 0;
  virtual std::string_view name(size_t i) const = 0;
  virtual Family family(size_t i) const = 0;
  virtual Refusal check(size_t i) const = 0;
  virtual Refusal admission(size_t i) const = 0;
  virtual Refusal refusal(size_t i) const = 0;
  virtual bool pays(size_t i) const = 0;

 protected:
  ~AnyCandidates() = default;
};
// The index of the candidate that KernelTable::select() gives.
size_t select(std::string_view op, Device d, const AnyCandidates& c);
// `others`: what kernels were found to be, a line each; empty: there are none.
void log_choice(std::string_view op, std::string_view kernel, std::string_view found, const std::string& others);
}  // namespace detail

namespace detail {

template <class Args>
class TypedCall final : public CapturedCall {
 public:
  TypedCall(const Kernel<Args>& k, const Args& a, Device d) : args_(a), run_(k.run), device_(d) {
    op = Args::op;
    kernel = k.name;
    joins_region = d.type == DeviceType::cpu && k.joins_region(a);
  }
  void run(std::byte* const* memory) const override {
    Args a = args_;
    for (const Operand& o : operands) {
      const std::byte* const data = memory[o.place.memory] + o.place.offset;
      std::memcpy(reinterpret_cast<std::byte*>(&a) + o.field, &data, sizeof data);
    }
    run_(a, {device_, current_stream(device_)});
  }

 private:
  static_assert(std::is_trivially_copyable_v<Args>);
  Args args_;
  void (*run_)(const Args&, const ExecContext&);
  Device device_;
};

// False for a call that has nothing to do with the capture: all it reads and writes is there.
template <class Args>
bool capture(Capture& c, const Kernel<Args>& k, Args a, Device d) {
  auto call = std::make_unique<TypedCall<Args>>(k, a, d);
  bool writes_outside = false;
  for_each_member(a, [&]<class M>(M& member) {
    if constexpr (std::is_same_v<M, View> || std::is_same_v<M, CView>) {
      if (const auto place = c.place_of(member.data))
        call->operands.push_back(
            {size_t(reinterpret_cast<const std::byte*>(&member.data) - reinterpret_cast<const std::byte*>(&a)),
             *place});
      else if (is_promised(member.data))
        throw Error(message(call->op, ": an operand is left of another capture"));
      else if constexpr (std::is_same_v<M, View>)
        writes_outside = writes_outside || member;
    }
  });
  if (call->operands.empty()) return false;
  if (writes_outside) throw Error(message(call->op, ": a captured call would write to memory of somebody else"));
  c.add(std::move(call));
  return true;
}

}  // namespace detail

// Runs a kernel on the current stream of `d`, or lets this thread's capture take the call down.
template <class Args>
void launch(const Kernel<Args>& k, const Args& a, Device d) {
  Capture* const c = Capture::current();
  if (!c || !detail::capture(*c, k, a, d)) k.run(a, {d, current_stream(d)});
}

// Args is what a kernel gets of a call: shapes, and operands as members of type CView and View, and its kernels' name
// for ForceKernel and the log as `static constexpr std::string_view op`.
template <class Args>
class KernelTable {
 public:
  void set(DeviceType d, std::vector<Kernel<Args>> candidates) {
    for (const auto& k : candidates) detail::add_kernel(Args::op, k.name);
    lists_[index_of(d)] = std::move(candidates);
  }
  // All candidates of a device, in the registered order: for tests and benchmarks.
  const std::vector<Kernel<Args>>& candidates(DeviceType d) const {
    detail::ensure_backends();
    return lists_[index_of(d)];
  }

  // The kernel that run() would take: the first that takes the call and pays, or of the forced ones the first that
  // takes it. Throws KernelError listing every refusal.
  const Kernel<Args>& select(const Args& a, Device d) const {
    const std::vector<Kernel<Args>>& list = candidates(d.type);
    return list[detail::select(Args::op, d, TypedCandidates(list, a))];
  }

  void run(const Args& a, Device d) const { launch(select(a, d), a, d); }

 private:
  class TypedCandidates final : public detail::AnyCandidates {
   public:
    TypedCandidates(const std::vector<Kernel<Args>>& list, const Args& a) : list_(list), a_(a) {}
    size_t size() const override { return list_.size(); }
    std::string_view name(size_t i) const override { return list_[i].name; }
    Family family(size_t i) const override { return list_[i].traits.family; }
    Refusal check(size_t i) const override { return list_[i].check(a_); }
    Refusal admission(size_t i) const override { return list_[i].admission(a_); }
    Refusal refusal(size_t i) const override { return list_[i].refusal(a_); }
    bool pays(size_t i) const override { return !list_[i].pays || list_[i].pays(a_); }

   private:
    const std::vector<Kernel<Args>>& list_;
    const Args& a_;
  };

  std::vector<Kernel<Args>> lists_[kDeviceTypes];
};

// The table of the kernels that take Args.
template <class Args>
KernelTable<Args>& kernels() {
  static KernelTable<Args> table;
  return table;
}

}  // namespace mininn
