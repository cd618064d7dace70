#include <algorithm>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/amx.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/common/taps.h"
#include "cpu_kernels/own/float/conv2d/amx.h"
#include "cpu_kernels/own/float/conv2d/layout.h"
#include "cpu_kernels/own/float/vec_avx512.h"

namespace mininn::cpu::own {
namespace {

constexpr int64_t kImages = 32;  // that a tile instruction adds up
constexpr int64_t kBlock = 16;   // channels of a tile
constexpr int kSlots = 3;        // taps that are multiplied together: each with two blocks of output channels

// What the sums of one tap of one block of input channels, for a panel of output channels, are made of.
struct Slot {
  int64_t dh, dw;          // from an output pixel, times the stride, to the tap's input pixel
  int64_t w_begin, w_end;  // output columns whose tap falls inside the input
  float* sums;             // [block's channels][panel]
};

// A tile of a pixel of x is [channel][image], of gy [pair of images][channel][2]. What is read one after the other lies
// so in memory: rows of x are [block][pixel], of gy [panel][pixel][block].
constexpr int64_t kGyPixel = 2 * kTileSize;

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AMX
namespace mininn::cpu::own {
namespace {

// to[2 * i] = a[i] and to[2 * i + 1] = b[i] for the channels of a block, of which some may not exist.
inline void store_pairs(const bf16* a, const bf16* b, __mmask16 channels, std::byte* to) {
  const __m256i first = _mm256_maskz_loadu_epi16(channels, a), second = _mm256_maskz_loadu_epi16(channels, b);
  const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
  _mm512_store_si512(to, in_pairs(both));
}

// From pairs of images to rows of images.
inline void transpose_tile(std::byte* tile) {
  auto* const from = reinterpret_cast<float*>(tile);
  Vec::T v[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = Vec::load(from + 16 * i);
  Vec::transpose(v);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) Vec::store(from + 16 * i, v[i]);
}

// sums += tile, row by row; of the first tile: sums = tile.
inline void add_tile(const float* tile, int64_t rows, bool first, float* sums, int64_t row_step) {
  for (int64_t i = 0; i < rows; ++i, sums += row_step)
    Vec::store(sums, Vec::add(first ? Vec::zero() : Vec::load(sums), Vec::load(tile + i * 16)));
}

// One row of output pixels: adds to tiles 0 and 1 (the first slot), 2 and 3, 4 and 5. `x`: the input row of each slot;
// null where it is padding.
inline void multiply_row(const Conv2dGeometry& c, const Slot* slots, int count, const std::byte* const* x,
                         const std::byte* gy) {
  const std::byte* at[kSlots];
  uint64_t begin[kSlots], size[kSlots];
  for (int s = 0; s < kSlots; ++s) {
    const bool exists = s < count && x[s];
    at[s] = exists ? x[s] + slots[s].dw * kTileSize : nullptr;
    begin[s] = exists ? uint64_t(slots[s].w_begin) : 0;
    size[s] = exists ? uint64_t(slots[s].w_end - slots[s].w_begin) : 0;
  }
  const int64_t step = c.stride_w * kTileSize;
  for (int64_t w = 0; w < c.ow; ++w, gy += kGyPixel) {
    const bool in0 = uint64_t(w) - begin[0] < size[0], in1 = uint64_t(w) - begin[1] < size[1],
               in2 = uint64_t(w) - begin[2] < size[2];
    _tile_loadd(6, gy, kTileRow);
    if (in0) {
      _tile_loadd(7, at[0] + w * step, kTileRow);
      _tile_dpbf16ps(0, 7, 6);
    }
    if (in1) {
      _tile_loadd(7, at[1] + w * step, kTileRow);
      _tile_dpbf16ps(2, 7, 6);
    }
    if (in2) {
      _tile_loadd(7, at[2] + w * step, kTileRow);
      _tile_dpbf16ps(4, 7, 6);
    }
    _tile_loadd(6, gy + kTileSize, kTileRow);
    if (in0) {
      _tile_loadd(7, at[0] + w * step, kTileRow);
      _tile_dpbf16ps(1, 7, 6);
    }
    if (in1) {
      _tile_loadd(7, at[1] + w * step, kTileRow);
      _tile_dpbf16ps(3, 7, 6);
    }
    if (in2) {
      _tile_loadd(7, at[2] + w * step, kTileRow);
      _tile_dpbf16ps(5, 7, 6);
    }
  }
}

inline void zero_tiles() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
}

inline void store_tiles(std::byte* to) {
  store_four_tiles(to);
  _tile_stored(4, to + 4 * kTileSize, kTileRow);
  _tile_stored(5, to + 5 * kTileSize, kTileRow);
  memory_barrier(to);
}

// One thread's sums, of some blocks of input channels and some panels of two blocks of output channels. It goes through
// all pixels in the same order as every other, and rearranges what it reads itself: what another core has just written
// comes slowly.
class WeightGradient {
 public:
  WeightGradient(const op::Conv2dBwdWeights& a, float* sums)
      : a_(a), g_(a.g), c_(a.g), pick_(picks(a.g)), sums_(sums), zeros_(std::max(g_.ic, g_.oc)) {
    if (pick_) c_.ih = g_.oh, c_.iw = g_.ow, c_.stride_h = c_.stride_w = 1;
    std::fill_n(zeros_.data(), std::max(g_.ic, g_.oc), bf16(0.0f));
  }

