// Direct int8 convolution on strips with vpdpbusd: one instruction multiplies four input channels of one pixel,
// broadcast as a dword, with those of 16 output channels and adds the four products to each. 8 pixels by 2 blocks of
// channels are summed up in registers; qconv2d_strips.h says where the pixels are.
#include "cpu_kernels/own/cpu_features.h"
#include "cpu_kernels/own/qconv2d.h"
#include "cpu_kernels/own/qconv2d_epilogue_zmm.h"
#include "cpu_kernels/own/qconv2d_strips.h"

MININN_TARGET_AVX512VNNI
namespace mininn::cpu::own {
namespace {

constexpr int kLanes = kStripLanes, kPixels = 8;

inline __m512i broadcast_dword(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return _mm512_set1_epi32(v);
}

inline __m512 scaled(const ZmmCodes& to, const StripSink& s, const StripTarget& t, __m512i acc, int row, int64_t c,
                     __mmask16 mask) {
  const __m512 multiplier = _mm512_maskz_loadu_ps(mask, t.multiplier + c);
  if (!s.residual_step) return ZmmCodes::scaled(acc, multiplier);
  const uint8_t* residual = t.residual[0] + row * s.residual_step + c;
  return to.scaled(acc, multiplier, _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, residual)));
}

// Rows [row, row + kPixels) of a strip by kBlocks blocks; `depth` values in each step.
template <int kBlocks>
void multiply(const StripOperands& k, const StripSink& s, const StripTarget& t, int64_t depth, int row) {
  __m512i acc[kPixels][kBlocks];
  const uint8_t* x[kPixels];
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) {
    x[p] = k.x[0] + (row + p) * k.pitch;
#pragma GCC unroll 2
    for (int v = 0; v < kBlocks; ++v)
      acc[p][v] = _mm512_loadu_si512(reinterpret_cast<const char*>(k.bias[v]) + (row + p) * k.bias_pitch);
  }
  for (const StripStep *i = k.step, *const end = i + k.steps; i != end; ++i) {
    const int8_t *w = k.w + i->w, *const last = w + depth * kLanes;
    const auto dword = [&](int64_t at, int64_t n) __attribute__((always_inline)) {
      __m512i weights[kBlocks];
#pragma GCC unroll 2
      for (int v = 0; v < kBlocks; ++v) weights[v] = _mm512_loadu_si512(w + k.w_block[v] + n * 64);
#pragma GCC unroll 8
      for (int p = 0; p < kPixels; ++p) {
        const __m512i values = broadcast_dword(x[p] + at + n * 4);
#pragma GCC unroll 2
        for (int v = 0; v < kBlocks; ++v) acc[p][v] = _mm512_dpbusd_epi32(acc[p][v], values, weights[v]);
      }
    };
    int64_t at = i->x;
    for (; w + 4 * 64 <= last; w += 4 * 64, at += 16) {
      dword(at, 0);
      dword(at, 1);
      dword(at, 2);
      dword(at, 3);
    }
    for (; w < last; w += 64, at += 4) dword(at, 0);
  }

  const ZmmCodes to(s.range, s.residual_scale, s.residual_zero);
  if (t.whole && kBlocks == 2) {
    const bool plain = begins_at_zero(s.range);
#pragma GCC unroll 4
    for (int p = 0; p < kPixels; p += 2) {
      __m512i v[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m512 value = scaled(to, s, t, acc[p + i / 2][i % 2], row + p + i / 2, i % 2 * kLanes, 0xffff);
        v[i] = plain ? to.codes_to_pack(value) : to.codes(value);
      }
      const __m512i sorted = sorted_codes(v[0], v[1], v[2], v[3]);
      std::byte* y = t.y[0] + (row + p) * s.y_step;
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_castsi512_si256(sorted));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + s.y_step), _mm512_extracti64x4_epi64(sorted, 1));
    }
    return;
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPixels; ++p) {
    if (row + p < t.first[0] || row + p >= t.last[0]) continue;
    std::byte* y = t.y[0] + (row + p) * s.y_step;
#pragma GCC unroll 2
    for (int v = 0; v < kBlocks; ++v) {
      const int64_t c = v * kLanes, left = t.channels - c;
      if (left <= 0) break;
      const __mmask16 mask = left >= kLanes ? __mmask16(0xffff) : __mmask16((1u << left) - 1);
      const __m512 value = scaled(to, s, t, acc[p][v], row + p, c, mask);
      if (s.f32)
        _mm512_mask_storeu_ps(reinterpret_cast<float*>(y) + c, mask, value);
      else
        _mm_mask_storeu_epi8(y + c, mask, _mm512_cvtepi32_epi8(to.codes(value)));
    }
  }
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

class Walk : StripWalk {
 public:
  using StripWalk::StripWalk;

  void run(int64_t unit0, int64_t unit1, int64_t pair0, int64_t pair1) {
    for_parts(unit0, unit1, pair1 - pair0, [&](const Strip* strips, int64_t count) {
      for (int64_t pair = pair0; pair < pair1; ++pair) {
        const bool two = pair * 2 + 1 < pk.blocks;
        set_blocks(pair * 2, pair * 2 + 2, two ? 2 : 1);
        for (int64_t i = 0; i < count; ++i) {
          StripTarget t;
          set_strips(strips + i, 1, t);
          for (int row = 0; row < kStrip; row += kPixels) {
            if (t.last[0] <= row || t.first[0] >= row + kPixels) continue;
            if (two)
              multiply<2>(k, sink, t, input.depth().step, row);
            else
              multiply<1>(k, sink, t, input.depth().step, row);
          }
        }
      }
    });
  }
};

Refusal check(const QConv2d& a) {
  if (!cpu_features().avx512_vnni) return {"the processor has no AVX-512 VNNI"};
  if (a.g.groups > 1) return {"the convolution has groups"};
  return check_direct(a);
}
void run(const QConv2d& a, const ExecContext&) { run_strips<Walk>(a); }
// Elsewhere the direct kernel leaves out more taps on padding.
bool pays(const QConv2d& a) { return StripDepth(a.g).merged || a.g.kh * a.g.kw == 1; }

}  // namespace

const Kernel<QConv2d> qconv2d_strips_avx512vnni{"own.strips.avx512vnni", check, run, pack_strips, pays};

}  // namespace mininn::cpu::own
