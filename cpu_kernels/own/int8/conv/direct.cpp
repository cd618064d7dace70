#include "cpu_kernels/own/int8/conv/direct.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/common/taps.h"

namespace mininn::cpu::own {
namespace {

// Whether each output pixel's input is copied into a row: a copy costs less than a tap of so few channels.
bool copies_patches(const Conv2dGeometry& g) { return g.icg() <= 8 && g.kh * g.kw > 1; }

// The order in which output pixels are visited. Across images at one position, every pixel of a tile has the same taps,
// so none multiplies padding; within an image, neighbours share input rows.
struct PixelOrder {
  const Conv2dGeometry& g;
  bool across_images;

  // Across images where taps on padding are skipped, that is worth it (at 4% it is not) and few slots of the last tile
  // stay empty.
  PixelOrder(const op::QConv2d& a, const QDirectIsa& isa) : g(a.g) {
    const int64_t slots = round_up(g.n, isa.quantum);
    const bool skips_taps = !isa.depthwise && !copies_patches(g);
    across_images = skips_taps && (g.pad_h > 0 || g.pad_w > 0) && g.n * 10 >= slots * 9 && padding_share(g) > 0.05;
  }

  int64_t count() const { return g.n * g.oh * g.ow; }
  // Tiles never mix positions across images, so the last tile of each position may be short.
  int64_t tiles(int64_t p) const { return across_images ? ceil_div(g.n, p) * g.oh * g.ow : ceil_div(count(), p); }
  struct Pixel {
    int64_t n, oh, ow;
  };
  Pixel first(int64_t tile, int64_t p) const {
    const int64_t positions = g.oh * g.ow;
    const int64_t n = across_images ? tile / positions * p : tile * p / positions;
    const int64_t at = across_images ? tile % positions : tile * p % positions;
    return {n, at / g.ow, at % g.ow};
  }
  // How many pixels the tile has that begins with `px`.
  int pixels(int64_t tile, const Pixel& px, int64_t p) const {
    return int(std::min(p, across_images ? g.n - px.n : count() - tile * p));
  }
  // The pixel behind `px` in its image, or the first of the next `images`-th one.
  void advance(Pixel& px, int64_t images) const {
    if (++px.ow < g.ow) return;
    px.ow = 0;
    if (++px.oh < g.oh) return;
    px.oh = 0;
    px.n += images;
  }
};

// A pixel of padding: as many zero (or, re-coded, 0x80) input channels as any tap reads.
std::vector<uint8_t> padding_pixel(const op::QConv2d& a, const QDirectIsa& isa) {
  return std::vector<uint8_t>(size_t(round_up(isa.depthwise ? a.g.oc : a.g.icg(), 4)), uint8_t(isa.recode));
}

// Bytes from a tap to the next in a row of packed weights.
int64_t tap_bytes_of(const Conv2dGeometry& g) { return copies_patches(g) ? g.icg() : round_up(g.icg(), 4); }

}  // namespace

Tensor pack_direct(const op::QConv2d& a, int lanes, int recode) {
  const Conv2dGeometry& g = a.g;
  const int64_t taps = g.kh * g.kw, tap_bytes = tap_bytes_of(g);
  const int64_t w_block = round_up(taps * tap_bytes, 4) * lanes;
  QPacking packing = pack_bias_rows(a, g.groups, lanes, w_block, recode);
  const auto* w = a.w.as<int8_t>();
  parallel_for(g.oc, 16, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      const int64_t in_group = o % g.ocg();
      int8_t* block = packing.w + (o / g.ocg() * packing.blocks + in_group / lanes) * w_block + in_group % lanes * 4;
      for (int64_t c = 0; c < g.icg(); ++c)
        for (int64_t t = 0; t < taps; ++t) {
          const int64_t k = t * tap_bytes + c;
          block[k / 4 * lanes * 4 + k % 4] = w[(o * g.icg() + c) * taps + t];
        }
    }
  });
  return std::move(packing.buffer);
}

