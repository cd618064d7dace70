#include "core/tensor.h"

#include <algorithm>
#include <cmath>

#include "core/backend.h"
#include "core/capture.h"
#include "core/convert.h"
#include "core/kernel.h"
#include "core/memory_ops.h"
#include "core/tensor_impl.h"

namespace mininn {
namespace {

// True if the elements fill their memory without gaps or overlaps, in whatever order of dimensions.
bool is_dense(const Shape& s, const Strides& st) {
  int64_t expected = 1;  // the stride of the next dimension outward
  bool placed[kMaxRank] = {};
  for (int round = 0; round < s.rank(); ++round) {
    int next = -1;
    for (int d = 0; d < s.rank(); ++d)
      if (!placed[d] && (s[d] == 1 || st[d] == expected)) next = d;
    if (next < 0) return false;
    placed[next] = true;
    expected *= s[next];
  }
  return true;
}

Tensor empty_dense(const Shape& shape, const Strides& strides, DType dtype, Device device) {
  return Tensor::empty(shape, dtype, device).as_strided(shape, strides);
}

void copy_elements(const Tensor& from, Tensor& to) {
  kernels<op::Copy>().run({from.view(), to.mutable_view()}, to.device());
}

// Between devices, of tensors without gaps that lie in one order and have one dtype.
void copy_bytes(const Tensor& from, Tensor& to) {
  from.require_elements("copy");
  to.require_elements("copy");
  const auto is_host = [](const Tensor& t) { return t.device().type == DeviceType::cpu; };
  const bool peers = !is_host(from) && !is_host(to);
  if (peers && from.device().type != to.device().type) return copy_bytes(from.to(Device::cpu()), to);
  Backend& b = backend(is_host(to) ? from.device().type : to.device().type);
  const Stream reading = current_stream(from.device()), writing = current_stream(to.device());
  if (peers) b.wait(writing, b.record(reading));
  const Stream& stream = is_host(to) ? reading : writing;
  b.copy(to.mutable_view().data, to.device(), from.view().data, from.device(),
         size_t(from.numel()) * size_of(from.dtype()), stream);
  if (peers) b.wait(reading, b.record(writing));
  if (is_host(to)) b.synchronize(stream);
}

// Bytes cross as they lie: the elements get their new dtype and a form without gaps where they are, and go to their
// places where they arrive.
void copy_between_devices(const Tensor& from, Tensor& to) {
  const bool straight = is_dense(to.shape(), to.strides());
  const Strides strides = straight ? to.strides() : contiguous_strides(to.shape());
  Tensor packed = from;
  if (from.dtype() != to.dtype() || from.strides() != strides) {
    packed = empty_dense(to.shape(), strides, to.dtype(), from.device());
    copy_elements(from, packed);
  }
  if (straight) return copy_bytes(packed, to);
  Tensor arrived = empty_dense(to.shape(), strides, to.dtype(), to.device());
  copy_bytes(packed, arrived);
  copy_elements(arrived, to);
}

void require_cpu(const Tensor& t, const char* what) {
  if (t.device() != Device::cpu())
    throw DeviceError(message(what, ": the tensor is on ", to_string(t.device()), "; move it with .to(Device::cpu())"));
}

void require_no_gaps(const Tensor& t, const char* what, DType wanted) {
  require_cpu(t, what);
  t.require_elements(what);
  if (t.dtype() != wanted) throw DTypeError(message(what, ": the tensor is ", name(t.dtype()), ", not ", name(wanted)));
  if (!t.is_contiguous() && !t.is_channels_last())
    throw ShapeError(
        message(what, ": shape ", t.shape(), " with strides ", t.strides(), " has gaps; make it contiguous() first"));
}

}  // namespace

const Tensor::Impl& Tensor::impl() const {
  if (!impl_) throw ValueError("an undefined tensor was used");
  return *impl_;
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device, MemoryFormat format) {
  if (size_of(dtype) == 0) throw DTypeError(message("there is no dtype ", int(dtype)));
  if (format != MemoryFormat::contiguous && format != MemoryFormat::channels_last)
    throw ValueError(message("there is no memory format ", int(format)));
  const int64_t bytes = checked_mul("a tensor's bytes", mininn::numel(shape), int64_t(size_of(dtype)));
  auto impl = make_recycled<Impl>();
  impl->storage = make_recycled<Storage>(size_t(bytes), device);
  impl->shape = shape;
  impl->strides = format == MemoryFormat::channels_last ? channels_last_strides(shape) : contiguous_strides(shape);
  impl->dtype = dtype;
  return Tensor(std::move(impl));
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) { return full(shape, 0, dtype, device); }

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill(value);
  return t;
}

