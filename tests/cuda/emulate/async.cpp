// Barriers in shared memory that count bytes, and the copies that arrive at them.
#include <cuda.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/cuda/emulate/emulate.h"
#include "tests/cuda/emulate/fibers.h"
#include "tests/cuda/emulate/watch.h"

namespace emulate {
namespace {

struct Barrier {
  int number;
  unsigned count, missing;  // arrivals: of a phase, that are not there yet
  int64_t bytes = 0;        // that are expected, less those that have come
  uint32_t phase = 0;
  Parked waiting = {};
};

// What a copy brings when it arrives.
struct Copy {
  void* to;
  std::vector<unsigned char> (*read)(const Copy&);
  size_t bytes;
  Barrier* barrier;
  const void* from = nullptr;
  CUtensorMap map = {};
  int channel = 0, w = 0, h = 0, n = 0, tap_w = 0, tap_h = 0;
};

std::unordered_map<const void*, Barrier> barriers;  // of the block
std::vector<Copy> copies;                           // that have not arrived

bool is_aligned(const void* p, size_t to) { return std::bit_cast<uintptr_t>(p) % to == 0; }

Barrier& at(const void* barrier) {
  const auto found = barriers.find(barrier);
  if (found == barriers.end()) fail("a barrier that nobody has made");
  return found->second;
}

void end_phase_if_complete(Barrier& b) {
  if (b.missing == 0 && b.bytes < 0) fail("more bytes come to a barrier than it expects");
  if (b.missing > 0 || b.bytes != 0) return;
  ++b.phase;
  b.missing = b.count;
  watch::end_phase(b.number);
  let_go_on(b.waiting);
}

void finish(const Copy& c) {
  const auto bytes = c.read(c);
  std::memcpy(c.to, bytes.data(), c.bytes);
  watch::finish_bulk_copy(c.to, c.bytes, c.barrier->number);
  c.barrier->bytes -= int64_t(c.bytes);
  end_phase_if_complete(*c.barrier);
}

void start(const Copy& c, const uint64_t* barrier) {
  watch::use_beside(barrier);
  watch::start_bulk_copy(c.to, c.bytes);
  std::memset(c.to, 0xff, c.bytes);  // whoever reads it now reads what nobody wrote
  is_late() ? copies.push_back(c) : finish(c);
}

}  // namespace

void start_copies() { barriers.clear(); }
bool copies_left() { return !copies.empty(); }
void finish_a_copy() {
  std::swap(copies[draw(copies.size())], copies.back());
  const Copy c = copies.back();
  copies.pop_back();
  finish(c);
}
void end_copies() {
  for (const auto& [place, b] : barriers)
    if (b.bytes != 0) fail("a block ends while a barrier expects bytes");
}

void init_barrier(uint64_t* barrier, unsigned arrivals) {
  const watch::Outside outside;
  if (!is_aligned(barrier, 8) || arrivals == 0 || arrivals > (1u << 20) - 1)
    fail("a barrier is 8 bytes at a multiple of 8, for 1 to 2^20 - 1 arrivals");
  if (barriers.size() == watch::kBarriers) fail("more barriers than the emulator has room for");
  watch::start_clocks(threads_of_block());
  watch::write(barrier, sizeof *barrier);
  barriers.insert_or_assign(barrier, Barrier{int(barriers.size()), arrivals, arrivals});
}

void arrive(uint64_t* barrier, unsigned bytes) {
  const watch::Outside outside;
  watch::use(barrier);
  Barrier& b = at(barrier);
  b.bytes += bytes;
  --b.missing;
  watch::release(b.number);
  end_phase_if_complete(b);
}

void wait_for_phase(uint64_t* barrier, uint32_t parity) {
  const watch::Outside outside;
  watch::use(barrier);
  Barrier& b = at(barrier);
  while (b.phase % 2 == parity) park(b.waiting);
  watch::acquire(b.number);
}

void fence_async_proxy() {
  const watch::Outside outside;
  watch::start_clocks(threads_of_block());
  watch::fence_async_proxy();
}

void copy_bulk(void* shared, const void* global, unsigned bytes, uint64_t* barrier) {
  const watch::Outside outside;
  if (!is_aligned(shared, 16) || !is_aligned(global, 16) || bytes % 16 != 0)
    fail("addresses and bytes of a bulk copy are multiples of 16");
  watch::read(global, bytes);
  const auto read = [](const Copy& c) {
    const auto* const from = static_cast<const unsigned char*>(c.from);
    return std::vector(from, from + c.bytes);
  };
  start({.to = shared, .read = read, .bytes = bytes, .barrier = &at(barrier), .from = global}, barrier);
}

// --- copies of images -----------------------------------------------------------------------------------------------

namespace {

// What a map says.
struct Images {
  const unsigned char* data;
  uint64_t sizes[4], distances[3];  // channels, columns, rows, images; bytes from one to the next but of channels
  int16_t lower[2], upper[2];       // corners of the window: column, row
  uint8_t steps[2];
  uint16_t element, channels, pixels;

