// The kernels that core itself calls to move, set and add up elements; every device brings them.
#pragma once

#include <string_view>

#include "core/view.h"

namespace mininn::op {

// y = x element by element, whatever the strides; converts the element type (core/convert.h). Same shapes; no element
// of y may be addressed twice, and x and y may not overlap.
struct Copy {
  static constexpr std::string_view op = "copy";
  CView x;
  View y;
};

// y = value, converted. No element may be addressed twice.
struct Fill {
  static constexpr std::string_view op = "fill";
  double value = 0;
  View y;
};

// y = a + b over one shape and floating dtype, any strides; y may be a. The engine adds gradients with it.
struct Accumulate {
  static constexpr std::string_view op = "accumulate";
  CView a, b;
  View y;
};

}  // namespace mininn::op
