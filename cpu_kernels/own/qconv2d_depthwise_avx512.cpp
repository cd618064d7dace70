// Int8 depthwise 3x3 convolution with vpdpbusd, which adds up four products per 32-bit lane: the lanes are channels,
// the four products the rows of the kernel.
//
// A row of pixels is one row of bytes, channels innermost, and its output, too. So it is worked on 64 bytes at a time,
// wherever pixels begin: what a tap reads is a constant distance away. Weights, bias and multipliers are laid out for
// the channels of each such chunk; their pattern repeats after a few of them. Four rows of a chunk are interleaved byte
// by byte (unpack instructions, whose order of lanes the final packing undoes), and serve two output rows where the
// stride is 1. Rows are copied first: they get their padding, and with a stride the columns are sorted by phase.
//
// Packed: per pattern, per tap column, for the first and for the second output row, [4 vectors][16 channels][4 rows]
// s8; then per pattern [4][16] i32 of bias, into which the input's zero point is folded.
#include <algorithm>
#include <numeric>

#include "core/parallel.h"
#include "cpu_kernels/own/codes.h"
#include "cpu_kernels/own/cpu_features.h"
#include "cpu_kernels/own/qconv2d.h"
#include "cpu_kernels/own/qconv2d_epilogue_zmm.h"
#include "cpu_kernels/own/scratch.h"

namespace mininn::cpu::own {
namespace {

constexpr int kKernel = 3, kRows = 4;  // rows that are interleaved
constexpr int64_t kChunk = 64;         // bytes
constexpr int64_t kSetBytes = 4 * 64, kPatternBytes = kKernel * 2 * kSetBytes;

// One or two rows of output.
struct OutputRows {
  const uint8_t* x[kRows];
  int64_t tap[kKernel];  // bytes from a row's begin
  int64_t bytes;         // of an output row
  int64_t patterns;
  const int8_t* w;          // [patterns][kPatternBytes]
  const int32_t* bias;      // [patterns][64]
  const float* multiplier;  // [patterns][64]
  uint8_t* y[2];
  const uint8_t* residual[2];
  // The input rows that will be copied next, which come from beyond L2: as many lines as this are fetched per chunk.
  uintptr_t ahead;  // an address, which may lie behind the input
  int64_t ahead_lines;
  CodeRange range;
  float residual_scale;
  int32_t residual_zero;
};

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AVX512VNNI
namespace mininn::cpu::own {
namespace {

// Bytes of four vectors, one of each in every dword: of channels 16 l + 4 i + j in lane l and dword j of out[i].
inline void interleave_bytes(__m512i a, __m512i b, __m512i c, __m512i d, __m512i (&out)[4]) {
  const __m512i ab_lo = _mm512_unpacklo_epi8(a, b), ab_hi = _mm512_unpackhi_epi8(a, b);
  const __m512i cd_lo = _mm512_unpacklo_epi8(c, d), cd_hi = _mm512_unpackhi_epi8(c, d);
  out[0] = _mm512_unpacklo_epi16(ab_lo, cd_lo);
  out[1] = _mm512_unpackhi_epi16(ab_lo, cd_lo);
  out[2] = _mm512_unpacklo_epi16(ab_hi, cd_hi);
  out[3] = _mm512_unpackhi_epi16(ab_hi, cd_hi);
}

// Pixels of `bytes` bytes, `step` bytes apart, one behind the other. Writes up to 63 bytes more.
void copy_pixels(uint8_t* to, const uint8_t* from, int64_t count, int64_t bytes, int64_t step) {
  const int64_t whole = bytes / kChunk * kChunk;
  const __mmask64 rest = (__mmask64{1} << bytes % kChunk) - 1;
  for (int64_t c = 0; c < count; ++c, to += bytes, from += step) {
    for (int64_t i = 0; i < whole; i += kChunk) _mm512_storeu_si512(to + i, _mm512_loadu_si512(from + i));
    if (rest) _mm512_storeu_si512(to + whole, _mm512_maskz_loadu_epi8(rest, from + whole));
  }
}

template <int kOutputs, bool kResidual>
void compute(const OutputRows& r) {
  const ZmmCodes to(r.range, r.residual_scale, r.residual_zero);
  const bool plain = begins_at_zero(r.range);
  int64_t pattern = 0;
  for (int64_t at = 0; at < r.bytes; at += kChunk) {
    const int8_t* w = r.w + pattern * kPatternBytes;
    const int32_t* bias = r.bias + pattern * kChunk;
    const float* multiplier = r.multiplier + pattern * kChunk;
    if (++pattern == r.patterns) pattern = 0;
    for (int64_t i = 0; i < r.ahead_lines; ++i)
      __builtin_prefetch(reinterpret_cast<const void*>(r.ahead + uintptr_t(at * r.ahead_lines + i * kChunk)));

    __m512i acc[kOutputs][4];
#pragma GCC unroll 2
    for (int o = 0; o < kOutputs; ++o)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) acc[o][i] = _mm512_loadu_si512(bias + 16 * i);
#pragma GCC unroll 3
    for (int k = 0; k < kKernel; ++k) {
      const int64_t from = at + r.tap[k];
      __m512i x[4];
      interleave_bytes(_mm512_loadu_si512(r.x[0] + from), _mm512_loadu_si512(r.x[1] + from),
                       _mm512_loadu_si512(r.x[2] + from), _mm512_loadu_si512(r.x[3] + from), x);
#pragma GCC unroll 2
      for (int o = 0; o < kOutputs; ++o)
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
          acc[o][i] = _mm512_dpbusd_epi32(acc[o][i], x[i], _mm512_loadu_si512(w + (k * 2 + o) * kSetBytes + i * 64));
    }

    const int64_t left = r.bytes - at;
    const __mmask64 mask = left >= kChunk ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
#pragma GCC unroll 2
    for (int o = 0; o < kOutputs; ++o) {
      __m512i residual[4], codes[4];
      if (kResidual) {
        const __m512i bytes = _mm512_maskz_loadu_epi8(mask, r.residual[o] + at), none = _mm512_setzero_si512();
        interleave_bytes(bytes, none, none, none, residual);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m512 scale = _mm512_loadu_ps(multiplier + 16 * i);
        const __m512 t = kResidual ? to.scaled(acc[o][i], scale, residual[i]) : to.scaled(acc[o][i], scale);
        codes[i] = plain ? to.codes_to_pack<Clamp::above>(t) : to.codes(t);
      }
      _mm512_mask_storeu_epi8(
          r.y[o] + at, mask,
          _mm512_packus_epi16(_mm512_packus_epi32(codes[0], codes[1]), _mm512_packus_epi32(codes[2], codes[3])));
    }
  }
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

int64_t patterns_of(const Conv2dGeometry& g) { return g.oc / std::gcd(g.oc, kChunk); }

// The channel in lane `lane` of vector `i` of a pattern.
int64_t channel_of(const Conv2dGeometry& g, int64_t pattern, int64_t i, int64_t lane) {
  return (pattern * kChunk + lane / 4 * 16 + i * 4 + lane % 4) % g.oc;
}

// A thread's copies of the last four input rows.
class Rows {
 public:
  explicit Rows(const QConv2d& conv)
      : a(conv),
        g(conv.g),
        phases(std::min<int64_t>(g.stride_w, kKernel)),
        plane_pixels(g.ow + (kKernel - 1) / g.stride_w),
        bytes(phases * plane_pixels * g.oc + kChunk),
        memory(kRows * bytes) {}

