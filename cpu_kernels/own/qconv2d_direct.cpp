#include "cpu_kernels/own/qconv2d_direct.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "core/parallel.h"

namespace mininn::cpu::own {
namespace {

// Taps [begin, end) of one dimension whose input coordinate exists for output coordinate `o`.
std::pair<int64_t, int64_t> valid_taps(int64_t o, int64_t in, int64_t k, int64_t stride, int64_t pad, int64_t dil) {
  const int64_t first = o * stride - pad;  // the input coordinate of tap 0
  const int64_t begin = first < 0 ? std::min(k, (-first + dil - 1) / dil) : 0;
  const int64_t end = first < in ? std::min(k, (in - 1 - first) / dil + 1) : 0;
  return {begin, std::max(begin, end)};
}

// Output rows (or columns) that share their bias class and, where it matters, their taps: one key per distinct kind.
struct Kinds {
  std::vector<std::tuple<int32_t, int64_t, int64_t>> keys;  // class, first tap, last tap
  std::vector<int32_t> of;                                  // [out] index into keys

  Kinds(int64_t out, int64_t in, int64_t k, int64_t stride, int64_t pad, int64_t dil, const int32_t* classes,
        bool taps_matter) {
    std::map<std::tuple<int32_t, int64_t, int64_t>, int32_t> index;
    for (int64_t o = 0; o < out; ++o) {
      const auto [begin, end] =
          taps_matter ? valid_taps(o, in, k, stride, pad, dil) : std::pair<int64_t, int64_t>{0, k};
      const std::tuple key{classes ? classes[o] : 0, begin, end};
      const auto [it, fresh] = index.try_emplace(key, int32_t(keys.size()));
      if (fresh) keys.push_back(key);
      of.push_back(it->second);
    }
  }
};

struct Header {
  int64_t row, col, bias, w, bias_stride, blocks, w_block;  // offsets and sizes in bytes, except the last three
};

constexpr int64_t round_up(int64_t v, int64_t to) { return (v + to - 1) / to * to; }

int64_t steps_of(const Conv2dGeometry& g) { return (g.icg() + 3) / 4; }

// sum over taps and input channels of w[o], taps restricted to the given ranges.
int64_t weight_sum(const QConv2d& a, int64_t o, std::pair<int64_t, int64_t> rows, std::pair<int64_t, int64_t> cols) {
  const Conv2dGeometry& g = a.g;
  const auto* w = a.w.as<int8_t>() + o * g.icg() * g.kh * g.kw;
  int64_t sum = 0;
  for (int64_t c = 0; c < g.icg(); ++c)
    for (int64_t kh = rows.first; kh < rows.second; ++kh)
      for (int64_t kw = cols.first; kw < cols.second; ++kw) sum += w[(c * g.kh + kh) * g.kw + kw];
  return sum;
}

// The order in which output pixels are visited. Across images at one position, every pixel of a tile has the same taps,
// so none multiplies padding; within an image, neighbours share input rows, which is better for few images.
struct PixelOrder {
  const Conv2dGeometry& g;
  bool across_images;

  explicit PixelOrder(const Conv2dGeometry& geometry, int tile_pixels)
      : g(geometry), across_images((g.pad_h > 0 || g.pad_w > 0) && g.n >= tile_pixels) {}

