#include "cuda/tensor_map.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <bit>

#include "cuda/check.h"

namespace mininn::cuda {
namespace {

// The driver's function, asked for by name: programs are not linked with the driver, so that they start without one.
using Encode = decltype(&cuTensorMapEncodeIm2col);
Encode encode() {
  static const Encode found = [] {
    void* f = nullptr;
    cudaDriverEntryPointQueryResult result{};
    constexpr const char* name = "cuTensorMapEncodeIm2col";
#if defined(CUDART_VERSION) && CUDART_VERSION < 12050
    const cudaError_t e = cudaGetDriverEntryPoint(name, &f, cudaEnableDefault, &result);
#else
    const cudaError_t e = cudaGetDriverEntryPointByVersion(name, &f, 12000, cudaEnableDefault, &result);
#endif
    if (e != cudaSuccess) (void)cudaGetLastError();
    return reinterpret_cast<Encode>(f);
  }();
  return found;
}

// The places of tap (0, 0): `lower` is that of the image's first pixel, and the last one's is `upper` behind its last
// pixel.
struct Corners {
  int64_t lower, upper;
};
Corners corners(int64_t pad, int64_t taps, int64_t dilation) { return {-pad, pad - (taps - 1) * dilation}; }

}  // namespace

Refusal check_map(const Conv2dGeometry& g, const Images& x) {
  constexpr int64_t most = 0x3fffffff;
  if (!encode()) return {"needs a driver that describes images (cuTensorMapEncodeIm2col, CUDA 12)"};
  if (x.pixel_bytes % 16 != 0 || std::bit_cast<uintptr_t>(x.data) % 16 != 0)
    return {"needs pixels at multiples of 16 bytes"};
  const auto fits = [](const Corners& c) {
    return std::min(c.lower, c.upper) >= -128 && std::max(c.lower, c.upper) <= 127;
  };
  if (!fits(corners(g.pad_h, g.kh, g.dil_h)) || !fits(corners(g.pad_w, g.kw, g.dil_w)) ||
      std::max((g.kh - 1) * g.dil_h, (g.kw - 1) * g.dil_w) > 255)
    return {"has taps or padding too far from a pixel"};
  if (std::max(g.stride_h, g.stride_w) > 8) return {"has a stride above 8"};
  if (std::max({g.n, g.ih + g.pad_h, g.iw + g.pad_w, g.ic}) > most || x.pixel_bytes * g.iw * g.ih >= int64_t{1} << 40)
    return {"has images too large to describe"};
  return {};
}

CUtensorMap make_map(const Conv2dGeometry& g, const Images& x) {
  const auto n = [](int64_t v) { return cuuint64_t(v); };
  const cuuint64_t sizes[] = {n(g.ic), n(g.iw), n(g.ih), n(g.n)};
  const cuuint64_t distances[] = {n(x.pixel_bytes), n(x.pixel_bytes * g.iw), n(x.pixel_bytes * g.iw * g.ih)};
  const Corners w = corners(g.pad_w, g.kw, g.dil_w), h = corners(g.pad_h, g.kh, g.dil_h);
  const int lower[] = {int(w.lower), int(h.lower)}, upper[] = {int(w.upper), int(h.upper)};
  const cuuint32_t steps[] = {1, cuuint32_t(g.stride_w), cuuint32_t(g.stride_h), 1};
  CUtensorMap map;
  const CUresult result =
      encode()(&map, x.dtype == DType::u8 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4,
               const_cast<std::byte*>(x.data), sizes, distances, lower, upper, cuuint32_t(kMapBytes / size_of(x.dtype)),
               kMapPixels, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_64B,
               CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw Error(message("CUDA: cuTensorMapEncodeIm2col: error ", int(result), ", of ", g.to_string()));
  return map;
}

}  // namespace mininn::cuda
