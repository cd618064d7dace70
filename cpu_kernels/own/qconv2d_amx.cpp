// Direct int8 convolution on AMX tiles: tdpbusd multiplies 16 pixels x 64 input channels by 64 x 16 output channels and
// takes 16 cycles, in which a core can do much else. So a call multiplies two strips of pixels by two blocks of channels
// (or one by four where a strip has no partner), and between its tile instructions writes the codes of the call before:
// conversion and scaling cost no time of their own. qconv2d_strips.h says where the pixels are.
//
// Packed weights are blocks of 16 output channels: [depth / 4][16][4] s8, so that 16 rows of 64 bytes are a tile.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "core/parallel.h"
#include "cpu_kernels/own/cpu_features.h"
#include "cpu_kernels/own/qconv2d.h"
#include "cpu_kernels/own/qconv2d_strips.h"
#include "cpu_kernels/own/requant.h"
#include "cpu_kernels/own/scratch.h"

namespace mininn::cpu::own {
namespace {

constexpr int kLanes = 16;                // output channels of a block
constexpr int64_t kTileSize = 1024;       // bytes: 16 rows of kTileBytes
constexpr int kQuads = 16;                // groups of four accumulator rows in the four tiles of a call

// Where codes go.
struct Sink {
  std::byte* y;
  int64_t y_pixel;  // bytes
  const uint8_t* residual;  // null: none
  int64_t residual_pixel;
  float residual_scale;
  int32_t residual_zero;
  const float* multiplier;
  bool f32;
  CodeRange range;
  int64_t pixel_step;  // output pixels from a row of a strip to the next
};

// The tiles of a call: two strips by two blocks, or one by four. `acc` holds their accumulators one after the other,
// blocks innermost.
struct Work {
  bool wide = false;  // one strip by four blocks
  const uint8_t* x[2];
  int64_t pitch = 0;
  int kh0 = 0, kh1 = 0, kw0 = 0, kw1 = 0;
  const int64_t* tap = nullptr;  // [kh][kernel_width]
  int64_t kernel_width = 0, depth = 0;  // bytes of a tap
  const int8_t* w = nullptr;
  int64_t w_block[4];  // bytes from `w` to each block; a missing one repeats the first
  const int32_t* bias[4];  // of each tile; rows bias_pitch bytes apart
  int64_t bias_pitch = 0;

  int64_t pixel[2];
  int first[2], last[2];
  int64_t channel = 0, channels = 0;  // to be stored
};

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-int8")
namespace mininn::cpu::own {
namespace {

// What tile loads and stores do to memory is invisible to GCC; this makes it forget what it knows.
inline void memory_barrier(const void* p) { __asm__ volatile("" : : "r"(p) : "memory"); }

void configure_tiles() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  memory_barrier(&config);
  _tile_loadconfig(&config);
}
void release_tiles() { _tile_release(); }

// 16 accumulators of a pixel, before they become codes.
inline __m512 scaled(const Sink& s, __m512i acc, __m512 multiplier, const uint8_t* residual, __mmask16 mask) {
  __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), multiplier);
  if (s.residual) {
    const __m512i r = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, residual));
    const __m512i centred = _mm512_sub_epi32(r, _mm512_set1_epi32(s.residual_zero));
    t = _mm512_fmadd_ps(_mm512_cvtepi32_ps(centred), _mm512_set1_ps(s.residual_scale), t);
  }
  return t;
}

inline __m512i codes(const Sink& s, __m512 t) {
  return to_codes(t, _mm512_set1_ps(s.range.lo), _mm512_set1_ps(s.range.hi), _mm512_set1_epi32(s.range.zero));
}

