// What the emulator's instructions need to know of the threads of a block, which are fibers (kernels.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace emulate {

inline constexpr int kWarp = 32;

struct Fiber;
// Threads that wait for something to happen.
using Parked = std::vector<Fiber*>;
void park(Parked& parked);  // the thread that runs, until they are let go on
void let_go_on(Parked& parked);

int thread();  // its number in the block
int threads_of_block();
size_t draw(size_t cases);  // a number below that, each equally often
bool is_late();             // whether what a thread starts now beside itself is done as late as may be

// What a thread brings to what its warp does together.
struct Lane {
  uint64_t value = 0;             // of a shuffle, or an address
  uint32_t a[4] = {}, b[2] = {};  // of a matrix product
};
// Brings `mine` to the threads of the warp, none of which has ended, and returns what all have brought. Orders no
// memory.
const Lane* together(const Lane& mine);

// What instructions call an address in the launch's shared memory, and back; other ones end the process.
uint32_t address_of(const void* shared);
unsigned char* shared_at(uint32_t address, size_t bytes);

// Copies and products that run beside the threads (async.cpp, products.cpp): the scheduler tells them of blocks.
void start_copies();
bool copies_left();
void finish_a_copy();
void end_copies();
void start_products(int threads);
void end_products();

}  // namespace emulate
