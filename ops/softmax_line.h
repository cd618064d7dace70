// Softmax along one line of numbers: the arithmetic that reference kernels of every device share. All in double;
// numbers of a line are `step` elements apart.
#pragma once

#include <cmath>

#include "core/convert.h"
#include "ops/functors.h"

namespace mininn::op {

// Where a line's largest element is, the first one among equals.
template <class T>
MININN_FN int64_t largest_of_line(const T* line, int64_t n, int64_t step) {
  int64_t top = 0;
  for (int64_t j = 1; j < n; ++j)
    if (convert<double>(line[j * step]) > convert<double>(line[top * step])) top = j;
  return top;
}

// What the exponentials of a line add up to next to the largest, whose share is 1: small ones keep their digits.
template <class T>
MININN_FN double other_exponentials(const T* x, int64_t n, int64_t step, int64_t top) {
  const double max = convert<double>(x[top * step]);
  double others = 0;
  for (int64_t j = 0; j < n; ++j) others += j == top ? 0 : std::exp(convert<double>(x[j * step]) - max);
  return others;
}

template <class T>
MININN_FN void softmax_line(const T* x, T* y, int64_t n, int64_t step, bool log) {
  const int64_t top = largest_of_line(x, n, step);
  const double max = convert<double>(x[top * step]), others = other_exponentials(x, n, step, top);
  const double log_sum = std::log1p(others);
  for (int64_t j = 0; j < n; ++j) {
    const double v = convert<double>(x[j * step]) - max;
    y[j * step] = convert<T>(log ? v - log_sum : std::exp(v) / (1 + others));
  }
}

// y * (gy - sum(gy * y)) cancels where a probability is nearly 1 and its gradient is what the others leave. They add up
// to 1, so gy may be taken relative to that element's, which then adds nothing.
template <class T>
MININN_FN void softmax_line_grad(const T* y, const T* gy, T* gx, int64_t n, int64_t step) {
  const double base = convert<double>(gy[largest_of_line(y, n, step) * step]);
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += (convert<double>(gy[j * step]) - base) * convert<double>(y[j * step]);
  for (int64_t j = 0; j < n; ++j)
    gx[j * step] = convert<T>(convert<double>(y[j * step]) * (convert<double>(gy[j * step]) - base - sum));
}

// The same for gy - exp(y) * sum(gy), where the largest exp(y) may be nearly 1 and its gy nearly the whole sum.
template <class T>
MININN_FN void log_softmax_line_grad(const T* y, const T* gy, T* gx, int64_t n, int64_t step) {
  const int64_t top = largest_of_line(y, n, step);
  const double top_y = convert<double>(y[top * step]), top_g = convert<double>(gy[top * step]);
  double others = 0;
  for (int64_t j = 0; j < n; ++j) others += j == top ? 0 : convert<double>(gy[j * step]);
  for (int64_t j = 0; j < n; ++j)
    gx[j * step] =
        convert<T>(convert<double>(gy[j * step]) - std::exp(convert<double>(y[j * step])) * (others + top_g));
  gx[top * step] = convert<T>(-std::expm1(top_y) * top_g - std::exp(top_y) * others);
}

// The probability that label smoothing wants for class j of c.
MININN_FN double smoothed_target(int64_t j, int64_t label, int64_t c, double smoothing) {
  return smoothing / double(c) + (j == label ? 1 - smoothing : 0);
}

// The loss of one row of logits x, and p = softmax(x).
template <class T>
MININN_FN double cross_entropy_row(const T* x, T* p, int64_t c, int64_t label, double smoothing) {
  const int64_t top = largest_of_line(x, c, 1);
  const double max = convert<double>(x[top]), others = other_exponentials(x, c, 1, top), log_sum = std::log1p(others);
  double loss = 0;
  for (int64_t j = 0; j < c; ++j) {
    const double v = convert<double>(x[j]) - max;
    p[j] = convert<T>(std::exp(v) / (1 + others));
    const double t = smoothed_target(j, label, c, smoothing);
    if (t > 0) loss -= t * (v - log_sum);  // 0 * -inf is no loss
  }
  return loss;
}

// gx = scale * (p - target)
template <class T>
MININN_FN void cross_entropy_row_grad(const T* p, T* gx, int64_t c, int64_t label, double smoothing, double scale) {
  double others = 0;  // probabilities and targets add up to 1: the label's p - t, which cancels, is what these leave
  for (int64_t j = 0; j < c; ++j) {
    if (j == label) continue;
    const double d = convert<double>(p[j]) - smoothed_target(j, label, c, smoothing);
    others += d;
    gx[j] = convert<T>(scale * d);
  }
  gx[label] = convert<T>(-scale * others);
}

}  // namespace mininn::op
