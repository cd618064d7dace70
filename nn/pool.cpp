#include "nn/pool.h"

#include "core/error.h"
#include "ops/layout.h"

namespace mininn::nn {

namespace {

const Pool2dOptions& checked(const char* module, const Pool2dOptions& o) {
  if (const char* why = misfit(o))
    throw ValueError(message("nn::", module, ": kernel [", o.kernel.h, ",", o.kernel.w, "], stride [", o.stride.h, ",",
                             o.stride.w, "], padding [", o.padding.h, ",", o.padding.w, "]: ", why));
  return o;
}

}  // namespace

MaxPool2d::MaxPool2d(const Pool2dOptions& o) : options_(checked("MaxPool2d", o)) {}
AvgPool2d::AvgPool2d(const Pool2dOptions& o) : options_(checked("AvgPool2d", o)) {}

Tensor MaxPool2d::forward(const Tensor& x) { return max_pool2d(x, options_); }
Tensor AvgPool2d::forward(const Tensor& x) { return avg_pool2d(x, options_); }
Tensor GlobalAvgPool2d::forward(const Tensor& x) { return global_avg_pool2d(x); }
Tensor Flatten::forward(const Tensor& x) { return flatten(x, start_dim_); }

}  // namespace mininn::nn