namespace {

// One thread's walk over tiles.
template <int kPixels>
class Walk {
 public:
  Walk(const op::QConv2d& conv, const QDirectIsa& direct, const PackedQConv& packed, const PixelOrder& pixel_order,
       const uint8_t* padding_codes)
      : a(conv),
        g(conv.g),
        isa(direct),
        pk(packed),
        order(pixel_order),
        padding(padding_codes),
        groups(isa.depthwise ? 1 : g.groups),
        channels(g.oc / groups),
        copies(!isa.depthwise && copies_patches(g)),
        tap_bytes(tap_bytes_of(g)),
        row_bytes(round_up(g.kh * g.kw * tap_bytes, 4)),
        last_row(g.ih - 1 - (g.kh - 1) * g.dil_h),
        last_col(g.iw - 1 - (g.kw - 1) * g.dil_w),
        patches(copies ? kPixels * row_bytes + 8 : 0) {
    for (int64_t kh = 0; kh < g.kh; ++kh)
      for (int64_t kw = 0; kw < g.kw; ++kw) {
        const int64_t tap = kh * g.kw + kw;
        x_offset[tap] = uintptr_t(kh * g.dil_h * a.x.strides[2] + kw * g.dil_w * a.x.strides[3]);
        w_offset[tap] = tap * tap_bytes * isa.lanes;
      }
    t.steps = copies ? row_bytes / 4 : tap_bytes / 4;
    t.x = taps;
    t.tap_offset = listed_w_offset;
    t.padding = padding;
    t.w_block = pk.w_block;
    t.multiplier = a.multiplier.as<float>();
    t.has_residual = bool(a.residual);
    t.residual_scale = a.residual_scale;
    t.residual_zero = a.residual_zero;
    t.f32 = a.y.dtype == DType::f32;
    t.range = code_range(a.y_zero, a.lo, a.hi);
  }

  // Tiles [tile0, tile1) times calls [call0, call1) of every group; a call is up to isa.blocks blocks of channels.
  void run(int64_t tile0, int64_t tile1, int64_t call0, int64_t call1) {
    const int64_t in_cache =
        tile1 - tile0 == 1 ? call1 - call0 : std::max<int64_t>(1, isa.weights_in_cache / (pk.w_block * isa.blocks));
    for (int64_t group = 0; group < groups; ++group)
      for (int64_t first = call0; first < call1; first += in_cache) {
        next = order.first(tile0, kPixels);
        for (int64_t tile = tile0; tile < tile1; ++tile) {
          set_pixels(tile, group);
          if (!copies)
            set_taps();
          else if (g.icg() <= 4)
            copy_patches<uint32_t>();
          else
            copy_patches<uint64_t>();
          for (int64_t call = first; call < std::min(call1, first + in_cache); ++call) {
            const int64_t block = call * isa.blocks;
            const int64_t blocks = std::min<int64_t>(isa.blocks, pk.blocks - block);
            t.w = pk.w + (group * pk.blocks + block) * pk.w_block;
            t.channel = group * channels + block * isa.lanes;
            t.channels = std::min(blocks * isa.lanes, channels - block * isa.lanes);
            t.bias_channel = (group * pk.blocks + block) * isa.lanes;
            isa.tile(t.pixels, int(blocks))(t);
          }
        }
      }
  }

 private:
  // Where an output pixel's window begins, which may be outside of the input, and its bias row.
  struct Place {
    int64_t row, col;
    uintptr_t origin;
    const int32_t* bias;
  };
  Place place(const PixelOrder::Pixel& px, int64_t group) const {
    const int64_t r = px.oh * g.stride_h - g.pad_h, c = px.ow * g.stride_w - g.pad_w;
    const int64_t offset = px.n * a.x.strides[0] + r * a.x.strides[2] + c * a.x.strides[3] + group * g.icg();
    return {r, c, reinterpret_cast<uintptr_t>(a.x.data) + uintptr_t(offset),
            pk.bias + (pk.row[px.oh] + pk.col[px.ow]) * pk.bias_stride};
  }

  // Takes the pixels of the tile from `next` on, which it moves to the tile behind. Most are one step from the pixel
  // before, in a row or across images.
  void set_pixels(int64_t tile, int64_t group) {
    PixelOrder::Pixel px = next;
    t.pixels = order.pixels(tile, px, kPixels);
    in_row = order.across_images || px.ow + t.pixels <= g.ow;
    const int64_t at = (px.n * g.oh + px.oh) * g.ow + px.ow, step = order.across_images ? g.oh * g.ow : 1;
    const int64_t y_pixel = t.f32 ? g.oc * 4 : a.y.strides[3], r_pixel = t.has_residual ? a.residual.strides[3] : 0;
    std::byte* y = a.y.data + at * y_pixel;
    const uint8_t* residual = t.has_residual ? a.residual.as<uint8_t>() + at * r_pixel : nullptr;
    Place p = place(px, group);
    for (int i = 0; i < kPixels; ++i) {
      if (i > 0 && i < t.pixels) {  // the ones behind repeat the last
        y += step * y_pixel;
        residual += step * r_pixel;
        if (order.across_images) {
          ++px.n;
          p.origin += uintptr_t(a.x.strides[0]);
        } else {
          order.advance(px, 1);
          if (px.ow == 0) {
            p = place(px, group);
          } else {
            p.col += g.stride_w;
            p.origin += uintptr_t(g.stride_w * a.x.strides[3]);
            p.bias += (pk.col[px.ow] - pk.col[px.ow - 1]) * pk.bias_stride;
          }
        }
      }
      row[i] = p.row;
      col[i] = p.col;
      origin[i] = p.origin;
      t.bias[i] = p.bias;
      t.y[i] = y;
      t.residual[i] = residual;
    }
    if (order.across_images) px.n = next.n;  // the same images at the next position
    order.advance(px, order.across_images ? kPixels : 1);
    next = px;
  }

