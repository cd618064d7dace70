// How integer codes stand for real numbers: x = scale * (code - zero_point).
#pragma once

#include <cstdint>

namespace mininn {

struct QParams {
  float scale = 1.0f;
  int32_t zero_point = 0;  // the code of 0.0, which is always exact (padding needs it)
  bool operator==(const QParams&) const = default;
};
template <class F>
void each_field(QParams& q, const F& field) {
  field("scale", q.scale);
  field("zero_point", q.zero_point);
}

}  // namespace mininn
