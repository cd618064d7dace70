// Int8 depthwise 3x3 convolution with vpdpbusd, which adds up four products per 32-bit lane: the lanes are channels,
// the four products the rows of the kernel.
//
// A row of pixels is one row of bytes, channels innermost, and its output, too. So it is worked on 64 bytes at a time,
// wherever pixels begin: what a tap reads is a constant distance away. Weights, bias and multipliers are laid out for
// the channels of each such chunk; their pattern repeats after a few of them. Four rows of a chunk are interleaved byte
// by byte (unpack instructions, whose order of lanes the final packing undoes), and serve two output rows where the
// stride is 1. With a stride a chunk's input is that of one pixel and of the next, which are not neighbours: two loads
// with masks. Padding is what loads leave out.
//
// Packed: per pattern, per tap column, for the first and for the second output row, [4 vectors][16 channels][4 rows]
// s8; then per pattern [4][16] i32 of bias, into which the input's zero point is folded.
#include <algorithm>
#include <numeric>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/common/short_runs.h"
#include "cpu_kernels/own/int8/conv/epilogue_zmm.h"
#include "cpu_kernels/own/int8/conv/kernels.h"
#include "cpu_kernels/own/int8/conv/packed.h"

namespace mininn::cpu::own {
namespace {

constexpr int kKernel = 3, kRows = 4;  // rows that are interleaved
constexpr int64_t kChunk = 64;         // bytes
constexpr int64_t kSetBytes = 4 * 64, kPatternBytes = kKernel * 2 * kSetBytes;

// 64 bytes of an output row.
struct Chunk {
  int64_t at;                       // the first, counted from the row's
  int64_t pixel, channel, pattern;  // there
};

// One or two rows of output.
struct OutputRows {
  const uint8_t* x[kRows];  // input rows; one of padding, where the map ends
  int64_t channels, columns, stride, pad;
  int64_t bytes;         // of an output row
  Chunk inside, behind;  // those from `inside` on, before `behind`, are whole, and all their taps are on the row
  int64_t patterns;
  const int8_t* w;          // [patterns][kPatternBytes]
  const int32_t* bias;      // [patterns][64]
  const float* multiplier;  // [patterns][64]
  uint8_t* y[2];
  // The input rows that will be read next, which come from beyond L2: as many lines as this are fetched per chunk.
  uintptr_t ahead;  // an address, which may lie behind the input
  int64_t ahead_lines;
  CodeRange range;
  uint8_t padding;
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

// Lanes [first, end) of 64.
inline __mmask64 lanes(int64_t first, int64_t end) {
  first = first < 0 ? 0 : first;
  end = end > kChunk ? kChunk : end;
  return end <= first ? 0 : ~__mmask64{0} >> (kChunk - (end - first)) << first;
}

// Where a chunk's input is, in a row of it, counted from the first tap's. With a stride it is that of one pixel and of
// the next, else of pixels that follow each other.
template <bool kStrided, bool kInside>
struct ChunkInput {
  int64_t channels, to_next;                            // bytes to the next tap, and to the second pixel's input
  __mmask64 first[kKernel] = {}, second[kKernel] = {};  // lanes that are the first pixel's (or any), and the second's

  ChunkInput(const OutputRows& r, const Chunk& c) : channels(r.channels), to_next((r.stride - 1) * r.channels) {
    const __mmask64 all = kStrided ? lanes(channels - c.channel, kChunk) : 0;
#pragma GCC unroll 3
    for (int64_t tap = 0; tap < kKernel; ++tap) {
      const int64_t column = c.pixel * r.stride + tap - r.pad, next = column + r.stride;
      const int64_t at = column * channels + c.channel;
      second[tap] = kInside || (next >= 0 && next < r.columns) ? all : 0;
      if (!kInside)
        first[tap] = !kStrided ? lanes(-at, r.columns * channels - at) : column >= 0 && column < r.columns ? ~all : 0;
    }
  }