  int64_t count() const { return g.n * g.oh * g.ow; }
  // Tiles never mix positions across images, so the last tile of each position may be short.
  int64_t tiles(int64_t p) const { return across_images ? (g.n + p - 1) / p * g.oh * g.ow : (count() + p - 1) / p; }
  // How many pixels a tile has.
  int pixels(int64_t tile, int64_t p) const {
    if (!across_images) return int(std::min(p, count() - tile * p));
    return int(std::min(p, g.n - tile / (g.oh * g.ow) * p));
  }
  struct Pixel {
    int64_t n, oh, ow;
  };
  Pixel first(int64_t tile, int64_t p) const {
    const int64_t positions = g.oh * g.ow;
    const int64_t n = across_images ? tile / positions * p : tile * p / positions;
    const int64_t at = across_images ? tile % positions : tile * p % positions;
    return {n, at / g.ow, at % g.ow};
  }
  void advance(Pixel& px) const {
    if (across_images) {
      ++px.n;
      return;
    }
    if (++px.ow < g.ow) return;
    px.ow = 0;
    if (++px.oh < g.oh) return;
    px.oh = 0;
    ++px.n;
  }
};

// A pixel of padding: as many zero (or, re-coded, 0x80) input channels as any tap reads.
std::vector<uint8_t> padding_pixel(const QConv2d& a, int recode) {
  return std::vector<uint8_t>(size_t(steps_of(a.g)) * 4, uint8_t(recode));
}

}  // namespace

Refusal check_direct(const QConv2d& a) {
  if (a.g.groups > 1 && a.g.icg() % 4 != 0) return {"the input channels of a group are no multiple of 4"};
  if (a.g.kh * a.g.kw > kMaxTaps) return {"the kernel has more than 128 taps"};
  return {};
}

Tensor pack_direct(const QConv2d& a, int lanes, int recode) {
  const Conv2dGeometry& g = a.g;
  const int64_t zero = a.x_zero - recode, steps = steps_of(g), taps = g.kh * g.kw;
  const Kinds rows(g.oh, g.ih, g.kh, g.stride_h, g.pad_h, g.dil_h, a.row_class, zero != 0);
  const Kinds cols(g.ow, g.iw, g.kw, g.stride_w, g.pad_w, g.dil_w, a.col_class, zero != 0);
  const int64_t n_rows = int64_t(rows.keys.size()), n_cols = int64_t(cols.keys.size());

  Header h{};
  h.blocks = (g.ocg() + lanes - 1) / lanes;
  h.bias_stride = g.groups * h.blocks * lanes;
  h.w_block = taps * steps * lanes * 4;
  h.row = round_up(sizeof(Header), 64);
  h.col = h.row + g.oh * 4;
  h.bias = round_up(h.col + g.ow * 4, 64);
  h.w = round_up(h.bias + n_rows * n_cols * h.bias_stride * 4, 64);
  Tensor packed = Tensor::empty({h.w + g.groups * h.blocks * h.w_block}, DType::u8);
  auto* base = packed.mutable_data<uint8_t>().data();
  std::memset(base, 0, size_t(packed.numel()));
  std::memcpy(base, &h, sizeof h);

  auto* row = reinterpret_cast<int32_t*>(base + h.row);
  auto* col = reinterpret_cast<int32_t*>(base + h.col);
  for (int64_t i = 0; i < g.oh; ++i) row[i] = rows.of[size_t(i)] * int32_t(n_cols);
  for (int64_t i = 0; i < g.ow; ++i) col[i] = cols.of[size_t(i)];

  const auto place = [&](int64_t o) { return o / g.ocg() * h.blocks * lanes + o % g.ocg(); };  // in a padded row
  auto* bias = reinterpret_cast<int32_t*>(base + h.bias);
  for (int64_t r = 0; r < n_rows; ++r)
    for (int64_t c = 0; c < n_cols; ++c) {
      const auto [row_class, kh0, kh1] = rows.keys[size_t(r)];
      const auto [col_class, kw0, kw1] = cols.keys[size_t(c)];
      for (int64_t o = 0; o < g.oc; ++o) {
        const int64_t b = a.bias.as<int32_t>()[(row_class + col_class) * g.oc + o];
        const int64_t sum = zero != 0 ? weight_sum(a, o, {kh0, kh1}, {kw0, kw1}) : 0;
        bias[(r * n_cols + c) * h.bias_stride + place(o)] = int32_t(uint32_t(b - zero * sum));
      }
    }

  auto* packed_w = reinterpret_cast<int8_t*>(base + h.w);
  const auto* w = a.w.as<int8_t>();
  parallel_for(g.oc, 16, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      int8_t* block = packed_w + place(o) / lanes * h.w_block + place(o) % lanes * 4;
      for (int64_t c = 0; c < g.icg(); ++c)
        for (int64_t t = 0; t < taps; ++t)
          block[(t * steps + c / 4) * lanes * 4 + c % 4] = w[(o * g.icg() + c) * taps + t];
    }
  });
  return packed;
}

PackedQConv unpack_direct(const QConv2d& a) {
  Header h;
  std::memcpy(&h, a.packed, sizeof h);
  const auto ints = [&](int64_t offset) { return reinterpret_cast<const int32_t*>(a.packed + offset); };
  return {ints(h.row),   ints(h.col), ints(h.bias), reinterpret_cast<const int8_t*>(a.packed + h.w),
          h.bias_stride, h.blocks,    h.w_block};
}