// Row `r` of strip `m`, blocks of channels that may end early.
inline void finish_row(const Sink& s, const Work& w, const std::byte* acc, int m, int r) {
  if (r < w.first[m] || r >= w.last[m]) return;
  const int64_t pixel = w.pixel[m] + r * s.pixel_step;
  for (int64_t c = 0; c < w.channels; c += kLanes) {
    const std::byte* from = acc + (m * 2 + c / kLanes) * kTileSize + r * kTileBytes;
    const int64_t left = w.channels - c, channel = w.channel + c;
    const __mmask16 mask = left >= kLanes ? __mmask16(0xffff) : __mmask16((1u << left) - 1);
    const uint8_t* residual = s.residual ? s.residual + pixel * s.residual_pixel + channel : nullptr;
    const __m512 t = scaled(s, _mm512_load_si512(from), _mm512_maskz_loadu_ps(mask, s.multiplier + channel), residual,
                            mask);
    std::byte* y = s.y + pixel * s.y_pixel;
    if (s.f32)
      _mm512_mask_storeu_ps(reinterpret_cast<float*>(y) + channel, mask, t);
    else
      _mm512_mask_cvtepi32_storeu_epi8(y + channel, mask, codes(s, t));
  }
}

// Four rows of accumulators become 64 codes: two pixels by two blocks, or one pixel by four.
template <bool kWide>
inline void finish_quad(const Sink& s, const Work& w, const std::byte* acc, int quad) {
  const int m = kWide ? 0 : quad / 8, r = kWide ? quad : quad % 8 * 2, last = kWide ? r : r + 1;
  if (s.f32 || r < w.first[m] || last >= w.last[m] || w.channels < (kWide ? 64 : 32)) {
    finish_row(s, w, acc, m, r);
    if (!kWide) finish_row(s, w, acc, m, last);
    return;
  }
  const int64_t pixel = w.pixel[m] + r * s.pixel_step;
  const std::byte* from = acc + (kWide ? 0 : m * 2 * kTileSize) + r * kTileBytes;
  __m512i v[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const int block = kWide ? i : i % 2, row = kWide ? 0 : i / 2;
    const int64_t channel = w.channel + block * kLanes;
    const uint8_t* residual =
        s.residual ? s.residual + (pixel + row * s.pixel_step) * s.residual_pixel + channel : nullptr;
    v[i] = codes(s, scaled(s, _mm512_load_si512(from + block * kTileSize + row * kTileBytes),
                           _mm512_loadu_ps(s.multiplier + channel), residual, 0xffff));
  }
  // Packing works within 128-bit lanes: a dword of the result is block i's channels 4j..4j+3 at place 4j+i.
  const __m512i bytes = _mm512_packus_epi16(_mm512_packus_epi32(v[0], v[1]), _mm512_packus_epi32(v[2], v[3]));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i sorted = _mm512_permutexvar_epi32(order, bytes);
  std::byte* y = s.y + pixel * s.y_pixel + w.channel;
  if (kWide) {
    _mm512_storeu_si512(y, sorted);
  } else {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_castsi512_si256(sorted));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + s.pixel_step * s.y_pixel), _mm512_extracti64x4_epi64(sorted, 1));
  }
}

// The call whose accumulators wait to be written.
struct Waiting {
  Work work;
  int quad = kQuads;  // the next one; kQuads: all are written

  void write(const Sink& s, const std::byte* acc, int quads) {
    for (const int end = quad + quads < kQuads ? quad + quads : kQuads; quad < end; ++quad)
      if (work.wide)
        finish_quad<true>(s, work, acc, quad);
      else
        finish_quad<false>(s, work, acc, quad);
  }
};

// Calls step(bytes from a strip's origin to its input, weights) for every 64 values of depth.
template <class Step>
inline void for_depth(const Work& k, const Step& step) {
  for (int kh = k.kh0; kh < k.kh1; ++kh)
    for (int kw = k.kw0; kw < k.kw1; ++kw) {
      const int64_t tap = kh * k.kernel_width + kw, offset = k.tap[tap];
      const int8_t* w = k.w + tap * k.depth * kLanes;
      for (int64_t c = 0; c < k.depth; c += kTileBytes, w += kTileSize) step(offset + c, w);
    }
}

// How many quads of the call before are written in each of a call's steps.
inline int quads_per_step(const Work& k) {
  const int64_t steps = (k.kh1 - k.kh0) * (k.kw1 - k.kw0) * k.depth / kTileBytes;
  return steps > 0 ? int((kQuads - 1) / steps) + 1 : 0;
}