  // Bytes from the begin of a row to tap column k of output pixel 0.
  int64_t tap(int64_t k) const { return (k % g.stride_w * plane_pixels + k / g.stride_w) * g.oc; }

  // Input row h of image n, which may be padding.
  const uint8_t* get(int64_t n, int64_t h) {
    const int64_t slot = (h + g.pad_h) % kRows;
    uint8_t* const row = memory.data() + slot * bytes;
    if (image[slot] == n && line[slot] == h) return row;
    image[slot] = n;
    line[slot] = h;
    const auto padding = uint8_t(a.x_zero);
    const int64_t pixel = g.oc;
    if (h < 0 || h >= g.ih) {
      std::memset(row, padding, size_t(bytes));
      return row;
    }
    const uint8_t* const x = a.x.as<uint8_t>() + n * a.x.strides[0] + h * a.x.strides[2];
    for (int64_t phase = 0; phase < phases; ++phase) {
      uint8_t* const plane = row + phase * plane_pixels * pixel;
      // Plane pixel j is column j * stride + phase - pad.
      const int64_t offset = phase - g.pad_w, s = g.stride_w;
      const auto [first, last] = columns_inside(offset, s, plane_pixels, g.iw);
      fill_codes(plane, padding, first * pixel);
      if (s == 1)
        std::memcpy(plane + first * pixel, x + (first + offset) * pixel, size_t((last - first) * pixel));
      else
        copy_pixels(plane + first * pixel, x + (first * s + offset) * pixel, last - first, pixel, s * pixel);
      fill_codes(plane + last * pixel, padding, (plane_pixels - last) * pixel);
    }
    return row;
  }

