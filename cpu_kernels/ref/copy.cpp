#include "core/convert.h"
#include "core/strided_loop.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

template <class To, class From>
void run_typed(const op::Copy& a) {
  const StridedLoop<2> loop(a.y.shape, {a.y.strides, a.x.strides});
  const auto step = loop.inner().stride;
  loop.run([&](const auto& at, int64_t n) {
    const From* const x = a.x.as<From>() + at[1];
    To* const y = a.y.as<To>() + at[0];
    if (step[0] == 1 && step[1] == 1)
      for (int64_t i = 0; i < n; ++i) y[i] = convert<To>(x[i]);
    else
      for (int64_t i = 0; i < n; ++i) y[i * step[0]] = convert<To>(x[i * step[1]]);
  });
}

void run(const op::Copy& a, const ExecContext&) {
  with_type(a.x.dtype, [&]<class From>(From) { with_type(a.y.dtype, [&]<class To>(To) { run_typed<To, From>(a); }); });
}

}  // namespace

constinit const Kernel<op::Copy> copy{"ref", kReferenceInRegions, takes_all, run};

}  // namespace mininn::cpu::ref
