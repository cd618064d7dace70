// What an op is to those who handle calls as data: tracing, executing, passes, files. An op's OpDef stands beside its
// meaning, `opdef::NAME` for `Tensor NAME(...)`; ops/registry.h finds it by name.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <span>

#include "core/attributes.h"
#include "core/autograd.h"
#include "core/tensor.h"

namespace mininn {

class PreparedOp;  // ops/prepared.h
struct Work;       // ops/work.h
struct Preparation;

// What is known of a tensor before it exists.
struct TensorInfo {
  Shape shape;
  DType dtype = DType::f32;
  std::optional<QParams> qparams = {};  // of codes
  bool absent = false;                  // an optional input that is not given
  bool operator==(const TensorInfo&) const = default;

  static TensorInfo none() { return {{}, DType::f32, {}, true}; }
};

inline TensorInfo info_of(const Tensor& t) { return {t.shape(), t.dtype(), t.qparams()}; }

// What an op takes. Positions in `optional` (bit i for input i) may be left undefined.
struct OpInputs {
  size_t least = 1, most = 1;
  unsigned optional = 0;

  bool may_lack(size_t i) const { return i < 32 && ((optional >> i) & 1); }
};
inline constexpr OpInputs kOneInput{1, 1}, kTwoInputs{2, 2}, kAnyInputs{1, std::numeric_limits<size_t>::max()};

// Where the sizes of a result come from.
enum class Sizes {
  inputs,   // from those of the inputs alone
  reduced,  // the same, and some of the inputs' are gone: the batch may be among them
  options,  // from options, which may stand for the batch they were traced with
};

// The options of an op along one dimension.
struct DimOptions {
  int dim = 0;
};
template <class F>
void each_field(DimOptions& o, const F& field) {
  field("dim", o.dim);
}

struct OpDef {
  const char* name;
  OpInputs inputs;
  Sizes sizes;
  // Both throw ValueError for attributes that are not this op's options (core/attributes.h), and what the op throws.
  Tensor (*call)(std::span<const Tensor> in, const Attrs& attrs);
  // The result for inputs like these; an absent one is none(). Throws ShapeError.
  TensorInfo (*infer)(std::span<const TensorInfo> in, const Attrs& attrs);
  // Throws ValueError for attributes that are not this op's options.
  void (*check)(const Attrs& attrs);
  // Null where nothing can be prepared, of the op or of these calls. Throws what the op throws.
  std::shared_ptr<const PreparedOp> (*prepare)(const Preparation&) = nullptr;
  // What work_of() gives (ops/work.h); null for ops that only read their operands and write their result.
  Work (*work)(std::span<const TensorInfo> in, const Attrs& attrs, const TensorInfo& y) = nullptr;
};

// `Call` is a Tensor (inputs, options), `Infer` a TensorInfo (inputs, options).
template <class Options, auto Call, auto Infer>
constexpr OpDef define_op(const char* name, const OpInputs& inputs = kOneInput, Sizes sizes = Sizes::inputs) {
  return {name,
          inputs,
          sizes,
          [](std::span<const Tensor> in, const Attrs& attrs) -> Tensor { return Call(in, from_attrs<Options>(attrs)); },
          [](std::span<const TensorInfo> in, const Attrs& attrs) -> TensorInfo {
            return Infer(in, from_attrs<Options>(attrs));
          },
          [](const Attrs& attrs) { (void)from_attrs<Options>(attrs); }};
}
constexpr OpDef prepared_by(OpDef op, std::shared_ptr<const PreparedOp> (*prepare)(const Preparation&)) {
  op.prepare = prepare;
  return op;
}
constexpr OpDef costs(OpDef op, Work (*work)(std::span<const TensorInfo> in, const Attrs& attrs, const TensorInfo& y)) {
  op.work = work;
  return op;
}

// `y`, the result of a call without a gradient: an active tracer is told of it. (attach() does so for the other ops.)
template <class Options>
Tensor recorded(const OpDef& op, std::initializer_list<Tensor> in, const Options& options, Tensor y) {
  if (active_tracer()) record(op.name, in, to_attrs(options), y);
  return y;
}

// infer() of an op whose result looks like its first input.
template <class Options>
TensorInfo like_first(std::span<const TensorInfo> in, const Options&) {
  return in[0];
}

}  // namespace mininn
