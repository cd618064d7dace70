#include "cpu_kernels/common/qconv_constants.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <span>

#include "ops/qlayout.h"

namespace mininn::cpu {

void check_constants(const op::QConv2d& a) {
  const Conv2dGeometry& g = a.g;
  const int64_t k = g.icg() * g.kh * g.kw, classes = a.bias.shape[0];
  if (a.row_class) {
    const auto [row_min, row_max] = std::ranges::minmax(std::span(a.row_class.as<int32_t>(), size_t(g.oh)));
    const auto [col_min, col_max] = std::ranges::minmax(std::span(a.col_class.as<int32_t>(), size_t(g.ow)));
    const int64_t first = int64_t{row_min} + col_min, last = int64_t{row_max} + col_max;
    if (first < 0 || last >= classes)
      throw ValueError(message("qconv2d: bias classes ", first, "..", last, " of ", classes));
  }
  const auto* w = a.w.as<int8_t>();
  const auto* bias = a.bias.as<int32_t>();
  const int64_t x_max = std::max(a.x_zero, 255 - a.x_zero);
  for (int64_t o = 0; o < g.oc; ++o) {
    const std::span<const int8_t> row(w + o * k, size_t(k));
    if (const auto bad = std::ranges::find(row, int8_t(-128)); bad != row.end())
      throw ValueError(message("qconv2d: weight ", bad - row.begin() + o * k, " is -128; codes are -127..127"));
    int64_t bias_max = 0;
    for (int64_t c = 0; c < classes; ++c) bias_max = std::max(bias_max, std::abs(int64_t{bias[c * g.oc + o]}));
    check_accumulator("qconv2d", o, row, x_max, bias_max);
    if (!std::isfinite(a.multiplier.as<float>()[o]))
      throw ValueError(message("qconv2d: multiplier ", o, " is not finite"));
  }
}

}  // namespace mininn::cpu
