// Direct int8 convolution on AMX tiles: tdpbusd multiplies 16 pixels x 64 input channels by 64 x 16 output channels and
// takes 16 cycles, in which a core can do much else. So a call multiplies two strips of pixels by two blocks of
// channels (or one by four where a strip has no partner), and between its tile instructions writes the codes of the
// call before: conversion and scaling cost no time of their own. qconv2d_strips.h says where the pixels are.
//
// Packed weights are blocks of 16 output channels: [depth / 4][16][4] s8, so that the rows of a step follow each other.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "core/parallel.h"
#include "cpu_kernels/own/cpu_features.h"
#include "cpu_kernels/own/qconv2d.h"
#include "cpu_kernels/own/qconv2d_epilogue_zmm.h"
#include "cpu_kernels/own/qconv2d_strips.h"
#include "cpu_kernels/own/scratch.h"

namespace mininn::cpu::own {
namespace {

constexpr int kLanes = 16;         // output channels of a block
constexpr int64_t kRowBytes = 64;  // of accumulators and of weights: a block
constexpr int64_t kTileSize = 16 * kRowBytes;
constexpr int kQuads = 16;  // groups of four accumulator rows in the four tiles of a call

// The output side of a convolution.
struct Sink {
  int64_t y_step, residual_step;  // bytes from a row of a strip to the next; no residual: 0
  float residual_scale;
  int32_t residual_zero;
  bool f32;
  CodeRange range;
};

// What a call writes: its strips (or strip) at its channels.
struct Target {
  std::byte* y[2];  // of row 0
  const uint8_t* residual[2];
  int first[2], last[2];  // the rows
  const float* multiplier;
  int64_t channels;
  int blocks;  // two strips by one or two, or one strip by four
  bool whole;  // all 64 codes of every quad
};

// A tile's row of depth: where it is, from a strip's origin and from the weights'.
struct Step {
  int64_t x, w;
};

// What a call multiplies.
struct Operands {
  const Step* step;
  int64_t steps;
  int64_t quads_per_step;  // that many quads of the call before are written in each step
  const uint8_t* x[2];
  int64_t pitch;  // from a row of a strip to the next
  const int8_t* w;
  int64_t w_block[4];      // from `w` to each block; a missing one repeats the first
  const int32_t* bias[4];  // what each accumulator tile begins with
  int64_t bias_pitch;
};

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-int8")
namespace mininn::cpu::own {
namespace {

// What tile loads and stores do to memory is invisible to GCC; this makes it forget what it knows.
inline void memory_barrier(const void* p) { __asm__ volatile("" : : "r"(p) : "memory"); }

// Accumulators are tiles 0 to 3, input 4 and 5 with rows of `step` values, weights 6 and 7.
void configure_tiles(int64_t step) {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_per_row[16] = {64, 64, 64, 64, 0, 0, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16};
  } config;
  config.bytes_per_row[4] = config.bytes_per_row[5] = uint16_t(step);
  config.rows[6] = config.rows[7] = uint8_t(step / 4);
  memory_barrier(&config);
  _tile_loadconfig(&config);
}
void release_tiles() { _tile_release(); }

inline __m512i widened(const uint8_t* codes, __mmask16 mask) {
  return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, codes));
}
inline ZmmCodes zmm_codes(const Sink& s) { return {s.range, s.residual_scale, s.residual_zero}; }

// The ways to write a call's accumulators, a quad at a time. The usual ones, made of whole quads, turn four rows of
// accumulators into 64 codes: two pixels by two blocks, or one pixel by four (or two pixels by one block: 32 codes).
// kPlain: zero and the least code are 0.
template <int kBlocks, bool kResidual, bool kPlain>
class WholeQuads {
 public:
  WholeQuads(const Sink& s, const Target& target, const std::byte* acc)
      : to(zmm_codes(s)),
        order(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)),
        t(target),
        from(acc),
        y(target.y[0]),
        residual(target.residual[0]),
        multiplier(target.multiplier),
        y_step(s.y_step),
        residual_step(s.residual_step) {}

