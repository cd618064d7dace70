// Direct int8 convolution on strips (strips.h) with vpdpbusd (vnni_zmm.h): 8 pixels by 2 blocks of
// channels, or 16 by 1, are summed up in registers. A step is one dword of input channels.
#include <algorithm>
#include <cmath>

#include "core/integers.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/own/int8/conv/epilogue_zmm.h"
#include "cpu_kernels/own/int8/conv/kernels.h"
#include "cpu_kernels/own/int8/conv/strips.h"
#include "cpu_kernels/own/int8/conv/vnni_zmm.h"

MININN_TARGET_AVX512VNNI
namespace mininn::cpu::own {
namespace {

constexpr int kLanes = kStripLanes;

// Pixel p < 16 from `x` on. Written such that few registers hold what all addresses are made of: the processor adds a
// multiple of 1, 2, 4 or 8 by itself.
struct Pitch {
  int64_t one, three, five, seven;

  explicit Pitch(int64_t pitch) : one(pitch), three(3 * pitch), five(5 * pitch), seven(7 * pitch) {}
  const uint8_t* pixel(const uint8_t* x, const uint8_t* x8, int p) const {
    const uint8_t* const from = p < 8 ? x : x8;
    switch (p % 8) {
      case 0: return from;
      case 3: return from + three;
      case 5: return from + five;
      case 6: return from + three * 2;
      case 7: return from + seven;
      default: return from + one * (p % 8);
    }
  }
};

// Sums for kPixels pixels from row `row` of a strip on.
template <int kPixels, int kBlocks>
inline void multiply(const StripOperands& k, int row, __m512i (&acc)[kPixels][kBlocks]) {
#pragma GCC unroll 2
  for (int v = 0; v < kBlocks; ++v) {
    const char* bias = reinterpret_cast<const char*>(k.bias[v]) + row * k.bias_pitch;
#pragma GCC unroll 16
    for (int p = 0; p < kPixels; ++p, bias += k.bias_pitch) acc[p][v] = _mm512_loadu_si512(bias);
  }
  const Pitch pitch(k.pitch);
  for (const StripStep *i = k.step, *const end = i + k.steps; i != end; ++i) {
    const uint8_t *const x = k.x[0] + row * k.pitch + i->x, *const x8 = x + 8 * k.pitch;
    const int8_t* const w = k.w + i->w;
    __m512i weights[kBlocks];
#pragma GCC unroll 2
    for (int v = 0; v < kBlocks; ++v) weights[v] = _mm512_loadu_si512(w + k.w_block[v]);
#pragma GCC unroll 16
    for (int p = 0; p < kPixels; ++p) {
      const __m512i values = broadcast_dword(pitch.pixel(x, x8, p));
#pragma GCC unroll 2
      for (int v = 0; v < kBlocks; ++v) acc[p][v] = _mm512_dpbusd_epi32(acc[p][v], values, weights[v]);
    }
  }
  // Else GCC, which moves the epilogue's begin up here, copies all sums in every iteration.
#pragma GCC unroll 16
  for (int p = 0; p < kPixels; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < kBlocks; ++v) __asm__("" : "+v"(acc[p][v]));
}

// The codes of 4 / kBlocks pixels: all channels of the blocks, or those of the mask.
template <int kBlocks>
inline void store_pixels(__m512i codes, std::byte* y, int64_t step, bool all, __mmask32 some) {
  if (all && step == kBlocks * kLanes) return _mm512_storeu_si512(y, codes);
  if constexpr (kBlocks == 2) {
    if (all) return store_halves(codes, y, y + step);
    _mm256_mask_storeu_epi8(y, some, _mm512_castsi512_si256(codes));
    _mm256_mask_storeu_epi8(y + step, some, _mm512_extracti64x4_epi64(codes, 1));
  } else {
    if (all) return store_quarters(codes, y, y + step, y + 2 * step, y + 3 * step);
    const auto mask = __mmask16(some);
    _mm_mask_storeu_epi8(y, mask, _mm512_castsi512_si128(codes));
    _mm_mask_storeu_epi8(y + step, mask, _mm512_extracti32x4_epi32(codes, 1));
    _mm_mask_storeu_epi8(y + 2 * step, mask, _mm512_extracti32x4_epi32(codes, 2));
    _mm_mask_storeu_epi8(y + 3 * step, mask, _mm512_extracti32x4_epi32(codes, 3));
  }
}

// All pixels of a strip, as codes. kPlain: see ZmmCodes.
template <int kBlocks, bool kResidual, bool kPlain>
void write_codes(const StripOperands& k, const StripSink& s, const StripTarget& t) {
  constexpr int kPixels = 16 / kBlocks;
  const ZmmCodes to(s.range, s.residual_scale, s.residual_zero);
  __mmask16 mask[kBlocks];
  __m512 multiplier[kBlocks];
#pragma GCC unroll 2
  for (int v = 0; v < kBlocks; ++v) {
    mask[v] = channel_mask(t.channels - v * kLanes);
    multiplier[v] = _mm512_maskz_loadu_ps(mask[v], t.multiplier + v * kLanes);
  }
  const bool all = t.channels == kBlocks * kLanes;
  const __mmask32 some = (__mmask32{1} << (t.channels % (kBlocks * kLanes))) - 1;
  std::byte* y = t.y[0];
  const uint8_t* residual = t.residual[0];
  for (int row = 0; row < t.last[0]; row += kPixels) {
    __m512i acc[kPixels][kBlocks];
    multiply(k, row, acc);
    constexpr int kRows = 4 / kBlocks;  // pixels of a vector of codes
#pragma GCC unroll 4
    for (int p = 0; p < kPixels; p += kRows) {
      __m512i codes[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const int v = i % kBlocks;
        const __m512i sum = acc[p + i / kBlocks][v];
        const uint8_t* r = residual + i / kBlocks * s.residual_step + v * kLanes;
        const __m512 value =
            kResidual ? to.scaled(sum, multiplier[v], widened(r, mask[v])) : to.scaled(sum, multiplier[v]);
        codes[i] = to.rounded<kPlain>(value);
      }
      const __m512i sorted = to.sorted<kPlain>(codes[0], codes[1], codes[2], codes[3]);
      store_pixels<kBlocks>(sorted, y, s.y_step, all, some);
      y += kRows * s.y_step;
      if (kResidual) residual += kRows * s.residual_step;
    }
  }
}

// Some pixels of a strip, or f32.
template <int kBlocks>
void write_some(const StripOperands& k, const StripSink& s, const StripTarget& t) {
  constexpr int kPixels = 16 / kBlocks;
  const ZmmCodes to(s.range, s.residual_scale, s.residual_zero);
  for (int row = t.first[0] / kPixels * kPixels; row < t.last[0]; row += kPixels) {
    __m512i acc[kPixels][kBlocks];
    multiply(k, row, acc);
#pragma GCC unroll 16
    for (int p = 0; p < kPixels; ++p) {
      const int r = row + p;
      if (r < t.first[0] || r >= t.last[0]) continue;
#pragma GCC unroll 2
      for (int v = 0; v < kBlocks; ++v) {
        const int64_t c = v * kLanes;
        const __mmask16 mask = channel_mask(t.channels - c);
        store_channels(to, acc[p][v], _mm512_maskz_loadu_ps(mask, t.multiplier + c), mask,
                       s.residual_step ? t.residual[0] + r * s.residual_step + c : nullptr, s.f32,
                       t.y[0] + r * s.y_step + c * (s.f32 ? 4 : 1));
      }
    }
  }
}

template <int kBlocks>
void write(const StripOperands& k, const StripSink& s, const StripTarget& t, bool plain) {
  if (s.f32 || t.first[0] > 0 || t.last[0] < kStrip)
    write_some<kBlocks>(k, s, t);
  else if (s.residual_step)
    plain ? write_codes<kBlocks, true, true>(k, s, t) : write_codes<kBlocks, true, false>(k, s, t);
  else
    plain ? write_codes<kBlocks, false, true>(k, s, t) : write_codes<kBlocks, false, false>(k, s, t);
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

// See ZmmCodes::rounded().
bool is_plain(const op::QConv2d& a) {
  // Of multipliers of at most a half the product with any sum is at most 2^30, and a residual adds less than 2^29.
  const auto* const m = a.multiplier.as<float>();
  return a.y_zero == 0 && a.lo == 0 && a.hi == 255 && a.residual_scale <= 0x1p20f &&
         std::all_of(m, m + a.g.oc, [](float v) { return std::fabs(v) <= 0.5f; });
}

class Walk : QStripWalk {
 public:
  static constexpr bool kLongStrips = true;

  Walk(const op::QConv2d& conv, const StripInput& strips, const PackedQConv& packed)
      : QStripWalk(conv, strips, packed, 4), plain(is_plain(conv)) {}

  void run(int64_t unit0, int64_t unit1, int64_t pair0, int64_t pair1) {
    for_parts(unit0, unit1, (pair1 - pair0) * 2 * pk.w_block, [&](const Strip* strips, int64_t count) {
      for (int64_t pair = pair0; pair < pair1; ++pair) {
        const bool two = pair * 2 + 1 < pk.blocks;
        set_blocks(pair * 2, pair * 2 + 2, two ? 2 : 1);
        for (int64_t i = 0; i < count; ++i) {
          StripTarget t;
          set_strips(strips + i, 1, t);
          if (two)
            write<2>(k, sink, t, plain);
          else
            write<1>(k, sink, t, plain);
        }
      }
    });
  }

 private:
  const bool plain;
};

Refusal check(const op::QConv2d& a) {
  if (const Refusal r = needs(Isa::avx512vnni)) return r;
  if (a.g.groups > 1) return {"the convolution has groups"};
  return check_packed(a);
}
void run(const op::QConv2d& a, const ExecContext&) { run_strips<Walk>(a); }
// Else the direct kernel leaves out more products: with padding, or of pixels that fill up the last strip.
bool pays(const op::QConv2d& a) {
  const Conv2dGeometry& g = a.g;
  if (StripDepth(g).merged) return true;
  const int64_t line = g.stride_h == 1 && g.stride_w == 1 ? g.n * g.oh * g.ow : g.ow;
  return g.kh * g.kw == 1 && round_up(line, kStrip) * 10 <= line * 11;
}

}  // namespace

const Kernel<op::QConv2d> qconv2d_strips_avx512vnni{
    "own.strips.avx512vnni", kOwnInRegions, check, run, pack_strips, nullptr, pays};

}  // namespace mininn::cpu::own
