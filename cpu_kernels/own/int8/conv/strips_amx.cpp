// Direct int8 convolution on AMX tiles: tdpbusd multiplies 16 pixels x 64 input channels by 64 x 16 output channels and
// takes 16 cycles, in which a core can do much else. So a call multiplies two strips of pixels by two blocks of
// channels (or one by four where a strip has no partner), and between its tile instructions writes the codes of the
// call before: conversion and scaling cost no time of their own. strips.h says where the pixels are.
//
// Packed weights are blocks of 16 output channels: [depth / 4][16][4] s8, so that the rows of a step follow each other.
#include <algorithm>

#include "cpu_kernels/common/amx.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/own/int8/conv/epilogue_zmm.h"
#include "cpu_kernels/own/int8/conv/kernels.h"
#include "cpu_kernels/own/int8/conv/strips.h"

namespace mininn::cpu::own {
namespace {

constexpr int kLanes = kStripLanes;

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AMX
namespace mininn::cpu::own {
namespace {

inline ZmmCodes zmm_codes(const StripSink& s) { return {s.range, s.residual_scale, s.residual_zero}; }

// The ways to write a call's accumulators, a quad at a time. The usual ones, made of whole quads, turn four rows of
// accumulators into 64 codes: two pixels by two blocks, or one pixel by four (or two pixels by one block: 32 codes).
template <int kBlocks, bool kResidual>
class WholeQuads {
 public:
  WholeQuads(const StripSink& s, const StripTarget& target, const std::byte* acc)
      : to(zmm_codes(s)),
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
      const __m512i sum = _mm512_load_si512(from + block * kTileSize + row * kTileRow);
      const __m512 scale = _mm512_loadu_ps(multiplier + block * kLanes);
      const uint8_t* r = residual + row * residual_step + block * kLanes;
      const __m512 value = kResidual ? to.scaled(sum, scale, widened(r, 0xffff)) : to.scaled(sum, scale);
      v[i] = to.rounded(value);
    }
    const __m512i sorted = kBlocks == 1 ? to.sorted(v[0], v[1], v[0], v[1]) : to.sorted(v[0], v[1], v[2], v[3]);
    if (kBlocks == 4) {
      _mm512_storeu_si512(y, sorted);
    } else if (kBlocks == 2) {
      store_halves(sorted, y, y + y_step);
    } else {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm512_castsi512_si128(sorted));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y + y_step), _mm512_extracti32x4_epi32(sorted, 1));
    }
    next();
  }

 private:
  static constexpr int kRows = kBlocks == 4 ? 1 : 2;  // of a quad

  void next() {
    from += kRows * kTileRow;
    y += kRows * y_step;
    if (kResidual) residual += kRows * residual_step;
    if (kBlocks < 4 && ++quad == kResultParts / 2) {  // the second strip
      from += kTileSize;
      y = t.y[1];
      residual = t.residual[1];
    }
  }

  const ZmmCodes to;
  const StripTarget& t;
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
  PartialQuads(const StripSink& sink, const StripTarget& target, const std::byte* accumulators)
      : s(sink), to(zmm_codes(sink)), t(target), acc(accumulators) {}

  void write() {
    if (t.columns == 4) {
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
      const __m512i from = _mm512_load_si512(acc + (m * 2 + c / kLanes) * kTileSize + r * kTileRow);
      const __mmask16 mask = channel_mask(t.channels - c);
      store_channels(to, from, _mm512_maskz_loadu_ps(mask, t.multiplier + c), mask,
                     s.residual_step ? t.residual[m] + r * s.residual_step + c : nullptr, s.f32,
                     t.y[m] + r * s.y_step + c * (s.f32 ? 4 : 1));
    }
  }

  const StripSink& s;
  const ZmmCodes to;
  const StripTarget& t;
  const std::byte* acc;
  int quad = 0;
};

// Calls f with the right one.
template <class F>
inline void with_quads(const StripSink& s, const StripTarget* t, const std::byte* acc, const F& f) {
  const auto whole = [&]<int kBlocks>() __attribute__((always_inline)) {
    if (s.residual_step)
      f(WholeQuads<kBlocks, true>(s, *t, acc));
    else
      f(WholeQuads<kBlocks, false>(s, *t, acc));
  };
  if (!t)
    f(NoResults());
  else if (!t->whole)
    f(PartialQuads(s, *t, acc));
  else if (t->columns == 4)
    whole.template operator()<4>();
  else if (t->columns == 2)
    whole.template operator()<2>();
  else
    whole.template operator()<1>();
}

void finish(const StripSink& s, const StripTarget* t, const std::byte* acc) {
  with_quads(s, t, acc, [](auto quads) {
    for (int i = 0; i < kResultParts; ++i) quads.write();
  });
}

inline void begin_tiles(const StripOperands& k) {
  _tile_loadd(0, k.bias[0], k.bias_pitch);
  _tile_loadd(1, k.bias[1], k.bias_pitch);
  _tile_loadd(2, k.bias[2], k.bias_pitch);
  _tile_loadd(3, k.bias[3], k.bias_pitch);
}

