// Where parameters live and how they get their names.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/random.h"
#include "core/tensor.h"

namespace mininn::nn {

// Writes a new tensor's initial values, row-major, drawing from `g`. Ready-made ones are in nn/init.h.
using Init = std::function<void(std::span<double> values, const Shape& shape, Generator& g)>;

// Whether the network trains or predicts: batch norm and dropout differ. Shared by a ParamStore and its modules.
using Mode = std::shared_ptr<const bool>;

class Scope;

// Owns a network's parameters and buffers, in creation order. Names are paths like torchvision's
// ("layer1.0.conv1.weight").
class ParamStore {
 public:
  // Every parameter is drawn from a generator that depends on (seed, path) alone, so neither the order of construction
  // nor an added layer changes what the others start from. `dtype` is that of parameters and floating buffers.
  explicit ParamStore(Device device = Device::cpu(), uint64_t seed = 0, DType dtype = DType::f32);
  // What a parameter or buffer starts from instead of its initial value: the tensor of a path, of this shape, that
  // converts to this dtype. It is asked before anything is allocated and throws if it has none.
  using Source = std::function<Tensor(const std::string& path, const Shape& shape, DType dtype)>;
  ParamStore(Device device, Source source, DType dtype = DType::f32);
  // Modules and scopes refer to their store.
  ParamStore(const ParamStore&) = delete;
  ParamStore& operator=(const ParamStore&) = delete;

  Scope root();

  // Handles that share the elements; each carries its path as Tensor::name().
  std::vector<Tensor> trainable() const;                   // parameters that require a gradient
  const std::vector<Tensor>& all() const { return all_; }  // parameters and buffers
  // The tensor of a path; undefined if there is none.
  Tensor find(std::string_view path) const;
  // Elements of all trainable parameters.
  int64_t count() const;

  // Training is the initial mode.
  void train(bool on) { *training_ = on; }
  bool training() const { return *training_; }
  Mode mode() const { return training_; }

  Device device() const { return device_; }
  DType dtype() const { return dtype_; }
  uint64_t seed() const { return seed_; }

 private:
  friend class Scope;
  // A new tensor on the CPU with the source's values, or with what `fill` writes where there is no source.
  Tensor start(const std::string& path, const Shape& shape, DType dtype,
               const std::function<void(Tensor&)>& fill) const;
  // Names the tensor and keeps it. Throws ValueError if the path is taken.
  Tensor adopt(const std::string& path, Tensor t);

  Device device_;
  uint64_t seed_;
  DType dtype_;
  Source source_;
  std::shared_ptr<bool> training_;
  std::vector<Tensor> all_;
};

// A place in the tree of names: a path and the store behind it. Copy it freely.
class Scope {
 public:
  explicit Scope(ParamStore& store, std::string path = {}) : store_(&store), path_(std::move(path)) {}

  // The child scope `name`; dots make several levels ("downsample.0"). Throws ValueError for an empty name.
  Scope operator/(std::string_view name) const;

  // Creates a parameter (it requires a gradient). Throws ValueError if the name is taken, `init` is empty or makes a
  // number that is not finite in the store's dtype, ShapeError or Error if there can be no such tensor.
  Tensor parameter(std::string_view name, const Shape& shape, const Init& init) const;
  // Creates state that is saved but not trained, filled with `value`.
  Tensor buffer(std::string_view name, const Shape& shape, double value) const;
  // Creates an i64 scalar that starts at 0 and is saved. It stays on the CPU: counting must not wait for a device.
  Tensor counter(std::string_view name) const;

  ParamStore& store() const { return *store_; }
  const std::string& path() const { return path_; }

 private:
  ParamStore* store_;
  std::string path_;
};

}  // namespace mininn::nn
