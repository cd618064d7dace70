#include "cpu_kernels/own/float/conv2d/weight_gradient.h"

#include <algorithm>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/own/float/conv2d/layout.h"
#include "cpu_kernels/own/float/pack.h"

namespace mininn::cpu::own {
namespace {

constexpr int64_t kFewUses = 5;  // of a number by tiles: a copy would not pay

// How tiles read x.
enum class Reading {
  strips,    // copies of a tile's channels, which stay in the first-level cache for all taps
  merged,    // few channels: the taps of a row are one tap with the channels of all, which lie one behind the other in
             // copies of rows that begin and end with their padding
  pixels,    // one tap: copies of the pixels under it, strip by strip too, but all in one row
  in_place,  // the same without copies
};

Reading reading(const TilesF32& t, const Conv2dGeometry& g) {
  if (g.kh * g.kw == 1 && g.pad_h == 0 && g.pad_w == 0)
    return ceil_div(g.ocg(), t.nr) <= kFewUses ? Reading::in_place : Reading::pixels;
  return g.groups == 1 && g.kw > 1 && g.dil_w == 1 && 2 * g.kw * g.ic <= 3 * t.mr ? Reading::merged : Reading::strips;
}

// The convolution that tiles see.
Conv2dGeometry seen(Conv2dGeometry g, Reading reading) {
  if (reading == Reading::merged) {
    g.iw += 2 * g.pad_w - (g.kw - 1);
    g.ic *= g.kw;
    g.kw = 1;
    g.pad_w = 0;
  } else if (reading == Reading::pixels) {
    g.ih = g.oh;
    g.iw = g.ow;
    g.stride_h = g.stride_w = 1;
  }
  return g;
}

// Pixels per block: enough to make storing the sums cheap, few enough that the channels of a tile stay in L1 for all
// taps.
int64_t rows_per_block(const Conv2dGeometry& g) {
  constexpr int64_t kBlockPixels = 256;
  return std::max<int64_t>(1, kBlockPixels / std::max<int64_t>(g.ow, 1));
}

// What all tiles of the output rows [begin, end) have in common, where x and gy are read in place.
WeightGradientTile tile_in_place(const Conv2dGeometry& g, int64_t begin, int64_t end) {
  WeightGradientTile tile;
  tile.x_row = g.iw * g.ic;
  tile.x_pixel = g.ic;
  tile.gy_pixel = g.oc;
  tile.row_begin = begin;
  tile.row_end = end;
  tile.accumulate = begin > 0;
  tile.ih = g.ih;
  tile.oh = g.oh;
  tile.ow = g.ow;
  tile.stride_h = g.stride_h;
  tile.stride_w = g.stride_w;
  return tile;
}

void set_tap(WeightGradientTile& tile, const Conv2dGeometry& g, int64_t tap) {
  tile.dh = tap / g.kw * g.dil_h - g.pad_h;
  tile.dw = tap % g.kw * g.dil_w - g.pad_w;
  // Columns with 0 <= w * stride + dw < iw.
  tile.w_begin = std::max<int64_t>(0, ceil_div(-tile.dw, g.stride_w));
  tile.w_end = g.iw > tile.dw ? std::min(g.ow, ceil_div(g.iw - tile.dw, g.stride_w)) : 0;
}

// The sums of one group, in the layout of packed weights. A thread owns some of the sums and walks over all pixels, so
// there is no reduction between threads.
class WeightGradient {
 public:
  WeightGradient(const TilesF32& t, const Conv2dGeometry& g, const float* x, const float* gy, float* sums)
      : t_(t), g_(g), reading_(reading(t, g)), c_(seen(g, reading_)), x_(x), gy_(gy), sums_(sums) {}

  // Panels of output channels, of strips of input channels, of taps.
  int64_t units() const { return ceil_div(g_.ocg(), t_.nr) * strips_ * taps_; }

