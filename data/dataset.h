// Labelled images in memory. Functions throw ShapeError or DTypeError for a dataset that is not as its members say.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace mininn::data {

enum class Split { train, test };
// Throws ValueError for a number that is no split.
void check_split(Split split);

struct Dataset {
  Tensor images;                     // u8 [N,3,H,W], contiguous (R, G, B planes); on a device for a Loader alone
  Tensor labels;                     // i64 [N], each in [0, classes.size())
  std::vector<std::string> classes;  // names, in label order
  std::string source;                // where the images come from, for logs: a folder, or "synthetic, seed 1"

  int64_t size() const { return images.size(0); }
  // A copy of the images at `indices`, in that order. Throws ValueError for an index outside [0, size()).
  Dataset subset(std::span<const int64_t> indices) const;
  // The first n images (all of them where n >= size()); shares memory. Throws ValueError if n < 1.
  Dataset take(int64_t n) const;
};

// n indices, sorted, with as many of each class as of every other (the first n mod classes labels have one more), drawn
// from `seed`: what calibration uses. Depends on the labels and the seed alone. Throws ValueError unless 1 <= n and
// every class has enough images.
std::vector<int64_t> class_balanced_indices(const Dataset& d, int64_t n, uint64_t seed);

// {the rest, n class-balanced images}: a validation set that training never sees. Throws ValueError like
// class_balanced_indices, or if nothing would remain.
std::pair<Dataset, Dataset> hold_out(const Dataset& d, int64_t n, uint64_t seed);

}  // namespace mininn::data
