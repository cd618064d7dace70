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

// (S G) f of three values.
void transform_filter(const int32_t (&f)[3], int32_t (&out)[6]) {
  const int32_t even = f[0] + f[2], wide = f[0] + 4 * f[2];
  out[0] = 6 * f[0];
  out[1] = -4 * (even + f[1]);
  out[2] = -4 * (even - f[1]);
  out[3] = wide + 2 * f[1];
  out[4] = wide - 2 * f[1];
  out[5] = 12 * f[2];
}

// (S G) w (S G)^T of one filter [3][3].
void transform_filter(const int8_t* w, int32_t (&u)[kIn][kIn]) {
  int32_t columns[3][kIn];
  for (int j = 0; j < 3; ++j) transform_filter({w[j], w[3 + j], w[6 + j]}, columns[j]);
  for (int i = 0; i < kIn; ++i) transform_filter({columns[0][i], columns[1][i], columns[2][i]}, u[i]);
}

// How many tiles and pairs of output vectors are worked on together. Their transformed input (all input channels) and
// their products should stay in the L2 cache; each block reads all weights once, from further away if they are large.
struct Blocking {
  int64_t tiles, pairs;

  Blocking(const Conv2dGeometry& g, const WinogradIsa& isa, int64_t most_tiles, int64_t all_pairs) {
    const int64_t input = kPoints * round_up(g.ic, isa.channels) * 2, products = kPoints * 2 * isa.lanes * 4;
    const int64_t weights = all_pairs * products * steps_of(g);
    double least = 0;
    for (int64_t t = isa.tiles; t <= 8 * isa.tiles; t += isa.tiles) {
      const int64_t p = std::clamp<int64_t>(isa.cache / 4 / (t * products), 1, all_pairs);
      const bool weights_stay = weights + t * (input + p * products) <= isa.cache;
      const bool input_stays = t * input <= isa.cache / 2;
      // Bytes per tile from beyond the cache.
      const double traffic =
          (weights_stay ? 0 : double(weights) / double(t)) + (input_stays ? 0 : double(input * ceil_div(all_pairs, p)));
      if (t == isa.tiles || traffic < least) {
        least = traffic;
        tiles = t;
        pairs = p;
      }
    }
    // Equal blocks, so that the last one is no remainder.
    tiles = ceil_div(most_tiles, ceil_div(most_tiles, tiles));
  }
};

// One thread's share of the tiles and of the pairs of output vectors.
class Walk {
 public:
  Walk(const QConv2d& conv, const WinogradIsa& winograd)
      : a(conv),
        g(conv.g),
        isa(winograd),
        pk(unpack_direct(conv)),
        rows(ceil_div(g.oh, kOut)),
        cols(ceil_div(g.ow, kOut)) {
    t.pixels = kOut * kOut;
    t.multiplier = a.multiplier.as<float>();
    t.has_residual = bool(a.residual.data);
    t.residual_scale = a.residual_scale;
    t.residual_zero = a.residual_zero;
    t.f32 = a.y.dtype == DType::f32;
    t.range = code_range(a.y_zero, a.lo, a.hi);
  }

  void run(int64_t tile0, int64_t tile1, int64_t pair0, int64_t pair1) {
    const Blocking block(g, isa, tile1 - tile0, pair1 - pair0);
    const int64_t channels = round_up(g.ic, isa.channels), width = 2 * isa.lanes, steps = steps_of(g);
    // Not a multiple of 4 KiB: 36 points at one address modulo 4 KiB would compete for a set of the L1 cache.
    const int64_t point_stride = block.tiles * channels + 32;
    Scratch<int16_t> v(kPoints * point_stride);
    Scratch<int32_t> m(block.tiles * block.pairs * kPoints * width);
    Scratch<uint8_t> padding(g.ic);
    std::fill_n(padding.data(), g.ic, uint8_t{0});

    for (int64_t first = tile0; first < tile1; first += block.tiles) {
      const int64_t count = std::min(block.tiles, tile1 - first);
      for (int64_t i = 0; i < count; ++i) {
        const uint8_t* x[kPoints];
        set_patch(first + i, padding.data(), x);
        isa.input(x, g.ic, v.data() + i * channels, point_stride);
      }
      for (int64_t pair = pair0; pair < pair1; pair += block.pairs) {
        const int64_t pairs = std::min(block.pairs, pair1 - pair), m_stride = pairs * kPoints * width;
        for (int64_t point = 0; point < kPoints; ++point)
          for (int64_t p = 0; p < pairs; ++p) {
            const auto* u =
                reinterpret_cast<const int16_t*>(pk.w + (pair + p) * pk.w_block) + point * steps * 2 * width;
            // As few groups of tiles as possible, of nearly equal size.
            const int64_t groups = ceil_div(count, isa.tiles);
            for (int64_t group = 0; group < groups; ++group) {
              const int64_t begin = count * group / groups, end = count * (group + 1) / groups;
              isa.product[end - begin - 1](v.data() + point * point_stride + begin * channels, channels, u, steps,
                                           m.data() + begin * m_stride + (p * kPoints + point) * width, m_stride);
            }
          }
        t.channel = t.bias_channel = pair * width;
        t.channels = std::min(pairs * width, g.oc - t.channel);
        for (int64_t i = 0; i < count; ++i) output(first + i, m.data() + i * m_stride);
      }
    }
  }