  static int64_t blocks(const Conv2dGeometry& g) { return ceil_div(g.ic, kBlock); }
  static int64_t panels(const Conv2dGeometry& g) { return ceil_div(g.oc, 2 * kBlock); }

  void run(int64_t block0, int64_t block1, int64_t panel0, int64_t panel1) {
    block0_ = block0, block1_ = block1, panel0_ = panel0, panel1_ = panel1;
    const int64_t rows = ceil_div(g_.n, kImages) * c_.oh, together = rows_together();
    gy_panel_ = together * c_.ow * kGyPixel;
    x_row_ = (block1 - block0) * c_.iw * kTileSize;
    ring_ = std::min(ceil_div(g_.n, kImages) * c_.ih, input_rows(together));
    Scratch<std::byte> gy((panel1 - panel0) * gy_panel_), x(ring_ * x_row_), tiles(2 * kSlots * kTileSize);
    gy_ = gy.data(), x_ = x.data();
    int64_t loaded = 0;  // input rows
    for (int64_t row = 0; row < rows; row += together) {
      const int64_t end = std::min(row + together, rows);
      for (int64_t r = row; r < end; ++r) load_gy(r, gy_ + (r - row) * c_.ow * kGyPixel);
      loaded = std::max(loaded, input_row(row, 0));
      for (const int64_t x_end = input_row(end - 1, c_.dil_h * (c_.kh - 1) + 1); loaded < x_end; ++loaded)
        load_x(loaded, ring(loaded));
      multiply(row, end, tiles.data());
    }
  }

 private:
  // A 1x1 kernel sees every stride-th pixel: only those are rearranged, and the stride is then 1.
  static bool picks(const Conv2dGeometry& g) { return g.kh * g.kw == 1 && g.pad_h == 0 && g.pad_w == 0; }

  // Rows are counted through the groups of 32 images. Those worked on together: as many as make storing the sums cheap,
  // and few enough that what is read again and again stays in the L2 cache. Not a matter of this thread's share: they
  // decide how sums are cut into chains.
  int64_t rows_together() const {
    constexpr int64_t kPixels = 64, kMostBytes = 1 << 20;
    const int64_t pixels = std::clamp(kMostBytes / (panels(g_) * kGyPixel), kPixels / 2, kPixels);
    return ceil_div(pixels, c_.ow);
  }
  // The most input rows that so many output rows read; those at the end of a map that none reads come between maps.
  int64_t input_rows(int64_t output_rows) const {
    const int64_t reach = c_.dil_h * (c_.kh - 1) + 1, maps = ceil_div(output_rows - 1, c_.oh);
    return (output_rows - 1) * c_.stride_h + reach + maps * std::max<int64_t>(0, reach - 2 * c_.pad_h - 1);
  }
  int64_t input_row(int64_t output_row, int64_t d) const {
    return output_row / c_.oh * c_.ih + std::clamp<int64_t>(output_row % c_.oh * c_.stride_h - c_.pad_h + d, 0, c_.ih);
  }
  std::byte* ring(int64_t row) const { return x_ + row % ring_ * x_row_; }