// For a copy of `like`: in its order where it has no gaps, else contiguous. Codes keep their gaps, because kernels read
// whole pixels (ops/qlayout.h).
Tensor Tensor::empty_for(const Tensor& like, Device device) {
  const Shape& shape = like.shape();
  const Strides& strides = like.strides();
  if (!like.qparams() || may_overlap_itself(shape, strides)) {
    Tensor t = empty(shape, like.dtype(), device);
    if (is_dense(shape, strides)) t.impl_->strides = strides;
    return t;
  }
  int64_t reach = 1;
  for (int d = 0; d < shape.rank(); ++d) {
    if (strides[d] < 0) return empty(shape, like.dtype(), device);
    reach = std::max(reach, checked_mul("a copy of codes", shape[d], strides[d]));
  }
  return empty({reach}, like.dtype(), device).as_strided(shape, strides);
}

Tensor Tensor::empty_like(const Tensor& like) { return empty_for(like, like.device()); }

template <class T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape) {
  if (int64_t(values.size()) != mininn::numel(shape))
    throw ShapeError(message("Tensor::from: ", values.size(), " values do not fill ", shape));
  Capture* const capture = Capture::current();
  const CapturePause pause;  // the values are there
  Tensor t = empty(shape, dtype_of<T>);
  if (capture) capture->keep(t.storage());
  std::copy(values.begin(), values.end(), reinterpret_cast<T*>(t.impl_->storage->data()));
  return t;
}

const Shape& Tensor::shape() const { return impl().shape; }
const Strides& Tensor::strides() const { return impl().strides; }
int64_t Tensor::size(int dim) const { return shape()[normalize_dim("size", dim, rank())]; }
int64_t Tensor::numel() const { return mininn::numel(shape()); }
DType Tensor::dtype() const { return impl().dtype; }
Device Tensor::device() const { return impl().storage->device(); }
bool Tensor::is_contiguous() const { return mininn::is_contiguous(shape(), strides()); }
bool Tensor::is_channels_last() const { return mininn::is_channels_last(shape(), strides()); }
const std::shared_ptr<Storage>& Tensor::storage() const { return impl().storage; }
int64_t Tensor::storage_offset() const { return impl().offset; }
const std::optional<QParams>& Tensor::qparams() const { return impl().qparams; }

CView Tensor::view() const {
  const Impl& i = impl();
  return {i.storage->data() + i.offset * int64_t(size_of(i.dtype)), i.shape, i.strides, i.dtype};
}

void Tensor::require_elements(const char* op) const {
  if (is_promised(storage()->data()))
    throw Error(message(op, ": this thread captures its calls: the elements of ", mininn::name(dtype()), shape(),
                        " do not exist yet"));
}

View Tensor::mutable_view() {
  const Impl& i = impl();
  if (i.storage->frozen())
    throw ValueError(
        message("a frozen tensor ", mininn::name(i.dtype), i.shape, " was to be written; clone() it first"));
  i.storage->bump_version();
  return {i.storage->data() + i.offset * int64_t(size_of(i.dtype)), i.shape, i.strides, i.dtype};
}

template <class T>
std::span<const T> Tensor::data() const {
  require_no_gaps(*this, "data", dtype_of<T>);
  return {view().as<T>(), size_t(numel())};
}

template <class T>
std::span<T> Tensor::mutable_data() {
  require_no_gaps(*this, "mutable_data", dtype_of<T>);
  return {mutable_view().as<T>(), size_t(numel())};
}

#define MININN_INSTANTIATE(T)                                        \
  template Tensor Tensor::from<T>(std::span<const T>, const Shape&); \
  template std::span<const T> Tensor::data<T>() const;               \
  template std::span<T> Tensor::mutable_data<T>();
MININN_INSTANTIATE(float)
MININN_INSTANTIATE(double)
MININN_INSTANTIATE(bf16)
MININN_INSTANTIATE(int8_t)
MININN_INSTANTIATE(uint8_t)
MININN_INSTANTIATE(int32_t)
MININN_INSTANTIATE(int64_t)
#undef MININN_INSTANTIATE

double Tensor::item() const {
  if (numel() != 1) throw ShapeError(message("item: the tensor has ", numel(), " elements, shape ", shape()));
  return to_vector().front();
}

std::vector<double> Tensor::to_vector() const {
  require_elements("to_vector");
  const Tensor host = to(Device::cpu());
  std::vector<double> out = host_vector<double>(numel());
  const View all(reinterpret_cast<std::byte*>(out.data()), shape(), contiguous_strides(shape()), DType::f64);
  kernels<op::Copy>().run({host.view(), all}, Device::cpu());
  return out;
}

