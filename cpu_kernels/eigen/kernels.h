// Kernels on top of Eigen: matrix products in f32 and f64.
#pragma once

#include "core/kernel.h"
#include "ops/matmul.h"

namespace mininn::cpu::eigen {

extern const Kernel<op::Matmul> matmul;

}  // namespace mininn::cpu::eigen
