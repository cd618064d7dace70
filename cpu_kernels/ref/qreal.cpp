#include "ops/qreal.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "cpu_kernels/ref/int8.h"

namespace mininn::cpu::ref {
namespace {

// Sets every number of y to number(pixel, c).
template <class Number>
void fill(const View& y, int64_t cost, const Number& number) {
  const int64_t c = y.shape[1], pixels = y.shape[0] * y.shape[2] * y.shape[3];
  parallel_for(pixels, std::max<int64_t>(1, 32768 / (c * cost)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < c; ++j) y.as<float>()[i * c + j] = number(i, j);
  });
}

// The same for windows: fold(sum, x) goes over a window's pixels, beginning at `start`; finish(sum, pixels) ends it.
template <class Fold, class Finish>
void pool(const CView& maps, QParams q, const QPoolWindow& win, const View& y, double start, const Fold& fold,
          const Finish& finish) {
  const RealOperand x(maps, q);
  const int64_t oh = y.shape[2], ow = y.shape[3], ih = maps.shape[2], iw = maps.shape[3];
  fill(y, win.kernel.h * win.kernel.w, [&](int64_t pixel, int64_t c) {
    const int64_t h = pixel / ow % oh * win.stride.h - win.padding.h, w = pixel % ow * win.stride.w - win.padding.w;
    const int64_t h0 = std::max<int64_t>(h, 0), h1 = std::min(h + win.kernel.h, ih);
    const int64_t w0 = std::max<int64_t>(w, 0), w1 = std::min(w + win.kernel.w, iw);
    double sum = start;
    for (int64_t i = h0; i < h1; ++i)
      for (int64_t j = w0; j < w1; ++j) sum = fold(sum, double(x((pixel / (oh * ow) * ih + i) * iw + j, c)));
    return float(finish(sum, (h1 - h0) * (w1 - w0)));
  });
}

void unary(const op::RealUnary& a, const ExecContext&) {
  const RealOperand x(a.x, a.q);
  const RealFunction f = real_function(a.functor);
  fill(a.y, 8, [&](int64_t pixel, int64_t c) { return float(f(double(x(pixel, c)), a.value)); });
}

void add(const op::RealAdd& a, const ExecContext&) {
  const RealOperand left(a.a, a.a_q), right(a.b, a.b_q);
  fill(a.y, 1, [&](int64_t pixel, int64_t c) { return left(pixel, c) + right(pixel, c); });
}

void max_pool(const op::RealMaxPool2d& a, const ExecContext&) {
  pool(
      a.x, a.q, a.window, a.y, -std::numeric_limits<double>::infinity(),
      [](double top, double v) { return std::isnan(top) || v <= top ? top : v; },
      [](double top, int64_t) { return top; });
}

void avg_pool(const op::RealAvgPool2d& a, const ExecContext&) {
  const int64_t whole = a.window.kernel.h * a.window.kernel.w;
  pool(
      a.x, a.q, a.window, a.y, 0, [](double sum, double v) { return sum + v; },
      [&](double sum, int64_t pixels) { return sum / double(a.count_include_pad ? whole : pixels); });
}

}  // namespace

const Kernel<op::RealUnary> real_unary{"ref", kReferenceInRegions, takes_all, unary};
const Kernel<op::RealAdd> real_add{"ref", kReferenceInRegions, takes_all, add};
const Kernel<op::RealMaxPool2d> real_max_pool2d{"ref", kReferenceInRegions, takes_all, max_pool};
const Kernel<op::RealAvgPool2d> real_avg_pool2d{"ref", kReferenceInRegions, takes_all, avg_pool};

}  // namespace mininn::cpu::ref