Tensor Tensor::with_qparams(const QParams& q) const {
  if (is_floating(dtype()))
    throw DTypeError(message("with_qparams: ", mininn::name(dtype()), " elements are no codes"));
  Tensor t = detach();
  t.impl_->qparams = q;
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = empty_like(*this);
  t.impl_->qparams = qparams();
  t.copy_from(*this);
  return t;
}

Tensor Tensor::frozen() const {
  if (!impl_ || storage()->frozen()) return *this;
  Tensor t = clone();
  t.storage()->freeze();
  return t;
}

Tensor Tensor::detach() const { return as_strided(shape(), strides()); }

Tensor Tensor::as_strided(const Shape& shape, const Strides& strides, int64_t offset) const {
  const Impl& i = impl();
  if (shape.rank() != strides.rank())
    throw ShapeError(message("as_strided: shape ", shape, " and strides ", strides, " differ in rank"));
  const bool empty = mininn::numel(shape) == 0;
  const int64_t first = empty ? i.offset : checked_add("as_strided", i.offset, offset);
  int64_t lowest = first, highest = first;
  for (int d = 0; d < shape.rank(); ++d) {
    int64_t reach = 0;
    if (__builtin_mul_overflow(std::max<int64_t>(shape[d] - 1, 0), strides[d], &reach) ||
        __builtin_add_overflow(reach < 0 ? lowest : highest, reach, reach < 0 ? &lowest : &highest))
      throw ShapeError(message("as_strided: shape ", shape, " with strides ", strides, " overflows"));
  }
  if (!empty && (lowest < 0 || highest >= int64_t(i.storage->bytes() / size_of(i.dtype))))
    throw ShapeError(message("as_strided: shape ", shape, ", strides ", strides, ", offset ", offset,
                             " leaves the storage of ", i.storage->bytes(), " bytes"));
  auto view = make_recycled<Impl>();
  view->storage = i.storage;
  view->shape = shape;
  view->strides = strides;
  view->offset = first;
  view->dtype = i.dtype;
  view->qparams = i.qparams;
  return Tensor(std::move(view));
}

Tensor Tensor::to(Device device) const {
  if (device == this->device()) return *this;
  Tensor t = empty_for(*this, device);
  t.impl_->qparams = qparams();
  t.copy_from(*this);
  return t;
}

void Tensor::copy_from(const Tensor& src) {
  if (src.shape() != shape()) throw ShapeError(message("copy_from: ", src.shape(), " into ", shape()));
  if (may_overlap_itself(shape(), strides()))
    throw ShapeError(message("copy_from: the destination ", shape(), " with strides ", strides(),
                             " has several indices for one element; clone() it first"));
  const CView from = src.view(), to = mutable_view();
  if (numel() == 0) return;
  if (src.device() != device()) return copy_between_devices(src, *this);
  if (!may_overlap(from, to)) return copy_elements(src, *this);
  if (from.data != to.data || from.strides != to.strides || from.dtype != to.dtype) copy_elements(src.clone(), *this);
}

void Tensor::fill(double value) {
  if (std::isfinite(value) && !stays_finite(value, dtype()))
    throw ValueError(message("fill: ", value, " is beyond ", mininn::name(dtype())));
  if (!may_overlap_itself(shape(), strides())) {
    kernels<op::Fill>().run({value, mutable_view()}, device());
    return;
  }
  // Kernels write each element once: one index of the first dimension after the other, and of a broadcast one only one.
  const Shape rest(std::span(shape().begin() + 1, shape().end()));
  const Strides inner(std::span(strides().begin() + 1, strides().end()));
  const int64_t n = strides()[0] == 0 ? std::min<int64_t>(shape()[0], 1) : shape()[0];
  for (int64_t i = 0; i < n; ++i) as_strided(rest, inner, i * strides()[0]).fill(value);
}

const std::string& Tensor::name() const {
  static const std::string none;
  const Autograd* meta = AutogradAccess::find(*this);
  return meta ? meta->name : none;
}

Tensor& Tensor::set_name(std::string n) {
  AutogradAccess::meta(*this).name = std::move(n);
  return *this;
}

std::string to_string(const Tensor& t) {
  if (!t) return "undefined";
  std::string out = message(name(t.dtype()), t.shape(), ' ', t.device());
  if (t.numel() > 64) return out;
  out += " {";
  const char* separator = "";
  for (const double v : t.to_vector()) {
    out += message(separator, v);
    separator = ", ";
  }
  return out + '}';
}

std::ostream& operator<<(std::ostream& out, const Tensor& t) { return out << to_string(t); }

}  // namespace mininn
