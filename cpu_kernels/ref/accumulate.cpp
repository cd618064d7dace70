// y = a + b for the autograd engine.
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/common/map.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

Refusal check(const op::Accumulate& g) { return check_floating(g.y.dtype); }

void run(const op::Accumulate& g, const ExecContext&) {
  const auto add = [](auto a, auto b) { return a + b; };
  switch (g.y.dtype) {
    case DType::f32: return map<float>(g.y, add, g.a, g.b);
    case DType::f64: return map<double>(g.y, add, g.a, g.b);
    default: return map<bf16>(g.y, add, g.a, g.b);
  }
}

}  // namespace

constinit const Kernel<op::Accumulate> accumulate{"ref", kReference, check, run};

}  // namespace mininn::cpu::ref