  void write() {
    __m512i v[4];
#pragma GCC unroll 4
    for (int i = 0; i < kBlocks * kRows; ++i) {
      const int block = i % kBlocks, row = i / kBlocks;
      const __m512i sum = _mm512_load_si512(from + block * kTileSize + row * kRowBytes);
      const __m512 scale = _mm512_loadu_ps(multiplier + block * kLanes);
      const uint8_t* r = residual + row * residual_step + block * kLanes;
      const __m512 value = kResidual ? to.scaled(sum, scale, widened(r, 0xffff)) : to.scaled(sum, scale);
      v[i] = kPlain ? to.codes_to_pack(value) : to.codes(value);
    }
    // Packing works within 128-bit lanes: dword 4j+i of the result holds channels 4j..4j+3 of v[i].
    const __m512i low = _mm512_packus_epi32(v[0], v[1]), high = kBlocks == 1 ? low : _mm512_packus_epi32(v[2], v[3]);
    const __m512i sorted = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
    if (kBlocks == 4) {
      _mm512_storeu_si512(y, sorted);
    } else if (kBlocks == 2) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_castsi512_si256(sorted));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + y_step), _mm512_extracti64x4_epi64(sorted, 1));
    } else {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm512_castsi512_si128(sorted));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y + y_step), _mm512_extracti32x4_epi32(sorted, 1));
    }
    next();
  }

 private:
  static constexpr int kRows = kBlocks == 4 ? 1 : 2;  // of a quad

  void next() {
    from += kRows * kRowBytes;
    y += kRows * y_step;
    if (kResidual) residual += kRows * residual_step;
    if (kBlocks < 4 && ++quad == kQuads / 2) {  // the second strip
      from += kTileSize;
      y = t.y[1];
      residual = t.residual[1];
    }
  }

  const ZmmCodes to;
  const __m512i order;
  const Target& t;
  const std::byte* from;
  std::byte* y;
  const uint8_t* residual;
  const float* multiplier;
  const int64_t y_step, residual_step;
  int quad = 0;
};

// Where not all of a quad is wanted, or the output is f32.
class PartialQuads {
 public:
  PartialQuads(const Sink& sink, const Target& target, const std::byte* accumulators)
      : s(sink), to(zmm_codes(sink)), t(target), acc(accumulators) {}

  void write() {
    if (t.blocks == 4) {
      write_row(0, quad);
    } else {
      write_row(quad / 8, quad % 8 * 2);
      write_row(quad / 8, quad % 8 * 2 + 1);
    }
    ++quad;
  }

 private:
  void write_row(int m, int r) const {
    if (r < t.first[m] || r >= t.last[m]) return;
    for (int64_t c = 0; c < t.channels; c += kLanes) {
      const __m512i from = _mm512_load_si512(acc + (m * 2 + c / kLanes) * kTileSize + r * kRowBytes);
      const int64_t left = t.channels - c;
      const __mmask16 mask = left >= kLanes ? __mmask16(0xffff) : __mmask16((1u << left) - 1);
      const __m512 multiplier = _mm512_maskz_loadu_ps(mask, t.multiplier + c);
      const __m512 value = s.residual_step
                               ? to.scaled(from, multiplier, widened(t.residual[m] + r * s.residual_step + c, mask))
                               : to.scaled(from, multiplier);
      std::byte* y = t.y[m] + r * s.y_step;
      if (s.f32)
        _mm512_mask_storeu_ps(reinterpret_cast<float*>(y) + c, mask, value);
      else
        _mm_mask_storeu_epi8(y + c, mask, _mm512_cvtepi32_epi8(to.codes(value)));
    }
  }

  const Sink& s;
  const ZmmCodes to;
  const Target& t;
  const std::byte* acc;
  int quad = 0;
};

// Before the first call there is nothing to write.
class NoQuads {
 public:
  void write() {}
};

// with_constants(a, b, f): f<a, b>().
template <bool... kConstants, class F>
inline void with_constants(const F& f) {
  f.template operator()<kConstants...>();
}
template <bool... kConstants, class... Rest>
inline void with_constants(bool value, const Rest&... rest) {
  value ? with_constants<kConstants..., true>(rest...) : with_constants<kConstants..., false>(rest...);
}

// Calls f with the right one.
template <class F>
inline void with_quads(const Sink& s, const Target* t, const std::byte* acc, const F& f) {
  const auto whole = [&]<int kBlocks>() __attribute__((always_inline)) {
    with_constants(
        s.residual_step != 0,
        begins_at_zero(s.range), [&]<bool kResidual, bool kPlain>() __attribute__((always_inline)) {
          f(WholeQuads<kBlocks, kResidual, kPlain>(s, *t, acc));
        });
  };
  if (!t)
    f(NoQuads());
  else if (!t->whole)
    f(PartialQuads(s, *t, acc));
  else if (t->blocks == 4)
    whole.template operator()<4>();
  else if (t->blocks == 2)
    whole.template operator()<2>();
  else
    whole.template operator()<1>();
}

