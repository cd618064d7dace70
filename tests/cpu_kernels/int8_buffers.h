// Operands for the tests of int8 kernels: pixel-strided codes between guard bytes, and what a kernel must make of them.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "core/kernel.h"
#include "core/parallel.h"
#include "core/tensor.h"
#include "ops/qlayout.h"
#include "tests/support/catch.h"
#include "tests/support/run_kernel.h"

namespace mininn::testing {

using Rng = std::mt19937_64;

inline int64_t uniform(Rng& rng, int64_t lo, int64_t hi) { return std::uniform_int_distribution<int64_t>(lo, hi)(rng); }
inline float uniform_real(Rng& rng, float lo, float hi) { return std::uniform_real_distribution<float>(lo, hi)(rng); }
inline bool chance(Rng& rng, double p) { return std::bernoulli_distribution(p)(rng); }

// [N,C,H,W] codes with a pixel stride of their own; every byte that no kernel may write is a known one.
class Codes {
 public:
  Codes(const Shape& nchw, int64_t pixel_stride)
      : shape_(nchw), strides_(pixel_strides(nchw, pixel_stride)), bytes_(size_t(2 * kGuard + count()), kPoison) {}
  // Up to `gap` dwords between pixels.
  static Codes random(Rng& rng, const Shape& nchw, int64_t gap = 2) {
    Codes c(nchw, min_pixel_stride(nchw[1]) + 4 * uniform(rng, 0, gap));
    for (auto& b : c.bytes_) b = uint8_t(uniform(rng, 0, 255));  // the gaps too: kernels may read them
    return c;
  }
  static Codes constant(const Shape& nchw, uint8_t v) {
    Codes c(nchw, min_pixel_stride(nchw[1]));
    std::fill(c.bytes_.begin(), c.bytes_.end(), v);
    return c;
  }
  static Codes output(Rng& rng, const Shape& nchw) {
    return {nchw, min_pixel_stride(nchw[1]) + 4 * uniform(rng, 0, 2)};
  }

  uint8_t at(int64_t n, int64_t c, int64_t h, int64_t w) const { return bytes_[index(n, c, h, w)]; }
  uint8_t& at(int64_t n, int64_t c, int64_t h, int64_t w) { return bytes_[index(n, c, h, w)]; }
  const Shape& shape() const { return shape_; }
  CView view() const {
    return {reinterpret_cast<const std::byte*>(bytes_.data() + kGuard), shape_, strides_, DType::u8};
  }
  View view() { return {reinterpret_cast<std::byte*>(bytes_.data() + kGuard), shape_, strides_, DType::u8}; }
  void poison() { std::fill(bytes_.begin(), bytes_.end(), kPoison); }
  // Compares everything: codes, the bytes between pixels, the guards.
  bool operator==(const Codes& o) const { return bytes_ == o.bytes_; }

 private:
  static constexpr size_t kGuard = 64;
  static constexpr uint8_t kPoison = 0x7f;
  int64_t count() const { return shape_[0] * strides_[0]; }
  size_t index(int64_t n, int64_t c, int64_t h, int64_t w) const {
    return kGuard + size_t(n * strides_[0] + c + h * strides_[2] + w * strides_[3]);
  }
  Shape shape_;
  Strides strides_;
  std::vector<uint8_t> bytes_;
};

// A dense array between guards.
template <class T>
class Array {
 public:
  explicit Array(const Shape& shape) : shape_(shape), strides_(contiguous_strides(shape)) {
    values_.resize(size_t(numel(shape)) + 2 * kGuard);
    poison();
  }
  // [N,C,H,W] stored as N,H,W,C.
  static Array channels_last(const Shape& nchw) {
    Array a(nchw);
    a.strides_ = channels_last_strides(nchw);
    return a;
  }
  T& operator[](int64_t i) { return values_[kGuard + size_t(i)]; }
  const T& operator[](int64_t i) const { return values_[kGuard + size_t(i)]; }
  int64_t size() const { return numel(shape_); }
  CView view() const {
    return {reinterpret_cast<const std::byte*>(values_.data() + kGuard), shape_, strides_, dtype_of<T>};
  }
  View view() { return {reinterpret_cast<std::byte*>(values_.data() + kGuard), shape_, strides_, dtype_of<T>}; }
  void poison() { std::memset(values_.data(), 0x7f, values_.size() * sizeof(T)); }
  bool operator==(const Array& o) const {
    return values_.size() == o.values_.size() &&
           std::memcmp(values_.data(), o.values_.data(), values_.size() * sizeof(T)) == 0;
  }

 private:
  static constexpr size_t kGuard = 16;
  Shape shape_;
  Strides strides_;
  std::vector<T> values_;
};

// rne(clamp(t, lo - zero, hi - zero)) + zero, in double: a float is one of its values, so nothing rounds before
// nearbyint.
inline uint8_t expected_code(float t, int32_t zero, int32_t lo, int32_t hi) {
  const double bounded = std::min(std::max(double(t), double(lo - zero)), double(hi - zero));
  return uint8_t(int(std::nearbyint(bounded)) + zero);
}

// The seed of this run's random cases: MININN_TEST_SEED or a fixed one.
inline uint64_t test_seed() {
  const char* text = std::getenv("MININN_TEST_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 20240601;
}

// Sets the number of threads for a scope.
class Threads {
 public:
  explicit Threads(int n) : before_(num_threads()) { set_num_threads(n); }
  ~Threads() { set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

// For for_each_kernel(): a kernel that takes the call must make all of `y`, which `a` writes, equal to `want`.
template <class Args, class Output>
auto gives(const Args& a, Output& y, const Output& want) {
  return [&](Device device, const Kernel<Args>& kernel) {
    for (const int threads : thread_counts(device)) {
      const Threads guard(threads);
      INFO(Args::op << ' ' << to_string(device) << ' ' << kernel.name << " on " << threads << " threads");
      y.poison();
      if (!run_kernel(device, kernel, a)) return;
      CHECK(y == want);
    }
  };
}

}  // namespace mininn::testing
