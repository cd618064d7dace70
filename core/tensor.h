// Tensor: the only array type users see.
//
// A Tensor is a handle: copying it shares the elements, clone() copies them, and views (reshape, permute, slice, ...)
// share storage with what they look at. Dimensions are logical, images are [N,C,H,W]; how they lie in memory is a
// matter of strides alone (channels-last is a stride pattern). Ops are free functions in ops/.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/qparams.h"
#include "core/shape.h"
#include "core/storage.h"
#include "core/view.h"

namespace mininn {

struct Node;

enum class MemoryFormat : uint8_t { contiguous, channels_last };

class Tensor {
 public:
  // An undefined tensor: no elements, no dtype; tests false.
  Tensor() = default;

  // Uninitialised elements. channels_last needs rank 4. Throws ShapeError if the bytes overflow int64, Error if there
  // is no memory.
  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu(),
                      MemoryFormat format = MemoryFormat::contiguous);
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = Device::cpu());
  // A CPU tensor with a copy of `values`, row-major. Throws ShapeError if the count does not fit.
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape);
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape) {
    return from(std::span<const T>(values), shape);
  }
  // Uninitialised, with the shape, dtype, device and (if dense, or codes) the memory order of `like`.
  static Tensor empty_like(const Tensor& like);

  explicit operator bool() const { return impl_ != nullptr; }
  const Shape& shape() const;
  const Strides& strides() const;
  int rank() const { return shape().rank(); }
  int64_t size(int dim) const;  // negative dims count from the end
  int64_t numel() const;
  DType dtype() const;
  Device device() const;
  bool is_contiguous() const;
  bool is_channels_last() const;
  // What its codes stand for; nothing for a tensor that is not quantized. Views, copies and clones keep it.
  const std::optional<QParams>& qparams() const;
  // The same elements as codes that stand for real numbers. Throws DTypeError for a floating dtype.
  Tensor with_qparams(const QParams& q) const;

  // The elements of a contiguous (or channels-last: then in N,H,W,C order) CPU tensor. Throws DTypeError, DeviceError,
  // or ShapeError if the tensor has gaps.
  template <class T>
  std::span<const T> data() const;
  // The same for writing; counts as a write of the storage (see Saved in core/autograd.h).
  template <class T>
  std::span<T> mutable_data();
  // The only element of a one-element tensor, from any device and dtype.
  double item() const;
  // All elements as double, row-major, from any device, dtype and layout: for tests, printing and small results.
  std::vector<double> to_vector() const;

  // A copy with its own storage and no autograd history; dense, but that codes keep the gaps between their pixels.
  Tensor clone() const;
  // The same for good: what would write to its elements, by whatever handle or view, throws ValueError. So a network
  // can show its weights and be sure of them. A tensor that is frozen already gives itself, an undefined one too.
  Tensor frozen() const;
  // The same elements without autograd history.
  Tensor detach() const;
  // Another look at the same storage; no history. `offset` is in elements from this tensor's first one, and means
  // nothing if the view is empty. Throws ShapeError if it would leave the storage.
  Tensor as_strided(const Shape& shape, const Strides& strides, int64_t offset = 0) const;
  // A copy on another device (itself if it is there already): to the CPU, one whose elements have arrived. Not
  // differentiable: move inputs, then compute.
  Tensor to(Device device) const;
  // Overwrites the elements with those that `src` has at the call: same shape; the two may share storage, or lie on two
  // devices. The dtype is converted (core/convert.h). Throws ShapeError if this tensor has several indices for one
  // element (expand() makes such views). Under autograd's radar: bumps the version.
  void copy_from(const Tensor& src);
  // Sets every element to `value`, converted. On an expanded view too: all its indices get one value anyway. Throws
  // ValueError for a finite number that a floating dtype could only hold as infinity.
  void fill(double value);

  // --- autograd (core/autograd.h) ---
  bool requires_grad() const;          // a leaf that wants a gradient, or computed from one
  Tensor& set_requires_grad(bool on);  // leaves of floating dtype only; throws AutogradError otherwise
  bool is_leaf() const;
  Tensor grad() const;  // undefined until backward() reached this leaf
  void set_grad(Tensor g);
  // Accumulates d(this)/d(leaf) into the leaves' grad. Without `gy` the tensor must have one element. Several threads
  // may do so at once: leaves that they share get every gradient (added in any order, so not the same bits each time),
  // but each recorded op is walked once, and AutogradError is thrown by whoever comes second. A gradient's elements are
  // to be read when all have returned.
  void backward(const Tensor& gy = {}) const;

  // A name for messages and traced graphs; parameters carry their path ("layer1.0.conv1.weight"). Give it before
  // another thread may read it.
  const std::string& name() const;
  Tensor& set_name(std::string name);

  // --- for ops and kernels ---
  // Throws Error naming `op` if the elements are only promised (core/capture.h): for who is about to read them.
  void require_elements(const char* op) const;
  CView view() const;
  View mutable_view();  // counts as a write
  const std::shared_ptr<Storage>& storage() const;
  int64_t storage_offset() const;  // in elements
  // Equal for handles of the same tensor, different for views of it.
  const void* id() const { return impl_.get(); }

 private:
  struct Impl;
  struct Autograd;
  friend struct AutogradAccess;
  explicit Tensor(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const;
  static Tensor empty_for(const Tensor& like, Device device);

  std::shared_ptr<Impl> impl_;
};

// "f32[2,3] cpu" and, for small tensors, the values.
std::string to_string(const Tensor& t);
std::ostream& operator<<(std::ostream& out, const Tensor& t);

}  // namespace mininn
