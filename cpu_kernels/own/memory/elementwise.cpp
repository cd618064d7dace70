// The functors of ops/functors.h over flat arrays. Each loop is written once and inlined into one function per
// instruction set, where the compiler makes vectors of it; nothing is fused or reordered, so the results are those of
// the reference. No alignment is needed; tails are the compiler's.
#include "cpu_kernels/own/memory/elementwise.h"

#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/common/isa.h"

namespace mininn::cpu::own {
namespace {

constexpr int64_t kGrain = 16384;

// For each argument struct: its views, the result first, and what is done to elements [begin, end) of type T.

template <class F>
std::array<CView, 2> views(const op::UnaryFwd<F>& a) {
  return {a.y, a.x};
}
template <class T, class F>
MININN_FN void range(const op::UnaryFwd<F>& a, int64_t begin, int64_t end) {
  const T* x = a.x.template as<T>();
  T* y = a.y.template as<T>();
  for (int64_t i = begin; i < end; ++i) y[i] = T(F::f(float(x[i])));
}

template <class F>
std::array<CView, 3> views(const op::UnaryBwd<F>& a) {
  return {a.gx, a.kept, a.gy};
}
template <class T, class F>
MININN_FN void range(const op::UnaryBwd<F>& a, int64_t begin, int64_t end) {
  const T* kept = a.kept.template as<T>();
  const T* gy = a.gy.template as<T>();
  T* gx = a.gx.template as<T>();
  for (int64_t i = begin; i < end; ++i) gx[i] = T(F::grad(float(kept[i]), float(gy[i])));
}

template <class F>
std::array<CView, 3> views(const op::BinaryFwd<F>& a) {
  return {a.y, a.a, a.b};
}
template <class T, class F>
MININN_FN void range(const op::BinaryFwd<F>& args, int64_t begin, int64_t end) {
  const T* a = args.a.template as<T>();
  const T* b = args.b.template as<T>();
  T* y = args.y.template as<T>();
  for (int64_t i = begin; i < end; ++i) y[i] = T(F::f(float(a[i]), float(b[i])));
}

template <class F>
std::array<CView, 4> views(const op::BinaryBwdA<F>& a) {
  return {a.g, a.a, a.b, a.gy};
}
template <class T, class F>
MININN_FN void range(const op::BinaryBwdA<F>& args, int64_t begin, int64_t end) {
  const T* a = args.a.template as<T>();
  const T* b = args.b.template as<T>();
  const T* gy = args.gy.template as<T>();
  T* g = args.g.template as<T>();
  for (int64_t i = begin; i < end; ++i) g[i] = T(F::da(float(a[i]), float(b[i]), float(gy[i])));
}

template <class F>
std::array<CView, 4> views(const op::BinaryBwdB<F>& a) {
  return {a.g, a.a, a.b, a.gy};
}
template <class T, class F>
MININN_FN void range(const op::BinaryBwdB<F>& args, int64_t begin, int64_t end) {
  const T* a = args.a.template as<T>();
  const T* b = args.b.template as<T>();
  const T* gy = args.gy.template as<T>();
  T* g = args.g.template as<T>();
  for (int64_t i = begin; i < end; ++i) g[i] = T(F::db(float(a[i]), float(b[i]), float(gy[i])));
}

template <class F>
std::array<CView, 2> views(const op::Scalar<F>& a) {
  return {a.y, a.x};
}
template <class T, class F>
MININN_FN void range(const op::Scalar<F>& a, int64_t begin, int64_t end) {
  const T* x = a.x.template as<T>();
  T* y = a.y.template as<T>();
  const float s = float(a.s);
  for (int64_t i = begin; i < end; ++i) y[i] = T(F::f(float(x[i]), s));
}

template <class F>
std::array<CView, 3> views(const op::ScalarBwd<F>& a) {
  return {a.gx, a.x, a.gy};
}
template <class T, class F>
MININN_FN void range(const op::ScalarBwd<F>& a, int64_t begin, int64_t end) {
  const T* x = a.x.template as<T>();
  const T* gy = a.gy.template as<T>();
  T* gx = a.gx.template as<T>();
  const float s = float(a.s);
  for (int64_t i = begin; i < end; ++i) gx[i] = T(F::grad(float(x[i]), s, float(gy[i])));
}

std::array<CView, 3> views(const op::Accumulate& a) { return {a.y, a.a, a.b}; }
template <class T>
MININN_FN void range(const op::Accumulate& args, int64_t begin, int64_t end) {
  const T* a = args.a.as<T>();
  const T* b = args.b.as<T>();
  T* y = args.y.as<T>();
  for (int64_t i = begin; i < end; ++i) y[i] = T(float(a[i]) + float(b[i]));
}

struct Avx512 {
  static constexpr const char* name = "own.flat.avx512";
  static constexpr Isa isa = Isa::avx512;
  template <class T, class Args>
  static void run(const Args& a, int64_t begin, int64_t end);
};

struct Avx2 {
  static constexpr const char* name = "own.flat.avx2";
  static constexpr Isa isa = Isa::avx2;
  template <class T, class Args>
  static void run(const Args& a, int64_t begin, int64_t end);
};

template <class Region, class Args>
Refusal check(const Args& a) {
  if (const Refusal r = needs(Region::isa)) return r;
  const auto all = views(a);
  if (!all[0].contiguous() && !all[0].channels_last()) return {"the result has gaps"};
  if (const Refusal r = check_f32_or_bf16(all[0].dtype)) return r;
  for (const CView& v : all) {
    if (v.strides != all[0].strides) return {"an operand is broadcast or in another memory order"};
  }
  return {};
}

template <class Region, class Args>
void run(const Args& a, const ExecContext&) {
  const CView y = views(a)[0];
  with_f32_or_bf16(y.dtype, [&]<class T>() {
    parallel_for(y.size(), kGrain, [&](int64_t begin, int64_t end) { Region::template run<T>(a, begin, end); });
  });
}

template <class Region>
struct Flat {
  template <class Args>
  constexpr Kernel<Args> operator()() const {
    return {Region::name, kOwnInRegions, check<Region>, run<Region>};
  }
};

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AVX512
namespace mininn::cpu::own {
namespace {
template <class T, class Args>
void Avx512::run(const Args& a, int64_t begin, int64_t end) {
  range<T>(a, begin, end);
}
}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {
template <class T, class Args>
void Avx2::run(const Args& a, int64_t begin, int64_t end) {
  range<T>(a, begin, end);
}
}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {

constinit const ElementwiseKernels<op::VectorUnaryOps> elementwise_avx512 =
    elementwise_kernels<op::VectorUnaryOps>(Flat<Avx512>());
constinit const ElementwiseKernels<op::VectorUnaryOps> elementwise_avx2 =
    elementwise_kernels<op::VectorUnaryOps>(Flat<Avx2>());

constinit const Kernel<op::Accumulate> accumulate_avx512{Avx512::name, kOwn, check<Avx512>, run<Avx512>};
constinit const Kernel<op::Accumulate> accumulate_avx2{Avx2::name, kOwn, check<Avx2>, run<Avx2>};

}  // namespace mininn::cpu::own
