// A floating convolution with its operands, and what every kernel of the three tables must make of it.
#pragma once

#include <algorithm>
#include <limits>
#include <optional>
#include <ostream>

#include "core/parallel.h"
#include "ops/conv2d.h"
#include "tests/cpu_kernels/emulated_amx.h"
#include "tests/support/kernel_operands.h"
#include "tests/support/run_kernel.h"

namespace mininn::testing::conv2d {

// Calls fn(device, kernel) for the kernels of every device, and for the emulated one.
template <class Args, class Fn>
void for_each_kernel(const Fn& fn) {
  testing::for_each_kernel<Args>(fn);
  fn(Device::cpu(), testing::emulated_amx<Args>());
}

inline constexpr MemoryFormat kChannelsLast = MemoryFormat::channels_last;

struct Case {
  Conv2dGeometry g;
  bool bias = false, residual = false, relu = false;
};

inline std::ostream& operator<<(std::ostream& out, const Case& c) {
  const Conv2dGeometry& g = c.g;
  return out << "x [" << g.n << ',' << g.ic << ',' << g.ih << ',' << g.iw << "], w [" << g.oc << ',' << g.icg() << ','
             << g.kh << ',' << g.kw << "], stride " << g.stride_h << ',' << g.stride_w << ", padding " << g.pad_h << ','
             << g.pad_w << ", dilation " << g.dil_h << ',' << g.dil_w << ", groups " << g.groups
             << (c.bias ? ", bias" : "") << (c.residual ? ", residual" : "") << (c.relu ? ", relu" : "");
}

inline Case make(const Shape& x, const Shape& w, const Conv2dParams& o = {}) {
  return {Conv2dGeometry::make("conv2d", x, w, o)};
}

// All operands of the three operations for one case.
struct Operands {
  Operands(const Case& c, DType dtype, Generator& r) : Operands(c, dtype, dtype, r) {}
  Operands(const Case& c, DType dtype, DType weights, Generator& r)
      : x(random_tensor({c.g.n, c.g.ic, c.g.ih, c.g.iw}, r, dtype, kChannelsLast)),
        w(random_tensor({c.g.oc, c.g.icg(), c.g.kh, c.g.kw}, r, weights)),
        gy(random_tensor({c.g.n, c.g.oc, c.g.oh, c.g.ow}, r, dtype, kChannelsLast)),
        bias(c.bias ? random_tensor({c.g.oc}, r, weights) : Tensor()),
        residual(c.residual ? random_tensor(gy.shape(), r, dtype, kChannelsLast) : Tensor()) {}
  Tensor x, w, gy, bias, residual;
};

inline CView optional(const Tensor& t) { return t ? t.view() : CView(); }
inline reference::Values optional_values(const Tensor& t) { return t ? t.to_vector() : reference::Values(); }

inline op::Conv2dFwd forward(const Case& c, const Operands& o, View y) {
  return {c.g, o.x.view(), o.w.view(), optional(o.bias), optional(o.residual), c.relu, y};
}

// Runs `kernel` with one and with two threads into fresh guarded memory; the bits must be equal. Nothing if it refuses.
template <class Args, class Fill>
std::optional<reference::Values> run_guarded(Device device, const Kernel<Args>& kernel, const Tensor& like,
                                             MemoryFormat format, const Fill& args, const Tensor& packed = {}) {
  std::optional<reference::Values> result;
  const int before = num_threads();
  for (const int threads : testing::thread_counts(device)) {
    set_num_threads(threads);
    Guarded out(like.shape(), like.dtype(), format);
    if (!run_kernel(device, kernel, args(out.view()), packed)) break;
    const reference::Values values = out.values();
    if (threads == 1)
      result = values;
    else if (kernel.traits.family == Family::own)
      CHECK(values == result);
  }
  set_num_threads(before);
  return result;
}

// Packed weights must give the same bits as plain ones, with the number of threads that they were made for and with
// another one. In the first case the plain weights must not be read.
inline void check_packed(Device device, const Kernel<op::Conv2dFwd>& kernel, const Case& c, const Operands& o) {
  const int before = num_threads();
  const Tensor garbage = Tensor::full(o.w.shape(), std::numeric_limits<double>::quiet_NaN(), o.w.dtype());
  const auto run = [&](const Tensor& w, const Tensor& packed) {
    Guarded out(o.gy.shape(), o.gy.dtype(), kChannelsLast);
    op::Conv2dFwd a = forward(c, o, out.view());
    a.w = w.view();
    CHECK(run_kernel(device, kernel, a, packed));
    return out.values();
  };
  for (const int threads : testing::thread_counts(device)) {
    set_num_threads(threads);
    const Tensor packed =
        testing::pack_kernel(device, kernel, forward(c, o, Guarded(o.gy.shape(), o.gy.dtype(), kChannelsLast).view()));
    CHECK(run(garbage, packed) == run(o.w, {}));
    set_num_threads(3 - threads);
    CHECK(run(o.w, packed) == run(o.w, {}));
  }
  set_num_threads(before);
}

// Like testing::check_close(), for a result of type `dtype`. Winograd's kernels add up transformed numbers, which are
// larger and lose more digits; some kernels round f32 weights to bf16 before they multiply (`mixed`).
template <class Args>
void check_close(const reference::Values& got, const reference::Sums& expected, DType dtype, const Kernel<Args>& kernel,
                 bool mixed) {
  const bool winograd = kernel.name.find("winograd") != kernel.name.npos;
  const DType sums = mixed && kernel.traits.rounds_weights ? DType::bf16 : dtype == DType::bf16 ? DType::f32 : dtype;
  testing::check_close(got, expected, dtype, testing::unit_roundoff(sums) * (winograd ? 32 : 1));
}

struct Ran {
  testing::Takers fwd, bwd_data, bwd_weights;
};

inline Ran check(const Case& c, DType dtype, DType weights, Generator& r) {
  Ran ran;
  const bool mixed = dtype != weights;
  const Operands o(c, dtype, weights, r);
  const reference::Values x = o.x.to_vector(), w = o.w.to_vector(), gy = o.gy.to_vector();

  auto y = reference::conv2d(c.g, x, w, optional_values(o.bias), optional_values(o.residual));
  if (c.relu)
    for (auto& s : y) s.value = std::max(s.value, 0.0);
  for_each_kernel<op::Conv2dFwd>([&](Device device, const auto& kernel) {
    int& taken = ran.fwd[device.type];
    INFO("conv2d_fwd " << to_string(device) << ' ' << kernel.name << ' ' << name(dtype) << '*' << name(weights) << ": "
                       << c);
    const auto got = run_guarded(device, kernel, o.gy, kChannelsLast, [&](View v) { return forward(c, o, v); });
    if (!got) return;
    check_close(*got, y, dtype, kernel, mixed);
    if (kernel.pack) check_packed(device, kernel, c, o);
    ++taken;
  });
  const auto gx = reference::conv2d_input_gradient(c.g, gy, w);
  for_each_kernel<op::Conv2dBwdData>([&](Device device, const auto& kernel) {
    int& taken = ran.bwd_data[device.type];
    INFO("conv2d_bwd_data " << to_string(device) << ' ' << kernel.name << ' ' << name(dtype) << '*' << name(weights)
                            << ": " << c);
    const auto args = [&](View v) { return op::Conv2dBwdData{c.g, o.gy.view(), o.w.view(), v}; };
    const auto got = run_guarded(device, kernel, o.x, kChannelsLast, args);
    if (!got) return;
    check_close(*got, gx, dtype, kernel, mixed);
    ++taken;
  });
  const auto gw = reference::conv2d_weight_gradient(c.g, x, gy);
  for_each_kernel<op::Conv2dBwdWeights>([&](Device device, const auto& kernel) {
    int& taken = ran.bwd_weights[device.type];
    INFO("conv2d_bwd_weights " << to_string(device) << ' ' << kernel.name << ' ' << name(dtype) << '*' << name(weights)
                               << ": " << c);
    const auto args = [&](View v) { return op::Conv2dBwdWeights{c.g, o.x.view(), o.gy.view(), v}; };
    const auto got = run_guarded(device, kernel, o.w, MemoryFormat::contiguous, args);
    if (!got) return;
    check_close(*got, gw, weights, kernel, mixed);
    ++taken;
  });
  return ran;
}

inline Ran check(const Case& c, DType dtype, Generator& r) { return check(c, dtype, dtype, r); }

inline void check_all(const Case& c, Generator& r) {
  using enum DType;
  for (const auto& [dtype, weights] : {std::pair(f32, f32), {f64, f64}, {bf16, bf16}, {bf16, f32}}) {
    const Ran ran = check(c, dtype, weights, r);
    CHECK(testing::fewest(ran.fwd) >= 1);
    CHECK(testing::fewest(ran.bwd_data) >= 1);
    CHECK(testing::fewest(ran.bwd_weights) >= 1);
  }
}

}  // namespace mininn::testing::conv2d