  // `offset`: of the first tap. An address may be outside, where no lane counts.
  __m512i load(const uint8_t* x, int64_t offset, int tap, __m512i padding) const {
    const uintptr_t at = reinterpret_cast<uintptr_t>(x) + uintptr_t(offset + tap * channels);
    const auto from = [](uintptr_t address) { return reinterpret_cast<const void*>(address); };
    const __m512i v = kInside ? _mm512_loadu_si512(from(at)) : _mm512_mask_loadu_epi8(padding, first[tap], from(at));
    return kStrided ? _mm512_mask_loadu_epi8(v, second[tap], from(at + uintptr_t(to_next))) : v;
  }
};

template <int kOutputs, bool kStrided, bool kInside>
inline void compute_chunk(const OutputRows& r, const ZmmCodes& to, const Chunk& c) {
  const int32_t* const bias = r.bias + c.pattern * kChunk;
  __m512i acc[kOutputs][4];
#pragma GCC unroll 2
  for (int o = 0; o < kOutputs; ++o)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) acc[o][i] = _mm512_loadu_si512(bias + 16 * i);
  const int8_t* const w = r.w + c.pattern * kPatternBytes;
  const __m512i padding = _mm512_set1_epi8(char(r.padding));
  const ChunkInput<kStrided, kInside> input(r, c);
  const int64_t at = (c.pixel * r.stride - r.pad) * r.channels + c.channel;
#pragma GCC unroll 3
  for (int k = 0; k < kKernel; ++k) {
    const auto row = [&](int i) { return input.load(r.x[i], at, k, padding); };
    const __m512i first = row(0);
    __m512i x[4];
    interleave_bytes(first, row(1), row(2), kOutputs == 2 ? row(3) : first, x);  // the fourth meets weights of zero
#pragma GCC unroll 2
    for (int o = 0; o < kOutputs; ++o)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
        acc[o][i] = _mm512_dpbusd_epi32(acc[o][i], x[i], _mm512_loadu_si512(w + (k * 2 + o) * kSetBytes + i * 64));
  }

