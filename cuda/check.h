// Calls of the CUDA runtime whose failure is an exception.
#pragma once

#include <cuda_runtime.h>

namespace mininn::cuda {

// Throws Error with the text of the call and what the runtime says of it, unless it succeeded.
void check(cudaError_t result, const char* call);

}  // namespace mininn::cuda

#define MININN_CUDA_CHECK(call) ::mininn::cuda::check((call), #call)
