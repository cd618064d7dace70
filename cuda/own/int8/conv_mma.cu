#include "cuda/own/int8/conv_mma.h"

#include <bit>
#include <cstring>

#include "cuda/own/int8/constants.h"
#include "cuda/own/int8/kernels.h"
#include "ops/qlayout.h"

namespace mininn::cuda::own {
namespace {

using namespace mma;

// What pack() makes: kChunk times the code of zero, the bias rows, the weights.
struct Layout {
  int64_t channels, steps, rows;  // of a pixel and of k; output channels, rounded up
  size_t bias, w, bytes;          // offsets, and all

  Layout(const Conv2dGeometry& g, int64_t classes)
      : channels(min_pixel_stride(g.ic)),
        steps(ceil_div(g.kh * g.kw * channels, int64_t(kStep))),
        rows(round_up(g.oc, int64_t(kChannels))),
        bias(round_up(size_t(kChunk), 64)),
        w(bias + round_up(size_t(classes * g.oc) * sizeof(int32_t), 64)),
        bytes(w + size_t(rows * steps * kStep)) {}
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
  if (a.g.groups != 1) return {"has groups"};
  const int64_t pixels = a.g.n * a.g.oh * a.g.ow, reach = std::max(a.g.ih, a.g.iw) + std::max(a.g.pad_h, a.g.pad_w);
  if (ceil_div(pixels, int64_t(kPixels)) > 0x7fffffff || ceil_div(a.g.oc, int64_t(kChannels)) > 65535 ||
      Layout(a.g, 1).steps * kStep > 0x7fffffff || reach > 0x3fffffff)
    return {"too large for its grid or its indices"};
  return {};
}

template <int kBytes>
void start(const MmaConvolution& q, const op::QConv2d& a, const Grid& grid, const ExecContext& at) {
  if (a.y.dtype == DType::f32)
    launch(conv2d_kernel<kBytes, float>, grid, at, q, a.y.as<float>());
  else
    launch(conv2d_kernel<kBytes, uint8_t>, grid, at, q, a.y.as<uint8_t>());
}

void run(const op::QConv2d& a, const ExecContext& at) {
  const Layout l(a.g, a.bias.shape[0]);
  MmaConvolution q{Convolution(a), int(l.channels), int(l.steps), reinterpret_cast<const uint8_t*>(a.packed)};
  q.bias = reinterpret_cast<const int32_t*>(a.packed + l.bias);
  q.w = reinterpret_cast<const int8_t*>(a.packed + l.w);
  const Grid grid{dim3(unsigned(ceil_div(q.pixels, int64_t(kPixels))), unsigned(l.rows / kChannels)), kBlockThreads};
  const auto multiples_of = [&](uintptr_t n) {
    return (std::bit_cast<uintptr_t>(q.x) | uintptr_t(q.x_pixel) | uintptr_t(q.channels)) % n == 0;
  };
  multiples_of(16) ? start<16>(q, a, grid, at) : multiples_of(4) ? start<4>(q, a, grid, at) : start<1>(q, a, grid, at);
}

}  // namespace

constinit const Kernel<op::QConv2d> qconv2d_mma{"own.mma", kOwn, check, run, pack};

}  // namespace mininn::cuda::own