// Multiplies `k` while it writes the results of `waiting`, whose place it then takes.
void multiply_two_by_two(const Work& k, const Sink& s, std::byte* acc, Waiting& waiting) {
  const int quads = quads_per_step(k);
  const int64_t second = k.w_block[1];
  _tile_loadd(0, k.bias[0], k.bias_pitch);
  _tile_loadd(1, k.bias[1], k.bias_pitch);
  _tile_loadd(2, k.bias[2], k.bias_pitch);
  _tile_loadd(3, k.bias[3], k.bias_pitch);
  for_depth(k, [&](int64_t x, const int8_t* w) __attribute__((always_inline)) {
    _tile_loadd(6, w, kTileBytes);
    _tile_loadd(4, k.x[0] + x, k.pitch);
    _tile_dpbusd(0, 4, 6);
    _tile_loadd(7, w + second, kTileBytes);
    _tile_dpbusd(1, 4, 7);
    _tile_loadd(5, k.x[1] + x, k.pitch);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
    waiting.write(s, acc, quads);
  });
  waiting.write(s, acc, kQuads);
  memory_barrier(acc);
  _tile_stored(0, acc, kTileBytes);
  _tile_stored(1, acc + kTileSize, kTileBytes);
  _tile_stored(2, acc + 2 * kTileSize, kTileBytes);
  _tile_stored(3, acc + 3 * kTileSize, kTileBytes);
  memory_barrier(acc);
  waiting = {k, 0};
}

