// An int8 convolution with its operands, and what every kernel must make of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/kernel.h"
#include "ops/qconv2d.h"
#include "tests/cpu_kernels/int8_buffers.h"

namespace mininn::testing {

struct QConv2dCase {
  Conv2dGeometry g;
  Codes x;
  const std::byte* x_copy = nullptr;  // read instead of x
  int32_t x_zero = 0;
  Array<int8_t> w;
  Array<int32_t> bias;
  std::optional<Array<int32_t>> row_class, col_class;
  Array<float> multiplier;
  std::optional<Codes> residual;
  float residual_scale = 0;
  int32_t residual_zero = 0;
  int32_t y_zero = 0, lo = 0, hi = 255;

  QConv2dCase(const Conv2dGeometry& geometry, Codes codes)
      : g(geometry), x(std::move(codes)), w({g.oc, g.icg(), g.kh, g.kw}), bias({1, g.oc}), multiplier({g.oc}) {}

  op::QConv2d args(const View& y) const;
  // The result at one place before it is rounded, by the definition.
  float real(int64_t n, int64_t o, int64_t oh, int64_t ow) const;
};

Conv2dGeometry geometry(int64_t n, int64_t ic, int64_t size, int64_t oc, int64_t kernel, int64_t stride, int64_t pad,
                        int64_t groups = 1);

// Weights, bias and multipliers such that most results land within the codes and some saturate at both ends. With bias
// classes and with a residual, if wanted.
void fill(QConv2dCase& c, Rng& rng, bool classes, bool residual);

// for_each_kernel(), and the emulated one.
void for_each_qconv2d(const std::function<void(Device, const Kernel<op::QConv2d>&)>& fn);

// Runs every kernel that accepts on 1 and 2 threads, into poisoned memory, and compares all of it. `accepted` counts
// the calls that each kernel took, called by its device and name.
void check_kernels(Rng& rng, const QConv2dCase& c, std::map<std::string, int>* accepted = nullptr);

}  // namespace mininn::testing
