// Direct int8 convolution on AMX tiles: tdpbusd multiplies 16 pixels x 64 input channels by 64 x 16 output channels.
//
// The packed weights of qconv2d_direct.h already are tiles: 64 input channels of a block are 16 rows of 64 bytes. The
// input of up to 32 pixels is copied once per tap and 64 channels into rows of 64 bytes, and serves all output
// channels. Up to 16 pixels are multiplied with four blocks at a time, more with two, which keeps four accumulator
// tiles busy.
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu_kernels/own/cpu_features.h"
#include "cpu_kernels/own/qconv2d.h"
#include "cpu_kernels/own/qconv2d_direct.h"
#include "cpu_kernels/own/qconv2d_epilogue_zmm.h"

MININN_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-int8")
namespace mininn::cpu::own {
namespace {

constexpr int64_t kTileBytes = 1024;  // 16 rows of 64 bytes
constexpr int kBlocks = 4;            // most blocks of output channels per call

// What tile loads and stores do to memory is invisible to GCC; this makes it forget what it knows.
inline void memory_barrier(const void* p) { __asm__ volatile("" : : "r"(p) : "memory"); }

void enter() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  memory_barrier(&config);
  _tile_loadconfig(&config);
}
void leave() { _tile_release(); }

inline int64_t row_tiles(const QTile& t) { return t.pixels > 16 ? 2 : 1; }

// A tile of input: 16 pixels, `stride` bytes apart.
struct Rows {
  const uint8_t* x;
  int64_t stride;
};

// Scratch: the accumulators of a call, the rows [taps][2] of the tile's input, and the copies of those that have none.
constexpr int64_t kAccumulatorBytes = 4 * kTileBytes, kRowsBytes = kMaxTaps * 2 * int64_t{sizeof(Rows)};

inline Rows* rows_of(const QTile& t) { return reinterpret_cast<Rows*>(t.scratch + kAccumulatorBytes); }

// True if 16 pointers are evenly spaced, and closely: rows 4 KiB apart would compete for one set of the L1 cache.
inline bool evenly_spaced(const uint8_t* const* x) {
  const int64_t stride = x[1] - x[0];
  if (stride < 0 || stride > 1024) return false;
  bool even = true;
  for (int r = 2; r < 16; ++r) even &= x[r] - x[r - 1] == stride;
  return even;
}

void gather(const QTile& t) {
  Rows* rows = rows_of(t);
  auto* copy = reinterpret_cast<uint8_t*>(t.scratch + kAccumulatorBytes + kRowsBytes);
  const int64_t bytes = t.steps * 4;
  for (int tap = 0; tap < t.taps; ++tap)
    for (int64_t i = 0; i < row_tiles(t); ++i) {
      const uint8_t* const* x = t.x + tap * kTilePixels + i * 16;
      if (evenly_spaced(x)) {
        rows[tap * 2 + i] = {x[0], x[1] - x[0]};
        continue;
      }
      rows[tap * 2 + i] = {copy, bytes};
      for (int r = 0; r < 16; ++r, copy += bytes)
        for (int64_t c = 0; c < bytes; c += 64) _mm512_store_si512(copy + c, _mm512_loadu_si512(x[r] + c));
    }
}

// Accumulators of pixel p and block v, as the two shapes store them, are row p % 16 of tile accumulator(p / 16, v).
inline void finish(const QTile& t, int first_block, int blocks, int64_t tile_of_row, int64_t tile_of_block) {
  for (int v = 0; v < blocks; ++v) {
    const ZmmEpilogue epilogue(t, first_block + v);
    for (int p = 0; p < t.pixels; ++p) {
      const std::byte* acc = t.scratch + (p / 16 * tile_of_row + v * tile_of_block) * kTileBytes + p % 16 * 64;
      const __m512i bias = _mm512_loadu_si512(t.bias[p] + t.bias_channel + 16 * (first_block + v));
      epilogue.store(p, _mm512_add_epi32(_mm512_load_si512(acc), bias));
    }
  }
}

// 32 pixels x 2 blocks: accumulators 0..3, input 4 and 5, weights 6 and 7.
void two_by_two(const QTile& t, int first_block, int blocks) {
  const int8_t* w0 = t.w + first_block * t.w_block;
  const int64_t second = blocks > 1 ? t.w_block : 0;  // a missing block repeats the first
  const Rows* rows = rows_of(t);
  memory_barrier(t.scratch);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int tap = 0; tap < t.taps; ++tap) {
    const int8_t* w = w0 + t.tap_offset[tap];
    const Rows x0 = rows[tap * 2], x1 = rows[tap * 2 + 1];
    for (int64_t c = 0; c < t.steps * 4; c += 64, w += kTileBytes) {
      _tile_loadd(6, w, 64);
      _tile_loadd(4, x0.x + c, x0.stride);
      _tile_dpbusd(0, 4, 6);
      _tile_loadd(7, w + second, 64);
      _tile_dpbusd(1, 4, 7);
      _tile_loadd(5, x1.x + c, x1.stride);
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    }
  }
  _tile_stored(0, t.scratch, 64);
  _tile_stored(1, t.scratch + kTileBytes, 64);
  _tile_stored(2, t.scratch + 2 * kTileBytes, 64);
  _tile_stored(3, t.scratch + 3 * kTileBytes, 64);
  memory_barrier(t.scratch);
  finish(t, first_block, blocks, 2, 1);
}

