#include "cpu_kernels/own/qlut.h"

#include <algorithm>

#include "core/parallel.h"

namespace mininn::cpu::own {
namespace {

Refusal check(const op::QLut&) { return {}; }

void run(const op::QLut& a, const ExecContext&) {
  const int64_t c = a.x.shape[1], pixels = a.x.shape[0] * a.x.shape[2] * a.x.shape[3];
  const auto* table = a.table.as<uint8_t>();
  parallel_for(pixels, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, c)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint8_t* x = a.x.as<uint8_t>() + i * a.x.strides[3];
      uint8_t* y = a.y.as<uint8_t>() + i * a.y.strides[3];
      for (int64_t j = 0; j < c; ++j) y[j] = table[x[j]];
    }
  });
}

}  // namespace

const Kernel<op::QLut> qlut_scalar{"own.scalar", kOwn, kReference, check, run};

}  // namespace mininn::cpu::own
