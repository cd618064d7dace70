// The composition root of a program that runs int8 networks and nothing else: what nobody calls is not linked.
#include "core/kernel.h"

namespace mininn {

void register_cpu_memory_kernels();
void register_cpu_int8_kernels();

void install_backends() {
  register_cpu_memory_kernels();
  register_cpu_int8_kernels();
}

}  // namespace mininn
