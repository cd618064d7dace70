#include "nn/pool.h"

#include "ops/layout.h"

namespace mininn::nn {

Tensor MaxPool2d::forward(const Tensor& x) { return max_pool2d(x, options_); }
Tensor AvgPool2d::forward(const Tensor& x) { return avg_pool2d(x, options_); }
Tensor GlobalAvgPool2d::forward(const Tensor& x) { return global_avg_pool2d(x); }
Tensor Flatten::forward(const Tensor& x) { return flatten(x, start_dim_); }

}  // namespace mininn::nn
