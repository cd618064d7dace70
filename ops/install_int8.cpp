// The composition root of a program that runs int8 networks and nothing else: what nobody calls is not linked.
#include "core/kernel.h"
#include "ops/registry.h"

namespace mininn {

void register_cpu_memory_kernels();
void register_cpu_int8_kernels();

void install_backends() {
  register_cpu_memory_kernels();
  register_cpu_int8_kernels();
}

std::span<const OpDef* const> all_ops() { return int8_ops(); }

}  // namespace mininn
