// y = a + b for the autograd engine.
#include "cpu_kernels/ref/accumulate.h"
#include "core/autograd.h"
#include "core/parallel.h"

namespace mininn::cpu::ref {
namespace {

Refusal check(const Accumulate& a) {
  return is_floating(a.y.dtype) ? Refusal{} : Refusal{"a gradient is f32, f64 or bf16"};
}

template <class T>
void add(const Accumulate& args) {
  const T* a = args.a.as<T>();
  const T* b = args.b.as<T>();
  T* y = args.y.as<T>();
  const auto plus = [](T u, T v) {
    if constexpr (std::is_same_v<T, bf16>)
      return bf16(float(u) + float(v));
    else
      return u + v;
  };
  const bool flat = args.a.strides == args.b.strides && args.a.strides == args.y.strides &&
                    (args.y.contiguous() || args.y.channels_last());
  parallel_for(args.y.size(), 16384, [&](int64_t begin, int64_t end) {
    if (flat) {
      for (int64_t i = begin; i < end; ++i) y[i] = plus(a[i], b[i]);
    } else {
      for (int64_t i = begin; i < end; ++i)
        y[offset_of(args.y.shape, args.y.strides, i)] =
            plus(a[offset_of(args.a.shape, args.a.strides, i)], b[offset_of(args.b.shape, args.b.strides, i)]);
    }
  });
}

void run(const Accumulate& a, const ExecContext&) {
  switch (a.y.dtype) {
    case DType::f32: return add<float>(a);
    case DType::f64: return add<double>(a);
    default: return add<bf16>(a);
  }
}

}  // namespace

constinit const Kernel<Accumulate> accumulate{"ref", check, run};

}  // namespace mininn::cpu::ref