  // Fills tiles with pairs of images: of `count` pixels, `step` apart, of row h of a group of 32 images. place(block):
  // where the first pixel's tile of a block of channels goes, to_step bytes before the next pixel's.
  template <class Place>
  void load(const CView& v, int64_t group, int64_t h, int64_t count, int64_t step, int64_t block0, int64_t block1,
            int64_t to_step, const Place& place) const {
    const int64_t channels = v.shape[1], row = v.shape[3] * channels, image = v.shape[2] * row;
    const bf16* const from = v.as<bf16>() + h * row;
    for (int64_t pair = 0; pair < kImages / 2; ++pair) {
      const int64_t n = group * kImages + 2 * pair;
      const bool has_a = n < g_.n, has_b = n + 1 < g_.n;
      const int64_t a_step = has_a ? step * channels : 0, b_step = has_b ? step * channels : 0;
      const int64_t ahead = n + 3 < g_.n ? 2 * image : 0;  // the next pair's
      for (int64_t block = block0; block < block1; ++block) {
        const int64_t c = block * kBlock;
        const Vec::Mask mask = Vec::mask(channels - c);
        const bf16* a = (has_a ? from + n * image : zeros_.data()) + c;
        const bf16* b = (has_b ? from + (n + 1) * image : zeros_.data()) + c;
        std::byte* to = place(block) + pair * kTileRow;
        for (int64_t w = 0; w < count; ++w, a += a_step, b += b_step, to += to_step) {
          __builtin_prefetch(a + ahead);
          __builtin_prefetch(b + ahead);
          store_pairs(a, b, mask, to);
        }
      }
    }
  }

  void load_gy(int64_t row, std::byte* to) const {
    load(a_.gy, row / c_.oh, row % c_.oh, c_.ow, 1, panel0_ * 2, panel1_ * 2, kGyPixel,
         [&](int64_t block) { return to + (block / 2 - panel0_) * gy_panel_ + block % 2 * kTileSize; });
  }

  void load_x(int64_t row, std::byte* to) const {
    load(a_.x, row / c_.ih, row % c_.ih * (pick_ ? g_.stride_h : 1), c_.iw, pick_ ? g_.stride_w : 1, block0_, block1_,
         kTileSize, [&](int64_t block) { return to + (block - block0_) * c_.iw * kTileSize; });
    for (int64_t i = 0; i < x_row_; i += kTileSize) transpose_tile(to + i);
  }

  void multiply(int64_t row, int64_t end, std::byte* tiles) const {
    const int64_t taps = c_.kh * c_.kw, panel_size = 2 * kBlock;
    Tiles registers;
    int configured = 0;
    for (int64_t block = block0_; block < block1_; ++block) {
      const auto channels = int(std::min(kBlock, g_.ic - block * kBlock));
      if (channels != configured) registers.configure(shapes(channels));
      configured = channels;
      const int64_t groups = ceil_div<int64_t>(taps, kSlots);
      for (int64_t group = 0; group < groups; ++group)
        for (int64_t panel = panel0_; panel < panel1_; ++panel) {
          const int64_t tap0 = taps * group / groups, tap1 = taps * (group + 1) / groups;
          Slot slots[kSlots];
          for (int64_t tap = tap0; tap < tap1; ++tap)
            slots[tap - tap0] = slot(tap, sums_ + ((panel * taps + tap) * g_.ic + block * kBlock) * panel_size);
          zero_tiles();
          const std::byte* gy = gy_ + (panel - panel0_) * gy_panel_;
          for (int64_t r = row; r < end; ++r, gy += c_.ow * kGyPixel) {
            const std::byte* x[kSlots] = {};
            for (int64_t s = 0; s < tap1 - tap0; ++s) {
              const int64_t h = r % c_.oh * c_.stride_h + slots[s].dh;
              if (h >= 0 && h < c_.ih) x[s] = ring(r / c_.oh * c_.ih + h) + (block - block0_) * c_.iw * kTileSize;
            }
            multiply_row(c_, slots, int(tap1 - tap0), x, gy);
          }
          store_tiles(tiles);
          for (int64_t s = 0; s < tap1 - tap0; ++s)
            for (int half = 0; half < 2; ++half)
              add_tile(reinterpret_cast<const float*>(tiles + (2 * s + half) * kTileSize), channels, row == 0,
                       slots[s].sums + half * kBlock, panel_size);
        }
    }
  }

