#include "tests/cpu_kernels/amx_emulation.h"

// All that the kernel's source includes comes before its tile instructions get another meaning.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/own/int8/conv/epilogue_zmm.h"
#include "cpu_kernels/own/int8/conv/kernels.h"
#include "cpu_kernels/own/int8/conv/strips.h"

namespace {

// Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG, TILELOADD, TILESTORED, TDPBUSD.
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

void dot(int sums, int unsigned_values, int signed_values) {
  Tile& to = tiles[sums];
  const Tile &a = tiles[unsigned_values], &b = tiles[signed_values];
  for (int m = 0; m < to.rows; ++m)
    for (int k = 0; k < a.bytes / 4; ++k)
      for (int n = 0; n < to.bytes / 4; ++n) {
        uint32_t sum;
        std::memcpy(&sum, to.data[m] + 4 * n, 4);
        for (int i = 0; i < 4; ++i)
          sum += uint32_t(int32_t{a.data[m][4 * k + i]} * int32_t{int8_t(b.data[k][4 * n + i])});
        std::memcpy(to.data[m] + 4 * n, &sum, 4);
      }
}

}  // namespace

#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbusd
#define _tile_loadconfig load_config
#define _tile_release release
#define _tile_loadd load
#define _tile_stored store
#define _tile_dpbusd dot
#define qconv2d_strips_amx emulated
#include "cpu_kernels/own/int8/conv/strips_amx.cpp"

namespace mininn::testing {
namespace {

Refusal check_but_for_amx(const op::QConv2d& a) {
  if (const Refusal r = cpu::needs(cpu::Isa::avx512)) return r;
  if (!cpu::own::check(a)) return {"the real one runs here"};
  return cpu::own::check_shape(a);
}

}  // namespace

Kernel<op::QConv2d> emulated_amx() {
  Kernel<op::QConv2d> kernel = cpu::own::emulated;
  kernel.name = "own.strips.amx (emulated)";
  kernel.check = check_but_for_amx;
  return kernel;
}

}  // namespace mininn::testing
