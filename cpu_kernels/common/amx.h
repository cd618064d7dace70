// What kernels on AMX share. A tile register holds up to 16 rows of up to 64 bytes. Whoever makes Tiles has asked
// needs(Isa::amx).
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu_kernels/common/isa.h"

MININN_TARGET_AMX
namespace mininn::cpu {
namespace {

constexpr int64_t kTileRow = 64, kTileSize = 16 * kTileRow;  // bytes

// What tile loads and stores do to memory is invisible to GCC; this makes it forget what it knows.
[[maybe_unused]] inline void memory_barrier(const void* p) { __asm__ volatile("" : : "r"(p) : "memory"); }

struct TileShapes {
  uint8_t rows[8];
  uint16_t bytes[8];  // of a row
};

// Sums in tiles 0 to 3; input with rows of `step` bytes in 4 and 5; weights, as [step / 4][64 bytes], in 6 and 7.
[[maybe_unused]] inline TileShapes strip_tiles(int64_t step) {
  const auto bytes = uint16_t(step);
  const auto rows = uint8_t(step / 4);
  return {{16, 16, 16, 16, 16, 16, rows, rows}, {64, 64, 64, 64, bytes, bytes, 64, 64}};
}

// This thread's tile registers, while it lives.
class Tiles {
 public:
  Tiles() = default;
  explicit Tiles(const TileShapes& shapes) { configure(shapes); }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  void configure(const TileShapes& shapes) {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t bytes_per_row[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i) config.bytes_per_row[i] = shapes.bytes[i], config.rows[i] = shapes.rows[i];
    memory_barrier(&config);
    _tile_loadconfig(&config);
  }
};

// Tiles 0 to 3, one after the other.
[[maybe_unused]] inline void store_four_tiles(std::byte* to) {
  memory_barrier(to);
  _tile_stored(0, to, kTileRow);
  _tile_stored(1, to + kTileSize, kTileRow);
  _tile_stored(2, to + 2 * kTileSize, kTileRow);
  _tile_stored(3, to + 3 * kTileSize, kTileRow);
  memory_barrier(to);
}

// A tile instruction takes 16 cycles, in which a core can do much else: multiply(step) for every step of a call, and
// between them 16 parts of the results of the call before.
constexpr int kResultParts = 16;
template <class Step, class Results, class Multiply>
[[maybe_unused]] inline void interleave(const Step* step, int64_t steps, Results& results, const Multiply& multiply) {
  const int64_t per_step = steps > 0 ? (kResultParts - 1) / steps + 1 : 0;
  int64_t left = kResultParts;
  for (const Step* const end = step + steps; step != end; ++step) {
    multiply(*step);
    int64_t n = per_step < left ? per_step : left;
    left -= n;
    for (; n > 0; --n) results.write();
  }
  for (; left > 0; --left) results.write();
}

// Before the first call there are none.
class NoResults {
 public:
  void write() {}
};

// Of two rows of 16 values of 16 bits, one behind the other: the first of each, the second of each, ...
[[maybe_unused]] inline __m512i in_pairs(__m512i rows) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), rows);
}

}  // namespace
}  // namespace mininn::cpu
MININN_TARGET_END
