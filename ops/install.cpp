// The composition root: the one place that knows which backends exist. They are declared, not included, so that no
// header of a backend is seen outside its folder; ordinary calls, so that a static archive cannot drop them. A program
// for int8 networks alone is linked with ops/install_int8.cpp in its place.
#include "core/kernel.h"

namespace mininn {

void register_cpu_memory_kernels();
void register_cpu_float_kernels();
void register_cpu_int8_kernels();
void register_cuda();

void install_backends() {
  register_cpu_memory_kernels();
  register_cpu_float_kernels();
  register_cpu_int8_kernels();
#ifdef MININN_HAVE_CUDA
  register_cuda();
#endif
}

}  // namespace mininn
