// The cuBLAS backend: what cuda/register.cpp puts into the tables of CUDA devices.
#pragma once

#include "ops/matmul.h"

namespace mininn::cuda::cublas {

extern const Kernel<op::Matmul> matmul;  // f32 (never TF32), f64, bf16

}  // namespace mininn::cuda::cublas
