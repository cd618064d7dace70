// What the kernels must compute, written down a second time: loops over row-major vectors of double. They share nothing
// with cpu_kernels/, so that a mistake there cannot hide here.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "ops/conv2d.h"
#include "ops/pool2d.h"

namespace mininn::reference {

using Values = std::vector<double>;

// A sum of products: its value, the sum of the products' absolute values and the number of terms. A kernel with unit
// roundoff eps may differ from the value by (terms + 2) * eps * magnitude, in whatever order it adds.
struct Sum {
  double value = 0, magnitude = 0;
  int64_t terms = 0;

  void add(double a, double b = 1) {
    value += a * b;
    magnitude += std::abs(a * b);
    ++terms;
  }
  double tolerance(double eps) const { return double(terms + 2) * eps * magnitude; }
};
using Sums = std::vector<Sum>;

// fn(index in x, index in w, index in y) for every product in a convolution; all row-major NCHW and OIHW.
template <class Fn>
void for_products(const Conv2dGeometry& g, const Fn& fn) {
  const int64_t icg = g.ic / g.groups, ocg = g.oc / g.groups;
  for (int64_t n = 0; n < g.n; ++n)
    for (int64_t oc = 0; oc < g.oc; ++oc)
      for (int64_t oh = 0; oh < g.oh; ++oh)
        for (int64_t ow = 0; ow < g.ow; ++ow)
          for (int64_t c = 0; c < icg; ++c)
            for (int64_t kh = 0; kh < g.kh; ++kh)
              for (int64_t kw = 0; kw < g.kw; ++kw) {
                const int64_t ih = oh * g.stride_h + kh * g.dil_h - g.pad_h;
                const int64_t iw = ow * g.stride_w + kw * g.dil_w - g.pad_w;
                if (ih < 0 || iw < 0 || ih >= g.ih || iw >= g.iw) continue;
                const int64_t ic = oc / ocg * icg + c;
                fn(size_t(((n * g.ic + ic) * g.ih + ih) * g.iw + iw), size_t(((oc * icg + c) * g.kh + kh) * g.kw + kw),
                   size_t(((n * g.oc + oc) * g.oh + oh) * g.ow + ow));
              }
}

inline Sums conv2d(const Conv2dGeometry& g, const Values& x, const Values& w, const Values& bias = {},
                   const Values& residual = {}) {
  Sums y(size_t(g.n * g.oc * g.oh * g.ow));
  for (size_t i = 0; i < y.size(); ++i) {
    if (!bias.empty()) y[i].add(bias[i / size_t(g.oh * g.ow) % size_t(g.oc)]);
    if (!residual.empty()) y[i].add(residual[i]);
  }
  for_products(g, [&](size_t ix, size_t iw, size_t iy) { y[iy].add(x[ix], w[iw]); });
  return y;
}

inline Sums conv2d_input_gradient(const Conv2dGeometry& g, const Values& gy, const Values& w) {
  Sums gx(size_t(g.n * g.ic * g.ih * g.iw));
  for_products(g, [&](size_t ix, size_t iw, size_t iy) { gx[ix].add(gy[iy], w[iw]); });
  return gx;
}

inline Sums conv2d_weight_gradient(const Conv2dGeometry& g, const Values& x, const Values& gy) {
  Sums gw(size_t(g.oc * g.ic / g.groups * g.kh * g.kw));
  for_products(g, [&](size_t ix, size_t iw, size_t iy) { gw[iw].add(x[ix], gy[iy]); });
  return gw;
}

// [batch, m, k] x [batch, k, n] (+ [n])
inline Sums matmul(int64_t batch, int64_t m, int64_t n, int64_t k, const Values& a, const Values& b,
                   const Values& bias = {}) {
  Sums c(size_t(batch * m * n));
  for (int64_t i = 0; i < batch * m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      Sum& s = c[size_t(i * n + j)];
      if (!bias.empty()) s.add(bias[size_t(j)]);
      for (int64_t p = 0; p < k; ++p) s.add(a[size_t(i * k + p)], b[size_t((i / m * k + p) * n + j)]);
    }
  return c;
}

// fn(index in x, index in y) for every pixel of every pooling window, row by row.
template <class Fn>
void for_window_pixels(const Pool2dGeometry& g, const Fn& fn) {
  for (int64_t plane = 0; plane < g.n * g.c; ++plane)
    for (int64_t oh = 0; oh < g.oh; ++oh)
      for (int64_t ow = 0; ow < g.ow; ++ow)
        for (int64_t kh = 0; kh < g.kh; ++kh)
          for (int64_t kw = 0; kw < g.kw; ++kw) {
            const int64_t ih = oh * g.stride_h + kh - g.pad_h, iw = ow * g.stride_w + kw - g.pad_w;
            if (ih < 0 || iw < 0 || ih >= g.ih || iw >= g.iw) continue;
            fn(size_t((plane * g.ih + ih) * g.iw + iw), size_t((plane * g.oh + oh) * g.ow + ow));
          }
}

struct MaxPool {
  Values value, index;
};
inline MaxPool max_pool2d(const Pool2dGeometry& g, const Values& x) {
  const size_t outputs = size_t(g.n * g.c * g.oh * g.ow);
  MaxPool y{Values(outputs, -std::numeric_limits<double>::infinity()), Values(outputs, -1)};
  for_window_pixels(g, [&](size_t ix, size_t iy) {
    const bool nan_beats_number = std::isnan(x[ix]) && !std::isnan(y.value[iy]);
    if (y.index[iy] >= 0 && !nan_beats_number && !(x[ix] > y.value[iy])) return;
    y.value[iy] = x[ix];
    y.index[iy] = double(ix % size_t(g.ih * g.iw));
  });
  return y;
}

inline Sums max_pool2d_gradient(const Pool2dGeometry& g, const Values& gy, const Values& index) {
  Sums gx(size_t(g.n * g.c * g.ih * g.iw));
  const size_t in = size_t(g.ih * g.iw), out = size_t(g.oh * g.ow);
  for (size_t i = 0; i < gy.size(); ++i) gx[i / out * in + size_t(index[i])].add(gy[i]);
  return gx;
}

// 1 / divisor of each output.
inline Values avg_pool2d_shares(const Pool2dGeometry& g, bool count_include_pad) {
  Values count(size_t(g.n * g.c * g.oh * g.ow));
  for_window_pixels(g, [&](size_t, size_t iy) { count[iy] += 1; });
  for (double& c : count) c = 1 / (count_include_pad ? double(g.kh * g.kw) : c);
  return count;
}

inline Sums avg_pool2d(const Pool2dGeometry& g, bool count_include_pad, const Values& x) {
  const Values share = avg_pool2d_shares(g, count_include_pad);
  Sums y(share.size());
  for_window_pixels(g, [&](size_t ix, size_t iy) { y[iy].add(x[ix], share[iy]); });
  return y;
}

inline Sums avg_pool2d_gradient(const Pool2dGeometry& g, bool count_include_pad, const Values& gy) {
  const Values share = avg_pool2d_shares(g, count_include_pad);
  Sums gx(size_t(g.n * g.c * g.ih * g.iw));
  for_window_pixels(g, [&](size_t ix, size_t iy) { gx[ix].add(gy[iy], share[iy]); });
  return gx;
}

// Mean and biased variance of each column of a [rows, c] matrix.
struct Moments {
  Values mean, var;
};
inline Moments moments(int64_t rows, int64_t c, const Values& x) {
  Moments m{Values(size_t(c)), Values(size_t(c))};
  for (size_t i = 0; i < x.size(); ++i) m.mean[i % size_t(c)] += x[i] / double(rows);
  for (size_t i = 0; i < x.size(); ++i)
    m.var[i % size_t(c)] += std::pow(x[i] - m.mean[i % size_t(c)], 2) / double(rows);
  return m;
}

inline Values batch_norm(int64_t c, const Values& x, const Moments& m, double eps, const Values& gamma,
                         const Values& beta) {
  Values y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t j = i % size_t(c);
    y[i] = (x[i] - m.mean[j]) / std::sqrt(m.var[j] + eps) * gamma[j] + beta[j];
  }
  return y;
}

struct BatchNormGradients {
  Values gx, ggamma, gbeta;
};
inline BatchNormGradients batch_norm_gradients(int64_t rows, int64_t c, const Values& x, const Values& gy,
                                               const Moments& m, double eps, const Values& gamma, bool training) {
  BatchNormGradients g{Values(x.size()), Values(size_t(c)), Values(size_t(c))};
  const auto normalized = [&](size_t i) {
    return (x[i] - m.mean[i % size_t(c)]) / std::sqrt(m.var[i % size_t(c)] + eps);
  };
  for (size_t i = 0; i < x.size(); ++i) {
    g.ggamma[i % size_t(c)] += gy[i] * normalized(i);
    g.gbeta[i % size_t(c)] += gy[i];
  }
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t j = i % size_t(c);
    double d = gy[i];
    if (training) d -= g.gbeta[j] / double(rows) + normalized(i) * g.ggamma[j] / double(rows);
    g.gx[i] = d * gamma[j] / std::sqrt(m.var[j] + eps);
  }
  return g;
}

}  // namespace mininn::reference