void finish(const Sink& s, const Target* t, const std::byte* acc) {
  with_quads(s, t, acc, [](auto quads) {
    for (int i = 0; i < kQuads; ++i) quads.write();
  });
}

inline void begin_tiles(const Operands& k) {
  _tile_loadd(0, k.bias[0], k.bias_pitch);
  _tile_loadd(1, k.bias[1], k.bias_pitch);
  _tile_loadd(2, k.bias[2], k.bias_pitch);
  _tile_loadd(3, k.bias[3], k.bias_pitch);
}

inline void store_tiles(std::byte* acc) {
  memory_barrier(acc);
  _tile_stored(0, acc, kRowBytes);
  _tile_stored(1, acc + kTileSize, kRowBytes);
  _tile_stored(2, acc + 2 * kTileSize, kRowBytes);
  _tile_stored(3, acc + 3 * kTileSize, kRowBytes);
  memory_barrier(acc);
}

// step(i) for every step, and between them all quads.
template <class Quads, class DoStep>
inline void interleave(const Operands& k, Quads& quads, const DoStep& step) {
  int64_t left = kQuads;
  for (const Step *i = k.step, *const end = i + k.steps; i != end; ++i) {
    step(*i);
    int64_t n = k.quads_per_step < left ? k.quads_per_step : left;
    left -= n;
    for (; n > 0; --n) quads.write();
  }
  for (; left > 0; --left) quads.write();
}

// Multiplies `k` while it writes what the call before has left in `acc`, and leaves its own accumulators there: two
// strips by two blocks, blocks innermost.
void multiply_two_by_two(const Operands& k, const Sink& s, const Target* before, std::byte* acc) {
  with_quads(
      s, before, acc, [&](auto quads) __attribute__((always_inline)) {
        const uint8_t *x0 = k.x[0], *x1 = k.x[1];
        const int8_t *w0 = k.w, *w1 = k.w + k.w_block[1];
        const int64_t pitch = k.pitch;
        begin_tiles(k);
        interleave(
            k, quads, [&](const Step& i) __attribute__((always_inline)) {
              _tile_loadd(6, w0 + i.w, kRowBytes);
              _tile_loadd(4, x0 + i.x, pitch);
              _tile_dpbusd(0, 4, 6);
              _tile_loadd(7, w1 + i.w, kRowBytes);
              _tile_dpbusd(1, 4, 7);
              _tile_loadd(5, x1 + i.x, pitch);
              _tile_dpbusd(2, 5, 6);
              _tile_dpbusd(3, 5, 7);
            });
        store_tiles(acc);
      });
}

// Two strips by one block.
void multiply_two_by_one(const Operands& k, const Sink& s, const Target* before, std::byte* acc) {
  with_quads(
      s, before, acc, [&](auto quads) __attribute__((always_inline)) {
        _tile_loadd(0, k.bias[0], k.bias_pitch);
        _tile_loadd(2, k.bias[2], k.bias_pitch);
        interleave(
            k, quads, [&](const Step& i) __attribute__((always_inline)) {
              _tile_loadd(6, k.w + i.w, kRowBytes);
              _tile_loadd(4, k.x[0] + i.x, k.pitch);
              _tile_dpbusd(0, 4, 6);
              _tile_loadd(5, k.x[1] + i.x, k.pitch);
              _tile_dpbusd(2, 5, 6);
            });
        memory_barrier(acc);
        _tile_stored(0, acc, kRowBytes);
        _tile_stored(2, acc + 2 * kTileSize, kRowBytes);
        memory_barrier(acc);
      });
}

