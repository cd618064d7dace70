// An op call whose constants were made ready for many calls: a kernel chosen, weights packed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/attributes.h"
#include "core/tensor.h"
#include "core/tuner.h"
#include "ops/op.h"

namespace mininn {

class PreparedOp {
 public:
  virtual ~PreparedOp() = default;
  // As OpDef::call; the constants among `in` are not read. Any number of threads may call it at once.
  virtual Tensor call(std::span<const Tensor> in) const = 0;

  // The chosen kernel, and what the tuner found.
  virtual const TunedLayer& tuned() const = 0;
  // The constants in that kernel's form; undefined if it reads them as they are.
  virtual Tensor packed() const = 0;
  // The same op with another kernel, that tuned() names among its trials. Null where the layers of a network are not
  // chosen together (Tuner::choose_together).
  virtual std::shared_ptr<const PreparedOp> with_kernel(const std::string& kernel) const = 0;
};

// The calls to prepare for.
struct Preparation {
  std::span<const TensorInfo> in;     // what they get
  std::span<const Tensor> constants;  // of these inputs; undefined where one is none
  const Attrs& attrs;
  int64_t between = 0;  // bytes that the rest of the network reads between two calls
  // The same node prepared for other batches: what serves any batch may be shared.
  std::span<const std::shared_ptr<const PreparedOp>> others = {};

  bool is_given(size_t i) const { return i < in.size() && !in[i].absent; }
};

}  // namespace mininn
