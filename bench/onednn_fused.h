// The rival of the int8 kernels: oneDNN's convolution in the form in which it is fastest.
#pragma once

#include <memory>

#include "ops/qconv2d.h"

namespace mininn::bench {

// u8 x s8 -> u8 with bias, scales and clamping in oneDNN's own epilogue, input, weights and output in the layouts that
// it likes best, everything prepared before the first run. Its epilogue rounds differently from ops/qconv2d.h (the bias
// is added in fp32), so it is no kernel of the library; codes may differ by one.
class OneDnnFused {
 public:
  // Null in a build without oneDNN, and where oneDNN has nothing but its reference code. `a` has no residual and one
  // row of bias.
  static std::unique_ptr<OneDnnFused> make(const op::QConv2d& a);
  virtual ~OneDnnFused() = default;
  virtual void run() = 0;
  // How far the codes of the last run are from those in `y`, u8 [N,C,H,W] with the strides of QConv2d's y.
  virtual int largest_difference(const View& y) = 0;
};

}  // namespace mininn::bench
