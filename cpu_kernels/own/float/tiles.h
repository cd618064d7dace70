// The fp32 register tiles that convolution and matrix product are made of, one set per instruction set.
//
// Everything multiplies rows of a matrix that need not exist in memory (pixels under a filter tap, "implicit GEMM") by
// a packed matrix B. Layout of B: panels of `nr` columns, [panel][tap][k][nr], zero in the columns that are missing. A
// tile is up to `mr` rows times one panel and keeps all its sums in registers from the first product to the last, so
// that each output element is one chain of fused multiply-adds over (tap, k) whatever the tiling, batch or thread
// count; or several chains, one after the other, where there are more products than keep their digits in one.
#pragma once

#include <cstdint>

namespace mininn::cpu::own {

struct Tap {
  int64_t dh = 0, dw = 0;  // from a row's origin to the input pixel it reads
  int64_t index = 0;       // where the tap's [k][nr] block lies in a panel
  int64_t count = 1;       // a run: of taps that lie one behind the other from here on, in the input and in the panel
};
// The most numbers that a pixel's runs of several taps add up.
inline constexpr int64_t kLongestRuns = 1024;

// out[n,i,j,c] = act(sum over taps t and k of in[n, step_h i + dh_t, step_w j + dw_t, k] * B[t][k][c] + bias +
// residual) for the pixels (i,j) of a region. Strides are in floats.
struct GatherGemm {
  const float* in = nullptr;  // [n, in_h, in_w] pixels of `k` channels, in_pixel apart
  int64_t in_h = 0, in_w = 0, in_pixel = 0;
  int64_t step_h = 1, step_w = 1;
  int64_t k = 0;
  int64_t k_count = 0;            // of them a tile adds up, from `in` and `packed` on
  const float* zeros = nullptr;   // `k` of them: what a tap on padding reads
  const float* packed = nullptr;  // B
  int64_t taps = 0;               // of a panel of B; a region may need fewer
  int64_t columns = 0;
  float* out = nullptr;
  int64_t out_n = 0, out_h = 0, out_w = 0;  // between images, rows, pixels
  const float* bias = nullptr;              // [columns] or absent
  const float* residual = nullptr;          // laid out like out, or absent
  bool relu = false;
  // Each channel has a kernel of its own: in[.., c] * B[t][0][c], and k = 1. No region is padded, taps make no runs.
  bool depthwise = false;
};

// A rectangle of output pixels, in every image, that need the same taps.
struct GatherRegion {
  int64_t h = 0, w = 0;
  int64_t in_h0 = 0, in_w0 = 0;  // where a tap with no offset reads for pixel (0,0)
  int64_t out0 = 0;              // pixel (0,0) of image 0 in out
  const Tap* taps = nullptr;
  int64_t tap_count = 0;  // of runs
  bool padded = false;    // some tap of some pixel lies outside the input
};

// sum[ic][oc] = sum over output pixels of x[pixel under the tap][ic] * gy[pixel][oc], for one tap, up to `mr` input
// channels and one panel of output channels, or vector by vector (depthwise). Steps are in floats.
struct WeightGradientTile {
  const float* x = nullptr;  // input rows from x_row0 on, of n * ih
  int64_t x_row = 0, x_pixel = 0;
  // Output rows from row_begin on, without gaps between rows. Of each pixel all vectors that hold `columns` can be
  // read, depthwise only `columns`.
  const float* gy = nullptr;
  int64_t gy_pixel = 0;
  int64_t x_row0 = 0, row_begin = 0, row_end = 0;  // output rows are counted over all images: n * oh + i
  int64_t ih = 0, oh = 0, ow = 0;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dh = 0, dw = 0;          // tap offset, padding subtracted
  int64_t w_begin = 0, w_end = 0;  // output columns whose tap falls inside the input
  int rows = 0, columns = 0;
  float* sum = nullptr;     // [rows][nr], depthwise [columns]
  bool accumulate = false;  // add to sum instead
};

// Pixels of a region, counted row by row from pixel `first` of image `n0` on, times panels of B.
struct GatherBlock {
  int64_t n0 = 0, first = 0;
  int64_t pixels = 1;  // to `mr`, or any number of neighbours in a row of a region that is not padded
  int64_t panel = 0, panels = 1;
};

inline constexpr int kDepthwiseVectors = 4;

struct TilesF32 {
  int mr;     // most rows of a tile
  int nr;     // columns of a panel: two vectors
  int lanes;  // of a vector

  void (*gather)(const GatherGemm& p, const GatherRegion& r, const GatherBlock& block);
  void (*depthwise)(const GatherGemm& p, const GatherRegion& r, const GatherBlock& block);
  void (*weight_gradient)(const WeightGradientTile& t);
  // sum[c] = sum over output pixels of x[pixel under the tap][c] * gy[pixel][c], for up to kDepthwiseVectors vectors of
  // channels: `columns`.
  void (*depthwise_weight_gradient)(const WeightGradientTile& t);
  // dst[i][0..width) = src[i][0..columns), then zeros; width is a multiple of lanes. Pixels of src are `pixel` apart.
  void (*copy_channels)(const float* src, int64_t pixel, int64_t columns, int64_t pixels, float* dst, int64_t width);
  // dst[c][r] = src[r][c] for c < columns, r < stored; zero where r >= rows. At most lanes x lanes.
  void (*transpose)(const float* const* src, int rows, int columns, float* const* dst, int stored);
};

const TilesF32& tiles_f32_avx512();
const TilesF32& tiles_f32_avx2();

}  // namespace mininn::cpu::own
