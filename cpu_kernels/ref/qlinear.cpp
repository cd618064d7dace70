#include <algorithm>

#include "core/parallel.h"
#include "cpu_kernels/ref/int8.h"

namespace mininn::cpu::ref {
namespace {

template <class X>
void run_typed(const op::QLinear& a) {
  const int64_t k = a.x.shape[1], o = a.w.shape[0];
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, k));
  parallel_for(a.x.shape[0] * o, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const X* x = a.x.as<X>() + i / o * (a.x.dtype == DType::u8 ? a.x.strides[0] : k);
      const int8_t* w = a.w.as<int8_t>() + i % o * k;
      int32_t acc = a.bias.as<int32_t>()[i % o];
      for (int64_t j = 0; j < k; ++j) acc += int32_t(x[j]) * w[j];
      a.y.as<float>()[i] = float(acc) * a.multiplier.as<float>()[i % o];
    }
  });
}

void run(const op::QLinear& a, const ExecContext&) {
  a.x.dtype == DType::u8 ? run_typed<uint8_t>(a) : run_typed<int32_t>(a);
}

}  // namespace

const Kernel<op::QLinear> qlinear{"ref", kReferenceInRegions, takes_all, run};

}  // namespace mininn::cpu::ref
