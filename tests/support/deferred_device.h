// A second device that needs no hardware, to prove that nothing takes its work or its memory for the CPU's.
//
// It does nothing before something waits for it: calls put work into streams, and synchronize() does it. Its memory can
// be touched by that work alone: whatever else reads or writes it ends the process (SIGSEGV). Memory is all 0xff (NaN
// in every floating dtype) before its first write and after its return, and so is host memory that a copy has not
// reached yet. So a forgotten wait and a read of freed memory show in results. Its kernels are the CPU's references.
//
// There are two of them, Device::custom(0) and (1). For one thread at a time.
#pragma once

#include <functional>

#include "core/stream.h"

namespace mininn::testing {

namespace deferred {
// Puts work into the stream.
void enqueue(const Stream& stream, std::function<void()> work);
}  // namespace deferred

// Makes Device::custom() this device, from now on.
void install_deferred_device();

}  // namespace mininn::testing
