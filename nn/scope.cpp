#include "nn/scope.h"

#include "core/convert.h"
#include "core/error.h"

namespace mininn::nn {

namespace {

// FNV-1a, 64 bits (Fowler, Noll, Vo; RFC 9923): the same stream for a path on every machine.
uint64_t fnv1a(std::string_view text) {
  uint64_t h = 0xcbf29ce484222325;
  for (const char c : text) h = (h ^ uint8_t(c)) * 0x100000001b3;
  return h;
}

std::string join(const std::string& path, std::string_view name) {
  if (name.empty()) throw ValueError(message("nn::Scope: a name below \"", path, "\" is empty"));
  return path.empty() ? std::string(name) : path + "." + std::string(name);
}

}  // namespace

ParamStore::ParamStore(Device device, uint64_t seed, DType dtype)
    : device_(device), seed_(seed), dtype_(dtype), training_(std::make_shared<bool>(true)) {
  if (dtype != DType::f32 && dtype != DType::f64)
    throw DTypeError(message("nn::ParamStore: parameters are f32 or f64, not ", name(dtype)));
}

ParamStore::ParamStore(Device device, Source source, DType dtype) : ParamStore(device, 0, dtype) {
  source_ = std::move(source);
}

Scope ParamStore::root() { return Scope(*this); }

std::vector<Tensor> ParamStore::trainable() const {
  std::vector<Tensor> out;
  for (const Tensor& t : all_)
    if (t.requires_grad()) out.push_back(t);
  return out;
}

Tensor ParamStore::find(std::string_view path) const {
  for (const Tensor& t : all_)
    if (t.name() == path) return t;
  return {};
}

int64_t ParamStore::count() const {
  int64_t n = 0;
  for (const Tensor& t : trainable()) n += t.numel();
  return n;
}

Tensor ParamStore::start(const std::string& path, const Shape& shape, DType dtype,
                         const std::function<void(Tensor&)>& fill) const {
  const Tensor given = source_ ? source_(path, shape, dtype) : Tensor();
  Tensor t = Tensor::empty(shape, dtype);
  if (given)
    t.copy_from(given);
  else
    fill(t);
  return t;
}

Tensor ParamStore::adopt(const std::string& path, Tensor t) {
  if (find(path)) throw ValueError(message("nn::ParamStore: \"", path, "\" exists already"));
  t.set_name(path);
  all_.push_back(t);
  return t;
}

Scope Scope::operator/(std::string_view name) const { return Scope(*store_, join(path_, name)); }

Tensor Scope::parameter(std::string_view name, const Shape& shape, const Init& init) const {
  const std::string path = join(path_, name);
  if (!init) throw ValueError(message("nn::Scope: \"", path, "\" has no initialisation"));
  Tensor t = store_->start(path, shape, store_->dtype(), [&](Tensor& empty) {
    std::vector<double> values = host_vector<double>(numel(shape));
    Generator g(store_->seed(), fnv1a(path));
    init(values, shape, g);
    for (const double v : values)
      if (!stays_finite(v, store_->dtype()))
        throw ValueError(
            message("nn::Scope: \"", path, "\" would begin at ", v, ", no finite ", mininn::name(store_->dtype())));
    empty.copy_from(Tensor::from(values, shape));
  });
  t = store_->adopt(path, t.to(store_->device()));
  t.set_requires_grad(true);
  return t;
}

Tensor Scope::buffer(std::string_view name, const Shape& shape, double value) const {
  const std::string path = join(path_, name);
  const Tensor t = store_->start(path, shape, store_->dtype(), [&](Tensor& empty) { empty.fill(value); });
  return store_->adopt(path, t.to(store_->device()));
}

Tensor Scope::counter(std::string_view name) const {
  const std::string path = join(path_, name);
  return store_->adopt(path, store_->start(path, {}, DType::i64, [](Tensor& empty) { empty.fill(0); }));
}

}  // namespace mininn::nn
