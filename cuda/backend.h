// CUDA devices behind core's seam.
#pragma once

#include <cuda_runtime.h>

#include "core/stream.h"

namespace mininn::cuda {

// The runtime's stream behind `s`, a stream of a CUDA device that exists. Makes the device current in this thread.
cudaStream_t stream_of(const Stream& s);

// The device whose memory `p` points to. Throws Error for an address that is no device's.
Device device_of(const void* p);

// The device that ops of this thread have used last. Where there are several, the one that a kernel is asked for may be
// another: then the kernel says so when it runs.
int current_device();
// Its compute capability: 90 is 9.0. 0 if there is none.
int current_capability();

// Makes the backend known. Where there is no driver or no device it stands for none, and says why.
void install_backend();

}  // namespace mininn::cuda