  // Adds up the units [begin, end).
  void run(int64_t begin, int64_t end) const {
    const int64_t block = rows_per_block(g_), rows = g_.n * g_.oh;
    const int64_t first_panel = begin / taps_ / strips_, last_panel = (end - 1) / taps_ / strips_;
    const bool one_panel = first_panel == last_panel;
    const int64_t first_strip = one_panel ? begin / taps_ % strips_ : 0;
    const int64_t last_strip = one_panel ? (end - 1) / taps_ % strips_ : strips_ - 1;

    for (int64_t row = 0; row < rows; row += block) {
      const Rows r = rows_from(row, std::min(row + block, rows));
      WeightGradientTile tile = tile_of(r);
      const int64_t pixels = (r.end - row) * g_.ow, strip_size = r.x_count * tile.x_row;
      const int64_t copies = reading_ == Reading::in_place ? 0
                             : reading_ == Reading::merged ? 1
                                                           : last_strip - first_strip + 1;
      Scratch<float> copied(copies * strip_size), gy_panel(pixels * t_.nr);
      if (reading_ == Reading::merged)
        copy_padded(r, copied.data());
      else
        for (int64_t i = 0; i < copies; ++i) copy_strip(r, first_strip + i, copied.data() + i * strip_size);

      int64_t copied_panel = -1;
      for (int64_t u = begin; u < end; ++u) {
        const int64_t tap = u % taps_, strip = u / taps_ % strips_, panel = u / taps_ / strips_;
        const int64_t ic0 = first_channel(strip);
        tile.x = reading_ == Reading::in_place ? x_ + ic0
                 : reading_ == Reading::merged ? copied.data() + ic0
                                               : copied.data() + (strip - first_strip) * strip_size;
        tile.rows = int(first_channel(strip + 1) - ic0);
        tile.columns = int(std::min<int64_t>(t_.nr, g_.ocg() - panel * t_.nr));
        tile.gy = gy_ + row * g_.ow * g_.oc + panel * t_.nr;
        tile.gy_pixel = g_.oc;
        if (strips_ * taps_ > kFewUses || tile.columns % t_.lanes != 0) {
          if (panel != copied_panel) t_.copy_channels(tile.gy, g_.oc, tile.columns, pixels, gy_panel.data(), t_.nr);
          copied_panel = panel;
          tile.gy = gy_panel.data();
          tile.gy_pixel = t_.nr;
        }
        set_tap(tile, c_, tap);
        if (reading_ == Reading::pixels) tile.w_end = tile.ow;
        tile.sum = sums_ + ((panel * taps_ + tap) * c_.icg() + ic0) * t_.nr;
        t_.weight_gradient(tile);
      }
    }
  }

 private:
  int64_t first_channel(int64_t strip) const { return c_.icg() * strip / strips_; }

  // The input row, counted over all images, that an output row reads d rows below its first one, or the nearest row of
  // its image.
  int64_t input_row(int64_t output_row, int64_t d) const {
    return output_row / c_.oh * c_.ih + std::clamp<int64_t>(output_row % c_.oh * c_.stride_h - c_.pad_h + d, 0, c_.ih);
  }

  // Rows of gy, and those of x that they read.
  struct Rows {
    int64_t begin, end, x_begin, x_count;
  };
  Rows rows_from(int64_t begin, int64_t end) const {
    const int64_t x_begin = input_row(begin, 0);
    return {begin, end, x_begin, input_row(end - 1, c_.dil_h * (c_.kh - 1) + 1) - x_begin};
  }

  WeightGradientTile tile_of(const Rows& r) const {
    WeightGradientTile tile = tile_in_place(c_, r.begin, r.end);
    if (reading_ == Reading::in_place) return tile;
    const bool merged = reading_ == Reading::merged;
    tile.x_row0 = r.x_begin;
    tile.x_pixel = merged ? g_.ic : t_.lanes;
    tile.x_row = tile.x_pixel * (merged ? g_.iw + 2 * g_.pad_w : c_.iw);
    if (reading_ == Reading::pixels) {
      tile.x_row0 = tile.row_begin = 0;
      tile.ih = tile.oh = tile.row_end = 1;
      tile.ow = (r.end - r.begin) * c_.ow;
    }
    return tile;
  }