  bool all_inside(int i) const { return (row[i] >= 0) & (row[i] <= last_row) & (col[i] >= 0) & (col[i] <= last_col); }

  void set_taps() {
    t.taps = 0;
    bool all = true;
    if (in_row)
      all = all_inside(0) & all_inside(kPixels - 1);
    else
      for (int i = 0; i < kPixels; ++i) all &= all_inside(i);
    if (all)
      for (int64_t tap = 0; tap < g.kh * g.kw; ++tap) add_tap(tap);
    else if (in_row && !isa.depthwise)
      set_taps_of_row();
    else
      set_border_taps();
  }

  // Lists a tap. Returns the pixels' pointers, as if all had it.
  const uint8_t** add_tap(int64_t tap) {
    const uint8_t** const pointers = taps + t.taps * kTilePixels;
    for (int i = 0; i < kPixels; ++i) pointers[i] = reinterpret_cast<const uint8_t*>(origin[i] + x_offset[tap]);
    listed_w_offset[t.taps++] = w_offset[tap];
    return pointers;
  }

  // Where all are in_row, their columns ascend. Lists the taps that meet any input.
  void set_taps_of_row() {
    const auto [kh0, kh1] = valid_taps(row[0], g.ih, g.kh, 1, 0, g.dil_h);
    for (int64_t kh = kh0; kh < kh1; ++kh)
      for (int64_t kw = 0; kw < g.kw; ++kw) {
        const int64_t w = kw * g.dil_w, first = col[0] + w, last = col[kPixels - 1] + w;
        if (first >= g.iw || last < 0) continue;
        const uint8_t** const pointers = add_tap(kh * g.kw + kw);
        if (first >= 0 && last < g.iw) continue;
        for (int i = 0; i < kPixels; ++i)
          if (uint64_t(col[i] + w) >= uint64_t(g.iw)) pointers[i] = padding;
      }
  }

  // Lists the taps that meet at least one pixel of the input. Whether they do is a matter of rows and of columns; masks
  // of all ones or zeros let the compiler choose between input and padding without a branch.
  void set_border_taps() {
    uintptr_t col_mask[kMaxTaps][kPixels];
    for (int64_t kw = 0; kw < g.kw; ++kw)
      for (int i = 0; i < kPixels; ++i) col_mask[kw][i] = -uintptr_t(uint64_t(col[i] + kw * g.dil_w) < uint64_t(g.iw));
    for (int64_t kh = 0; kh < g.kh; ++kh) {
      uintptr_t row_mask[kPixels], any_row = 0;
      for (int i = 0; i < kPixels; ++i) {
        row_mask[i] = -uintptr_t(uint64_t(row[i] + kh * g.dil_h) < uint64_t(g.ih));
        any_row |= row_mask[i];
      }
      if (!any_row && !isa.depthwise) continue;
      for (int64_t kw = 0; kw < g.kw; ++kw) {
        const uint8_t** pointers = taps + t.taps * kTilePixels;
        const int64_t tap = kh * g.kw + kw;
        const auto outside = reinterpret_cast<uintptr_t>(padding);
        uintptr_t any = 0;
        for (int i = 0; i < kPixels; ++i) {
          const uintptr_t mask = row_mask[i] & col_mask[kw][i];
          any |= mask;
          pointers[i] = reinterpret_cast<const uint8_t*>(((origin[i] + x_offset[tap]) & mask) | (outside & ~mask));
        }
        if (!any && !isa.depthwise) continue;
        listed_w_offset[t.taps++] = w_offset[tap];
      }
    }
  }