// 16 pixels x 4 blocks: accumulators 0..3, input 4, weights 5..7.
void one_by_four(const QTile& t, int blocks) {
  const int64_t b1 = blocks > 1 ? t.w_block : 0, b2 = blocks > 2 ? 2 * t.w_block : 0,
                b3 = blocks > 3 ? 3 * t.w_block : 0;
  const Rows* rows = rows_of(t);
  memory_barrier(t.scratch);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int tap = 0; tap < t.taps; ++tap) {
    const int8_t* w = t.w + t.tap_offset[tap];
    const Rows x = rows[tap * 2];
    for (int64_t c = 0; c < t.steps * 4; c += 64, w += kTileBytes) {
      _tile_loadd(4, x.x + c, x.stride);
      _tile_loadd(5, w, 64);
      _tile_dpbusd(0, 4, 5);
      _tile_loadd(6, w + b1, 64);
      _tile_dpbusd(1, 4, 6);
      _tile_loadd(7, w + b2, 64);
      _tile_dpbusd(2, 4, 7);
      _tile_loadd(5, w + b3, 64);
      _tile_dpbusd(3, 4, 5);
    }
  }
  _tile_stored(0, t.scratch, 64);
  _tile_stored(1, t.scratch + kTileBytes, 64);
  _tile_stored(2, t.scratch + 2 * kTileBytes, 64);
  _tile_stored(3, t.scratch + 3 * kTileBytes, 64);
  memory_barrier(t.scratch);
  finish(t, 0, blocks, 0, 1);
}

void tile(const QTile& t) {
  const int blocks = int((t.channels + 15) / 16);
  if (row_tiles(t) == 1) return one_by_four(t, blocks);
  for (int first = 0; first < blocks; first += 2) two_by_two(t, first, blocks - first > 1 ? 2 : 1);
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

// Linux gives the tile registers only to processes that ask for them.
bool tiles_permitted() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
}

int64_t scratch_bytes(const QConv2d& a) {
  return kAccumulatorBytes + kRowsBytes + kTilePixels * a.g.icg() * a.g.kh * a.g.kw;
}

constexpr QDirectIsa kIsa{.lanes = 16,
                          .pixels = 32,
                          .blocks = kBlocks,
                          .quantum = 16,
                          .weights_in_cache = int64_t{1280} << 10,
                          .recode = 0,
                          .tile = [](int, int) -> QTileFn { return tile; },
                          .enter = enter,
                          .leave = leave,
                          .gather = gather,
                          .scratch_bytes = scratch_bytes};

Refusal check(const QConv2d& a) {
  if (!cpu_features().amx_int8) return {"the processor has no AMX"};
  if (a.g.icg() % 64 != 0) return {"the input channels of a group are no multiple of 64"};
  if (a.g.n * a.g.oh * a.g.ow < 8) return {"fewer output pixels than half a tile"};
  if (!tiles_permitted()) return {"the operating system does not permit AMX"};
  return check_direct(a);
}
void run(const QConv2d& a, const ExecContext&) { run_direct(a, kIsa); }
Tensor pack(const QConv2d& a) { return pack_direct(a, kIsa.lanes, kIsa.recode); }

}  // namespace

const Kernel<QConv2d> qconv2d_direct_amx{"own.direct.amx", check, run, pack};

}  // namespace mininn::cpu::own
