#include "ops/operand.h"

namespace mininn::detail {

namespace {

std::string what(const Tensor& t) { return message(name(t.dtype()), t.shape()); }

}  // namespace

void Operand::refuse_undefined() const { throw ValueError(message(op_, ": ", name_, " is an undefined tensor")); }

void Operand::refuse_dtype(std::initializer_list<DType> allowed) const {
  std::string list;
  for (const DType& t : allowed)
    list += message(&t == allowed.begin() ? "" : &t == allowed.end() - 1 ? " or " : ", ", name(t));
  throw DTypeError(message(op_, ": ", name_, " must be ", list, ", not ", what(*t_)));
}

void Operand::refuse_dtype(const Operand& other) const {
  throw DTypeError(
      message(op_, ": ", name_, " must be ", name(other.t_->dtype()), " like ", other.name_, ", not ", what(*t_)));
}

void Operand::refuse_device(const Operand& other) const {
  throw DeviceError(message(op_, ": ", name_, " must be on ", to_string(other.t_->device()), " like ", other.name_,
                            ", not on ", to_string(t_->device())));
}

void Operand::refuse_shape(const Shape& wanted) const {
  throw ShapeError(message(op_, ": ", name_, " must be ", wanted, " here, not ", t_->shape()));
}

void Operand::refuse_strides() const {
  throw ShapeError(
      message(op_, ": ", name_, " must be contiguous, not ", t_->shape(), " with strides ", t_->strides()));
}

void check_info(const char* op, const char* name, const TensorInfo& found, const TensorInfo& wanted) {
  if (found.absent || found == wanted) return;
  const std::string why = message(op, ": ", name, " must be ", mininn::name(wanted.dtype), wanted.shape, ", not ",
                                  mininn::name(found.dtype), found.shape);
  if (found.dtype != wanted.dtype) throw DTypeError(why);
  throw ShapeError(why);
}

}  // namespace mininn::detail