  int64_t last(int i) const { return int64_t(sizes[i + 1]) - 1 + upper[i]; }
  // Null if it is outside.
  const unsigned char* pixel(int64_t w, int64_t h, int64_t n) const {
    const auto inside = [&](int64_t v, int i) { return v >= 0 && v < int64_t(sizes[i]); };
    if (!inside(w, 1) || !inside(h, 2) || !inside(n, 3)) return nullptr;
    return data + w * int64_t(distances[0]) + h * int64_t(distances[1]) + n * int64_t(distances[2]);
  }
};
static_assert(sizeof(Images) <= sizeof(CUtensorMap));

constexpr size_t kRow = 64;  // bytes of a pixel in shared memory, as the swizzle has them

// Calls fn(row, pixel, bytes) for the pixels of a copy, with as many bytes of each as are inside.
template <class Fn>
void for_each_pixel(const Copy& c, const Fn& fn) {
  Images x;
  std::memcpy(&x, &c.map, sizeof x);
  if (c.w < x.lower[0] || c.w > x.last(0) || c.h < x.lower[1] || c.h > x.last(1) || c.tap_w > 255 || c.tap_h > 255)
    fail("a copy of an image begins outside of its window");
  const int64_t left = int64_t(x.sizes[0]) - c.channel;
  const auto bytes = size_t(std::clamp<int64_t>(left, 0, x.channels)) * x.element;
  int64_t w = c.w, h = c.h, n = c.n;
  for (size_t row = 0; row < x.pixels; ++row) {
    const unsigned char* const p = x.pixel(w + c.tap_w, h + c.tap_h, n);
    if (p) fn(row, p + c.channel * x.element, bytes);
    w += x.steps[0];
    if (w <= x.last(0)) continue;
    w = x.lower[0];
    h += x.steps[1];
    if (h <= x.last(1)) continue;
    h = x.lower[1];
    ++n;
  }
}

std::vector<unsigned char> read_pixels(const Copy& c) {
  std::vector<unsigned char> all(c.bytes);
  for_each_pixel(c, [&](size_t row, const unsigned char* pixel, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) {
      const size_t at = row * kRow + i;
      all[at ^ (at >> 7 & 3) << 4] = pixel[i];
    }
  });
  return all;
}

}  // namespace

void copy_pixels(void* shared, const CUtensorMap& map, int channel, int w, int h, int n, int tap_w, int tap_h,
                 uint64_t* barrier) {
  const watch::Outside outside;
  if (!is_aligned(shared, 8 * kRow)) fail("a copy of an image goes to a multiple of 512");
  (void)address_of(shared);
  Images x;
  std::memcpy(&x, &map, sizeof x);
  const Copy c{.to = shared,
               .read = read_pixels,
               .bytes = x.pixels * kRow,
               .barrier = &at(barrier),
               .map = map,
               .channel = channel,
               .w = w,
               .h = h,
               .n = n,
               .tap_w = tap_w,
               .tap_h = tap_h};
  for_each_pixel(c, [](size_t, const unsigned char* pixel, size_t bytes) { watch::read(pixel, bytes); });
  start(c, barrier);
}

}  // namespace emulate

CUresult cuTensorMapEncodeIm2col(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* address,
                                 const cuuint64_t* sizes, const cuuint64_t* distances, const int* lower,
                                 const int* upper, cuuint32_t channels, cuuint32_t pixels, const cuuint32_t* steps,
                                 CUtensorMapInterleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                                 CUtensorMapFloatOOBfill) {
  emulate::Images x{};
  x.data = static_cast<const unsigned char*>(address);
  x.element = type == CU_TENSOR_MAP_DATA_TYPE_UINT8 ? 1 : 2;
  x.channels = uint16_t(channels);
  x.pixels = uint16_t(pixels);
  bool right = emulate::is_aligned(address, 16) && rank == 4 && channels <= 256 && pixels <= 1024 &&
               swizzle == CU_TENSOR_MAP_SWIZZLE_64B && channels * x.element == emulate::kRow;
  for (int i = 0; i < 4; ++i) {
    x.sizes[i] = sizes[i];
    right = right && sizes[i] > 0 && sizes[i] <= uint64_t{1} << 32;
  }
  for (int i = 0; i < 3; ++i) {
    x.distances[i] = distances[i];
    right = right && distances[i] % 16 == 0 && distances[i] < uint64_t{1} << 40 &&
            distances[i] >= (i == 0 ? sizes[0] * x.element : distances[i - 1] * sizes[i]);
  }
  for (int i = 0; i < 2; ++i) {
    x.lower[i] = int16_t(lower[i]);
    x.upper[i] = int16_t(upper[i]);
    x.steps[i] = uint8_t(steps[i + 1]);
    right = right && std::min(lower[i], upper[i]) >= -128 && std::max(lower[i], upper[i]) <= 127 && steps[i + 1] >= 1 &&
            steps[i + 1] <= 8 && x.last(i) >= lower[i];
  }
  if (!right) return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(map, &x, sizeof x);
  return CUDA_SUCCESS;
}
