#include "cpu_kernels/own/float/conv2d/direct.h"

#include <algorithm>
#include <span>

#include "core/integers.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/own/float/conv2d/layout.h"
#include "cpu_kernels/own/float/conv2d/weight_gradient.h"
#include "cpu_kernels/own/float/gather.h"
#include "cpu_kernels/own/float/pack.h"

namespace mininn::cpu::own {
namespace {

// One spatial axis of a convolution, as seen by whoever computes it: output position phase + phases * i reads input
// position step * i + d for each tap of that phase. Forward has one phase. The input gradient with stride s has s of
// them, because only every s-th tap of the kernel meets a given position of gx.
struct AxisSizes {
  int64_t out = 0, in = 0, taps = 0;
  int64_t stride = 1, pad = 0, dil = 1;
  bool transposed = false;  // the input gradient: `in` is gy's size and `out` is gx's
};

class Axis {
 public:
  struct Tap {
    int64_t k, d;
  };
  // Neighbouring positions i0 .. i0 + count - 1 of a phase, and the taps [first, last) that they use.
  struct Segment {
    int64_t phase, i0, count, first, last;
    bool padded;  // some of the taps fall outside the input
  };

  // `split`: cut where the set of taps inside the input changes, so that none falls on padding.
  Axis(const AxisSizes& a, bool split)
      : phases(a.transposed ? a.stride : 1), step(a.transposed ? 1 : a.stride), taps_(a.taps), segments_(a.out) {
    int64_t tap_count = 0;
    for (int64_t phase = 0; phase < std::min(phases, a.out); ++phase) {
      const int64_t phase_first = tap_count;
      for (int64_t k = 0; k < a.taps; ++k) {
        const int64_t from = phase + a.pad - k * a.dil;
        if (!a.transposed)
          taps_[tap_count++] = {k, k * a.dil - a.pad};
        else if (from % a.stride == 0)
          taps_[tap_count++] = {k, from / a.stride};
      }
      const int64_t positions = ceil_div(a.out - phase, phases);
      for (int64_t i = 0; i < positions; ++i) {
        const auto inside = [&](int64_t tap) {
          const int64_t at = step * i + taps_[tap].d;
          return at >= 0 && at < a.in;
        };
        int64_t first = phase_first, last = tap_count;  // d is monotone in k, so the taps inside are adjacent
        while (first < last && !inside(first)) ++first;
        while (first < last && !inside(last - 1)) --last;
        const bool padded = !split && last - first < tap_count - phase_first;
        if (!split) first = phase_first, last = tap_count;
        Segment* const before = i > 0 ? &segments_[segment_count_ - 1] : nullptr;
        if (before && before->first == first && before->last == last) {
          ++before->count;
          before->padded |= padded;
        } else {
          segments_[segment_count_++] = {phase, i, 1, first, last, padded};
        }
      }
    }
  }

  std::span<const Segment> segments() { return {segments_.data(), size_t(segment_count_)}; }
  const Tap& tap(int64_t i) { return taps_[i]; }
  // Taps that the longest list of segments can hold together.
  int64_t used_taps() {
    int64_t n = 0;
    for (const Segment& s : segments()) n += s.last - s.first;
    return n;
  }

  const int64_t phases, step;

