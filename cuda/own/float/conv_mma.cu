// Convolutions of bf16 images, and the gradients for their inputs, on tensor cores. Weights are rounded to bf16.
#include "core/convert.h"
#include "cuda/own/float/bf16_convolution.h"
#include "cuda/own/float/kernels.h"
#include "cuda/own/implicit_gemm.h"
#include "cuda/scratch.h"

namespace mininn::cuda::own {
namespace {

using namespace mma;

// to[o][k], with zeros behind the last k and the last column.
template <class W>
__global__ void pack_kernel(int64_t count, int64_t ks, WeightOrder order, const W* w, bf16* to) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t o = i / ks, tap = i % ks / order.channels, c = i % ks % order.channels;
    const bool is_weight = o < order.columns && tap < order.taps;
    to[i] = is_weight ? bf16(convert<float>(w[order.place(o, c, tap)])) : bf16(0.0f);
  }
}

// The packed weights, and kChunk zeros.
class PackedWeights {
 public:
  PackedWeights(const CView& w, const WeightOrder& order, int64_t steps, const ExecContext& at)
      : size_(weight_bytes(order.columns, steps) / int64_t(sizeof(bf16))),
        memory_(size_ + kChunk / int64_t(sizeof(bf16)), at) {
    const int64_t count = size_ + kChunk / int64_t(sizeof(bf16)), ks = steps * kStep / int64_t(sizeof(bf16));
    if (w.dtype == DType::f32)
      launch(pack_kernel<float>, grid_of(count), at, count, ks, order, w.as<float>(), memory_.data());
    else
      launch(pack_kernel<bf16>, grid_of(count), at, count, ks, order, w.as<bf16>(), memory_.data());
  }
  const unsigned char* weights() { return reinterpret_cast<const unsigned char*>(memory_.data()); }
  const unsigned char* zeros() { return reinterpret_cast<const unsigned char*>(memory_.data() + size_); }

 private:
  int64_t size_;
  Scratch<bf16> memory_;
};

// finish() gets the product of the images x [n, height, width, channels] and the weights.
template <class S, class Finish>
void run(const S& sampling, const CView& x, int64_t images, const CView& w, const WeightOrder& order,
         const Finish& finish, const ExecContext& at) {
  const int64_t bytes = order.channels * int64_t(sizeof(bf16)), row = sampling.source.w * bytes;
  const int64_t steps = steps_of(order.taps, bytes);
  PackedWeights packed(w, order, steps, at);
  convolve<bf16, float>(Operands<S>{.sampling = sampling,
                                    .x = reinterpret_cast<const unsigned char*>(x.data),
                                    .x_image = sampling.source.h * row,
                                    .x_row = row,
                                    .x_pixel = bytes,
                                    .zeros = packed.zeros(),
                                    .w = packed.weights(),
                                    .pixels = images * sampling.result.h * sampling.result.w,
                                    .columns = order.columns,
                                    .channels = int(bytes),
                                    .steps = int(steps)},
                        finish, at);
}

// --- forward ---------------------------------------------------------------------------------------------------------

Refusal check_forward(const op::Conv2dFwd& q) {
  if (q.x.dtype != DType::bf16) return {"is not of bf16"};
  return check_indices(q.g, q.g.n * q.g.oh * q.g.ow, q.g.oc, q.g.ic * int64_t(sizeof(bf16)));
}

void forward(const op::Conv2dFwd& q, const ExecContext& at) {
  const WeightOrder order = forward_order(q.g);
  finish_forward(q, [&](const auto& finish) { run(Forward(q.g), q.x, q.g.n, q.w, order, finish, at); });
}

// --- input gradient --------------------------------------------------------------------------------------------------

Refusal check_data(const op::Conv2dBwdData& q) {
  if (q.gy.dtype != DType::bf16) return {"is not of bf16"};
  return check_indices(q.g, q.g.n * q.g.ih * q.g.iw, q.g.ic, q.g.oc * int64_t(sizeof(bf16)));
}

void backward_data(const op::Conv2dBwdData& q, const ExecContext& at) {
  const WeightOrder order = gradient_order(q.g);
  run(Backward(q.g), q.gy, q.g.n, q.w, order, FinishGradient{q.g.ic, q.gx.as<bf16>()}, at);
}

}  // namespace

constinit const Kernel<op::Conv2dFwd> conv2d_fwd_mma{"own.mma", kRounding, check_forward, forward};
constinit const Kernel<op::Conv2dBwdData> conv2d_bwd_data_mma{"own.mma", kRounding, check_data, backward_data};

}  // namespace mininn::cuda::own
