// Counts what the C++ heap is asked for. A test program that has allocations.cpp among its sources replaces operator
// new.
#pragma once

#include <cstddef>

namespace mininn::testing {

// Calls of operator new by any thread so far.
size_t allocation_count();
// Of these, how many have not met their operator delete.
size_t live_allocations();

}  // namespace mininn::testing
