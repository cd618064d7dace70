#include "cpu_kernels/own/float/conv2d/widened.h"

#include <algorithm>

#include "core/memory_ops.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/own/float/conv2d/direct.h"

namespace mininn::cpu::own {
namespace {

constexpr int64_t kTogether = 1 << 19;  // f32 elements of input and output: 2 MiB

void copy(const CView& x, const View& y) { kernels<op::Copy>().run({x, y}, Device::cpu()); }

// Images [first, first + n) of v.
template <class V>
V images(V v, int64_t first, int64_t n) {
  v.data += first * v.strides[0] * int64_t(size_of(v.dtype));
  v.shape[0] = n;
  return v;
}

// Room for the first n images of v as f32.
class Wide {
 public:
  Wide(const CView& v, int64_t n)
      : t_(Tensor::empty({n, v.shape[1], v.shape[2], v.shape[3]}, DType::f32, Device::cpu(),
                         MemoryFormat::channels_last)) {}

  View view(int64_t n) { return images(t_.mutable_view(), 0, n); }
  CView filled(const CView& v) {
    const View to = view(v.shape[0]);
    copy(v, to);
    return to;
  }

 private:
  Tensor t_;
};

int64_t images_together(const Conv2dGeometry& g) {
  const int64_t image = g.ic * g.ih * g.iw + g.oc * g.oh * g.ow;
  return std::clamp<int64_t>(kTogether / std::max<int64_t>(image, 1), 1, std::max<int64_t>(g.n, 1));
}

template <const Kernel<op::Conv2dFwd>& kDirect>
void forward(const op::Conv2dFwd& a, const ExecContext& where) {
  const int64_t together = images_together(a.g);
  const Tensor packed = a.packed ? Tensor() : kDirect.pack(a);
  Wide x(a.x, together), y(a.y, together), residual(a.y, a.residual ? together : 0);
  op::Conv2dFwd wide = a;
  if (packed) wide.packed = packed.view().data;
  for (int64_t first = 0; first < a.g.n; first += together) {
    const int64_t n = wide.g.n = std::min(together, a.g.n - first);
    wide.x = x.filled(images(a.x, first, n));
    if (a.residual) wide.residual = residual.filled(images(a.residual, first, n));
    wide.y = y.view(n);
    kDirect.run(wide, where);
    copy(wide.y, images(a.y, first, n));
  }
}

template <const Kernel<op::Conv2dBwdData>& kDirect>
void backward_data(const op::Conv2dBwdData& a, const ExecContext& where) {
  const int64_t together = images_together(a.g);
  Wide gy(a.gy, together), gx(a.gx, together);
  op::Conv2dBwdData wide = a;
  for (int64_t first = 0; first < a.g.n; first += together) {
    const int64_t n = wide.g.n = std::min(together, a.g.n - first);
    wide.gy = gy.filled(images(a.gy, first, n));
    wide.gx = gx.view(n);
    kDirect.run(wide, where);
    copy(wide.gx, images(a.gx, first, n));
  }
}

// Of all images at once: its sums go through them in an order of their own.
template <const Kernel<op::Conv2dBwdWeights>& kDirect>
void backward_weights(const op::Conv2dBwdWeights& a, const ExecContext& where) {
  Wide x(a.x, a.g.n), gy(a.gy, a.g.n);
  kDirect.run({a.g, x.filled(a.x), gy.filled(a.gy), a.gw}, where);
}

// `narrow`: the activations, which are f32 for the direct kernel.
template <class Args>
Refusal check(const Kernel<Args>& direct, Args a, DType weights, CView Args::*narrow) {
  if ((a.*narrow).dtype != DType::bf16 || weights != DType::f32) return {"takes bf16 with f32 weights only"};
  (a.*narrow).dtype = DType::f32;
  return direct.check(a);
}

template <const Kernel<op::Conv2dFwd>& kDirect>
constexpr Kernel<op::Conv2dFwd> fwd(std::string_view name) {
  return {name, kOwn, [](const op::Conv2dFwd& a) { return check(kDirect, a, a.w.dtype, &op::Conv2dFwd::x); },
          forward<kDirect>, [](const op::Conv2dFwd& a) { return kDirect.pack(a); }};
}
template <const Kernel<op::Conv2dBwdData>& kDirect>
constexpr Kernel<op::Conv2dBwdData> bwd_data(std::string_view name) {
  return {name, kOwn, [](const op::Conv2dBwdData& a) { return check(kDirect, a, a.w.dtype, &op::Conv2dBwdData::gy); },
          backward_data<kDirect>};
}
template <const Kernel<op::Conv2dBwdWeights>& kDirect>
constexpr Kernel<op::Conv2dBwdWeights> bwd_weights(std::string_view name) {
  return {name, kOwn,
          [](const op::Conv2dBwdWeights& a) { return check(kDirect, a, a.gw.dtype, &op::Conv2dBwdWeights::x); },
          backward_weights<kDirect>};
}

}  // namespace

constexpr Kernel<op::Conv2dFwd> conv2d_fwd_widened_avx512 = fwd<conv2d_fwd_avx512>("own.widened.avx512");
constexpr Kernel<op::Conv2dFwd> conv2d_fwd_widened_avx2 = fwd<conv2d_fwd_avx2>("own.widened.avx2");
constexpr Kernel<op::Conv2dBwdData> conv2d_bwd_data_widened_avx512 =
    bwd_data<conv2d_bwd_data_avx512>("own.widened.avx512");
constexpr Kernel<op::Conv2dBwdData> conv2d_bwd_data_widened_avx2 = bwd_data<conv2d_bwd_data_avx2>("own.widened.avx2");
constexpr Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_widened_avx512 =
    bwd_weights<conv2d_bwd_weights_avx512>("own.widened.avx512");
constexpr Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_widened_avx2 =
    bwd_weights<conv2d_bwd_weights_avx2>("own.widened.avx2");

}  // namespace mininn::cpu::own
