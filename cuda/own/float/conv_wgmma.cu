// Convolutions of bf16 images on the tensor cores of sm_90a, and the gradients for their inputs where the stride is 1:
// they are convolutions of the outputs' gradients, whose taps go the other way round.
#include "core/convert.h"
#include "cuda/own/float/bf16_convolution.h"
#include "cuda/own/float/kernels.h"
#include "cuda/own/warpgroup_gemm.h"
#include "cuda/scratch.h"

namespace mininn::cuda::own {
namespace {

using namespace wgmma;

constexpr int kElements = kStep / int(sizeof(bf16));

// to[place_of_weight()]. `reversed`: the last tap comes first.
template <class W>
__global__ void pack_kernel(int64_t count, int64_t steps, WeightOrder order, bool reversed, const W* w, bf16* to) {
  const int64_t tap_steps = steps / order.taps;
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t o = i / kElements / steps, step = i / kElements % steps;
    const int64_t c = step % tap_steps * kElements + i % kElements, tap = step / tap_steps;
    const bool is_weight = o < order.columns && c < order.channels;
    const int64_t from = order.place(o, c, reversed ? order.taps - 1 - tap : tap);
    const int64_t place = place_of_weight(order.columns, steps, o, step, int(i % kElements) * int(sizeof(bf16)));
    to[place / int64_t(sizeof(bf16))] = is_weight ? bf16(convert<float>(w[from])) : bf16(0.0f);
  }
}

// finish() gets the product of the images and the weights.
template <class Finish>
void run(const Conv2dGeometry& g, const Images& x, const CView& w, const WeightOrder& order, bool reversed,
         const Finish& finish, const ExecContext& at) {
  const int64_t steps = steps_of(order.taps, order.channels * int64_t(sizeof(bf16)));
  const int64_t count = weight_bytes(order.columns, steps) / int64_t(sizeof(bf16));
  Scratch<bf16> packed(count, at);
  if (w.dtype == DType::f32)
    launch(pack_kernel<float>, grid_of(count), at, count, steps, order, reversed, w.as<float>(), packed.data());
  else
    launch(pack_kernel<bf16>, grid_of(count), at, count, steps, order, reversed, w.as<bf16>(), packed.data());
  convolve<float>(g, x, reinterpret_cast<const unsigned char*>(packed.data()), finish, at);
}

Images images(const CView& x, int64_t channels) { return {x.data, x.dtype, channels * int64_t(sizeof(bf16))}; }

// --- forward ---------------------------------------------------------------------------------------------------------

Refusal check_forward(const op::Conv2dFwd& q) {
  if (q.x.dtype != DType::bf16) return {"is not of bf16"};
  return check_call(q.g, images(q.x, q.g.ic));
}
bool forward_pays(const op::Conv2dFwd& q) { return fills_steps(q.g.ic * int64_t(sizeof(bf16))); }

void forward(const op::Conv2dFwd& q, const ExecContext& at) {
  finish_forward(
      q, [&](const auto& finish) { run(q.g, images(q.x, q.g.ic), q.w, forward_order(q.g), false, finish, at); });
}

// --- input gradient --------------------------------------------------------------------------------------------------

// The convolution that it is.
Conv2dGeometry reversed(const Conv2dGeometry& g) {
  Conv2dGeometry r = g;
  std::swap(r.ic, r.oc);
  std::swap(r.ih, r.oh);
  std::swap(r.iw, r.ow);
  r.pad_h = (g.kh - 1) * g.dil_h - g.pad_h;
  r.pad_w = (g.kw - 1) * g.dil_w - g.pad_w;
  return r;
}

Refusal check_data(const op::Conv2dBwdData& q) {
  if (q.gy.dtype != DType::bf16) return {"is not of bf16"};
  if (q.g.stride_h != 1 || q.g.stride_w != 1) return {"has a stride"};
  return check_call(reversed(q.g), images(q.gy, q.g.oc));
}
bool data_pays(const op::Conv2dBwdData& q) { return fills_steps(q.g.oc * int64_t(sizeof(bf16))); }

void backward_data(const op::Conv2dBwdData& q, const ExecContext& at) {
  run(reversed(q.g), images(q.gy, q.g.oc), q.w, gradient_order(q.g), true, FinishGradient{q.g.ic, q.gx.as<bf16>()}, at);
}

}  // namespace

constinit const Kernel<op::Conv2dFwd> conv2d_fwd_wgmma{
    .name = "own.wgmma", .traits = kRounding, .check = check_forward, .run = forward, .pays = forward_pays};
constinit const Kernel<op::Conv2dBwdData> conv2d_bwd_data_wgmma{
    .name = "own.wgmma", .traits = kRounding, .check = check_data, .run = backward_data, .pays = data_pays};

}  // namespace mininn::cuda::own
