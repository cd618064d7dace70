// Int8 convolution on tensor cores.
#include <cstring>

#include "cuda/own/implicit_gemm.h"
#include "cuda/own/int8/constants.h"
#include "cuda/own/int8/convolution.h"
#include "cuda/own/int8/kernels.h"
#include "ops/qlayout.h"

namespace mininn::cuda::own {
namespace {

using namespace mma;

// What pack() makes: kChunk times the code of zero, the bias rows with the zero point's share, the weights.
struct Layout {
  int64_t channels, steps;  // of a pixel, with those behind them up to a multiple of four; of k
  size_t bias, w, bytes;    // offsets, and all

  Layout(const Conv2dGeometry& g, int64_t classes)
      : channels(min_pixel_stride(g.ic)),
        steps(steps_of(g.kh * g.kw, channels)),
        bias(round_up(size_t(kChunk), 64)),
        w(bias + round_up(size_t(classes * g.oc) * sizeof(int32_t), 64)),
        bytes(w + size_t(weight_bytes(g.oc, steps))) {}
};

Tensor pack(const op::QConv2d& call) {
  const HostConstants constants(call);
  const op::QConv2d& a = constants.call;
  const Conv2dGeometry& g = a.g;
  const int64_t classes = a.bias.shape[0], taps = g.kh * g.kw;
  const Layout l(g, classes);
  Tensor packed = Tensor::zeros({int64_t(l.bytes)}, DType::u8);
  std::byte* const memory = packed.mutable_view().data;
  std::memset(memory, a.x_zero, kChunk);
  auto* const bias = reinterpret_cast<int32_t*>(memory + l.bias);
  auto* const to = reinterpret_cast<int8_t*>(memory + l.w);
  for (int64_t o = 0; o < g.oc; ++o) {
    int64_t sum = 0;
    for (int64_t c = 0; c < g.ic; ++c)
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int8_t v = a.w.as<int8_t>()[(o * g.ic + c) * taps + tap];
        to[o * l.steps * kStep + tap * l.channels + c] = v;
        sum += v;
      }
    // Modulo 2^32, as the products are added: the whole is in the range of int32 (check_qconv2d_constants()).
    for (int64_t row = 0; row < classes; ++row)
      bias[row * g.oc + o] = int32_t(uint32_t(a.bias.as<int32_t>()[row * g.oc + o]) - uint32_t(sum * a.x_zero));
  }
  return packed.to(constants.device);
}

Refusal check(const op::QConv2d& a) {
  return check_indices(a.g, a.g.n * a.g.oh * a.g.ow, a.g.oc, min_pixel_stride(a.g.ic));
}

void run(const op::QConv2d& a, const ExecContext& at) {
  const Layout l(a.g, a.bias.shape[0]);
  const auto* const packed = reinterpret_cast<const unsigned char*>(a.packed);
  const Operands<Forward> operands{.sampling = Forward(a.g),
                                   .x = a.x.as<uint8_t>(),
                                   .x_image = a.x.strides[0],
                                   .x_row = a.x.strides[2],
                                   .x_pixel = a.x.strides[3],
                                   .zeros = packed,
                                   .w = packed + l.w,
                                   .pixels = a.g.n * a.g.oh * a.g.ow,
                                   .columns = a.g.oc,
                                   .channels = int(l.channels),
                                   .steps = int(l.steps)};
  Convolution q(a);
  q.bias = reinterpret_cast<const int32_t*>(packed + l.bias);
  if (a.y.dtype == DType::f32)
    convolve<uint8_t, int32_t>(operands, Results<float>{q, a.y.as<float>()}, at);
  else
    convolve<uint8_t, int32_t>(operands, Results<uint8_t>{q, a.y.as<uint8_t>()}, at);
}

}  // namespace

constinit const Kernel<op::QConv2d> qconv2d_mma{"own.mma", kOwn, check, run, pack};

}  // namespace mininn::cuda::own
