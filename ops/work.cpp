#include "ops/work.h"

namespace mininn {

Work work_of(const OpDef& op, std::span<const TensorInfo> in, const Attrs& attrs, const TensorInfo& y) {
  return op.work ? op.work(in, attrs, y) : Work{};
}

Work layer_work(std::span<const TensorInfo> in, const Attrs&, const TensorInfo& y) {
  const Shape& w = in[1].shape;
  const int64_t each = w.rank() == 0 || w[0] == 0 ? 0 : numel(w) / w[0];
  return {.macs = checked_mul("work", numel(y.shape), each)};
}

Work matmul_work(std::span<const TensorInfo> in, const Attrs&, const TensorInfo& y) {
  return {.macs = checked_mul("work", numel(y.shape), in[0].shape[in[0].shape.rank() - 1])};
}

Work pool_work(std::span<const TensorInfo>, const Attrs& attrs, const TensorInfo& y) {
  for (const Attr& a : attrs)
    if (const auto* sides = std::get_if<std::vector<int64_t>>(&a.value); sides && a.name == "kernel") {
      int64_t reads = numel(y.shape);
      for (const int64_t side : *sides) reads = checked_mul("work", reads, side);
      return {.reads = reads};
    }
  throw ValueError("a pool has no attribute 'kernel'");
}

}  // namespace mininn
