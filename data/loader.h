// Batches of a dataset, made ahead of time by one background thread, or by the device that the images lie on.
//
//   data::Loader batches(train_set, {.batch_size = 128, .augment = data::kCifar10Augment, .seed = 1});
//   for (const auto& [x, y] : batches.epoch(e)) ...
#pragma once

#include <cstdint>
#include <iterator>
#include <memory>

#include "data/augment.h"
#include "data/dataset.h"

namespace mininn::data {

struct Batch {
  Tensor images;  // f32 [B,3,H,W], channels-last, where those of the dataset lie
  Tensor labels;  // i64 [B], beside them
};

struct LoaderOptions {
  int64_t batch_size = 128;
  bool shuffle = true;
  bool drop_last = false;  // leave out an incomplete last batch
  AugmentOptions augment = {};
  ImageNormalization normalization = kCifar10Normalization;
  uint64_t seed = 0;
  int prefetch = 2;  // batches kept ready
};

class Loader {
 public:
  // Shares the dataset's memory. Throws ValueError for an empty dataset, a batch size or prefetch below 1, or options
  // that augment() refuses; ShapeError or DTypeError for images or labels of another form than Dataset says.
  Loader(const Dataset& dataset, const LoaderOptions& options = {});

  int64_t batches() const;  // in one epoch
  int64_t images() const;   // in one epoch: fewer than the dataset has if drop_last leaves some out

  class Epoch;
  // The batches of epoch `e`, from number `first_batch` on (to resume in the middle). Order and augmentation depend on
  // (seed, e) alone, so a resumed epoch continues exactly. Several epochs may be alive at a time, and outlive the
  // Loader. Throws ValueError if e or first_batch is negative.
  Epoch epoch(int64_t e, int64_t first_batch = 0) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

// A single-pass range of batches. Dropping it early stops its thread. What goes wrong in the thread is thrown by
// begin() or by the iterator's ++. A child process made by fork() has no copy of the thread: there the iterator's ++
// makes the batches, the same ones.
class Loader::Epoch {
 public:
  class Iterator {
   public:
    using value_type = Batch;
    using difference_type = std::ptrdiff_t;
    const Batch& operator*() const { return epoch_->current_; }
    Iterator& operator++() {
      epoch_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !epoch_->current_.images; }

   private:
    friend class Epoch;
    explicit Iterator(Epoch* e) : epoch_(e) {}
    Epoch* epoch_;
  };

  Epoch(Epoch&&) noexcept;
  Epoch& operator=(Epoch&&) noexcept;
  ~Epoch();

  Iterator begin();  // once
  std::default_sentinel_t end() const { return {}; }

 private:
  friend class Loader;
  struct Producer;
  struct Stop {
    void operator()(Producer* p) const;
  };
  explicit Epoch(std::unique_ptr<Producer, Stop> p);
  void advance();

  std::unique_ptr<Producer, Stop> producer_;
  Batch current_;  // undefined tensors after the last one
};

}  // namespace mininn::data
