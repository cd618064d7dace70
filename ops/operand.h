// The gate that the operands of an op go through before a kernel sees them.
#pragma once

#include <concepts>
#include <initializer_list>

#include "core/tensor.h"
#include "ops/layout.h"
#include "ops/op.h"

namespace mininn::detail {

// A tensor that was handed to an op. Each check refuses what does not hold in one sentence that names the op, the
// operand and what was found instead, and gives the operand back for the next one:
//
//   const Operand in = Operand("conv2d", "x", x).floating();
//   const Tensor w_dense = Operand("conv2d", "w", w).like(in).dense();
//
// It refers to the tensor and lives no longer than the call.
class Operand {
 public:
  // Throws ValueError if `t` is undefined: of an optional operand, only a defined one is made.
  Operand(const char* op, const char* name, const Tensor& t) : op_(op), name_(name), t_(&t) {
    if (!t) refuse_undefined();
  }

  // Throws DTypeError unless it has one of these dtypes.
  template <std::same_as<DType>... DTypes>
  Operand is(DTypes... allowed) const {
    const DType found = t_->dtype();
    if (((found != allowed) && ...)) refuse_dtype({allowed...});
    return *this;
  }
  Operand floating() const { return is(DType::f32, DType::f64, DType::bf16); }
  // Throws DeviceError unless it lies where `other` does.
  Operand beside(const Operand& other) const {
    if (t_->device() != other.t_->device()) refuse_device(other);
    return *this;
  }
  // Throws DTypeError or DeviceError unless it has the dtype of `other` and lies beside it.
  Operand like(const Operand& other) const {
    if (t_->dtype() != other.t_->dtype()) refuse_dtype(other);
    return beside(other);
  }
  // Of parameters: the same, but f32 may stand beside bf16 (mixed precision).
  Operand parameter_of(const Operand& other) const {
    return other.t_->dtype() == DType::bf16 ? is(DType::bf16, DType::f32).beside(other) : like(other);
  }
  // Throws ShapeError unless it has this shape.
  Operand shape(const Shape& wanted) const {
    if (t_->shape() != wanted) refuse_shape(wanted);
    return *this;
  }
  // Throws ShapeError unless it is contiguous: where a copy would not do.
  Operand contiguous() const {
    if (!t_->is_contiguous()) refuse_strides();
    return *this;
  }

  Tensor dense(MemoryFormat format = MemoryFormat::contiguous) const { return detail::dense(*t_, format); }

 private:
  [[noreturn]] void refuse_undefined() const;
  [[noreturn]] void refuse_dtype(std::initializer_list<DType> allowed) const;
  [[noreturn]] void refuse_dtype(const Operand& other) const;
  [[noreturn]] void refuse_device(const Operand& other) const;
  [[noreturn]] void refuse_shape(const Shape& wanted) const;
  [[noreturn]] void refuse_strides() const;

  const char* op_;
  const char* name_;
  const Tensor* t_;
};

// For infer(): throws DTypeError or ShapeError unless an operand is `wanted`, or absent.
void check_info(const char* op, const char* name, const TensorInfo& found, const TensorInfo& wanted);

// What a kernel gets of an optional operand: absent if undefined.
inline CView optional_view(const Tensor& t) { return t ? t.view() : CView(); }

}  // namespace mininn::detail
