// Convolution and both gradients as implicit matrix products; the groups are its batch.
#include "ops/conv2d.h"

#include "core/convert.h"
#include "cuda/own/float/gemm.h"
#include "cuda/own/float/kernels.h"

namespace mininn::cuda::own {
namespace {

// Images are channels-last without gaps, weights OIHW (ops/conv2d.h).
__device__ inline int64_t image_at(int64_t n, int64_t h, int64_t w, int64_t c, int64_t height, int64_t width,
                                   int64_t channels) {
  return ((n * height + h) * width + w) * channels + c;
}

// Number i of a list of items (outer, h, w) with the innermost last.
struct Triple {
  int64_t outer, h, w;
  __device__ Triple(int64_t i, int64_t height, int64_t width)
      : outer(i / (height * width)), h(i / width % height), w(i % width) {}
};

// k runs over taps and, innermost, channels: (kh, kw, channel).
struct TapChannel {
  int64_t kh, kw, c;
  __device__ TapChannel(int64_t i, int64_t channels, int64_t width)
      : kh(i / channels / width), kw(i / channels % width), c(i % channels) {}
};

__device__ inline bool inside(int64_t h, int64_t w, int64_t height, int64_t width) {
  return h >= 0 && h < height && w >= 0 && w < width;
}

// Rows are output pixels, columns output channels of the group.
template <class T, class W>
struct Forward {
  using Acc = Compute<T>;
  int64_t m, n, k;
  Conv2dGeometry g;
  const T* x;
  const W *w, *bias;
  const T* residual;
  bool relu;
  T* y;

  explicit Forward(const op::Conv2dFwd& q)
      : m(q.g.n * q.g.oh * q.g.ow),
        n(q.g.ocg()),
        k(q.g.kh * q.g.kw * q.g.icg()),
        g(q.g),
        x(q.x.as<T>()),
        w(q.w.as<W>()),
        bias(q.bias.as<W>()),
        residual(q.residual.as<T>()),
        relu(q.relu),
        y(q.y.as<T>()) {}

  __device__ Acc a(int64_t group, int64_t i, int64_t j) const {
    const Triple out(i, g.oh, g.ow);
    const TapChannel t(j, g.icg(), g.kw);
    const int64_t h = out.h * g.stride_h - g.pad_h + t.kh * g.dil_h, c = group * g.icg() + t.c;
    const int64_t v = out.w * g.stride_w - g.pad_w + t.kw * g.dil_w;
    return inside(h, v, g.ih, g.iw) ? Acc(x[image_at(out.outer, h, v, c, g.ih, g.iw, g.ic)]) : Acc(0);
  }
  __device__ Acc b(int64_t group, int64_t j, int64_t o) const {
    const TapChannel t(j, g.icg(), g.kw);
    return Acc(w[(((group * g.ocg() + o) * g.icg() + t.c) * g.kh + t.kh) * g.kw + t.kw]);
  }
  __device__ void store(int64_t group, int64_t i, int64_t o, Acc sum) const {
    const int64_t c = group * g.ocg() + o, at = i * g.oc + c;
    if (bias) sum += Acc(bias[c]);
    if (residual) sum += Acc(residual[at]);
    y[at] = T(relu && sum < 0 ? Acc(0) : sum);
  }
};

// Rows are input pixels, columns input channels of the group.
template <class T, class W>
struct DataGradient {
  using Acc = Compute<T>;
  int64_t m, n, k;
  Conv2dGeometry g;
  const T* gy;
  const W* w;
  T* gx;

  explicit DataGradient(const op::Conv2dBwdData& q)
      : m(q.g.n * q.g.ih * q.g.iw),
        n(q.g.icg()),
        k(q.g.kh * q.g.kw * q.g.ocg()),
        g(q.g),
        gy(q.gy.as<T>()),
        w(q.w.as<W>()),
        gx(q.gx.as<T>()) {}