// Multiplies `k` while it writes what the call before has left in `acc`, and leaves its own accumulators there: two
// strips by two blocks, blocks innermost.
void multiply_two_by_two(const StripOperands& k, const StripSink& s, const StripTarget* before, std::byte* acc) {
  with_quads(
      s, before, acc, [&](auto quads) __attribute__((always_inline)) {
        const uint8_t *x0 = k.x[0], *x1 = k.x[1];
        const int8_t *w0 = k.w, *w1 = k.w + k.w_block[1];
        const int64_t pitch = k.pitch;
        begin_tiles(k);
        interleave(
            k.step, k.steps, quads, [&](const StripStep& i) __attribute__((always_inline)) {
              _tile_loadd(6, w0 + i.w, kTileRow);
              _tile_loadd(4, x0 + i.x, pitch);
              _tile_dpbusd(0, 4, 6);
              _tile_loadd(7, w1 + i.w, kTileRow);
              _tile_dpbusd(1, 4, 7);
              _tile_loadd(5, x1 + i.x, pitch);
              _tile_dpbusd(2, 5, 6);
              _tile_dpbusd(3, 5, 7);
            });
        store_four_tiles(acc);
      });
}

// Two strips by one block.
void multiply_two_by_one(const StripOperands& k, const StripSink& s, const StripTarget* before, std::byte* acc) {
  with_quads(
      s, before, acc, [&](auto quads) __attribute__((always_inline)) {
        _tile_loadd(0, k.bias[0], k.bias_pitch);
        _tile_loadd(2, k.bias[1], k.bias_pitch);
        interleave(
            k.step, k.steps, quads, [&](const StripStep& i) __attribute__((always_inline)) {
              _tile_loadd(6, k.w + i.w, kTileRow);
              _tile_loadd(4, k.x[0] + i.x, k.pitch);
              _tile_dpbusd(0, 4, 6);
              _tile_loadd(5, k.x[1] + i.x, k.pitch);
              _tile_dpbusd(2, 5, 6);
            });
        memory_barrier(acc);
        _tile_stored(0, acc, kTileRow);
        _tile_stored(2, acc + 2 * kTileSize, kTileRow);
        memory_barrier(acc);
      });
}

// One strip by four blocks.
void multiply_one_by_four(const StripOperands& k, const StripSink& s, const StripTarget* before, std::byte* acc) {
  with_quads(
      s, before, acc, [&](auto quads) __attribute__((always_inline)) {
        begin_tiles(k);
        interleave(
            k.step, k.steps, quads, [&](const StripStep& i) __attribute__((always_inline)) {
              const int8_t* w = k.w + i.w;
              _tile_loadd(4, k.x[0] + i.x, k.pitch);
              _tile_loadd(6, w, kTileRow);
              _tile_dpbusd(0, 4, 6);
              _tile_loadd(7, w + k.w_block[1], kTileRow);
              _tile_dpbusd(1, 4, 7);
              _tile_loadd(6, w + k.w_block[2], kTileRow);
              _tile_dpbusd(2, 4, 6);
              _tile_loadd(7, w + k.w_block[3], kTileRow);
              _tile_dpbusd(3, 4, 7);
            });
        store_four_tiles(acc);
      });
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

class Walk : QStripWalk {
 public:
  static constexpr bool kLongStrips = false;  // a tile has 16 rows

  Walk(const op::QConv2d& conv, const StripInput& strips, const PackedQConv& packed)
      : QStripWalk(conv, strips, packed, strips.depth().step) {}

  void run(int64_t unit0, int64_t unit1, int64_t pair0, int64_t pair1) {
    Scratch<std::byte> accumulators(4 * kTileSize);
    acc = accumulators.data();
    const Tiles tiles(strip_tiles(input.depth().step));
    for_calls(
        unit0, unit1, pair0, pair1, pk.w_block,
        [&](int64_t block, int64_t end, int64_t count) {
          set_blocks(block, end, count == 2 && block + 1 == pk.blocks ? 1 : count);
        },
        [&](const Strip* strips, int64_t count) { call(strips, count); });
    finish(sink, before, acc);
  }

 private:
  // Two strips by two blocks, or one by four.
  void call(const Strip* strips, int64_t count) {
    StripTarget& t = targets[before == &targets[0] ? 1 : 0];
    set_strips(strips, count, t);
    if (count == 1)
      multiply_one_by_four(k, sink, before, acc);
    else if (t.columns == 1)
      multiply_two_by_one(k, sink, before, acc);
    else
      multiply_two_by_two(k, sink, before, acc);
    before = &t;
  }

  StripTarget targets[2];
  const StripTarget* before = nullptr;  // of the call whose accumulators are in `acc`
  std::byte* acc = nullptr;
};

Refusal check_shape(const op::QConv2d& a) {
  if (a.g.groups > 1) return {"the convolution has groups"};
  if (a.g.n * a.g.oh * a.g.ow < 8) return {"fewer output pixels than half a tile"};
  return check_packed(a);
}

Refusal check(const op::QConv2d& a) {
  if (const Refusal r = needs(Isa::amx)) return r;
  return check_shape(a);
}

void run(const op::QConv2d& a, const ExecContext&) { run_strips<Walk>(a); }

}  // namespace

const Kernel<op::QConv2d> qconv2d_strips_amx{"own.strips.amx", kOwnInRegions, check, run, pack_strips};

}  // namespace mininn::cpu::own