void run_direct(const QConv2d& a, const QDirectIsa& isa) {
  const Conv2dGeometry& g = a.g;
  const PackedQConv pk = unpack_direct(a);
  const PixelOrder order(g, isa.pixels);
  const std::vector<uint8_t> padding = padding_pixel(a, isa.recode);
  const int64_t p = isa.pixels, tiles = order.tiles(p), calls = (pk.blocks + isa.blocks - 1) / isa.blocks;
  if (tiles == 0 || g.oc == 0) return;
  const int64_t y_pixel = a.y.dtype == DType::f32 ? g.oc * 4 : a.y.strides[3];

  // Tiles [tile0, tile1) times calls [call0, call1) of every group; a call is up to isa.blocks blocks of channels.
  const auto work = [&](int64_t tile0, int64_t tile1, int64_t call0, int64_t call1) {
    const uint8_t* taps[kMaxTaps * kTilePixels];
    int64_t tap_offset[kMaxTaps];
    const auto* x = a.x.as<uint8_t>();
    QTile t;
    t.multiplier = a.multiplier.as<float>();
    t.has_residual = bool(a.residual);
    t.residual_scale = a.residual_scale;
    t.residual_zero = a.residual_zero;
    t.f32 = a.y.dtype == DType::f32;
    t.range = code_range(a.y_zero, a.lo, a.hi);
    t.steps = steps_of(g);
    t.x = taps;
    t.tap_offset = tap_offset;
    t.w_block = pk.w_block;
    // As many calls at a time as leave their weights in half of a small L2 cache while the pixels pass by.
    const int64_t in_cache = std::max<int64_t>(1, (int64_t{512} << 10) / (pk.w_block * isa.blocks));
    for (int64_t group = 0; group < g.groups; ++group)
      for (int64_t first = call0; first < call1; first += in_cache)
        for (int64_t tile = tile0; tile < tile1; ++tile) {
          t.pixels = order.pixels(tile, p);
          const uint8_t* origin[kTilePixels];  // of tap (0, 0), which may lie outside
          int64_t row[kTilePixels], col[kTilePixels];
          PixelOrder::Pixel px = order.first(tile, p);
          for (int i = 0; i < kTilePixels; ++i) {
            row[i] = px.oh * g.stride_h - g.pad_h;
            col[i] = px.ow * g.stride_w - g.pad_w;
            origin[i] = x + px.n * a.x.strides[0] + row[i] * a.x.strides[2] + col[i] * a.x.strides[3] + group * g.icg();
            const int64_t at = (px.n * g.oh + px.oh) * g.ow + px.ow;
            t.bias[i] = pk.bias + (pk.row[px.oh] + pk.col[px.ow]) * pk.bias_stride;
            t.y[i] = a.y.data + at * y_pixel;
            if (a.residual) t.residual[i] = a.residual.as<uint8_t>() + at * a.residual.strides[3];
            if (i + 1 < t.pixels) order.advance(px);
          }
          t.taps = 0;
          for (int64_t kh = 0; kh < g.kh; ++kh) {
            bool row_inside[kTilePixels], any_row = false;
            for (int i = 0; i < kTilePixels; ++i) {
              row_inside[i] = uint64_t(row[i] + kh * g.dil_h) < uint64_t(g.ih);
              any_row |= row_inside[i];
            }
            if (!any_row) continue;
            for (int64_t kw = 0; kw < g.kw; ++kw) {
              const uint8_t** pointers = taps + t.taps * kTilePixels;
              const int64_t offset = kh * g.dil_h * a.x.strides[2] + kw * g.dil_w * a.x.strides[3];
              bool any = false;
              for (int i = 0; i < kTilePixels; ++i) {
                const bool inside = row_inside[i] & (uint64_t(col[i] + kw * g.dil_w) < uint64_t(g.iw));
                any |= inside;
                pointers[i] = inside ? origin[i] + offset : padding.data();
              }
              if (any) tap_offset[t.taps++] = (kh * g.kw + kw) * t.steps * isa.lanes * 4;
            }
          }
          for (int64_t call = first; call < std::min(call1, first + in_cache); ++call) {
            const int64_t block = call * isa.blocks;
            const int64_t blocks = std::min<int64_t>(isa.blocks, pk.blocks - block);
            t.w = pk.w + (group * pk.blocks + block) * pk.w_block;
            t.channel = group * g.ocg() + block * isa.lanes;
            t.channels = std::min(blocks * isa.lanes, g.ocg() - block * isa.lanes);
            t.bias_channel = (group * pk.blocks + block) * isa.lanes;
            isa.tile(t.pixels, int(blocks))(t);
          }
        }
  };

  // Threads share out the pixels, or, where there are few, the channels: then each streams its part of the weights
  // only.
  const int64_t threads = num_threads();
  const auto share = [&](int64_t n) { return double(n) / double((n + threads - 1) / threads * threads); };
  const bool by_channel = tiles < 8 * threads && share(calls) >= share(tiles);
  const int64_t call_macs = std::max<int64_t>(1, p * isa.blocks * isa.lanes * g.icg() * g.kh * g.kw);
  const auto grain = [&](int64_t per_item) { return std::max<int64_t>(1, 1000000 / (call_macs * per_item)); };
  if (by_channel)
    parallel_for(calls, grain(tiles), [&](int64_t b, int64_t e) { work(0, tiles, b, e); });
  else
    parallel_for(tiles, grain(calls), [&](int64_t b, int64_t e) { work(b, e, 0, calls); });
}

}  // namespace mininn::cpu::own
