// AMX's tile instructions as loops, for a source whose kernels use them: include all that it includes (but for
// cpu_kernels/common/amx.h), then this, then the source. It may not be included where the instructions are meant.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "core/dtype.h"
#include "core/kernel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/isa.h"

namespace {

// Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG, TILELOADD, TILESTORED,
// TILEZERO, TDPBUSD, TDPBF16PS.
struct Tile {
  int rows = 0, bytes = 0;
  uint8_t data[16][64];
};
thread_local Tile tiles[8];

void load_config(const void* from) {
  const auto* const config = static_cast<const uint8_t*>(from);
  for (int i = 0; i < 8; ++i) {
    uint16_t bytes;
    std::memcpy(&bytes, config + 16 + 2 * i, 2);
    tiles[i] = {.rows = config[48 + i], .bytes = bytes, .data = {}};
  }
}

void release() {
  for (Tile& t : tiles) t = {};
}

void load(int tile, const void* base, int64_t stride) {
  Tile& t = tiles[tile];
  std::memset(t.data, 0, sizeof t.data);
  for (int r = 0; r < t.rows; ++r)
    std::memcpy(t.data[r], static_cast<const uint8_t*>(base) + r * stride, size_t(t.bytes));
}

void store(int tile, void* base, int64_t stride) {
  const Tile& t = tiles[tile];
  for (int r = 0; r < t.rows; ++r) std::memcpy(static_cast<uint8_t*>(base) + r * stride, t.data[r], size_t(t.bytes));
}

[[maybe_unused]] void zero(int tile) { std::memset(tiles[tile].data, 0, sizeof tiles[tile].data); }

// sum += product(bytes of a, bytes of b) for all groups of four bytes.
template <class Sum, class Product>
void dot(int sums, int left, int right, const Product& product) {
  Tile& to = tiles[sums];
  const Tile &a = tiles[left], &b = tiles[right];
  for (int m = 0; m < to.rows; ++m)
    for (int k = 0; k < a.bytes / 4; ++k)
      for (int n = 0; n < to.bytes / 4; ++n) {
        Sum sum;
        std::memcpy(&sum, to.data[m] + 4 * n, 4);
        sum += product(a.data[m] + 4 * k, b.data[k] + 4 * n);
        std::memcpy(to.data[m] + 4 * n, &sum, 4);
      }
}

[[maybe_unused]] void dot_u8_s8(int sums, int a, int b) {
  dot<uint32_t>(sums, a, b, [](const uint8_t* x, const uint8_t* y) {
    uint32_t sum = 0;
    for (int i = 0; i < 4; ++i) sum += uint32_t(int32_t{x[i]} * int32_t{int8_t(y[i])});
    return sum;
  });
}

[[maybe_unused]] void dot_bf16(int sums, int a, int b) {
  dot<float>(sums, a, b, [](const uint8_t* x, const uint8_t* y) {
    mininn::bf16 u[2], v[2];
    std::memcpy(u, x, 4);
    std::memcpy(v, y, 4);
    return float(u[0]) * float(v[0]) + float(u[1]) * float(v[1]);
  });
}

// The kernel of a source that was compiled with these tiles, but for its question of AMX: it needs `isa` instead, and
// refuses where the real one runs.
template <class Args, const mininn::Kernel<Args>& kKernel, mininn::cpu::Isa kIsa,
          mininn::Refusal (*check_shape)(const Args&)>
mininn::Kernel<Args> emulated_kernel(std::string_view name) {
  mininn::Kernel<Args> kernel = kKernel;
  kernel.name = name;
  kernel.check = [](const Args& a) -> mininn::Refusal {
    if (const mininn::Refusal r = mininn::cpu::needs(kIsa)) return r;
    if (!kKernel.check(a)) return {"the real one runs here"};
    return check_shape(a);
  };
  return kernel;
}

}  // namespace

#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbusd
#undef _tile_dpbf16ps
#undef _tile_zero
#define _tile_loadconfig load_config
#define _tile_release release
#define _tile_loadd load
#define _tile_stored store
#define _tile_zero zero
#define _tile_dpbusd dot_u8_s8
#define _tile_dpbf16ps dot_bf16
