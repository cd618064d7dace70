// What ops cost beyond reading their operands and writing their results.
#pragma once

#include <cstdint>
#include <span>

#include "ops/op.h"

namespace mininn {

struct Work {
  int64_t macs = 0;   // multiply-accumulates of convolutions and matrix products; padding counts
  int64_t reads = 0;  // numbers in a pool's windows
};

// Of a call with these inputs and this result; nothing for ops that cost no more. Throws ShapeError where it does not
// fit 63 bits, ValueError for attributes that are not the op's options.
Work work_of(const OpDef& op, std::span<const TensorInfo> in, const Attrs& attrs, const TensorInfo& y);

// OpDef::work of the ops that cost more: layers whose weight, their second input, is [O,...], products of matrices, and
// pools, whose window is their option "kernel".
Work layer_work(std::span<const TensorInfo> in, const Attrs& attrs, const TensorInfo& y);
Work matmul_work(std::span<const TensorInfo> in, const Attrs& attrs, const TensorInfo& y);
Work pool_work(std::span<const TensorInfo> in, const Attrs& attrs, const TensorInfo& y);

}  // namespace mininn
