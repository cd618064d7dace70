#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

// One plane of a view: the elements of image n and channel c.
template <class T, class V>
auto plane(const V& v, int64_t n, int64_t c) {
  return [ p = v.template as<T>() + n * v.strides[0] + c * v.strides[1], sh = v.strides[2], sw = v.strides[3] ](
             int64_t h, int64_t w) -> auto& {
    return p[h * sh + w * sw];
  };
}

// fn(n, c) for every plane.
template <class Fn>
void for_planes(const Pool2dGeometry& g, const Fn& fn) {
  parallel_for(g.n * g.c, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) fn(i / g.c, i % g.c);
  });
}

template <class T>
void max_fwd(const op::MaxPool2dFwd& a) {
  for_planes(a.g, [&](int64_t n, int64_t c) {
    const auto x = plane<T>(a.x, n, c);
    const auto y = plane<T>(a.y, n, c);
    for (int64_t oh = 0; oh < a.g.oh; ++oh)
      for (int64_t ow = 0; ow < a.g.ow; ++ow) {
        const PoolWindow win(a.g, oh, ow);
        int64_t best_h = win.h0, best_w = win.w0;
        double best = to_double(x(best_h, best_w));
        for (int64_t h = win.h0; h < win.h1; ++h)
          for (int64_t w = win.w0; w < win.w1; ++w) {
            const double v = to_double(x(h, w));
            if (v > best || (std::isnan(v) && !std::isnan(best))) best = v, best_h = h, best_w = w;
          }
        y(oh, ow) = x(best_h, best_w);
        if (a.index) plane<int32_t>(a.index, n, c)(oh, ow) = int32_t(best_h * a.g.iw + best_w);
      }
  });
}

template <class T>
void max_bwd(const op::MaxPool2dBwd& a) {
  for_planes(a.g, [&](int64_t n, int64_t c) {
    const auto gy = plane<T>(a.gy, n, c);
    const auto index = plane<int32_t>(a.index, n, c);
    const auto gx = plane<T>(a.gx, n, c);
    std::vector<double> sums = host_vector<double>(a.g.ih * a.g.iw);
    for (int64_t oh = 0; oh < a.g.oh; ++oh)
      for (int64_t ow = 0; ow < a.g.ow; ++ow) sums[size_t(index(oh, ow))] += to_double(gy(oh, ow));
    for (int64_t i = 0; i < a.g.ih * a.g.iw; ++i) gx(i / a.g.iw, i % a.g.iw) = from_double<T>(sums[size_t(i)]);
  });
}

template <class T>
void avg_fwd(const op::AvgPool2dFwd& a) {
  for_planes(a.g, [&](int64_t n, int64_t c) {
    const auto x = plane<T>(a.x, n, c);
    const auto y = plane<T>(a.y, n, c);
    for (int64_t oh = 0; oh < a.g.oh; ++oh)
      for (int64_t ow = 0; ow < a.g.ow; ++ow) {
        const PoolWindow win(a.g, oh, ow);
        double sum = 0;
        for (int64_t h = win.h0; h < win.h1; ++h)
          for (int64_t w = win.w0; w < win.w1; ++w) sum += to_double(x(h, w));
        y(oh, ow) = from_double<T>(sum / double(win.divisor(a.g, a.count_include_pad)));
      }
  });
}

template <class T>
void avg_bwd(const op::AvgPool2dBwd& a) {
  for_planes(a.g, [&](int64_t n, int64_t c) {
    const auto gy = plane<T>(a.gy, n, c);
    const auto gx = plane<T>(a.gx, n, c);
    std::vector<double> sums = host_vector<double>(a.g.ih * a.g.iw);
    for (int64_t oh = 0; oh < a.g.oh; ++oh)
      for (int64_t ow = 0; ow < a.g.ow; ++ow) {
        const PoolWindow win(a.g, oh, ow);
        const double share = to_double(gy(oh, ow)) / double(win.divisor(a.g, a.count_include_pad));
        for (int64_t h = win.h0; h < win.h1; ++h)
          for (int64_t w = win.w0; w < win.w1; ++w) sums[size_t(h * a.g.iw + w)] += share;
      }
    for (int64_t i = 0; i < a.g.ih * a.g.iw; ++i) gx(i / a.g.iw, i % a.g.iw) = from_double<T>(sums[size_t(i)]);
  });
}

Refusal check_max_fwd(const op::MaxPool2dFwd& a) { return check_floating(a.x.dtype); }
Refusal check_max_bwd(const op::MaxPool2dBwd& a) { return check_floating(a.gy.dtype); }
Refusal check_avg_fwd(const op::AvgPool2dFwd& a) { return check_floating(a.x.dtype); }
Refusal check_avg_bwd(const op::AvgPool2dBwd& a) { return check_floating(a.gy.dtype); }

void run_max_fwd(const op::MaxPool2dFwd& a, const ExecContext&) {
  with_floating(a.x.dtype, [&]<class T>() { max_fwd<T>(a); });
}
void run_max_bwd(const op::MaxPool2dBwd& a, const ExecContext&) {
  with_floating(a.gy.dtype, [&]<class T>() { max_bwd<T>(a); });
}
void run_avg_fwd(const op::AvgPool2dFwd& a, const ExecContext&) {
  with_floating(a.x.dtype, [&]<class T>() { avg_fwd<T>(a); });
}
void run_avg_bwd(const op::AvgPool2dBwd& a, const ExecContext&) {
  with_floating(a.gy.dtype, [&]<class T>() { avg_bwd<T>(a); });
}

}  // namespace

constinit const Kernel<op::MaxPool2dFwd> max_pool2d_fwd{"ref", kReference, check_max_fwd, run_max_fwd};
constinit const Kernel<op::MaxPool2dBwd> max_pool2d_bwd{"ref", kReference, check_max_bwd, run_max_bwd};
constinit const Kernel<op::AvgPool2dFwd> avg_pool2d_fwd{"ref", kReference, check_avg_fwd, run_avg_fwd};
constinit const Kernel<op::AvgPool2dBwd> avg_pool2d_bwd{"ref", kReference, check_avg_bwd, run_avg_bwd};

}  // namespace mininn::cpu::ref
