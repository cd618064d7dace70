// Pooling of channels-last images: a thread for each output, and in backward one for each input, which looks at the
// windows that it lies in: no two threads add to one element.
#include "ops/pool2d.h"

#include "core/convert.h"
#include "cuda/launch.h"
#include "cuda/own/memory/kernels.h"

namespace mininn::cuda::own {
namespace {

// Where element i of a channels-last [n, c, height, width] image is.
struct Place {
  int64_t n, h, w, c;
  __device__ Place(int64_t i, int64_t channels, int64_t height, int64_t width) {
    c = i % channels, i /= channels;
    w = i % width, i /= width;
    h = i % height, n = i / height;
  }
};
__device__ inline int64_t input_at(const Pool2dGeometry& g, const Place& p, int64_t h, int64_t w) {
  return ((p.n * g.ih + h) * g.iw + w) * g.c + p.c;
}
__device__ inline int64_t output_at(const Pool2dGeometry& g, const Place& p, int64_t h, int64_t w) {
  return ((p.n * g.oh + h) * g.ow + w) * g.c + p.c;
}

inline int64_t inputs(const Pool2dGeometry& g) { return g.n * g.c * g.ih * g.iw; }
inline int64_t outputs(const Pool2dGeometry& g) { return g.n * g.c * g.oh * g.ow; }

template <class T>
__global__ void max_kernel(const __grid_constant__ Pool2dGeometry g, int64_t count, const T* x, T* y, int32_t* index) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const Place p(i, g.c, g.oh, g.ow);
    const PoolWindow win(g, p.h, p.w);
    int64_t best_h = win.h0, best_w = win.w0;
    auto best = convert<Compute<T>>(x[input_at(g, p, best_h, best_w)]);
    for (int64_t h = win.h0; h < win.h1; ++h)
      for (int64_t w = win.w0; w < win.w1; ++w) {
        const auto v = convert<Compute<T>>(x[input_at(g, p, h, w)]);
        if (v > best || (v != v && best == best)) best = v, best_h = h, best_w = w;
      }
    y[i] = x[input_at(g, p, best_h, best_w)];
    if (index) index[i] = int32_t(best_h * g.iw + best_w);
  }
}

// fn(output position) for every window that the input pixel of `p` lies in.
template <class Fn>
__device__ inline void for_windows(const Pool2dGeometry& g, const Place& p, const Fn& fn) {
  const int64_t h = p.h + g.pad_h, w = p.w + g.pad_w;
  const int64_t h0 = h < g.kh ? 0 : (h - g.kh) / g.stride_h + 1, w0 = w < g.kw ? 0 : (w - g.kw) / g.stride_w + 1;
  for (int64_t oh = h0; oh < g.oh && oh * g.stride_h <= h; ++oh)
    for (int64_t ow = w0; ow < g.ow && ow * g.stride_w <= w; ++ow) fn(oh, ow);
}

template <class T>
__global__ void max_grad_kernel(const __grid_constant__ Pool2dGeometry g, int64_t count, const T* gy,
                                const int32_t* index, T* gx) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const Place p(i, g.c, g.ih, g.iw);
    double sum = 0;
    for_windows(g, p, [&](int64_t oh, int64_t ow) {
      const int64_t at = output_at(g, p, oh, ow);
      if (index[at] == p.h * g.iw + p.w) sum += convert<double>(gy[at]);
    });
    gx[i] = convert<T>(sum);
  }
}

template <class T>
__global__ void avg_kernel(const __grid_constant__ Pool2dGeometry g, int64_t count, bool count_include_pad, const T* x,
                           T* y) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const Place p(i, g.c, g.oh, g.ow);
    const PoolWindow win(g, p.h, p.w);
    double sum = 0;
    for (int64_t h = win.h0; h < win.h1; ++h)
      for (int64_t w = win.w0; w < win.w1; ++w) sum += convert<double>(x[input_at(g, p, h, w)]);
    y[i] = convert<T>(sum / double(win.divisor(g, count_include_pad)));
  }
}

template <class T>
__global__ void avg_grad_kernel(const __grid_constant__ Pool2dGeometry g, int64_t count, bool count_include_pad,
                                const T* gy, T* gx) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const Place p(i, g.c, g.ih, g.iw);
    double sum = 0;
    for_windows(g, p, [&](int64_t oh, int64_t ow) {
      sum += convert<double>(gy[output_at(g, p, oh, ow)]) / double(PoolWindow(g, oh, ow).divisor(g, count_include_pad));
    });
    gx[i] = convert<T>(sum);
  }
}

template <class T>
void run(const op::MaxPool2dFwd& a, const ExecContext& at) {
  const int64_t n = outputs(a.g);
  launch(max_kernel<T>, grid_of(n), at, a.g, n, a.x.as<T>(), a.y.as<T>(), a.index.as<int32_t>());
}
template <class T>
void run(const op::MaxPool2dBwd& a, const ExecContext& at) {
  const int64_t n = inputs(a.g);
  launch(max_grad_kernel<T>, grid_of(n), at, a.g, n, a.gy.as<T>(), a.index.as<int32_t>(), a.gx.as<T>());
}
template <class T>
void run(const op::AvgPool2dFwd& a, const ExecContext& at) {
  const int64_t n = outputs(a.g);
  launch(avg_kernel<T>, grid_of(n), at, a.g, n, a.count_include_pad, a.x.as<T>(), a.y.as<T>());
}
template <class T>
void run(const op::AvgPool2dBwd& a, const ExecContext& at) {
  const int64_t n = inputs(a.g);
  launch(avg_grad_kernel<T>, grid_of(n), at, a.g, n, a.count_include_pad, a.gy.as<T>(), a.gx.as<T>());
}

}  // namespace

constinit const Kernel<op::MaxPool2dFwd> max_pool2d_fwd{"own", kOwn, takes_all,
                                                        [](const op::MaxPool2dFwd& a, const ExecContext& at) {
                                                          with_floating(a.x.dtype, [&]<class T>() { run<T>(a, at); });
                                                        }};
constinit const Kernel<op::MaxPool2dBwd> max_pool2d_bwd{"own", kOwn, takes_all,
                                                        [](const op::MaxPool2dBwd& a, const ExecContext& at) {
                                                          with_floating(a.gy.dtype, [&]<class T>() { run<T>(a, at); });
                                                        }};
constinit const Kernel<op::AvgPool2dFwd> avg_pool2d_fwd{"own", kOwn, takes_all,
                                                        [](const op::AvgPool2dFwd& a, const ExecContext& at) {
                                                          with_floating(a.x.dtype, [&]<class T>() { run<T>(a, at); });
                                                        }};
constinit const Kernel<op::AvgPool2dBwd> avg_pool2d_bwd{"own", kOwn, takes_all,
                                                        [](const op::AvgPool2dBwd& a, const ExecContext& at) {
                                                          with_floating(a.gy.dtype, [&]<class T>() { run<T>(a, at); });
                                                        }};

}  // namespace mininn::cuda::own
