#include "cpu_kernels/own/qconv2d_winograd.h"

#include <algorithm>

#include "core/parallel.h"
#include "cpu_kernels/own/scratch.h"

namespace mininn::cpu::own {
namespace {

constexpr int kOut = 4, kIn = 6;  // a tile's edge in output and in input pixels
constexpr int64_t kPoints = kWinogradPoints;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t v, int64_t to) { return ceil_div(v, to) * to; }

int64_t tiles_of(const Conv2dGeometry& g) { return g.n * ceil_div(g.oh, kOut) * ceil_div(g.ow, kOut); }
int64_t steps_of(const Conv2dGeometry& g) { return ceil_div(g.ic, 2); }

// Whether no input can take a sum of code times weight out of the range that survives the final shift.
bool sums_fit(const QConv2d& a) {
  const int64_t k = a.g.ic * 9;
  if (k * 127 * 255 < kWinogradSumLimit) return true;
  const auto* w = a.w.as<int8_t>();
  for (int64_t o = 0; o < a.g.oc; ++o, w += k) {
    int32_t sum = 0, magnitude = 0;
    for (int64_t i = 0; i < k; ++i) {
      sum += w[i];
      magnitude += std::abs(int32_t{w[i]});
    }
    // Codes of 255 where the weights have one sign and 0 where they have the other are the worst case.
    const int64_t one_sign = (int64_t{magnitude} + std::abs(sum)) / 2;
    if (one_sign * 255 >= kWinogradSumLimit) return false;
  }
  return true;
}

// How many tiles are worked on together: as many as leave their transformed input near the core, because each block of
// tiles reads all weights once.
int64_t tiles_together(const Conv2dGeometry& g, const WinogradIsa& isa, int64_t all) {
  const int64_t input = kPoints * round_up(g.ic, isa.channels) * 2;
  const int64_t most = std::clamp<int64_t>(isa.cache / input, isa.tiles, 8 * isa.tiles);
  return ceil_div(all, ceil_div(all, most));  // equal blocks, so that the last one is no remainder
}

// One thread's share of the tiles and of the pairs of output vectors.
class Walk {
 public:
  Walk(const QConv2d& conv, const WinogradIsa& winograd, WinogradWeights kind)
      : a(conv),
        g(conv.g),
        isa(winograd),
        weights(kind),
        pk(unpack_direct(conv)),
        rows(ceil_div(g.oh, kOut)),
        cols(ceil_div(g.ow, kOut)) {
    t.pixels = kOut * kOut;
    t.multiplier = a.multiplier.as<float>();
    t.has_residual = bool(a.residual);
    t.residual_scale = a.residual_scale;
    t.residual_zero = a.residual_zero;
    t.f32 = a.y.dtype == DType::f32;
    t.range = code_range(a.y_zero, a.lo, a.hi);
  }

  void run(int64_t tile0, int64_t tile1, int64_t pair0, int64_t pair1) {
    const int64_t together = tiles_together(g, isa, tile1 - tile0);
    const int64_t channels = round_up(g.ic, isa.channels), width = 2 * isa.lanes, steps = steps_of(g);
    const bool on_the_fly = weights == WinogradWeights::on_the_fly;
    // On the fly, products are summed over parts of the input channels whose transformed weights take a quarter of the
    // cache.
    const int64_t part = on_the_fly ? std::min(steps, isa.cache / 4 / (kPoints * width * 4)) : steps;
    // Not multiples of 4 KiB: 36 points at one address modulo 4 KiB would compete for a set of the L1 cache.
    const int64_t v_stride = together * channels + 32, u_stride = part * width * 2 + (on_the_fly ? 32 : 0);
    Scratch<int16_t> v(kPoints * v_stride), u(on_the_fly ? kPoints * u_stride : 0);
    Scratch<int32_t> m(together * kPoints * width);
    Scratch<uint8_t> padding(g.ic);
    std::fill_n(padding.data(), g.ic, uint8_t{0});

    for (int64_t first = tile0; first < tile1; first += together) {
      const int64_t count = std::min(together, tile1 - first);
      for (int64_t i = 0; i < count; ++i) {
        const uint8_t* x[kPoints];
        set_patch(first + i, padding.data(), x);
        isa.input(x, g.ic, v.data() + i * channels, v_stride);
      }
      for (int64_t pair = pair0; pair < pair1; ++pair) {
        const int8_t* const w = pk.w + pair * pk.w_block;
        for (int64_t step = 0; step < steps; step += part) {
          const int64_t n = std::min(part, steps - step);
          if (on_the_fly) isa.filter(w + step * width * 2 * 9, n, u.data(), u_stride);
          const int16_t* const from = on_the_fly ? u.data() : reinterpret_cast<const int16_t*>(w);
          for (int64_t point = 0; point < kPoints; ++point)
            products(count, v.data() + point * v_stride + step * 2, channels, from + point * u_stride, n,
                     m.data() + point * width, step > 0);
        }
        t.channel = t.bias_channel = pair * width;
        t.channels = std::min(width, g.oc - t.channel);
        for (int64_t i = 0; i < count; ++i) output(first + i, m.data() + i * kPoints * width);
      }
    }
  }