void multiply_one_by_four(const Work& k, const Sink& s, std::byte* acc, Waiting& waiting) {
  const int quads = quads_per_step(k);
  _tile_loadd(0, k.bias[0], k.bias_pitch);
  _tile_loadd(1, k.bias[1], k.bias_pitch);
  _tile_loadd(2, k.bias[2], k.bias_pitch);
  _tile_loadd(3, k.bias[3], k.bias_pitch);
  for_depth(k, [&](int64_t x, const int8_t* w) __attribute__((always_inline)) {
    _tile_loadd(4, k.x[0] + x, k.pitch);
    _tile_loadd(5, w, kTileBytes);
    _tile_dpbusd(0, 4, 5);
    _tile_loadd(6, w + k.w_block[1], kTileBytes);
    _tile_dpbusd(1, 4, 6);
    _tile_loadd(7, w + k.w_block[2], kTileBytes);
    _tile_dpbusd(2, 4, 7);
    _tile_loadd(5, w + k.w_block[3], kTileBytes);
    _tile_dpbusd(3, 4, 5);
    waiting.write(s, acc, quads);
  });
  waiting.write(s, acc, kQuads);
  memory_barrier(acc);
  _tile_stored(0, acc, kTileBytes);
  _tile_stored(1, acc + kTileSize, kTileBytes);
  _tile_stored(2, acc + 2 * kTileSize, kTileBytes);
  _tile_stored(3, acc + 3 * kTileSize, kTileBytes);
  memory_barrier(acc);
  waiting = {k, 0};
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

constexpr int64_t kPartLeast = 24 << 10, kPartMost = 512 << 10;  // bytes of input that is copied and worked on together

// One thread's share: units of strips by pairs of blocks.
class Walk {
 public:
  Walk(const QConv2d& conv, const StripInput& strips, const PackedQConv& packed)
      : a(conv), g(conv.g), input(strips), pk(packed) {
    sink = {.y = a.y.data,
            .y_pixel = a.y.dtype == DType::f32 ? g.oc * 4 : a.y.strides[3],
            .residual = a.residual ? a.residual.as<uint8_t>() : nullptr,
            .residual_pixel = a.residual ? a.residual.strides[3] : 0,
            .residual_scale = a.residual_scale,
            .residual_zero = a.residual_zero,
            .multiplier = a.multiplier.as<float>(),
            .f32 = a.y.dtype == DType::f32,
            .range = code_range(a.y_zero, a.lo, a.hi),
            .pixel_step = input.pixel_step()};
    work.pitch = input.pitch();
    work.tap = input.taps();
    work.kernel_width = input.kernel_width();
    work.depth = input.depth().channels;
    const auto varies = [](const int32_t* v, int64_t n) {
      return std::any_of(v, v + n, [&](int32_t i) { return i != v[0]; });
    };
    bias_varies = varies(pk.row, g.oh) || varies(pk.col, g.ow);
  }

  void run(int64_t unit0, int64_t unit1, int64_t pair0, int64_t pair1) {
    const int64_t weights = (pair1 - pair0) * 2 * pk.w_block;
    const int64_t bytes = std::clamp(weights / 2, kPartLeast, kPartMost);
    int64_t copy_bytes = 0, most = 0;
    for (int64_t unit = unit0, end; unit < unit1; unit = end) {
      end = input.part(unit, unit1, bytes);
      copy_bytes = std::max(copy_bytes, input.copy_bytes(unit, end));
      most = std::max(most, (end - unit) * input.strips_per_unit());
    }
    Scratch<uint8_t> copy(copy_bytes);
    Scratch<Strip> list(most);
    Scratch<std::byte> memory(4 * kTileSize + 4 * kTileSize);
    acc = memory.data();
    bias_tiles = reinterpret_cast<int32_t*>(acc + 4 * kTileSize);

    configure_tiles();
    for (int64_t unit = unit0, end; unit < unit1; unit = end) {
      end = input.part(unit, unit1, bytes);
      input.load(unit, end, copy.data());
      const int64_t strips = (end - unit) * input.strips_per_unit();
      const int64_t paired = arrange(unit, strips, copy.data(), list.data());
      for (int64_t pair = pair0; pair < pair1 && paired > 0; ++pair)
        for (int64_t i = 0; i < paired; i += 2) multiply(list.data() + i, 2, pair * 2, 2);
      for (int64_t pair = pair0; pair < pair1 && paired < strips; pair += 2)
        for (int64_t i = paired; i < strips; ++i)
          multiply(list.data() + i, 1, pair * 2, int(std::min<int64_t>(pair1 - pair, 2) * 2));
    }
    waiting.write(sink, acc, kQuads);
    release_tiles();
  }

 private:
  // Lists the strips of a part, those first that can be multiplied in pairs. Returns how many these are.
  int64_t arrange(int64_t unit, int64_t strips, const uint8_t* copy, Strip* list) const {
    int64_t paired = 0, single = strips;  // singles are kept at the end while they wait for a partner
    for (int64_t i = 0; i < strips; ++i) {
      Strip strip = input.strip(unit, i, copy);
      int64_t partner = single;
      while (partner < strips && !input.join(list[partner], strip)) ++partner;
      if (partner == strips) {
        list[--single] = strip;
        continue;
      }
      const Strip first = list[partner];
      for (; partner > single; --partner) list[partner] = list[partner - 1];
      ++single;
      list[paired++] = first;
      list[paired++] = strip;
    }
    return paired;
  }

  // Where the accumulators of a strip and a block begin.
  const int32_t* bias(const Strip& s, int64_t block, int tile) {
    const int64_t offset = block * kLanes;
    const auto row_of = [&](int64_t pixel) {
      return pk.bias + (pk.row[pixel / g.ow % g.oh] + pk.col[pixel % g.ow]) * pk.bias_stride + offset;
    };
    if (!bias_varies) return row_of(0);
    int32_t* const to = bias_tiles + tile * kTileSize / 4;
    for (int r = 0; r < kStrip; ++r)
      std::copy_n(row_of(s.pixel + std::min(r, s.last - 1) * sink.pixel_step), kLanes, to + r * kLanes);
    return to;
  }

  void multiply(const Strip* strips, int count, int64_t block, int blocks) {
    work.wide = count == 1;
    work.kh0 = strips[0].kh0;
    work.kh1 = strips[0].kh1;
    work.kw0 = strips[0].kw0;
    work.kw1 = strips[0].kw1;
    work.channel = block * kLanes;
    work.channels = std::min<int64_t>(blocks * kLanes, g.oc - work.channel);
    work.w = pk.w + block * pk.w_block;
    const int64_t present = std::min<int64_t>(blocks, pk.blocks - block);
    const int columns = work.wide ? 4 : 2;
    for (int v = 0; v < columns; ++v) work.w_block[v] = v < present ? v * pk.w_block : 0;
    for (int m = 0; m < count; ++m) {
      work.x[m] = reinterpret_cast<const uint8_t*>(strips[m].origin);
      work.pixel[m] = strips[m].pixel;
      work.first[m] = strips[m].first;
      work.last[m] = strips[m].last;
      for (int v = 0; v < columns; ++v)
        work.bias[m * columns + v] = bias(strips[m], block + (v < present ? v : 0), m * columns + v);
    }
    work.bias_pitch = bias_varies ? kTileBytes : 0;
    if (work.wide)
      multiply_one_by_four(work, sink, acc, waiting);
    else
      multiply_two_by_two(work, sink, acc, waiting);
  }

  const QConv2d& a;
  const Conv2dGeometry& g;
  const StripInput& input;
  const PackedQConv& pk;
  Sink sink;
  Work work;
  Waiting waiting;
  std::byte* acc = nullptr;
  int32_t* bias_tiles = nullptr;
  bool bias_varies = false;
};

// Linux gives the tile registers only to processes that ask for them.
bool tiles_permitted() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
}

