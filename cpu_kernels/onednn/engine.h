// What every oneDNN kernel shares: the engine, one error checker, and Program, a compiled primitive.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <unordered_map>
#include <utility>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "core/error.h"
#include "core/kernel.h"
#include "core/parallel.h"
#include "core/plan_cache.h"
#include "core/view.h"

namespace mininn::cpu::onednn {

// The CPU engine of the process.
const dnnl::engine& engine();

[[noreturn]] void rethrow(const char* what, const dnnl::error& e);

// f(), with oneDNN's exceptions turned into KernelError: "oneDNN: conv2d_fwd: <its text> (status 1)".
template <class F>
decltype(auto) checked(const char* what, const F& f) {
  try {
    return f();
  } catch (const dnnl::error& e) {
    rethrow(what, e);
  }
}

dnnl::memory::data_type data_type(DType t);

// A dense memory description with the given sizes, outermost first in memory as `tag` says.
inline dnnl::memory::desc dense(const dnnl::memory::dims& sizes, DType t, dnnl::memory::format_tag tag) {
  return {sizes, data_type(t), tag};
}

// Strict fp32 arithmetic, and scratch memory that comes from our allocator instead of oneDNN's.
dnnl::primitive_attr attributes();

// Memory for the length of one call. The caching allocator makes this cheap after the first time.
class Scratch {
 public:
  explicit Scratch(size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::byte* data() const { return data_; }

 private:
  size_t bytes_;
  std::byte* data_;
};

// oneDNN runs on OpenMP's pool itself.
inline constexpr Traits kOneDnn{.family = Family::vendor};

// Where oneDNN adds up in one chain of f32, a longer one would lose digits that our own kernels keep.
inline constexpr int64_t kLongestSum = 1 << 16;
inline constexpr const char* kSumTooLong = "would lose digits of so long a sum";

// Copies `from` into another layout, once, on num_threads() threads.
void reorder(const dnnl::memory::desc& from_desc, const void* from, const dnnl::memory::desc& to_desc, void* to);

// An operand of a primitive: its DNNL_ARG_*, and how the caller lays it out.
struct Operand {
  int arg;
  dnnl::memory::desc desc;
  bool output = false;
};

// A primitive with its operands. Where it wants one of them in a layout of its own (packed weights), run() reorders
// through scratch memory. Everything is made once; run() only sets pointers, and takes scratch memory from the caching
// allocator.
//
// A Program may instead hold the reason why oneDNN does not do this: the outcome of the expensive question is cached
// either way.
class Program {
 public:
  explicit Program(const char* refusal) : refusal_(refusal) {}
  Program(const char* what, const dnnl::primitive_desc_base& desc, const dnnl::primitive& primitive,
          const std::vector<Operand>& operands);

  // What run() uses: oneDNN splits the work when it compiles, so never another number than then.
  void set_threads(int n) { threads_ = n; }
  Refusal refusal() const { return {refusal_}; }
  // Pointers in the order of `operands`. Nothing is kept of them.
  void run(std::initializer_list<const void*> data);

 private:
  struct Slot {
    dnnl::memory user, wanted;  // the same object where no reorder is needed
    dnnl::reorder reorder;
    size_t scratch_offset = 0;
    bool output = false;
  };

  const char* refusal_ = nullptr;
  const char* what_ = "";
  int threads_ = 1;
  std::vector<Slot> slots_;
  dnnl::memory scratchpad_;
  size_t scratchpad_offset_ = 0, scratch_bytes_ = 0;
  dnnl::primitive primitive_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

// make(), which builds a Program, compiled for so many threads; where oneDNN cannot, or has nothing but its slow
// reference code, a Program that refuses.
template <class Make>
Program program_or_refusal(const char* what, int64_t threads, const Make& make) {
  const OpenMpThreads pool{int(threads)};
  return checked(what, [&] {
    try {
      Program p = make();
      p.set_threads(int(threads));
      return p;
    } catch (const dnnl::error& e) {
      if (e.status != dnnl_unimplemented) throw;
      return Program("oneDNN has no implementation of this case on this processor");
    }
  });
}

}  // namespace mininn::cpu::onednn