 private:
  // As few groups of tiles as possible, of nearly equal size.
  void products(int64_t count, const int16_t* v, int64_t v_stride, const int16_t* u, int64_t steps, int32_t* m,
                bool add) const {
    const int64_t groups = ceil_div(count, isa.tiles);
    for (int64_t i = 0; i < groups; ++i) {
      const int64_t begin = count * i / groups, end = count * (i + 1) / groups;
      isa.product[end - begin - 1](v + begin * v_stride, v_stride, u, steps, m + begin * kPoints * 2 * isa.lanes, add);
    }
  }

  struct Position {
    int64_t n, h, w;  // of the tile's first output pixel
  };
  Position position(int64_t tile) const {
    return {tile / (rows * cols), tile / cols % rows * kOut, tile % cols * kOut};
  }

  void set_patch(int64_t tile, const uint8_t* padding, const uint8_t* (&x)[kPoints]) const {
    const Position at = position(tile);
    const uint8_t* const image = a.x.as<uint8_t>() + at.n * a.x.strides[0];
    for (int64_t i = 0; i < kIn; ++i)
      for (int64_t j = 0; j < kIn; ++j) {
        const int64_t h = at.h - g.pad_h + i, w = at.w - g.pad_w + j;
        const bool inside = h >= 0 && h < g.ih && w >= 0 && w < g.iw;
        x[i * kIn + j] = inside ? image + h * a.x.strides[2] + w * a.x.strides[3] : padding;
      }
  }

  void output(int64_t tile, const int32_t* m) {
    const Position at = position(tile);
    const int64_t valid_rows = std::min<int64_t>(kOut, g.oh - at.h), valid_cols = std::min<int64_t>(kOut, g.ow - at.w);
    const int64_t y_pixel = t.f32 ? g.oc * 4 : a.y.strides[3];
    for (int64_t i = 0; i < valid_rows; ++i)
      for (int64_t j = 0; j < valid_cols; ++j) {
        const int64_t h = at.h + i, w = at.w + j, pixel = (at.n * g.oh + h) * g.ow + w, p = i * kOut + j;
        t.bias[p] = pk.bias + (pk.row[h] + pk.col[w]) * pk.bias_stride;
        t.y[p] = a.y.data + pixel * y_pixel;
        if (t.has_residual) t.residual[p] = a.residual.as<uint8_t>() + pixel * a.residual.strides[3];
      }
    isa.output(t, int(valid_rows), int(valid_cols), m);
  }

  const QConv2d& a;
  const Conv2dGeometry& g;
  const WinogradIsa& isa;
  const WinogradWeights weights;
  const PackedQConv pk;
  const int64_t rows, cols;  // tiles of an image
  QTile t;
};

}  // namespace

Refusal check_winograd(const QConv2d& a) {
  const Conv2dGeometry& g = a.g;
  if (g.kh != 3 || g.kw != 3) return {"the kernel is not 3x3"};
  if (g.stride_h != 1 || g.stride_w != 1 || g.dil_h != 1 || g.dil_w != 1) return {"a stride or a dilation is not 1"};
  if (g.groups != 1) return {"the convolution has groups"};
  if (!sums_fit(a)) return {"the weights of a channel are so large that sums could exceed 2^25"};
  return {};
}

