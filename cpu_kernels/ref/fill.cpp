#include "core/convert.h"
#include "core/strided_loop.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

void run(const op::Fill& a, const ExecContext&) {
  with_type(a.y.dtype, [&]<class T>(T) {
    const T value = convert<T>(a.value);
    const StridedLoop<1> loop(a.y.shape, {a.y.strides});
    const int64_t step = loop.inner().stride[0];
    loop.run([&](const auto& at, int64_t n) {
      T* const y = a.y.as<T>() + at[0];
      if (step == 1)
        std::fill_n(y, n, value);
      else
        for (int64_t i = 0; i < n; ++i) y[i * step] = value;
    });
  });
}

}  // namespace

constinit const Kernel<op::Fill> fill{"ref", kReference, takes_all, run};

}  // namespace mininn::cpu::ref
