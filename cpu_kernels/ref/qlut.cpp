#include "cpu_kernels/common/pixels.h"
#include "cpu_kernels/ref/int8.h"

namespace mininn::cpu::ref {
namespace {

void run(const op::QLut& a, const ExecContext&) {
  const auto* table = a.table.as<uint8_t>();
  for_each_pixel(a.y.shape, [&](int64_t n, int64_t h, int64_t w) {
    const uint8_t* x = a.x.as<uint8_t>() + pixel_offset(a.x.strides, n, h, w);
    uint8_t* y = a.y.as<uint8_t>() + pixel_offset(a.y.strides, n, h, w);
    for (int64_t c = 0; c < a.y.shape[1]; ++c) y[c] = table[x[c]];
  });
}

}  // namespace

const Kernel<op::QLut> qlut{"ref", kReferenceInRegions, takes_all, run};

}  // namespace mininn::cpu::ref
