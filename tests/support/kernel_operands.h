// Operands for kernel tests: random inputs, and outputs in which forgotten and stray writes show.
#pragma once

#include <cstring>
#include <vector>

#include "core/random.h"
#include "core/tensor.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"
#include "tests/support/reference.h"

namespace mininn::testing {

// Normal numbers with the given mean and standard deviation, rounded to `dtype`.
inline Tensor random_tensor(const Shape& shape, Generator& g, DType dtype = DType::f32,
                            MemoryFormat format = MemoryFormat::contiguous, double mean = 0, double stddev = 1) {
  std::vector<double> values(size_t(numel(shape)));
  for (double& v : values) v = mean + stddev * g.normal();
  Tensor t = Tensor::empty(shape, dtype, Device::cpu(), format);
  t.copy_from(Tensor::from(values, shape));
  return t;
}

inline double unit_roundoff(DType t) { return t == DType::f64 ? 0x1p-53 : t == DType::bf16 ? 0x1p-8 : 0x1p-24; }

// An output whose bytes are all 0xff (a NaN in every floating dtype) and which lies between two guard zones.
class Guarded {
 public:
  explicit Guarded(const Shape& shape, DType dtype = DType::f32, MemoryFormat format = MemoryFormat::contiguous)
      : layout_(Tensor::empty(shape, dtype, Device::cpu(), format)),
        bytes_(size_t(layout_.numel()) * size_of(dtype)),
        memory_(Tensor::empty({int64_t(bytes_ + 2 * kZone)}, DType::u8)) {
    const auto all = memory_.mutable_data<uint8_t>();
    std::memset(all.data(), kGuard, all.size());
    std::memset(all.data() + kZone, 0xff, bytes_);
  }

  View view() { return {memory_.mutable_view().data + kZone, layout_.shape(), layout_.strides(), layout_.dtype()}; }
  // The elements, row-major. Fails the test if a guard was overwritten.
  reference::Values values() {
    const auto all = memory_.data<uint8_t>();
    bool intact = true;
    for (size_t i = 0; i < kZone; ++i) intact = intact && all[i] == kGuard && all[kZone + bytes_ + i] == kGuard;
    CHECK(intact);
    std::memcpy(layout_.mutable_view().data, all.data() + kZone, bytes_);
    return layout_.to_vector();
  }

 private:
  static constexpr size_t kZone = 256;
  static constexpr uint8_t kGuard = 0xa5;
  Tensor layout_;
  size_t bytes_;
  Tensor memory_;
};

// Fails the test at the first element that is further from its sum than rounding explains: adding up with unit roundoff
// `eps` (that of `dtype`, but f32 for bf16) and storing in `dtype`.
inline void check_close(const reference::Values& got, const reference::Sums& expected, DType dtype, double eps) {
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double tolerance = expected[i].tolerance(eps) + std::abs(expected[i].value) * unit_roundoff(dtype);
    if (!(std::abs(got[i] - expected[i].value) <= tolerance)) {
      INFO("element " << i << ": " << got[i] << " instead of " << expected[i].value << " +- " << tolerance);
      CHECK(false);
      return;
    }
  }
}

inline void check_close(const reference::Values& got, const reference::Sums& expected, DType dtype) {
  check_close(got, expected, dtype, unit_roundoff(dtype == DType::bf16 ? DType::f32 : dtype));
}

// The same with one tolerance for each element.
inline void check_close(const reference::Values& got, const reference::Values& expected,
                        const reference::Values& tolerance) {
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    if (!(std::abs(got[i] - expected[i]) <= tolerance[i])) {
      INFO("element " << i << ": " << got[i] << " instead of " << expected[i] << " +- " << tolerance[i]);
      CHECK(false);
      return;
    }
}

}  // namespace mininn::testing
