// The functors of ops/elementwise.h over flat arrays. Each loop is written once and inlined into one function per
// instruction set, where the compiler makes vectors of it; nothing is fused or reordered, so the results are those of
// the reference. No alignment is needed; tails are the compiler's.
#include "cpu_kernels/own/elementwise.h"

#include "core/parallel.h"
#include "cpu_kernels/own/cpu_features.h"
#include "cpu_kernels/own/isa.h"

namespace mininn::cpu::own {
namespace {

constexpr int64_t kGrain = 16384;

// A loop names its arguments, their views, and what it does to elements [begin, end).

template <class Op>
struct Unary {
  using Args = UnaryArgs;
  static std::array<CView, 2> views(const Args& a) { return {a.y, a.x}; }
  MININN_FN void range(const Args& a, int64_t begin, int64_t end) {
    const float* x = a.x.as<float>();
    float* y = a.y.as<float>();
    for (int64_t i = begin; i < end; ++i) y[i] = Op::f(x[i]);
  }
};

template <class Op>
struct UnaryGrad {
  using Args = UnaryGradArgs;
  static std::array<CView, 3> views(const Args& a) { return {a.gx, a.kept, a.gy}; }
  MININN_FN void range(const Args& a, int64_t begin, int64_t end) {
    const float* kept = a.kept.as<float>();
    const float* gy = a.gy.as<float>();
    float* gx = a.gx.as<float>();
    for (int64_t i = begin; i < end; ++i) gx[i] = Op::grad(kept[i], gy[i]);
  }
};

template <class Op>
struct Binary {
  using Args = BinaryArgs;
  static std::array<CView, 3> views(const Args& a) { return {a.y, a.a, a.b}; }
  MININN_FN void range(const Args& args, int64_t begin, int64_t end) {
    const float* a = args.a.as<float>();
    const float* b = args.b.as<float>();
    float* y = args.y.as<float>();
    for (int64_t i = begin; i < end; ++i) y[i] = Op::f(a[i], b[i]);
  }
};

template <class Op, int Input>
struct BinaryGrad {
  using Args = BinaryGradArgs;
  static std::array<CView, 4> views(const Args& a) { return {a.g, a.a, a.b, a.gy}; }
  MININN_FN void range(const Args& args, int64_t begin, int64_t end) {
    const float* a = args.a.as<float>();
    const float* b = args.b.as<float>();
    const float* gy = args.gy.as<float>();
    float* g = args.g.as<float>();
    for (int64_t i = begin; i < end; ++i) g[i] = Input ? Op::db(a[i], b[i], gy[i]) : Op::da(a[i], b[i], gy[i]);
  }
};

template <class Op>
struct Scalar {
  using Args = ScalarArgs;
  static std::array<CView, 2> views(const Args& a) { return {a.y, a.x}; }
  MININN_FN void range(const Args& a, int64_t begin, int64_t end) {
    const float* x = a.x.as<float>();
    float* y = a.y.as<float>();
    const float s = float(a.s);
    for (int64_t i = begin; i < end; ++i) y[i] = Op::f(x[i], s);
  }
};

struct Avx512 {
  static constexpr const char* name = "own.flat.avx512";
  static constexpr const char* missing = "the processor has no AVX-512";
  static bool available() { return cpu_features().avx512; }
  template <class Loop>
  static void range(const typename Loop::Args& a, int64_t begin, int64_t end);
};

struct Avx2 {
  static constexpr const char* name = "own.flat.avx2";
  static constexpr const char* missing = "the processor has no AVX2";
  static bool available() { return cpu_features().avx2_fma; }
  template <class Loop>
  static void range(const typename Loop::Args& a, int64_t begin, int64_t end);
};

template <class Isa, class Loop>
Refusal check(const typename Loop::Args& a) {
  if (!Isa::available()) return {Isa::missing};
  const auto views = Loop::views(a);
  if (!views[0].contiguous() && !views[0].channels_last()) return {"the result has gaps"};
  for (const CView& v : views) {
    if (v.dtype != DType::f32) return {"the dtype is not f32"};
    if (v.strides != views[0].strides) return {"an operand is broadcast or in another memory order"};
  }
  return {};
}

template <class Isa, class Loop>
void run(const typename Loop::Args& a, const ExecContext&) {
  parallel_for(Loop::views(a)[0].size(), kGrain,
               [&](int64_t begin, int64_t end) { Isa::template range<Loop>(a, begin, end); });
}

template <class Isa, class Loop>
constexpr Kernel<typename Loop::Args> kernel() {
  return {Isa::name, check<Isa, Loop>, run<Isa, Loop>};
}

template <class Isa, class... Ops>
constexpr PerOp<TypeList<Ops...>, UnaryArgs> unary_list(TypeList<Ops...>) {
  return {{kernel<Isa, Unary<Ops>>()...}};
}
template <class Isa, class... Ops>
constexpr PerOp<TypeList<Ops...>, UnaryGradArgs> unary_grad_list(TypeList<Ops...>) {
  return {{kernel<Isa, UnaryGrad<Ops>>()...}};
}
template <class Isa, class... Ops>
constexpr PerOp<TypeList<Ops...>, BinaryArgs> binary_list(TypeList<Ops...>) {
  return {{kernel<Isa, Binary<Ops>>()...}};
}
template <class Isa, int Input, class... Ops>
constexpr PerOp<TypeList<Ops...>, BinaryGradArgs> binary_grad_list(TypeList<Ops...>) {
  return {{kernel<Isa, BinaryGrad<Ops, Input>>()...}};
}
template <class Isa, class... Ops>
constexpr PerOp<TypeList<Ops...>, ScalarArgs> scalar_list(TypeList<Ops...>) {
  return {{kernel<Isa, Scalar<Ops>>()...}};
}

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AVX512
namespace mininn::cpu::own {
namespace {
template <class Loop>
void Avx512::range(const typename Loop::Args& a, int64_t begin, int64_t end) {
  Loop::range(a, begin, end);
}
}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {
template <class Loop>
void Avx2::range(const typename Loop::Args& a, int64_t begin, int64_t end) {
  Loop::range(a, begin, end);
}
}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {

#define MININN_DEFINE_LISTS(Isa, suffix)                                                                             \
  constinit const PerOp<VectorUnaryOps, UnaryArgs> unary_##suffix = unary_list<Isa>(VectorUnaryOps());               \
  constinit const PerOp<VectorUnaryOps, UnaryGradArgs> unary_grad_##suffix = unary_grad_list<Isa>(VectorUnaryOps()); \
  constinit const PerOp<BinaryOps, BinaryArgs> binary_##suffix = binary_list<Isa>(BinaryOps());                      \
  constinit const PerOp<BinaryOps, BinaryGradArgs> binary_grad_a_##suffix = binary_grad_list<Isa, 0>(BinaryOps());   \
  constinit const PerOp<BinaryOps, BinaryGradArgs> binary_grad_b_##suffix = binary_grad_list<Isa, 1>(BinaryOps());   \
  constinit const PerOp<ScalarOps, ScalarArgs> scalar_##suffix = scalar_list<Isa>(ScalarOps());
MININN_DEFINE_LISTS(Avx512, avx512)
MININN_DEFINE_LISTS(Avx2, avx2)
#undef MININN_DEFINE_LISTS

}  // namespace mininn::cpu::own
