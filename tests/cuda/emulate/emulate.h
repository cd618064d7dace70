// Kernels and the CUDA runtime on the CPU.
//
// The sources under cuda/ are compiled by g++ with this folder's cuda_runtime.h in the place of NVIDIA's. A CUDA thread
// is a fiber, and blocks run one after the other; which thread of a block runs first is a matter of Order. A stream
// does nothing before something waits for it, and device memory can be touched by its work alone
// (tests/support/lazy_device.h): a forgotten wait, a read of freed memory and a host that touches a device's memory
// show. What the threads of a kernel read and write is checked as they do it (watch.h): races, and pointers to memory
// that is not the kernel's.
//
// There are two devices. For one host thread at a time, on x86-64.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace emulate {

enum class Order { ascending, descending, shuffled };
// In which order the threads of a block go on from now on; shuffled at first.
void set_order(Order order, uint32_t seed = 1);

enum class Pace { drawn, at_once, late };
// When copies and products that run beside the threads are done from now on: at once or as late as may be, which is
// drawn for each at first.
void set_pace(Pace pace);

// What cudaGetDeviceCount() says from now on (cudaSuccess: two devices), and the driver's version; 0: there is none.
void set_driver(cudaError_t state, int version);
// The devices' compute capability from now on: 90 is 9.0, as at first.
void set_capability(int capability);

// How often graphs were launched so far.
uint64_t graph_launches();

// What load_matrices() has loaded so far, and how many rows met another one of their matrix in a bank: each takes the
// time of one more matrix.
struct MatrixLoads {
  uint64_t matrices = 0, conflicts = 0;
};
MatrixLoads matrix_loads();

}  // namespace emulate