  // The rows of `patches`, one per pixel: all taps, those on padding too. A tap's channels are copied as one word; what
  // is behind them is overwritten by the next tap, or meets weights of zero.
  template <class Word>
  void copy_patches() {
    const int64_t kw = g.kw, all = g.kh * g.kw, bytes = tap_bytes;
    const auto copy = [](uint8_t* to, const uint8_t* from) { std::memcpy(to, from, sizeof(Word)); };
    t.taps = 1;
    listed_w_offset[0] = 0;
    for (int i = 0; i < t.pixels; ++i) {
      uint8_t* to = patches.data() + i * row_bytes;
      taps[i] = to;
      const uintptr_t from = origin[i];
      if (all_inside(i)) {
#pragma GCC unroll 4
        for (int64_t tap = 0; tap < all; ++tap, to += bytes)
          copy(to, reinterpret_cast<const uint8_t*>(from + x_offset[tap]));
        continue;
      }
      for (int64_t tap = 0; tap < all; ++tap, to += bytes) {
        const int64_t r = row[i] + tap / kw * g.dil_h, c = col[i] + tap % kw * g.dil_w;
        const bool inside = uint64_t(r) < uint64_t(g.ih) && uint64_t(c) < uint64_t(g.iw);
        copy(to, inside ? reinterpret_cast<const uint8_t*>(from + x_offset[tap]) : padding);
      }
    }
    for (int i = t.pixels; i < kPixels; ++i) taps[i] = taps[i - 1];
  }

  const op::QConv2d& a;
  const Conv2dGeometry& g;
  const QDirectIsa& isa;
  const PackedQConv& pk;
  const PixelOrder& order;
  const uint8_t* padding;
  const int64_t groups, channels;      // output channels per group
  const bool copies;                   // see copies_patches()
  const int64_t tap_bytes, row_bytes;  // of packed weights
  const int64_t last_row, last_col;    // where a window is still inside
  Scratch<uint8_t> patches;
  QTile t;
  PixelOrder::Pixel next{};
  bool in_row = false;                 // the tile's pixels are of one row, or of one position in several images
  uintptr_t origin[kPixels];           // the addresses of tap (0, 0), which may lie outside of the input
  int64_t row[kPixels], col[kPixels];  // its coordinates
  const uint8_t* taps[kMaxTaps * kTilePixels];
  uintptr_t x_offset[kMaxTaps];  // bytes from tap (0, 0)
  int64_t w_offset[kMaxTaps], listed_w_offset[kMaxTaps];
};

template <int kPixels>
void run_tiles(const op::QConv2d& a, const QDirectIsa& isa) {
  const Conv2dGeometry& g = a.g;
  const PackedQConv pk = unpack(a);
  const PixelOrder order(a, isa);
  const std::vector<uint8_t> padding = padding_pixel(a, isa);
  const int64_t tiles = order.tiles(kPixels), calls = ceil_div(pk.blocks, isa.blocks);
  if (tiles == 0 || calls == 0) return;

  // Threads share out the pixels, or the channels where the weights are large and the pixels few: then each streams its
  // part of the weights only.
  const int64_t groups = isa.depthwise ? 1 : g.groups;
  const int64_t threads = num_threads(), weights = groups * pk.blocks * pk.w_block;
  const double by_tiles = balance(tiles, threads), by_calls = balance(calls, threads);
  const bool few = tiles < 8 * threads && weights > (int64_t{256} << 10);
  const int64_t call_macs = kPixels * std::min<int64_t>(isa.blocks, pk.blocks) * isa.lanes * g.icg() * g.kh * g.kw;
  const auto run = [&](int64_t tile0, int64_t tile1, int64_t call0, int64_t call1) {
    Walk<kPixels>(a, isa, pk, order, padding.data()).run(tile0, tile1, call0, call1);
  };
  if (by_calls > by_tiles || (few && by_calls == by_tiles))
    parallel_for(calls, macs_grain(call_macs * tiles), [&](int64_t b, int64_t e) { run(0, tiles, b, e); });
  else
    parallel_for(tiles, macs_grain(call_macs * calls * groups), [&](int64_t b, int64_t e) { run(b, e, 0, calls); });
}

}  // namespace

bool tiles_across_images(const op::QConv2d& a, const QDirectIsa& isa) { return PixelOrder(a, isa).across_images; }

void run_direct(const op::QConv2d& a, const QDirectIsa& isa) {
  switch (isa.pixels) {  // the sizes of the families, as constants for the loops over a tile's pixels
    case 4: return run_tiles<4>(a, isa);
    case 6: return run_tiles<6>(a, isa);
    case 7: return run_tiles<7>(a, isa);
    case 8: return run_tiles<8>(a, isa);
    case 16: return run_tiles<16>(a, isa);
  }
  throw Error(message("own.direct: no loop for tiles of ", isa.pixels, " pixels"));
}

}  // namespace mininn::cpu::own
