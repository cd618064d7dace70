#include "data/dataset.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "core/random.h"

namespace mininn::data {
namespace {

void check(const char* op, const Dataset& d) {
  if (!d.images || d.images.rank() != 4 || !d.images.is_contiguous() || !d.labels ||
      d.labels.shape() != Shape{d.size()})
    throw ShapeError(message(op, ": ", d.source, " has images ", d.images ? d.images.shape() : Shape{}, " and labels ",
                             d.labels ? d.labels.shape() : Shape{}, ", expected contiguous [N,3,H,W] and [N]"));
}

// The images of each class, in order.
std::vector<std::vector<int64_t>> indices_by_class(const Dataset& d) {
  check("class_balanced_indices", d);
  if (d.classes.empty()) throw ValueError(message(d.source, " has no classes"));
  std::vector<std::vector<int64_t>> by_class(d.classes.size());
  const auto labels = d.labels.data<int64_t>();
  for (int64_t i = 0; i < d.size(); ++i) {
    const int64_t label = labels[size_t(i)];
    if (label < 0 || label >= int64_t(by_class.size()))
      throw ValueError(
          message(d.source, ": label ", label, " of image ", i, " is not one of ", by_class.size(), " classes"));
    by_class[size_t(label)].push_back(i);
  }
  return by_class;
}

}  // namespace

void check_split(Split split) {
  if (split != Split::train && split != Split::test) throw ValueError(message("there is no split ", int(split)));
}

Dataset Dataset::subset(std::span<const int64_t> indices) const {
  check("subset", *this);
  const auto n = int64_t(indices.size());
  Shape shape = images.shape();
  shape[0] = 1;
  const auto bytes = size_t(numel(shape));
  shape[0] = n;
  Dataset out{Tensor::empty(shape, DType::u8), Tensor::empty({n}, DType::i64), classes, source};
  const uint8_t* from = images.data<uint8_t>().data();
  uint8_t* to = out.images.mutable_data<uint8_t>().data();
  const auto labels_from = labels.data<int64_t>();
  const auto labels_to = out.labels.mutable_data<int64_t>();
  for (size_t i = 0; i < indices.size(); ++i, to += bytes) {
    const int64_t index = indices[i];
    if (index < 0 || index >= size())
      throw ValueError(message("subset: index ", index, " is outside the ", size(), " images of ", source));
    std::memcpy(to, from + size_t(index) * bytes, bytes);
    labels_to[i] = labels_from[size_t(index)];
  }
  return out;
}

Dataset Dataset::take(int64_t n) const {
  check("take", *this);
  if (n < 1) throw ValueError(message("take: ", n, " images were asked for; at least 1 is needed"));
  Shape shape = images.shape();
  shape[0] = std::min(n, size());
  return {images.as_strided(shape, images.strides()), labels.as_strided({shape[0]}, labels.strides()), classes, source};
}

std::vector<int64_t> class_balanced_indices(const Dataset& d, int64_t n, uint64_t seed) {
  if (n < 1) throw ValueError(message(n, " images were asked for; at least 1 is needed"));
  const auto by_class = indices_by_class(d);
  const auto classes = int64_t(by_class.size());
  std::vector<int64_t> chosen;
  for (int64_t c = 0; c < classes; ++c) {
    const auto& members = by_class[size_t(c)];
    const int64_t want = n / classes + (c < n % classes);
    if (want > int64_t(members.size()))
      throw ValueError(message(n, " images need ", want, " of class ", d.classes[size_t(c)], ", but ", d.source,
                               " has ", members.size()));
    Generator g(seed, uint64_t(c));  // a class's draw does not depend on the other classes
    const auto order = permutation(int64_t(members.size()), g);
    for (int64_t i = 0; i < want; ++i) chosen.push_back(members[size_t(order[size_t(i)])]);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::pair<Dataset, Dataset> hold_out(const Dataset& d, int64_t n, uint64_t seed) {
  check("hold_out", d);
  if (n >= d.size())
    throw ValueError(message("holding out ", n, " of ", d.size(), " images leaves nothing to train on"));
  const std::vector<int64_t> held = class_balanced_indices(d, n, seed);
  std::vector<int64_t> all(size_t(d.size())), rest;
  std::iota(all.begin(), all.end(), int64_t{0});
  std::set_difference(all.begin(), all.end(), held.begin(), held.end(), std::back_inserter(rest));
  return {d.subset(rest), d.subset(held)};
}

}  // namespace mininn::data
