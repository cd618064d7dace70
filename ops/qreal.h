// What an int8 network does behind its last layers, on real numbers: nothing there is rounded to codes. Operands are
// f32, or codes, which then stand for the numbers that they are. One order of additions: the same bits for any batch
// and number of threads.
#pragma once

#include <string_view>

#include "core/kernel.h"
#include "core/qparams.h"
#include "core/view.h"
#include "ops/functors.h"
#include "ops/op.h"
#include "ops/qpool.h"

namespace mininn {

// An elementwise op in double: y = f(x, value); most ignore `value`.
using RealFunction = double (*)(double x, double value);
// The unary or scalar op of ops/functors.h with this name; null if there is none.
RealFunction real_function(std::string_view op);

// An operand [N,C,H,W] as kernels read it, on any device: f32 channels-last, or u8 codes, pixel-strided
// (ops/qlayout.h), of which q says what they stand for.
struct RealOperand {
  const float* numbers;  // null for codes
  const uint8_t* codes;
  int64_t pixel_stride;
  QParams q;

  RealOperand(const CView& x, QParams codes_q)
      : numbers(x.dtype == DType::f32 ? x.as<float>() : nullptr),
        codes(numbers ? nullptr : x.as<uint8_t>()),
        pixel_stride(x.dtype == DType::f32 ? x.shape[1] : x.strides[3]),
        q(codes_q) {}

  // Channel c of a pixel, counted through the whole batch.
  constexpr float operator()(int64_t pixel, int64_t c) const {
    const int64_t at = pixel * pixel_stride + c;
    return numbers ? numbers[at] : float(codes[at] - q.zero_point) * q.scale;
  }
};

namespace op {

// y is f32 channels-last; x, a and b are as in RealOperand.
struct RealUnary {  // y = fl32(f(x, value)), f being real_function(functor)
  static constexpr std::string_view op = "real_unary";
  CView x;
  QParams q;
  std::string_view functor;  // its name in ops/functors.h; lives for ever, for calls that run later
  double value = 0;
  View y;
};
struct RealAdd {  // y = a + b
  static constexpr std::string_view op = "real_add";
  CView a, b;
  QParams a_q, b_q;
  View y;
};
// The largest number of each window; padding never wins, NaN always does.
struct RealMaxPool2d {
  static constexpr std::string_view op = "real_max_pool2d";
  CView x;
  QParams q;
  QPoolWindow window;
  View y;
};
// The mean of each window, added up in double: over kh * kw with count_include_pad, else over its pixels that are not
// padding.
struct RealAvgPool2d {
  static constexpr std::string_view op = "real_avg_pool2d";
  CView x;
  QParams q;
  QPoolWindow window;
  bool count_include_pad = true;
  View y;
};

}  // namespace op

// [N,C,H,W] codes or f32 -> f32, channels-last. Not differentiable. Throw DTypeError, ShapeError, ValueError.
// `functor` is the name of one; ValueError for others.
Tensor real_unary(const Tensor& x, std::string_view functor, double value = 0);
Tensor real_add(const Tensor& a, const Tensor& b);
Tensor real_max_pool2d(const Tensor& x, const QPoolWindow& window);
struct RealAvgPool2dOptions {
  QPoolWindow window;
  bool count_include_pad = true;
};
template <class F>
void each_field(RealAvgPool2dOptions& o, const F& field) {
  each_field(o.window, field);
  field("count_include_pad", o.count_include_pad);
}
Tensor real_avg_pool2d(const Tensor& x, const RealAvgPool2dOptions& o);

struct RealUnaryOptions {
  double value = 0;  // of the functors that take one
};
template <class F>
void each_field(RealUnaryOptions& o, const F& field) {
  field("value", o.value);
}

namespace opdef {
extern const OpDef real_add, real_max_pool2d, real_avg_pool2d;
// "real_exp" of the functor "exp", for each of ops/functors.h that takes one operand; null if there is none.
const OpDef* real_unary(std::string_view functor);
}  // namespace opdef

}  // namespace mininn