 private:
  const QConv2d& a;
  const Conv2dGeometry& g;
  const int64_t phases, plane_pixels, bytes;
  Scratch<uint8_t> memory;
  int64_t image[kRows] = {-1, -1, -1, -1}, line[kRows] = {};
};

Refusal check(const QConv2d& a) {
  const Conv2dGeometry& g = a.g;
  if (!cpu_features().avx512_vnni) return {"the processor has no AVX-512 VNNI"};
  if (g.icg() != 1 || g.ocg() != 1) return {"the convolution is not depthwise"};
  if (g.kh != kKernel || g.kw != kKernel || g.dil_h != 1 || g.dil_w != 1) return {"not an undilated 3x3 kernel"};
  if (a.x.strides[3] != g.oc || a.y.strides[3] != g.oc || (a.residual && a.residual.strides[3] != g.oc))
    return {"needs pixels without gaps: channels in multiples of 4"};
  if (a.y.dtype != DType::u8) return {"the output is not codes"};
  if (a.bias.shape[0] != 1) return {"the bias depends on the pixel"};
  return {};
}

Tensor pack(const QConv2d& a) {
  const Conv2dGeometry& g = a.g;
  const int64_t patterns = patterns_of(g);
  Tensor packed = Tensor::zeros({patterns * (kPatternBytes + kChunk * 4)}, DType::u8);
  auto* const base = packed.mutable_data<uint8_t>().data();
  auto* const bias = reinterpret_cast<int32_t*>(base + patterns * kPatternBytes);
  const auto* const w = a.w.as<int8_t>();
  for (int64_t p = 0; p < patterns; ++p)
    for (int64_t i = 0; i < 4; ++i)
      for (int64_t lane = 0; lane < 16; ++lane) {
        const int64_t c = channel_of(g, p, i, lane);
        const int8_t* const taps = w + c * kKernel * kKernel;
        uint32_t sum = 0;
        for (int64_t kh = 0; kh < kKernel; ++kh)
          for (int64_t kw = 0; kw < kKernel; ++kw) {
            sum += uint32_t(int32_t{taps[kh * kKernel + kw]});
            for (int64_t output = 0; output < 2; ++output)
              base[p * kPatternBytes + (kw * 2 + output) * kSetBytes + i * 64 + lane * 4 + kh + output] =
                  uint8_t(taps[kh * kKernel + kw]);
          }
        bias[p * kChunk + i * 16 + lane] = int32_t(uint32_t(a.bias.as<int32_t>()[c]) - uint32_t(a.x_zero) * sum);
      }
  return packed;
}

void run(const QConv2d& a, const ExecContext&) {
  const Conv2dGeometry& g = a.g;
  const int64_t outputs = g.stride_h == 1 ? 2 : 1, units = (g.oh + outputs - 1) / outputs, patterns = patterns_of(g);
  const int64_t unit_macs = outputs * g.ow * g.oc * kKernel * kKernel;
  parallel_for(g.n * units, 1 + 100000 / std::max<int64_t>(1, unit_macs), [&](int64_t begin, int64_t end) {
    Scratch<float> multiplier(patterns * kChunk);
    for (int64_t k = 0; k < patterns * kChunk; ++k)
      multiplier[k] = a.multiplier.as<float>()[channel_of(g, k / kChunk, k % kChunk / 16, k % 16)];
    Rows rows(a);
    OutputRows r;
    r.bytes = g.ow * g.oc;
    r.patterns = patterns;
    r.w = reinterpret_cast<const int8_t*>(a.packed);
    r.bias = reinterpret_cast<const int32_t*>(a.packed + patterns * kPatternBytes);
    r.multiplier = multiplier.data();
    r.range = code_range(a.y_zero, a.lo, a.hi);
    r.residual_scale = a.residual_scale;
    r.residual_zero = a.residual_zero;
    for (int64_t k = 0; k < kKernel; ++k) r.tap[k] = rows.tap(k);
    const int64_t fresh = outputs * g.stride_h;  // input rows of a unit that the one before has not read
    r.ahead_lines = (fresh * g.iw + g.ow - 1) / g.ow;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t n = unit / units, oh = unit % units * outputs, h = oh * g.stride_h - g.pad_h;
      const bool two = outputs == 2 && oh + 1 < g.oh;
      r.ahead = reinterpret_cast<uintptr_t>(a.x.data) +
                uintptr_t(n * a.x.strides[0] + (h + kKernel - 1 + outputs) * a.x.strides[2]);
      for (int64_t i = 0; i < kKernel; ++i) r.x[i] = rows.get(n, h + i);
      r.x[kKernel] = two ? rows.get(n, h + kKernel) : r.x[0];  // meets weights of zero for the first output
      for (int64_t o = 0; o < 1 + two; ++o) {
        const int64_t at = ((n * g.oh + oh + o) * g.ow) * g.oc;
        r.y[o] = reinterpret_cast<uint8_t*>(a.y.data) + at;
        r.residual[o] = a.residual ? a.residual.as<uint8_t>() + at : nullptr;
      }
      if (two)
        a.residual ? compute<2, true>(r) : compute<2, false>(r);
      else
        a.residual ? compute<1, true>(r) : compute<1, false>(r);
    }
  });
}

}  // namespace

const Kernel<QConv2d> qconv2d_depthwise_avx512vnni{"own.depthwise.avx512vnni", check, run, pack};

}  // namespace mininn::cpu::own
