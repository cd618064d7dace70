// Direct int8 convolution on strips (qconv2d_strips.h) with vpdpbusd (qconv2d_vnni_zmm.h): 8 pixels by 2 blocks of
// channels are summed up in registers.
#include "cpu_kernels/own/cpu_features.h"
#include "cpu_kernels/own/qconv2d.h"
#include "cpu_kernels/own/qconv2d_epilogue_zmm.h"
#include "cpu_kernels/own/qconv2d_strips.h"
#include "cpu_kernels/own/qconv2d_vnni_zmm.h"

MININN_TARGET_AVX512VNNI
namespace mininn::cpu::own {
namespace {

constexpr int kLanes = kStripLanes, kPixels = 8;

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
  for (const StripStep *i = k.step, *const end = i + k.steps; i != end; ++i)
    add_products(acc, x, i->x, i->x + depth, k.w + i->w, k.w_block[kBlocks - 1]);

  const ZmmCodes to(s.range, s.residual_scale, s.residual_zero);
  if (t.whole && kBlocks == 2) {
    const bool plain = begins_at_zero(s.range);
#pragma GCC unroll 4
    for (int p = 0; p < kPixels; p += 2) {
      __m512i v[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const int pixel = p + i / 2, block = i % 2;
        const __m512 multiplier = _mm512_loadu_ps(t.multiplier + block * kLanes);
        const uint8_t* residual = t.residual[0] + (row + pixel) * s.residual_step + block * kLanes;
        const __m512 value = s.residual_step ? to.scaled(acc[pixel][block], multiplier, widened(residual, 0xffff))
                                             : to.scaled(acc[pixel][block], multiplier);
        v[i] = plain ? to.codes_to_pack(value) : to.codes(value);
      }
      std::byte* y = t.y[0] + (row + p) * s.y_step;
      store_halves(sorted_codes(v[0], v[1], v[2], v[3]), y, y + s.y_step);
    }
    return;
  }
#pragma GCC unroll 8
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