  const float* const multiplier = r.multiplier + c.pattern * kChunk;
#pragma GCC unroll 2
  for (int o = 0; o < kOutputs; ++o) {
    __m512i v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) v[i] = to.rounded(to.scaled(acc[o][i], _mm512_loadu_ps(multiplier + 16 * i)));
    const __m512i codes = to.packed(v[0], v[1], v[2], v[3]);
    if (kInside)
      _mm512_storeu_si512(r.y[o] + c.at, codes);
    else
      _mm512_mask_storeu_epi8(r.y[o] + c.at, lanes(0, r.bytes - c.at), codes);
  }
}

// The chunks from c on, before byte `end`. Not inlined: else GCC keeps addresses that the ways to call this share in
// registers that it does not have.
template <int kOutputs, bool kStrided, bool kInside>
__attribute__((noinline)) void compute_chunks(const OutputRows& rows, Chunk c, int64_t end) {
  const OutputRows r = rows;  // which no store can change
  const ZmmCodes to(r.range, 0, 0);
  for (; c.at < end; c.at += kChunk) {
    for (int64_t i = 0; i < r.ahead_lines; ++i)
      __builtin_prefetch(reinterpret_cast<const void*>(r.ahead + uintptr_t(c.at * r.ahead_lines + i * kChunk)));
    compute_chunk<kOutputs, kStrided, kInside>(r, to, c);
    if (++c.pattern == r.patterns) c.pattern = 0;
    for (c.channel += kChunk; c.channel >= r.channels; c.channel -= r.channels) ++c.pixel;
  }
}

template <int kOutputs, bool kStrided>
void compute(const OutputRows& r) {
  compute_chunks<kOutputs, kStrided, false>(r, {}, r.inside.at);
  compute_chunks<kOutputs, kStrided, true>(r, r.inside, r.behind.at);
  compute_chunks<kOutputs, kStrided, false>(r, r.behind, r.bytes);
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

Chunk chunk(const Conv2dGeometry& g, int64_t index) {
  const int64_t at = index * kChunk;
  return {at, at / g.oc, at % g.oc, index % patterns_of(g)};
}

Refusal check(const op::QConv2d& a) {
  const Conv2dGeometry& g = a.g;
  if (const Refusal r = needs(Isa::avx512vnni)) return r;
  if (g.icg() != 1 || g.ocg() != 1) return {"the convolution is not depthwise"};
  if (g.kh != kKernel || g.kw != kKernel || g.dil_h != 1 || g.dil_w != 1) return {"not an undilated 3x3 kernel"};
  if (a.x.strides[3] != g.oc || a.y.strides[3] != g.oc)
    return {"needs pixels without gaps: channels in multiples of 4"};
  if (g.stride_w > 1 && g.oc < kChunk - std::gcd(g.oc, kChunk))
    return {"64 channels are those of more than two pixels, and there is a stride"};
  if (a.y.dtype != DType::u8) return {"the output is not codes"};
  if (a.residual) return {"there is a residual"};
  if (a.bias.shape[0] != 1) return {"the bias depends on the pixel"};
  return {};
}

Tensor pack(const op::QConv2d& a) {
  check_qconv2d_constants(a);
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

void run(const op::QConv2d& a, const ExecContext&) {
  const Conv2dGeometry& g = a.g;
  const int64_t outputs = g.stride_h == 1 && g.stride_w == 1 ? 2 : 1, units = ceil_div(g.oh, outputs);
  const int64_t patterns = patterns_of(g), unit_macs = outputs * g.ow * g.oc * kKernel * kKernel;
  parallel_for(g.n * units, 1 + 100000 / std::max<int64_t>(1, unit_macs), [&](int64_t begin, int64_t end) {
    Scratch<float> multiplier(patterns * kChunk);
    for (int64_t k = 0; k < patterns * kChunk; ++k)
      multiplier[k] = a.multiplier.as<float>()[channel_of(g, k / kChunk, k % kChunk / 16, k % 16)];
    const int64_t x_row = g.iw * g.oc;
    Scratch<uint8_t> padding(x_row);
    fill_short(padding.data(), uint8_t(a.x_zero), x_row);
    OutputRows r;
    r.channels = g.oc;
    r.columns = g.iw;
    r.stride = g.stride_w;
    r.pad = g.pad_w;
    r.padding = uint8_t(a.x_zero);
    r.bytes = g.ow * g.oc;
    const int64_t inside = ceil_div(g.pad_w, g.stride_w) * g.oc;
    const int64_t behind = ((g.iw - kKernel + g.pad_w) / g.stride_w + 1) * g.oc / kChunk;
    r.inside = chunk(g, std::min(ceil_div(inside, kChunk), ceil_div(r.bytes, kChunk)));
    r.behind = chunk(g, std::max(behind, r.inside.at / kChunk));
    r.patterns = patterns;
    r.w = reinterpret_cast<const int8_t*>(a.packed);
    r.bias = reinterpret_cast<const int32_t*>(a.packed + patterns * kPatternBytes);
    r.multiplier = multiplier.data();
    r.range = code_range(a.y_zero, a.lo, a.hi);
    const int64_t fresh = outputs * g.stride_h;  // input rows of a unit that the one before has not read
    r.ahead_lines = ceil_div(fresh * g.iw, g.ow);
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t n = unit / units, oh = unit % units * outputs, h = oh * g.stride_h - g.pad_h;
      const bool two = outputs == 2 && oh + 1 < g.oh;
      r.ahead = reinterpret_cast<uintptr_t>(a.x.data) +
                uintptr_t(n * a.x.strides[0] + (h + kKernel - 1 + outputs) * a.x.strides[2]);
      for (int64_t i = 0; i < kRows; ++i)
        r.x[i] = h + i >= 0 && h + i < g.ih ? a.x.as<uint8_t>() + n * a.x.strides[0] + (h + i) * a.x.strides[2]
                                            : padding.data();
      for (int64_t o = 0; o < 1 + two; ++o) {
        const int64_t at = ((n * g.oh + oh + o) * g.ow) * g.oc;
        r.y[o] = reinterpret_cast<uint8_t*>(a.y.data) + at;
      }
      if (two)
        compute<2, false>(r);
      else if (g.stride_w == 1)
        compute<1, false>(r);
      else
        compute<1, true>(r);
    }
  });
}

}  // namespace

const Kernel<op::QConv2d> qconv2d_depthwise_avx512vnni{"own.depthwise.avx512vnni", kOwnInRegions, check, run, pack};

}  // namespace mininn::cpu::own