bool winograd_pays(const QConv2d& a, const WinogradIsa& isa, WinogradWeights weights, double speed) {
  const Conv2dGeometry& g = a.g;
  const double tiles = double(tiles_of(g)), ic = double(g.ic), oc = double(g.oc);
  const double per_vector = 2.0 * isa.lanes;  // 16-bit products of an instruction, two of which start in a cycle
  // Cycles of one core: a vector takes some 280 instructions in input(), 160 in filter() and 600 in output(), of which
  // three start in a cycle, and weights from beyond the cache come at about 8 bytes per cycle.
  const double blocks = double(ceil_div(tiles_of(g), tiles_together(g, isa, tiles_of(g))));
  const double size = kPoints * 2 * ic * oc;
  const double products = tiles * kPoints * ic * oc / (2 * per_vector);
  const double transforms = tiles * (280 * ic / per_vector + 600 * oc / isa.lanes) / 3;
  const double on_the_fly = blocks * 160 * ic * oc / per_vector / 3;
  const double streamed = size > double(isa.cache) ? blocks * size / 8 : 0;
  const double direct = double(g.macs()) * (1 - padding_share(g)) / (2 * per_vector * speed);
  return products + transforms + (weights == WinogradWeights::stored ? streamed : on_the_fly) < direct;
}

Tensor pack_winograd(const QConv2d& a, const WinogradIsa& isa, WinogradWeights kind) {
  const Conv2dGeometry& g = a.g;
  const int64_t width = 2 * isa.lanes, steps = steps_of(g), step_size = 9 * width * 2;
  const bool stored = kind == WinogradWeights::stored;
  // s8: [pairs][steps][9][width][2].
  QPacking packing = pack_bias_rows(a, 1, width, stored ? kPoints * steps * width * 2 * 2 : steps * step_size, 0);
  Scratch<int8_t> rearranged(stored ? packing.blocks * steps * step_size : 0);
  std::fill_n(rearranged.data(), stored ? packing.blocks * steps * step_size : 0, int8_t{0});
  int8_t* const s8 = stored ? rearranged.data() : packing.w;
  const auto* const w = a.w.as<int8_t>();
  parallel_for(g.oc, 4, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      for (int64_t c = 0; c < g.ic; ++c)
        for (int64_t tap = 0; tap < 9; ++tap)
          s8[(o / width * steps + c / 2) * step_size + (tap * width + o % width) * 2 + c % 2] =
              w[(o * g.ic + c) * 9 + tap];
  });
  if (stored)
    parallel_for(packing.blocks, 1, [&](int64_t begin, int64_t end) {
      const int64_t point_size = steps * width * 2;
      for (int64_t pair = begin; pair < end; ++pair)
        isa.filter(s8 + pair * steps * step_size, steps,
                   reinterpret_cast<int16_t*>(packing.w) + pair * kPoints * point_size, point_size);
    });
  return std::move(packing.buffer);
}

void run_winograd(const QConv2d& a, const WinogradIsa& isa, WinogradWeights weights) {
  const Conv2dGeometry& g = a.g;
  const PackedQConv pk = unpack_direct(a);
  const int64_t tiles = tiles_of(g), threads = num_threads();
  if (tiles == 0 || g.oc == 0) return;
  // Threads share out the tiles, or the channels where the weights do not stay in a core's cache: then each streams (or
  // transforms) its part of them only, and transforms all of the input.
  const bool large = kPoints * 2 * g.ic * g.oc > isa.cache;
  const bool by_channels = pk.blocks >= threads && (tiles < 2 * threads || large);
  const int64_t macs = kPoints * g.ic * 2 * isa.lanes;
  const auto grain = [&](int64_t per_item) { return 1 + 1000000 / std::max<int64_t>(1, macs * per_item); };
  if (by_channels)
    parallel_for(pk.blocks, grain(tiles), [&](int64_t b, int64_t e) { Walk(a, isa, weights).run(0, tiles, b, e); });
  else
    parallel_for(tiles, grain(pk.blocks), [&](int64_t b, int64_t e) { Walk(a, isa, weights).run(b, e, 0, pk.blocks); });
}

}  // namespace mininn::cpu::own
