// The composition root: the one place that knows which backends exist. They are declared, not included, so that no
// header of a backend is seen outside its folder; ordinary calls, so that a static archive cannot drop them.
#include "core/kernel.h"

namespace mininn {

void register_cpu_kernels();

void install_backends() { register_cpu_kernels(); }

}  // namespace mininn