Refusal check(const QConv2d& a) {
  if (!cpu_features().amx_int8) return {"the processor has no AMX"};
  if (a.g.groups > 1) return {"the convolution has groups"};
  if (a.g.n * a.g.oh * a.g.ow < 8) return {"fewer output pixels than half a tile"};
  if (!tiles_permitted()) return {"the operating system does not permit AMX"};
  return check_direct(a);
}

Tensor pack(const QConv2d& a) {
  const Conv2dGeometry& g = a.g;
  const StripDepth depth(g);
  const int64_t taps = g.kh * g.kw;
  QPacking packing = pack_bias_rows(a, 1, kLanes, depth.size() * kLanes, 0);
  const auto* const w = a.w.as<int8_t>();
  parallel_for(g.oc, 4, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      int8_t* const block = packing.w + o / kLanes * depth.size() * kLanes + o % kLanes * 4;
      for (int64_t c = 0; c < g.ic; ++c)
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t k = tap * depth.stride + c;
          block[k / 4 * kLanes * 4 + k % 4] = w[(o * g.ic + c) * taps + tap];
        }
    }
  });
  return std::move(packing.buffer);
}

// The share of `threads` threads' time that n equal items keep busy.
double balance(int64_t n, int64_t threads) { return double(n) / double((n + threads - 1) / threads * threads); }

void run(const QConv2d& a, const ExecContext&) {
  const Conv2dGeometry& g = a.g;
  const PackedQConv pk = unpack_direct(a);
  const StripInput input(a);
  const int64_t units = input.units(), pairs = (pk.blocks + 1) / 2, threads = num_threads();
  if (units == 0 || pairs == 0) return;
  // Threads share out the pixels, and each reads all weights, or the channels, and each reads all pixels: whichever is
  // less, unless it leaves threads idle.
  const double by_units = balance(units, threads), by_pairs = balance(pairs, threads);
  const bool heavy = pk.blocks * pk.w_block > g.n * g.ih * g.iw * a.x.strides[3];
  const int64_t unit_macs = input.strips_per_unit() * kStrip * 2 * kLanes * input.depth().size();
  const auto grain = [&](int64_t per_item) { return 1 + 2000000 / std::max<int64_t>(1, unit_macs * per_item); };
  const auto walk = [&](int64_t unit0, int64_t unit1, int64_t pair0, int64_t pair1) {
    Walk(a, input, pk).run(unit0, unit1, pair0, pair1);
  };
  if (by_pairs > by_units || (heavy && by_pairs == by_units))
    parallel_for(pairs, grain(units), [&](int64_t b, int64_t e) { walk(0, units, b, e); });
  else
    parallel_for(units, grain(pairs), [&](int64_t b, int64_t e) { walk(b, e, 0, pairs); });
}

}  // namespace

const Kernel<QConv2d> qconv2d_direct_amx{"own.direct.amx", check, run, pack};

}  // namespace mininn::cpu::own