  __device__ Acc a(int64_t group, int64_t i, int64_t j) const {
    const Triple in(i, g.ih, g.iw);
    const TapChannel t(j, g.ocg(), g.kw);
    const int64_t h = in.h + g.pad_h - t.kh * g.dil_h, v = in.w + g.pad_w - t.kw * g.dil_w;
    if (h < 0 || v < 0 || h % g.stride_h != 0 || v % g.stride_w != 0) return Acc(0);
    const int64_t oh = h / g.stride_h, ow = v / g.stride_w, c = group * g.ocg() + t.c;
    return oh < g.oh && ow < g.ow ? Acc(gy[image_at(in.outer, oh, ow, c, g.oh, g.ow, g.oc)]) : Acc(0);
  }
  __device__ Acc b(int64_t group, int64_t j, int64_t c) const {
    const TapChannel t(j, g.ocg(), g.kw);
    return Acc(w[(((group * g.ocg() + t.c) * g.icg() + c) * g.kh + t.kh) * g.kw + t.kw]);
  }
  __device__ void store(int64_t group, int64_t i, int64_t c, Acc sum) const {
    gx[i * g.ic + group * g.icg() + c] = T(sum);
  }
};

// Rows are output channels of the group, columns (input channel, kh, kw); k runs over output pixels.
template <class T, class W>
struct WeightGradient {
  using Acc = Compute<T>;
  int64_t m, n, k;
  Conv2dGeometry g;
  const T *x, *gy;
  W* gw;

  explicit WeightGradient(const op::Conv2dBwdWeights& q)
      : m(q.g.ocg()),
        n(q.g.icg() * q.g.kh * q.g.kw),
        k(q.g.n * q.g.oh * q.g.ow),
        g(q.g),
        x(q.x.as<T>()),
        gy(q.gy.as<T>()),
        gw(q.gw.as<W>()) {}

  __device__ Acc a(int64_t group, int64_t o, int64_t i) const { return Acc(gy[i * g.oc + group * g.ocg() + o]); }
  __device__ Acc b(int64_t group, int64_t i, int64_t j) const {
    const Triple out(i, g.oh, g.ow), weight(j, g.kh, g.kw);
    const int64_t h = out.h * g.stride_h - g.pad_h + weight.h * g.dil_h, c = group * g.icg() + weight.outer;
    const int64_t v = out.w * g.stride_w - g.pad_w + weight.w * g.dil_w;
    return inside(h, v, g.ih, g.iw) ? Acc(x[image_at(out.outer, h, v, c, g.ih, g.iw, g.ic)]) : Acc(0);
  }
  __device__ void store(int64_t group, int64_t o, int64_t j, Acc sum) const {
    gw[(group * g.ocg() + o) * n + j] = W(sum);
  }
};

}  // namespace

constinit const Kernel<op::Conv2dFwd> conv2d_fwd{
    "own.gemm", kOwn, takes_all, [](const op::Conv2dFwd& q, const ExecContext& at) {
      op::with_conv2d_types(q.x.dtype, q.w.dtype, [&]<class T, class W>() { gemm(Forward<T, W>(q), q.g.groups, at); });
    }};
constinit const Kernel<op::Conv2dBwdData> conv2d_bwd_data{
    "own.gemm", kOwn, takes_all, [](const op::Conv2dBwdData& q, const ExecContext& at) {
      op::with_conv2d_types(q.gy.dtype, q.w.dtype,
                            [&]<class T, class W>() { gemm(DataGradient<T, W>(q), q.g.groups, at); });
    }};
constinit const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights{
    "own.gemm", kOwn, takes_all, [](const op::Conv2dBwdWeights& q, const ExecContext& at) {
      op::with_conv2d_types(q.x.dtype, q.gw.dtype,
                            [&]<class T, class W>() { gemm(WeightGradient<T, W>(q), q.g.groups, at); });
    }};

}  // namespace mininn::cuda::own
