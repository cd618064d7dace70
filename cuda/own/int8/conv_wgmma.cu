// Int8 convolution on the tensor cores of sm_90a.
//
// Beyond the border of an image there are zeros, and where the code of zero is another one its share is missing from
// the sums of the pixels that have taps there. It is added to them at the end: x_zero times the weights of those taps,
// which are all but a rectangle of them, from a table of sums over rectangles that begin at tap (0, 0).
#include "cuda/own/int8/constants.h"
#include "cuda/own/int8/convolution.h"
#include "cuda/own/int8/kernels.h"
#include "cuda/own/warpgroup_gemm.h"
#include "ops/qlayout.h"

namespace mininn::cuda::own {
namespace {

using namespace wgmma;

// What pack() makes: the bias rows with the zero point's share of all taps, the table, the weights.
struct Layout {
  int64_t steps;           // of k
  size_t table, w, bytes;  // offsets, and all

  Layout(const Conv2dGeometry& g, int64_t classes)
      : steps(steps_of(g.kh * g.kw, g.ic)),
        table(round_up(size_t(classes * g.oc) * sizeof(int32_t), 64)),
        w(table + round_up(size_t((g.kh + 1) * (g.kw + 1) * g.oc) * sizeof(int32_t), 128)),
        bytes(w + size_t(weight_bytes(g.oc, steps))) {}
};

Tensor pack(const op::QConv2d& call) {
  const HostConstants constants(call);
  const op::QConv2d& a = constants.call;
  const Conv2dGeometry& g = a.g;
  const int64_t classes = a.bias.shape[0], taps = g.kh * g.kw, tap_steps = steps_of(1, g.ic);
  const Layout l(g, classes);
  Tensor packed = Tensor::zeros({int64_t(l.bytes)}, DType::u8);
  std::byte* const memory = packed.mutable_view().data;
  auto* const bias = reinterpret_cast<uint32_t*>(memory);
  auto* const table = reinterpret_cast<uint32_t*>(memory + l.table);
  // Everything modulo 2^32, as the products are added: the whole is in the range of int32.
  const auto sum_before = [&](int64_t tap_h, int64_t tap_w) { return table + (tap_h * (g.kw + 1) + tap_w) * g.oc; };
  for (int64_t o = 0; o < g.oc; ++o)
    for (int64_t tap = 0; tap < taps; ++tap) {
      int64_t sum = 0;
      for (int64_t c = 0; c < g.ic; ++c) {
        const int8_t v = a.w.as<int8_t>()[(o * g.ic + c) * taps + tap];
        memory[int64_t(l.w) + place_of_weight(g.oc, l.steps, o, tap * tap_steps + c / kStep, int(c % kStep))] =
            std::byte(v);
        sum += v;
      }
      const int64_t h = tap / g.kw, w = tap % g.kw;
      sum_before(h + 1, w + 1)[o] =
          uint32_t(sum * a.x_zero) + sum_before(h, w + 1)[o] + sum_before(h + 1, w)[o] - sum_before(h, w)[o];
    }
  for (int64_t i = 0; i < classes * g.oc; ++i)
    bias[i] = uint32_t(a.bias.as<int32_t>()[i]) - sum_before(g.kh, g.kw)[i % g.oc];
  return packed.to(constants.device);
}

Images images(const op::QConv2d& a) { return {a.x.data, DType::u8, a.x.strides[3]}; }
Refusal check(const op::QConv2d& a) { return check_call(a.g, images(a)); }
bool pays(const op::QConv2d& a) { return fills_steps(a.g.ic); }

// The taps of a row, or of a column, that lie inside of `size` pixels, if tap 0 is at `first`.
struct Inside {
  int begin = 0, end = 0;
  __device__ Inside(int first, int size, int taps, int dilation) {
    const int b = first < 0 ? ceil_div(-first, dilation) : 0, e = first < size ? (size - 1 - first) / dilation + 1 : 0;
    begin = b < taps ? b : taps;
    end = e < taps ? e : taps;
    if (end < begin) end = begin;
  }
};

// A pixel of the result that may have taps outside.
template <class Y>
struct BorderPixel {
  ResultPixel<Y> pixel;
  const uint32_t *all = nullptr, *both = nullptr, *above = nullptr, *left = nullptr, *corner = nullptr;

  __device__ BorderPixel(const Convolution& q, const uint32_t* table, int64_t i, int64_t first, Y* y)
      : pixel(q, i, first, y) {
    if (!table) return;
    const Conv2dGeometry& g = q.g;
    const int row = int(i) / int(g.ow), column = int(i) - row * int(g.ow);
    const Inside h(row % int(g.oh) * int(g.stride_h) - int(g.pad_h), int(g.ih), int(g.kh), int(g.dil_h));
    const Inside w(column * int(g.stride_w) - int(g.pad_w), int(g.iw), int(g.kw), int(g.dil_w));
    if (h.begin == 0 && w.begin == 0 && h.end == g.kh && w.end == g.kw) return;
    const auto at = [&](int64_t tap_h, int64_t tap_w) { return table + (tap_h * (g.kw + 1) + tap_w) * g.oc + first; };
    all = at(g.kh, g.kw);
    both = at(h.end, w.end);
    above = at(h.begin, w.end);
    left = at(h.end, w.begin);
    corner = at(h.begin, w.begin);
  }
  __device__ void store(Eight<int32_t> sums, int count) const {
    if (all) {
      MININN_UNROLL for (int k = 0; k < 8; ++k) if (k < count) sums.v[k] =
          int32_t(uint32_t(sums.v[k]) + all[k] - (both[k] - above[k] - left[k] + corner[k]));
    }
    pixel.store(sums, count);
  }
};

template <class Y>
struct Finish {
  Convolution q;
  const uint32_t* table;  // null: zero is code 0
  Y* y;
  __device__ BorderPixel<Y> row(int64_t pixel, int64_t channel) const { return {q, table, pixel, channel, y}; }
};

void run(const op::QConv2d& a, const ExecContext& at) {
  const Layout l(a.g, a.bias.shape[0]);
  Convolution q(a);
  q.bias = reinterpret_cast<const int32_t*>(a.packed);
  const auto* const table = a.x_zero == 0 ? nullptr : reinterpret_cast<const uint32_t*>(a.packed + l.table);
  const auto* const w = reinterpret_cast<const unsigned char*>(a.packed + l.w);
  if (a.y.dtype == DType::f32)
    convolve<int32_t>(a.g, images(a), w, Finish<float>{q, table, a.y.as<float>()}, at);
  else
    convolve<int32_t>(a.g, images(a), w, Finish<uint8_t>{q, table, a.y.as<uint8_t>()}, at);
}

}  // namespace

constinit const Kernel<op::QConv2d> qconv2d_wgmma{
    .name = "own.wgmma", .traits = kOwn, .check = check, .run = run, .pack = pack, .pays = pays};

}  // namespace mininn::cuda::own