  void copy_padded(const Rows& r, float* to) const {
    const int64_t padding = g_.pad_w * g_.ic, row = g_.iw * g_.ic;
    for (int64_t i = 0; i < r.x_count; ++i) {
      to = std::fill_n(to, padding, 0.0f);
      to = std::copy_n(x_ + (r.x_begin + i) * row, row, to);
      to = std::fill_n(to, padding, 0.0f);
    }
  }

  void copy_strip(const Rows& r, int64_t strip, float* to) const {
    const int64_t ic0 = first_channel(strip);
    for (int64_t i = 0; i < r.x_count; ++i, to += c_.iw * t_.lanes) {
      int64_t from = r.x_begin + i;
      if (reading_ == Reading::pixels) from = from / c_.ih * g_.ih + from % c_.ih * g_.stride_h;
      t_.copy_channels(x_ + from * g_.iw * g_.ic + ic0, (reading_ == Reading::pixels ? g_.stride_w : 1) * g_.ic,
                       first_channel(strip + 1) - ic0, c_.iw, to, t_.lanes);
    }
  }

  const TilesF32& t_;
  const Conv2dGeometry& g_;
  const Reading reading_;
  const Conv2dGeometry c_;
  const float *const x_, *const gy_;
  float* const sums_;
  const int64_t taps_ = c_.kh * c_.kw;
  const int64_t strips_ = ceil_div(c_.icg(), int64_t(t_.mr));  // of input channels: the rows of a tile
};

// A thread owns taps of some channels.
void depthwise_weight_gradient(const TilesF32& t, const op::Conv2dBwdWeights& a) {
  const Conv2dGeometry& g = a.g;
  const int64_t taps = g.kh * g.kw, strip = kDepthwiseVectors * t.lanes;
  Scratch<float> sums(taps * g.oc);
  parallel_for(ceil_div(g.oc, strip) * taps, 1, [&](int64_t begin, int64_t end) {
    const int64_t block = rows_per_block(g), rows = g.n * g.oh;
    for (int64_t row = 0; row < rows; row += block) {
      WeightGradientTile tile = tile_in_place(g, row, std::min(row + block, rows));
      for (int64_t u = begin; u < end; ++u) {
        const int64_t tap = u % taps, c = u / taps * strip;
        tile.x = a.x.as<float>() + c;
        tile.gy = a.gy.as<float>() + row * g.ow * g.oc + c;
        tile.columns = int(std::min(strip, g.oc - c));
        tile.sum = sums.data() + tap * g.oc + c;
        set_tap(tile, g, tap);
        t.depthwise_weight_gradient(tile);
      }
    }
  });
  for (int64_t c = 0; c < g.oc; ++c)
    for (int64_t tap = 0; tap < taps; ++tap) a.gw.as<float>()[c * taps + tap] = sums[tap * g.oc + c];
}

}  // namespace

void direct_weight_gradient(const TilesF32& t, const op::Conv2dBwdWeights& a) {
  const Conv2dGeometry& g = a.g;
  const int64_t taps = g.kh * g.kw, icg = g.icg(), ocg = g.ocg();
  const MatrixLayout layout = weight_layout(g);
  if (g.n == 0) {
    std::fill_n(a.gw.as<float>(), g.oc * icg * taps, 0.0f);
    return;
  }
  if (depthwise(g)) return depthwise_weight_gradient(t, a);
  Scratch<float> sums(layout.packed_size(t));
  for (int64_t group = 0; group < g.groups; ++group) {
    const WeightGradient gradient(t, g, a.x.as<float>() + group * icg, a.gy.as<float>() + group * ocg, sums.data());
    parallel_for(gradient.units(), 1, [&](int64_t begin, int64_t end) { gradient.run(begin, end); });
    unpack(t, layout, sums.data(), a.gw.as<float>() + group * ocg * icg * taps);
  }
}

}  // namespace mininn::cpu::own