// One strip by four blocks.
void multiply_one_by_four(const Operands& k, const Sink& s, const Target* before, std::byte* acc) {
  with_quads(
      s, before, acc, [&](auto quads) __attribute__((always_inline)) {
        begin_tiles(k);
        interleave(
            k, quads, [&](const Step& i) __attribute__((always_inline)) {
              const int8_t* w = k.w + i.w;
              _tile_loadd(4, k.x[0] + i.x, k.pitch);
              _tile_loadd(6, w, kRowBytes);
              _tile_dpbusd(0, 4, 6);
              _tile_loadd(7, w + k.w_block[1], kRowBytes);
              _tile_dpbusd(1, 4, 7);
              _tile_loadd(6, w + k.w_block[2], kRowBytes);
              _tile_dpbusd(2, 4, 6);
              _tile_loadd(7, w + k.w_block[3], kRowBytes);
              _tile_dpbusd(3, 4, 7);
            });
        store_tiles(acc);
      });
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

// Bytes of input and output that are worked on together: both stay in the L1 cache, or in L2 where more weights pass
// by. Larger parts copy fewer pixels twice.
constexpr int64_t kPartInPlace = 28 << 10, kPartCopied = 72 << 10, kPartMost = 768 << 10;

// One thread's share: units of strips by pairs of blocks.
class Walk {
 public:
  Walk(const QConv2d& conv, const StripInput& strips, const PackedQConv& packed)
      : a(conv),
        g(conv.g),
        input(strips),
        pk(packed),
        y_pixel(a.y.dtype == DType::f32 ? g.oc * 4 : a.y.strides[3]),
        residual_pixel(a.residual ? a.residual.strides[3] : 0),
        sink{.y_step = y_pixel * input.pixel_step(),
             .residual_step = residual_pixel * input.pixel_step(),
             .residual_scale = a.residual_scale,
             .residual_zero = a.residual_zero,
             .f32 = a.y.dtype == DType::f32,
             .range = code_range(a.y_zero, a.lo, a.hi)},
        steps(input.depth().size / input.depth().step) {
    const auto varies = [](const int32_t* v, int64_t n) {
      return std::any_of(v, v + n, [&](int32_t i) { return i != v[0]; });
    };
    bias_varies = varies(pk.row, g.oh) || varies(pk.col, g.ow);
    k.pitch = input.pitch();
    k.step = steps.data();
    k.bias_pitch = bias_varies ? kRowBytes : 0;
  }

  void run(int64_t unit0, int64_t unit1, int64_t pair0, int64_t pair1) {
    const int64_t weights = (pair1 - pair0) * 2 * pk.w_block;
    const int64_t bytes = std::clamp(weights / 2, input.copies() ? kPartCopied : kPartInPlace, kPartMost);
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

    configure_tiles(input.depth().step);
    for (int64_t unit = unit0, end; unit < unit1; unit = end) {
      end = input.part(unit, unit1, bytes);
      input.load(unit, end, copy.data());
      const int64_t strips = (end - unit) * input.strips_per_unit();
      const int64_t paired = arrange(unit, strips, copy.data(), list.data());
      for (int64_t pair = pair0; pair < pair1 && paired > 0; ++pair) {
        set_blocks<2>(pair * 2, 2);
        for (int64_t i = 0; i < paired; i += 2) call<2>(list.data() + i);
      }
      for (int64_t pair = pair0; pair < pair1 && paired < strips; pair += 2) {
        set_blocks<4>(pair * 2, std::min<int64_t>(pair1 - pair, 2) * 2);
        for (int64_t i = paired; i < strips; ++i) call<4>(list.data() + i);
      }
    }
    finish(sink, before, acc);
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

  // The steps of strips with these taps; those of the call before most often.
  void set_steps(const Strip& s) {
    if (s.kh0 == taps.kh0 && s.kh1 == taps.kh1 && s.kw0 == taps.kw0 && s.kw1 == taps.kw1) return;
    taps = s;
    k.steps = 0;
    const StripDepth& depth = input.depth();
    for (int64_t kh = s.kh0; kh < s.kh1; ++kh)
      for (int64_t kw = s.kw0; kw < s.kw1; ++kw) {
        const int64_t tap = kh * depth.taps + kw;
        for (int64_t c = 0; c < depth.channels; c += depth.step)
          steps[k.steps++] = {input.taps()[tap] + c, (tap * depth.channels + c) * kLanes};
      }
    k.quads_per_step = k.steps > 0 ? (kQuads - 1) / k.steps + 1 : 0;
  }

  // Blocks [block, block + wanted) for the calls that follow, of which the last may not exist; kBlocks are multiplied.
  template <int64_t kBlocks>
  void set_blocks(int64_t block, int64_t wanted) {
    const int64_t present = std::min(wanted, pk.blocks - block);
    channel = block * kLanes;
    channels = std::min(wanted * kLanes, g.oc - channel);
    k.w = pk.w + block * pk.w_block;
    for (int64_t v = 0; v < kBlocks; ++v) {
      k.w_block[v] = v < present ? v * pk.w_block : 0;
      bias[v] = pk.bias + (v < present ? block + v : block) * kLanes;
    }
  }

  // What the accumulators of strip `m` and block `v` begin with, where that depends on the pixel.
  const int32_t* bias_tile(const Strip& s, int64_t m, int64_t v) {
    int32_t* const tile = bias_tiles + (m * 2 + v) * kTileSize / 4;
    for (int r = 0; r < kStrip; ++r) {
      const int64_t pixel = s.pixel + std::min(r, s.last - 1) * input.pixel_step();
      const int64_t row = pk.row[pixel / g.ow % g.oh] + pk.col[pixel % g.ow];
      std::copy_n(bias[v] + row * pk.bias_stride, kLanes, tile + r * kLanes);
    }
    return tile;
  }

  // Two strips by two blocks, or one by four.
  template <int64_t kBlocks>
  void call(const Strip* strips) {
    set_steps(strips[0]);
    Target& t = targets[before == &targets[0] ? 1 : 0];
    t.multiplier = a.multiplier.as<float>() + channel;
    t.channels = channels;
    t.blocks = kBlocks == 2 && channels <= kLanes ? 1 : int(kBlocks);
    t.whole = channels == t.blocks * kLanes && !sink.f32;
    for (int64_t m = 0; m < 4 / kBlocks; ++m) {
      const Strip& s = strips[m];
      t.y[m] = a.y.data + s.pixel * y_pixel + channel * (sink.f32 ? 4 : 1);
      t.residual[m] = residual_pixel ? a.residual.as<uint8_t>() + s.pixel * residual_pixel + channel : nullptr;
      t.first[m] = s.first;
      t.last[m] = s.last;
      t.whole &= s.first == 0 && s.last == kStrip;
      k.x[m] = reinterpret_cast<const uint8_t*>(s.origin);
      for (int64_t v = 0; v < kBlocks; ++v)
        k.bias[m * kBlocks + v] = bias_varies ? bias_tile(s, m, v) : bias[v] + (pk.row[0] + pk.col[0]) * pk.bias_stride;
    }
    if (t.blocks == 4)
      multiply_one_by_four(k, sink, before, acc);
    else if (t.blocks == 1)
      multiply_two_by_one(k, sink, before, acc);
    else
      multiply_two_by_two(k, sink, before, acc);
    before = &t;
  }

  const QConv2d& a;
  const Conv2dGeometry& g;
  const StripInput& input;
  const PackedQConv& pk;
  const int64_t y_pixel, residual_pixel;  // bytes
  const Sink sink;
  Scratch<Step> steps;
  Operands k{};
  Strip taps;                         // those of k's steps
  int64_t channel = 0, channels = 0;  // of the blocks
  const int32_t* bias[4];             // of each block
  Target targets[2];
  const Target* before = nullptr;  // of the call whose accumulators are in `acc`
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
  QPacking packing = pack_bias_rows(a, 1, kLanes, depth.size * kLanes, 0);
  const auto* const w = a.w.as<int8_t>();
  parallel_for(g.oc, 4, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      int8_t* const block = packing.w + o / kLanes * depth.size * kLanes + o % kLanes * 4;
      for (int64_t c = 0; c < g.ic; ++c)
        for (int64_t kh = 0; kh < g.kh; ++kh)
          for (int64_t kw = 0; kw < g.kw; ++kw) {
            const int64_t k = depth.value(kh, kw, c);
            block[k / 4 * kLanes * 4 + k % 4] = w[((o * g.ic + c) * g.kh + kh) * g.kw + kw];
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
  const int64_t unit_macs = input.strips_per_unit() * kStrip * 2 * kLanes * input.depth().size;
  const auto grain = [&](int64_t per_item) { return 1 + 2000000 / std::max<int64_t>(1, unit_macs * per_item); };
  if (by_pairs > by_units || (heavy && by_pairs == by_units))
    parallel_for(pairs, grain(units), [&](int64_t b, int64_t e) { Walk(a, input, pk).run(0, units, b, e); });
  else
    parallel_for(units, grain(pairs), [&](int64_t b, int64_t e) { Walk(a, input, pk).run(b, e, 0, pairs); });
}

}  // namespace

const Kernel<QConv2d> qconv2d_direct_amx{"own.direct.amx", check, run, pack};

}  // namespace mininn::cpu::own