 private:
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

bool winograd_pays(const QConv2d& a, const WinogradIsa& isa, double speed) {
  const Conv2dGeometry& g = a.g;
  const double tiles = double(tiles_of(g)), ic = double(g.ic), oc = double(g.oc);
  const double vector = 2.0 * isa.lanes;  // 16-bit products per instruction, two instructions per cycle
  // Cycles of one core. A patch takes some 280 instructions per vector of input channels, an output tile some 600 per
  // vector of output channels, and weights from beyond the cache come at about 8 bytes per cycle.
  const double products = tiles * kPoints * ic * oc / (2 * vector);
  const double transforms = tiles * (280 * ic / vector + 600 * oc / isa.lanes) / 3;
  const double weights = kPoints * 2 * ic * oc;
  const double stream = weights > double(isa.cache) ? weights / 8 * double(ceil_div(tiles_of(g), 8 * isa.tiles)) : 0;
  const double direct = double(g.macs()) * (1 - padding_share(g)) / (2 * vector * speed);
  return products + transforms + stream < direct;
}

Tensor pack_winograd(const QConv2d& a, const WinogradIsa& isa) {
  const Conv2dGeometry& g = a.g;
  const int64_t width = 2 * isa.lanes, steps = steps_of(g), point_size = steps * 2 * width;
  QPacking packing = pack_bias_rows(a, 1, width, kPoints * point_size * 2, 0);
  auto* const weights = reinterpret_cast<int16_t*>(packing.w);
  const auto* const w = a.w.as<int8_t>();
  parallel_for(g.oc, 4, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      int16_t* const to = weights + o / width * kPoints * point_size + o % width * 2;
      for (int64_t c = 0; c < g.ic; ++c) {
        int32_t u[kIn][kIn];
        transform_filter(w + (o * g.ic + c) * 9, u);
        int16_t* const pair = to + c / 2 * 2 * width + c % 2;
        for (int64_t point = 0; point < kPoints; ++point)
          pair[point * point_size] = int16_t(u[point / kIn][point % kIn]);
      }
    }
  });
  return std::move(packing.buffer);
}

void run_winograd(const QConv2d& a, const WinogradIsa& isa) {
  const Conv2dGeometry& g = a.g;
  const PackedQConv pk = unpack_direct(a);
  const int64_t tiles = tiles_of(g), threads = num_threads();
  if (tiles == 0 || g.oc == 0) return;
  // Threads share out the tiles, or the channels where the weights do not stay in a core's cache: then each streams its
  // part of them only, and transforms all of the input.
  const bool by_channels = pk.blocks >= threads && (tiles < 2 * threads || pk.blocks * pk.w_block > isa.cache);
  const int64_t macs = kPoints * g.ic * 2 * isa.lanes;
  const auto grain = [&](int64_t per_item) { return 1 + 1000000 / std::max<int64_t>(1, macs * per_item); };
  if (by_channels)
    parallel_for(pk.blocks, grain(tiles), [&](int64_t b, int64_t e) { Walk(a, isa).run(0, tiles, b, e); });
  else
    parallel_for(tiles, grain(pk.blocks), [&](int64_t b, int64_t e) { Walk(a, isa).run(b, e, 0, pk.blocks); });
}

}  // namespace mininn::cpu::own
