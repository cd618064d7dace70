// Dropout (Srivastava et al. 2014), inverted: kept elements are scaled by 1 / (1 - p), so that evaluation does nothing.
#pragma once

#include <cstdint>

#include "core/kernel.h"
#include "core/random.h"
#include "core/tensor.h"
#include "ops/op.h"

namespace mininn {

namespace op {

// Element i (row-major, whatever the layout) draws word number position + i of the generator's sequence (core/random.h)
// and is kept if that is at least `threshold`: the same elements on every device.
struct DropoutFwd {
  static constexpr std::string_view op = "dropout_fwd";
  CView x;
  uint64_t seed = 0, stream = 0, position = 0;
  uint32_t threshold = 0;  // p * 2^32
  double scale = 1;        // 1 / (1 - threshold / 2^32)
  View y;
  View mask;  // u8, contiguous: 1 for kept
};
struct DropoutBwd {  // gx = scale * mask * gy
  static constexpr std::string_view op = "dropout_bwd";
  CView gy, mask;
  double scale = 1;
  View gx;
};

}  // namespace op

// Zeroes each element with probability p and scales the others; x itself if not training or p is 0. Floating dtypes,
// differentiable. Throws ValueError unless 0 <= p < 1.
Tensor dropout(const Tensor& x, double p, bool training, Generator& g = default_generator());

struct DropoutOptions {
  double p = 0.5;
};
template <class F>
void each_field(DropoutOptions& o, const F& field) {
  field("p", o.p);
}

// As an op of a graph it drops nothing.
namespace opdef {
extern const OpDef dropout;
}

}  // namespace mininn