  // Of sums and of x, for so many input channels.
  static TileShapes shapes(int channels) {
    const auto rows = uint8_t(channels);
    return {{rows, rows, rows, rows, rows, rows, 16, rows}, {64, 64, 64, 64, 64, 64, 64, 64}};
  }

  Slot slot(int64_t tap, float* sums) const {
    Slot s;
    s.dh = tap / c_.kw * c_.dil_h - c_.pad_h;
    s.dw = tap % c_.kw * c_.dil_w - c_.pad_w;
    s.w_begin = std::min(c_.ow, std::max<int64_t>(0, ceil_div(-s.dw, c_.stride_w)));
    s.w_end = c_.iw > s.dw ? std::min(c_.ow, ceil_div(c_.iw - s.dw, c_.stride_w)) : 0;
    s.w_end = std::max(s.w_begin, s.w_end);
    s.sums = sums;
    return s;
  }

  const op::Conv2dBwdWeights& a_;
  const Conv2dGeometry& g_;
  Conv2dGeometry c_;  // of the pixels that are rearranged
  const bool pick_;
  float* const sums_;
  Scratch<bf16> zeros_;
  int64_t block0_ = 0, block1_ = 0, panel0_ = 0, panel1_ = 0;
  int64_t gy_panel_ = 0, x_row_ = 0;  // bytes
  int64_t ring_ = 0;                  // input rows that are kept
  std::byte *gy_ = nullptr, *x_ = nullptr;
};

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

void run(const op::Conv2dBwdWeights& a, const ExecContext&) {
  const Conv2dGeometry& g = a.g;
  const TilesF32& t = tiles_f32_avx512();
  const MatrixLayout layout = weight_layout(g);
  Scratch<float> sums(layout.packed_size(t));
  const int64_t blocks = WeightGradient::blocks(g), panels = WeightGradient::panels(g);
  parallel_for(blocks * panels, 1, [&](int64_t begin, int64_t end) {
    for_rectangles(begin, end, panels, [&](int64_t block0, int64_t block1, int64_t panel0, int64_t panel1) {
      WeightGradient(a, sums.data()).run(block0, block1, panel0, panel1);
    });
  });
  unpack(t, layout, sums.data(), a.gw.as<float>());
}

Refusal check_shape(const op::Conv2dBwdWeights& a) {
  if (a.x.dtype != DType::bf16 || a.gw.dtype != DType::f32) return {"takes bf16 with f32 weights only"};
  if (a.g.groups > 1) return {"the convolution has groups"};
  if (a.g.n * a.g.oh * a.g.ow * a.g.ic * a.g.oc == 0) return {"takes no empty tensors"};
  if (a.g.ow * kImages > kLongestChain) return {kChainTooLong};
  return {};
}

Refusal check(const op::Conv2dBwdWeights& a) {
  if (const Refusal r = needs(Isa::amx)) return r;
  return check_shape(a);
}

// Images that are missing in a group of 32 are multiplied all the same, and a thread without sums of its own idles.
bool pays(const op::Conv2dBwdWeights& a) {
  const int64_t units = WeightGradient::blocks(a.g) * WeightGradient::panels(a.g);
  return 2 * a.g.n > round_up(a.g.n, kImages) && balance_for_choice(units) >= 0.5;
}

}  // namespace

const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_amx{"own.images.amx", kOwn, check, run, nullptr, nullptr, pays};

}  // namespace mininn::cpu::own
