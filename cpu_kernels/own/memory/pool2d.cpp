// Layout: channels-last f32 or bf16 without gaps; any sizes, any alignment. A vector holds neighbouring channels of a
// pixel; channels behind the last full vector go one by one. Forward shares out output rows to the threads, backward
// images, because the windows of one image may overlap.
#include "cpu_kernels/own/memory/pool2d.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/parallel.h"
#include "cpu_kernels/common/bf16_vectors.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/common/isa.h"
#include "cpu_kernels/common/scratch.h"

namespace mininn::cpu::own {
namespace {

// The pixels of an output's window that lie inside the map.
struct Window {
  int64_t h0, h1, w0, w1;

  Window(const Pool2dGeometry& g, int64_t oh, int64_t ow)
      : h0(oh * g.stride_h - g.pad_h), w0(ow * g.stride_w - g.pad_w) {
    h1 = h0 + g.kh < g.ih ? h0 + g.kh : g.ih;
    w1 = w0 + g.kw < g.iw ? w0 + g.kw : g.iw;
    if (h0 < 0) h0 = 0;
    if (w0 < 0) w0 = 0;
  }
  int64_t pixels() const { return (h1 - h0) * (w1 - w0); }
  float divisor(const Pool2dGeometry& g, bool count_include_pad) const {
    return float(count_include_pad ? g.kh * g.kw : pixels());
  }
};

// Loops over the channels of an output pixel.
template <class T>
struct Pixel {
  void (*max_fwd)(const Window& win, int64_t c, int64_t iw, const T* x, T* y, int32_t* index);
  void (*max_bwd)(const Window& win, int64_t c, int64_t iw, const T* gy, const int32_t* index, float* gx);
  void (*avg_fwd)(const Window& win, int64_t c, int64_t iw, float divisor, const T* x, T* y);
  void (*avg_bwd)(const Window& win, int64_t c, int64_t iw, float divisor, const T* gy, float* gx);
};

// Those of one instruction set.
struct Pixels {
  Pixel<float> f32;
  Pixel<bf16> b16;
  void (*round)(const float* from, int64_t n, bf16* to);

