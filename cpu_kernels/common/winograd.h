// What Winograd convolutions F(4x4, 3x3) share, whatever they compute in: the walk over tiles of 4x4 output pixels, of
// which each reads a patch of 6x6.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/integers.h"
#include "core/kernel.h"
#include "ops/conv2d.h"

namespace mininn::cpu {

inline constexpr int kWinogradOut = 4, kWinogradIn = 6;  // edges of a tile and of its patch
inline constexpr int kWinogradPoints = kWinogradIn * kWinogradIn;

// Empty, or why the algorithm does not apply to such a convolution.
inline Refusal winograd_shape(const Conv2dGeometry& g) {
  if (g.kh != 3 || g.kw != 3) return {"the kernel is not 3x3"};
  if (g.stride_h != 1 || g.stride_w != 1 || g.dil_h != 1 || g.dil_w != 1) return {"a stride or a dilation is not 1"};
  if (g.groups != 1) return {"the convolution has groups"};
  return {};
}

// The tiles of a batch, in the order of its images and of their rows.
class WinogradTiles {
 public:
  explicit WinogradTiles(const Conv2dGeometry& g)
      : g_(g), rows_(ceil_div(g.oh, kWinogradOut)), cols_(ceil_div(g.ow, kWinogradOut)) {}

  int64_t count() const { return g_.n * rows_ * cols_; }

  struct Position {
    int64_t n, h, w;  // of a tile's first output pixel
  };
  Position position(int64_t tile) const {
    return {tile / (rows_ * cols_), tile / cols_ % rows_ * kWinogradOut, tile % cols_ * kWinogradOut};
  }
  void advance(Position& at) const {
    if ((at.w += kWinogradOut) < g_.ow) return;
    at.w = 0;
    if ((at.h += kWinogradOut) < g_.oh) return;
    at.h = 0;
    ++at.n;
  }
  // Of the tile's rows and columns, those that the output has.
  int rows(const Position& at) const { return int(std::min<int64_t>(kWinogradOut, g_.oh - at.h)); }
  int cols(const Position& at) const { return int(std::min<int64_t>(kWinogradOut, g_.ow - at.w)); }

  // The pixels of the tile's patch in an input whose pixels are `pixel` elements apart: those outside are `padding`.
  template <class T>
  void patch(const Position& at, const T* input, int64_t pixel, const T* padding,
             const T* (&x)[kWinogradPoints]) const {
    square<kWinogradIn>(at.n, at.h - g_.pad_h, at.w - g_.pad_w, g_.ih, g_.iw, input, pixel, padding, x);
  }
  // The first 16 of x: its own pixels in an output.
  template <class T>
  void outputs(const Position& at, const T* output, int64_t pixel, const T* padding,
               const T* (&x)[kWinogradPoints]) const {
    square<kWinogradOut>(at.n, at.h, at.w, g_.oh, g_.ow, output, pixel, padding, x);
  }

 private:
  // Of images [h][w], the square of edge kEdge from (h0, w0) on.
  template <int kEdge, class T>
  static void square(int64_t n, int64_t h0, int64_t w0, int64_t h, int64_t w, const T* images, int64_t pixel,
                     const T* padding, const T** x) {
    // Masks of all ones or zeros let the compiler choose between image and padding without a branch.
    const auto origin = reinterpret_cast<uintptr_t>(images), outside = reinterpret_cast<uintptr_t>(padding);
    const auto bytes = int64_t(sizeof(T)) * pixel;
    uintptr_t col[kEdge], col_mask[kEdge];
    for (int64_t j = 0; j < kEdge; ++j) {
      col[j] = uintptr_t((w0 + j) * bytes);
      col_mask[j] = -uintptr_t(uint64_t(w0 + j) < uint64_t(w));
    }
    for (int64_t i = 0; i < kEdge; ++i) {
      const uintptr_t row = origin + uintptr_t((n * h + h0 + i) * w * bytes);
      const uintptr_t row_mask = -uintptr_t(uint64_t(h0 + i) < uint64_t(h));
      for (int64_t j = 0; j < kEdge; ++j) {
        const uintptr_t mask = row_mask & col_mask[j];
        x[i * kEdge + j] = reinterpret_cast<const T*>(((row + col[j]) & mask) | (outside & ~mask));
      }
    }
  }

  Conv2dGeometry g_;
  int64_t rows_, cols_;  // tiles of an image
};

// How many tiles of `all` are worked on together, where `most` is what the cache likes: each block of them reads all
// weights once. Blocks are equal, so that the last one is no remainder.
inline int64_t winograd_together(int64_t all, int64_t most) { return ceil_div(all, ceil_div(all, most)); }

// How tiles become calls of a product, which takes up to `most` of them: as few groups as possible, of nearly equal
// size.
class WinogradGroups {
 public:
  WinogradGroups(int64_t tiles, int64_t most) : tiles_(tiles), count_(ceil_div(tiles, most)) {}
  int64_t count() const { return count_; }
  int64_t first(int64_t group) const { return tiles_ * group / count_; }
  int64_t size(int64_t group) const { return first(group + 1) - first(group); }

 private:
  int64_t tiles_, count_;
};

}  // namespace mininn::cpu
