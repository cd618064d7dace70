// The CPU's tables of the kernels that core itself calls (core/memory_ops.h), gradients left out.
#include "cpu_kernels/own/memory/copy.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn {

void register_cpu_memory_kernels() {
  using namespace cpu;
  kernels<op::Copy>().set(DeviceType::cpu, {own::copy, ref::copy});
  kernels<op::Fill>().set(DeviceType::cpu, {ref::fill});
}

}  // namespace mininn