  template <class T>
  constexpr const Pixel<T>& of() const {
    if constexpr (std::is_same_v<T, float>)
      return f32;
    else
      return b16;
  }
};

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {
namespace avx2 {
constexpr int kLanes = 8;
#include "cpu_kernels/own/memory/channel_strips.inl"
//
#include "cpu_kernels/own/memory/pool2d_channels.inl"
}  // namespace avx2
}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

MININN_TARGET_AVX512
namespace mininn::cpu::own {
namespace {
namespace avx512 {
constexpr int kLanes = 16;
#include "cpu_kernels/own/memory/channel_strips.inl"
//
#include "cpu_kernels/own/memory/pool2d_channels.inl"
}  // namespace avx512
}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

// fn(window, offset of image in x, offset of pixel in y) for all output pixels.
template <class Fn>
void for_pixels(const Pool2dGeometry& g, const Fn& fn) {
  parallel_for(g.n * g.oh, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t ow = 0; ow < g.ow; ++ow)
        fn(Window(g, row % g.oh, ow), row / g.oh * g.ih * g.iw * g.c, (row * g.ow + ow) * g.c);
  });
}

// The same for gradients: fn(window, the image's gradients, offset of pixel in gy) image by image, each cleared first.
template <const Pixels& isa, class T, class Fn>
void for_images(const Pool2dGeometry& g, T* gx, const Fn& fn) {
  const int64_t size = g.ih * g.iw * g.c;
  parallel_for(g.n, 1, [&](int64_t begin, int64_t end) {
    Scratch<float> sums(std::is_same_v<T, float> ? 0 : size);
    for (int64_t n = begin; n < end; ++n) {
      float* image = sums.data();
      if constexpr (std::is_same_v<T, float>) image = gx + n * size;
      std::fill_n(image, size, 0.0f);
      for (int64_t oh = 0; oh < g.oh; ++oh)
        for (int64_t ow = 0; ow < g.ow; ++ow) fn(Window(g, oh, ow), image, ((n * g.oh + oh) * g.ow + ow) * g.c);
      if constexpr (!std::is_same_v<T, float>) isa.round(image, size, gx + n * size);
    }
  });
}

template <const Pixels& isa>
void max_fwd(const op::MaxPool2dFwd& a, const ExecContext&) {
  with_f32_or_bf16(a.x.dtype, [&]<class T>() {
    for_pixels(a.g, [&](const Window& win, int64_t image, int64_t pixel) {
      isa.of<T>().max_fwd(win, a.g.c, a.g.iw, a.x.as<T>() + image, a.y.as<T>() + pixel,
                          a.index ? a.index.as<int32_t>() + pixel : nullptr);
    });
  });
}

template <const Pixels& isa>
void max_bwd(const op::MaxPool2dBwd& a, const ExecContext&) {
  with_f32_or_bf16(a.gy.dtype, [&]<class T>() {
    for_images<isa>(a.g, a.gx.as<T>(), [&](const Window& win, float* image, int64_t pixel) {
      isa.of<T>().max_bwd(win, a.g.c, a.g.iw, a.gy.as<T>() + pixel, a.index.as<int32_t>() + pixel, image);
    });
  });
}

template <const Pixels& isa>
void avg_fwd(const op::AvgPool2dFwd& a, const ExecContext&) {
  with_f32_or_bf16(a.x.dtype, [&]<class T>() {
    for_pixels(a.g, [&](const Window& win, int64_t image, int64_t pixel) {
      isa.of<T>().avg_fwd(win, a.g.c, a.g.iw, win.divisor(a.g, a.count_include_pad), a.x.as<T>() + image,
                          a.y.as<T>() + pixel);
    });
  });
}

template <const Pixels& isa>
void avg_bwd(const op::AvgPool2dBwd& a, const ExecContext&) {
  with_f32_or_bf16(a.gy.dtype, [&]<class T>() {
    for_images<isa>(a.g, a.gx.as<T>(), [&](const Window& win, float* image, int64_t pixel) {
      isa.of<T>().avg_bwd(win, a.g.c, a.g.iw, win.divisor(a.g, a.count_include_pad), a.gy.as<T>() + pixel, image);
    });
  });
}

template <Isa kIsa>
Refusal check(DType t) {
  if (const Refusal r = check_f32_or_bf16(t)) return r;
  return needs(kIsa);
}
template <Isa kIsa, class Args>
Refusal check_fwd(const Args& a) {
  return check<kIsa>(a.x.dtype);
}
template <Isa kIsa, class Args>
Refusal check_bwd(const Args& a) {
  return check<kIsa>(a.gy.dtype);
}

}  // namespace

constinit const Kernel<op::MaxPool2dFwd> max_pool2d_fwd_avx2{
    "own.channels.avx2", kOwnInRegions, check_fwd<Isa::avx2, op::MaxPool2dFwd>, max_fwd<avx2::kPixels>};
constinit const Kernel<op::MaxPool2dBwd> max_pool2d_bwd_avx2{
    "own.channels.avx2", kOwn, check_bwd<Isa::avx2, op::MaxPool2dBwd>, max_bwd<avx2::kPixels>};
constinit const Kernel<op::AvgPool2dFwd> avg_pool2d_fwd_avx2{
    "own.channels.avx2", kOwnInRegions, check_fwd<Isa::avx2, op::AvgPool2dFwd>, avg_fwd<avx2::kPixels>};
constinit const Kernel<op::AvgPool2dBwd> avg_pool2d_bwd_avx2{
    "own.channels.avx2", kOwn, check_bwd<Isa::avx2, op::AvgPool2dBwd>, avg_bwd<avx2::kPixels>};
constinit const Kernel<op::MaxPool2dFwd> max_pool2d_fwd_avx512{
    "own.channels.avx512", kOwnInRegions, check_fwd<Isa::avx512, op::MaxPool2dFwd>, max_fwd<avx512::kPixels>};
constinit const Kernel<op::MaxPool2dBwd> max_pool2d_bwd_avx512{
    "own.channels.avx512", kOwn, check_bwd<Isa::avx512, op::MaxPool2dBwd>, max_bwd<avx512::kPixels>};
constinit const Kernel<op::AvgPool2dFwd> avg_pool2d_fwd_avx512{
    "own.channels.avx512", kOwnInRegions, check_fwd<Isa::avx512, op::AvgPool2dFwd>, avg_fwd<avx512::kPixels>};
constinit const Kernel<op::AvgPool2dBwd> avg_pool2d_bwd_avx512{
    "own.channels.avx512", kOwn, check_bwd<Isa::avx512, op::AvgPool2dBwd>, avg_bwd<avx512::kPixels>};

}  // namespace mininn::cpu::own