 private:
  Scratch<Tap> taps_;
  Scratch<Segment> segments_;
  int64_t segment_count_ = 0;
};

// Time of all regions in products of one row with one tap. A low tile costs more per row: its few sums wait for each
// other.
int64_t cost(const TilesF32& t, Axis& h, Axis& w, int64_t images) {
  constexpr int64_t kLowTile = 6;
  int64_t total = 0;
  for (const auto& sh : h.segments())
    for (const auto& sw : w.segments()) {
      const int64_t pixels = images * sh.count * sw.count;
      total += std::max(pixels, kLowTile * tile_count(t, pixels)) * (sh.last - sh.first) * (sw.last - sw.first);
    }
  return total;
}

// Computes p for every output pixel. out_h and out_w of p are those between neighbouring pixels.
void gather_conv(const TilesF32& t, GatherGemm p, const MatrixLayout& layout, const float* b, const AxisSizes& size_h,
                 const AxisSizes& size_w, int64_t images) {
  const auto run = [&](Axis& h, Axis& w) {
    Scratch<GatherRegion> regions(int64_t(h.segments().size() * w.segments().size()));
    Scratch<Tap> taps(h.used_taps() * w.used_taps());
    int64_t region_count = 0;
    Tap* next = taps.data();
    for (const auto& sh : h.segments())
      for (const auto& sw : w.segments()) {
        GatherRegion r;
        r.h = sh.count;
        r.w = sw.count;
        r.in_h0 = sh.i0 * h.step;
        r.in_w0 = sw.i0 * w.step;
        r.out0 = (sh.phase + h.phases * sh.i0) * p.out_h + (sw.phase + w.phases * sw.i0) * p.out_w;
        r.padded = sh.padded || sw.padded;
        r.taps = next;
        // Few channels without gaps: the taps of a row of the kernel are one run of numbers.
        const bool one_run = !r.padded && !size_w.transposed && size_w.dil == 1 && p.in_pixel == layout.k &&
                             layout.k * size_h.taps * size_w.taps <= kLongestRuns;
        const int64_t together = one_run ? sw.last - sw.first : 1;
        for (int64_t i = sh.first; i < sh.last; ++i)
          for (int64_t j = sw.first; j < sw.last; j += together)
            *next++ = {h.tap(i).d, w.tap(j).d, h.tap(i).k * size_w.taps + w.tap(j).k, together};
        r.tap_count = next - r.taps;
        regions[region_count++] = r;
      }
    GatherGemm q = p;
    q.step_h = h.step;
    q.step_w = w.step;
    q.out_h *= h.phases;
    q.out_w *= w.phases;
    gather_gemm(t, q, layout, b, {regions.data(), size_t(region_count)}, images);
  };
  Axis h(size_h, false), w(size_w, false), split_h(size_h, true), split_w(size_w, true);
  // Skipping padding saves up to a third of the work on small maps, but cuts them into small pieces.
  const int64_t block = images_per_block(p, images);
  const int64_t whole = cost(t, h, w, block), rows = cost(t, split_h, w, block),
                both = cost(t, split_h, split_w, block);
  if (p.depthwise || both < std::min(whole, rows))  // depthwise tiles know no padding: to ask for each tap takes longer
    run(split_h, split_w);
  else if (rows < whole)
    run(split_h, w);
  else
    run(h, w);
}

// All groups, one after the other.
Tensor pack_weights(const TilesF32& t, const op::Conv2dFwd& a) {
  const MatrixLayout layout = weight_layout(a.g);
  const int64_t size = layout.packed_size(t), group_size = a.g.ocg() * a.g.icg() * a.g.kh * a.g.kw;
  Tensor packed = Tensor::empty({products(a.g) * size * int64_t(sizeof(float))}, DType::u8);
  auto* const to = reinterpret_cast<float*>(packed.mutable_view().data);
  for (int64_t group = 0; group < products(a.g); ++group)
    pack(t, layout, a.w.as<float>() + group * group_size, to + group * size);
  return packed;
}

void forward(const TilesF32& t, const op::Conv2dFwd& a) {
  const Conv2dGeometry& g = a.g;
  const int64_t taps = g.kh * g.kw, icg = g.icg(), ocg = g.ocg();
  const MatrixLayout layout = weight_layout(g);
  for (int64_t group = 0; group < products(g); ++group) {
    GatherGemm p;
    p.depthwise = depthwise(g);
    p.in = a.x.as<float>() + group * icg;
    p.in_h = g.ih;
    p.in_w = g.iw;
    p.in_pixel = g.ic;
    p.out = a.y.as<float>() + group * ocg;
    p.out_n = g.oh * g.ow * g.oc;
    p.out_h = g.ow * g.oc;
    p.out_w = g.oc;
    if (a.bias) p.bias = a.bias.as<float>() + group * ocg;
    if (a.residual) p.residual = a.residual.as<float>() + group * ocg;
    p.relu = a.relu;
    if (a.packed) p.packed = reinterpret_cast<const float*>(a.packed) + group * layout.packed_size(t);
    gather_conv(t, p, layout, a.w.as<float>() + group * ocg * icg * taps,
                {g.oh, g.ih, g.kh, g.stride_h, g.pad_h, g.dil_h}, {g.ow, g.iw, g.kw, g.stride_w, g.pad_w, g.dil_w},
                g.n);
  }
}

void backward_data(const TilesF32& t, const op::Conv2dBwdData& a) {
  const Conv2dGeometry& g = a.g;
  const int64_t taps = g.kh * g.kw, icg = g.icg(), ocg = g.ocg();
  const MatrixLayout layout = transposed_weight_layout(g);
  for (int64_t group = 0; group < products(g); ++group) {
    GatherGemm p;
    p.depthwise = depthwise(g);
    p.in = a.gy.as<float>() + group * ocg;
    p.in_h = g.oh;
    p.in_w = g.ow;
    p.in_pixel = g.oc;
    p.out = a.gx.as<float>() + group * icg;
    p.out_n = g.ih * g.iw * g.ic;
    p.out_h = g.iw * g.ic;
    p.out_w = g.ic;
    gather_conv(t, p, layout, a.w.as<float>() + group * ocg * icg * taps,
                {g.ih, g.oh, g.kh, g.stride_h, g.pad_h, g.dil_h, true},
                {g.iw, g.ow, g.kw, g.stride_w, g.pad_w, g.dil_w, true}, g.n);
  }
}

// What a kernel of this file needs: fp32, and the instruction set.
template <Isa kIsa, class Args>
Refusal check(const Args& a, const CView& operand) {
  if (operand.dtype != DType::f32) return {"takes f32 only"};
  if (const Refusal r = needs(kIsa)) return r;
  if (a.g.ic == 0 || a.g.oc == 0) return {"no channels"};
  return {};
}

template <Isa kIsa, const TilesF32& (*tiles)()>
struct Direct {
  static constexpr Kernel<op::Conv2dFwd> fwd(std::string_view name) {
    return {name, kOwnInRegions, [](const op::Conv2dFwd& a) { return check<kIsa>(a, a.x); },
            [](const op::Conv2dFwd& a, const ExecContext&) { forward(tiles(), a); },
            [](const op::Conv2dFwd& a) { return pack_weights(tiles(), a); }};
  }
  static constexpr Kernel<op::Conv2dBwdData> bwd_data(std::string_view name) {
    return {name, kOwn, [](const op::Conv2dBwdData& a) { return check<kIsa>(a, a.gy); },
            [](const op::Conv2dBwdData& a, const ExecContext&) { backward_data(tiles(), a); }};
  }
  static constexpr Kernel<op::Conv2dBwdWeights> bwd_weights(std::string_view name) {
    return {name, kOwn, [](const op::Conv2dBwdWeights& a) { return check<kIsa>(a, a.x); },
            [](const op::Conv2dBwdWeights& a, const ExecContext&) { direct_weight_gradient(tiles(), a); }};
  }
};
using Avx512 = Direct<Isa::avx512, tiles_f32_avx512>;
using Avx2 = Direct<Isa::avx2, tiles_f32_avx2>;

}  // namespace

constexpr Kernel<op::Conv2dFwd> conv2d_fwd_avx512 = Avx512::fwd("own.direct.avx512");
constexpr Kernel<op::Conv2dFwd> conv2d_fwd_avx2 = Avx2::fwd("own.direct.avx2");
constexpr Kernel<op::Conv2dBwdData> conv2d_bwd_data_avx512 = Avx512::bwd_data("own.direct.avx512");
constexpr Kernel<op::Conv2dBwdData> conv2d_bwd_data_avx2 = Avx2::bwd_data("own.direct.avx2");
constexpr Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_avx512 = Avx512::bwd_weights("own.direct.avx512");
constexpr Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_avx2 = Avx2::bwd_weights("own.direct.avx2");

}  // namespace mininn::cpu::own
