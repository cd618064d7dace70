// Reductions over dimensions. Floating dtypes; results do not depend on the number of threads.
#pragma once

#include "core/kernel.h"
#include "core/tensor.h"
#include "ops/op.h"

namespace mininn {

namespace op {

// y has the rank of x, with size 1 along the reduced dimensions; same dtype.
struct Sum {  // y = scale * sum(x), accumulated in double
  static constexpr std::string_view op = "sum";
  CView x;
  double scale = 1;
  View y;
};
struct AmaxFwd {
  static constexpr std::string_view op = "amax_fwd";
  CView x;
  View y;      // the maximum; NaN if there is one. May be absent
  View index;  // i64, shaped like y: row-major position of the first maximum within the reduced dimensions. May be
               // absent
};
struct AmaxBwd {  // gx = gy at each `index`, 0 elsewhere
  static constexpr std::string_view op = "amax_bwd";
  CView gy, index;
  View gx;
};

// The dimensions that differ between a tensor and its reduced form, which are reduced, and those that do not.
struct ReducedDims {
  Shape kept, reduced;
  Strides kept_full, kept_small, reduced_full;

  ReducedDims(const CView& full, const CView& small) {
    for (int d = 0; d < full.shape.rank(); ++d) {
      if (full.shape[d] == small.shape[d]) {
        kept.push_back(full.shape[d]);
        kept_full.push_back(full.strides[d]);
        kept_small.push_back(small.strides[d]);
      } else {
        reduced.push_back(full.shape[d]);
        reduced_full.push_back(full.strides[d]);
      }
    }
  }
};

}  // namespace op

// Over `dims` (negative ones count from the end; none: over all). Reduced dimensions are dropped, or kept with size 1.
// Differentiable; throw ShapeError for a bad or repeated dimension. The mean of nothing is NaN.
Tensor sum(const Tensor& x, const DimList& dims = {}, bool keepdim = false);
Tensor mean(const Tensor& x, const DimList& dims = {}, bool keepdim = false);
// The maximum; NaN wins. The whole gradient goes to the first maximum. Throws ShapeError where there is no element.
Tensor amax(const Tensor& x, const DimList& dims = {}, bool keepdim = false);

// i64 index of the first maximum along `dim`. Not differentiable.
Tensor argmax(const Tensor& x, int dim, bool keepdim = false);

// Sums x over the dimensions along which `shape` would be broadcast to x's shape; x itself if the shapes are equal.
// Differentiable: the gradient of every broadcasting op.
Tensor sum_to(const Tensor& x, const Shape& shape);

struct ReduceOptions {  // of sum, mean and amax
  DimList dims;
  bool keepdim = false;
};
template <class F>
void each_field(ReduceOptions& o, const F& field) {
  field("dims", o.dims);
  field("keepdim", o.keepdim);
}
struct ArgmaxOptions {
  int dim = 0;
  bool keepdim = false;
};
template <class F>
void each_field(ArgmaxOptions& o, const F& field) {
  field("dim", o.dim);
  field("keepdim", o.keepdim);
}

namespace opdef {
extern const OpDef sum, mean, amax, argmax;
}

}  // namespace mininn
