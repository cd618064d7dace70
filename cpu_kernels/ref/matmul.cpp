#include "core/parallel.h"
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

template <class T>
void product(const op::Matmul& mm) {
  parallel_for(mm.batch * mm.m, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t i = row / mm.m, r = row % mm.m;
      const T* a = mm.a.as<T>() + i * mm.a.strides[0] + r * mm.a.strides[1];
      const T* b = mm.b.as<T>() + i * mm.b.strides[0];
      T* c = mm.c.as<T>() + i * mm.c.strides[0] + r * mm.c.strides[1];
      for (int64_t j = 0; j < mm.n; ++j) {
        double acc = mm.bias ? to_double(mm.bias.as<T>()[j]) : 0;
        for (int64_t k = 0; k < mm.k; ++k)
          acc += to_double(a[k * mm.a.strides[2]]) * to_double(b[k * mm.b.strides[1] + j * mm.b.strides[2]]);
        c[j * mm.c.strides[2]] = from_double<T>(acc);
      }
    }
  });
}

Refusal check(const op::Matmul& mm) { return check_floating(mm.a.dtype); }
void run(const op::Matmul& mm, const ExecContext&) {
  with_floating(mm.a.dtype, [&]<class T>() { product<T>(mm); });
}

}  // namespace

constinit const Kernel<op::Matmul> matmul{"ref", kReference, check, run};

}  // namespace mininn::cpu::ref
