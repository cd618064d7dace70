#include "cpu_kernels/own/int8/conv/winograd.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/common/taps.h"

namespace mininn::cpu::own {
namespace {

constexpr int64_t kPoints = kWinogradPoints;
constexpr int64_t kBiasPoint = 7;  // (1, 1): what is added to its product appears once in every output, see A^T

int64_t tiles_of(const Conv2dGeometry& g) { return WinogradTiles(g).count(); }
int64_t steps_of(const Conv2dGeometry& g) { return ceil_div(g.ic, 2); }
int64_t transformed_bytes(const Conv2dGeometry& g) { return kPoints * 2 * g.ic * g.oc; }  // of all weights

// The sum of an output channel's weights, and of their magnitudes.
std::pair<int64_t, int64_t> weight_sums(const op::QConv2d& a, int64_t o) {
  const int64_t k = a.g.ic * 9;
  const auto* const w = a.w.as<int8_t>() + o * k;
  int32_t sum = 0, magnitude = 0;
  for (int64_t i = 0; i < k; ++i) {
    sum += w[i];
    magnitude += std::abs(int32_t{w[i]});
  }
  return {sum, magnitude};
}

// The bias of an output channel, with the input's zero point folded in.
int64_t bias_of(const op::QConv2d& a, int64_t o, int64_t sum) { return a.bias.as<int32_t>()[o] - a.x_zero * sum; }

// Whether no input can take a sum out of the range that survives the final division. Codes of 255 where the weights
// have one sign and 0 where they have the other are the worst case.
bool sums_fit(const op::QConv2d& a) {
  for (int64_t o = 0; o < a.g.oc; ++o) {
    const auto [sum, magnitude] = weight_sums(a, o);
    const int64_t bias = bias_of(a, o, sum), most = (magnitude + sum) / 2 * 255, least = (sum - magnitude) / 2 * 255;
    if (bias + most >= kWinogradSumLimit || bias + least <= -kWinogradSumLimit) return false;
  }
  return true;
}

// Whether the multipliers keep all their bits when they are divided by 64.
bool multipliers_scale(const op::QConv2d& a) {
  const auto* const m = a.multiplier.as<float>();
  return std::all_of(m, m + a.g.oc, [](float v) { return v == 0 || std::fabs(v) >= 0x1p-120f; });
}

// Packed: an i32 for each output channel, which the sums of point kBiasPoint begin with, then for each pair of
// vectors of output channels its weights: transformed, [36][steps][width][2] s16, or as s8, [steps][9][width][2].
int64_t start_bytes(const Conv2dGeometry& g, int64_t width) { return round_up(g.oc, width) * 4; }
int64_t block_bytes(const Conv2dGeometry& g, int64_t width, WinogradWeights kind) {
  return steps_of(g) * width * 2 * (kind == WinogradWeights::stored ? kPoints * 2 : 9);
}

constexpr int64_t kMostTogether = 42;
int64_t tiles_together(int64_t all) { return winograd_together(all, kMostTogether); }

// One thread's share of the tiles and of the pairs of output vectors.
class Walk {
 public:
  Walk(const op::QConv2d& conv, const WinogradIsa& winograd, WinogradWeights kind)
      : a(conv),
        g(conv.g),
        isa(winograd),
        weights(kind),
        tiles(g),
        padding(g.ic),
        y_pixel(a.y.dtype == DType::f32 ? g.oc * 4 : a.y.strides[3]),
        residual_pixel(a.residual ? a.residual.strides[3] : 0) {
    std::fill_n(padding.data(), g.ic, uint8_t(a.x_zero));
    t.multiplier = a.multiplier.as<float>();
    t.has_residual = bool(a.residual);
    t.residual_scale = a.residual_scale;
    t.residual_zero = a.residual_zero;
    t.f32 = a.y.dtype == DType::f32;
    t.range = code_range(a.y_zero, a.lo, a.hi);
  }

  void run(int64_t tile0, int64_t tile1, int64_t pair0, int64_t pair1) {
    const int64_t together = tiles_together(tile1 - tile0);
    const int64_t channels = round_up(g.ic, isa.channels), width = 2 * isa.lanes, steps = steps_of(g);
    const int64_t w_block = block_bytes(g, width, weights);
    const bool on_the_fly = weights == WinogradWeights::on_the_fly;
    // On the fly, products are summed over parts of the input channels whose transformed weights take a quarter of the
    // cache.
    const int64_t part = on_the_fly ? std::min(steps, isa.cache / 4 / (kPoints * width * 4)) : steps;
    // Not multiples of 4 KiB: 36 points at one address modulo 4 KiB would compete for a set of the L1 cache.
    const int64_t v_stride = together * channels + 32, u_stride = part * width * 2 + (on_the_fly ? 32 : 0);
    Scratch<int16_t> v(kPoints * v_stride), u(on_the_fly ? kPoints * u_stride : 0);
    Scratch<int32_t> m(together * kPoints * width), zeros(width);
    std::fill_n(zeros.data(), width, 0);

    for (int64_t first = tile0; first < tile1; first += together) {
      const int64_t count = std::min(together, tile1 - first);
      set_groups(count);
      auto at = tiles.position(first);
      for (int64_t i = 0; i < count; ++i, tiles.advance(at)) {
        const uint8_t* x[kPoints];
        tiles.patch(at, a.x.as<uint8_t>(), a.x.strides[3], padding.data(), x);
        isa.input(x, g.ic, v.data() + i * channels, v_stride);
      }
      for (int64_t pair = pair0; pair < pair1; ++pair) {
        const auto* const w = reinterpret_cast<const int8_t*>(a.packed) + start_bytes(g, width) + pair * w_block;
        const int32_t* const bias = reinterpret_cast<const int32_t*>(a.packed) + pair * width;
        for (int64_t step = 0; step < steps; step += part) {
          const int64_t n = std::min(part, steps - step);
          if (on_the_fly) isa.filter(w + step * width * 2 * 9, n, u.data(), u_stride);
          const int16_t* const from = on_the_fly ? u.data() : reinterpret_cast<const int16_t*>(w);
          const bool go_on = !on_the_fly && pair + 1 < pair1;  // the next pair's weights are behind these
          for (int64_t point = 0; point < kPoints; ++point) {
            const int32_t* const start = step > 0 ? nullptr : point == kBiasPoint ? bias : zeros.data();
            const int64_t next = point + 1 < kPoints || go_on ? point + 1 : point;
            products(v.data() + point * v_stride + step * 2, channels, from + point * u_stride, n, start,
                     m.data() + point * width, from + next * u_stride);
          }
        }
        t.channel = pair * width;
        t.channels = std::min(width, g.oc - t.channel);
        at = tiles.position(first);
        for (int64_t i = 0; i < count; ++i, tiles.advance(at)) output(at, m.data() + i * kPoints * width);
      }
    }
  }

 private:
  // Tiles that are one call of a product.
  struct Group {
    int64_t first;
    WinogradIsa::Product product;
  };
  void set_groups(int64_t count) {
    const WinogradGroups sizes(count, isa.tiles);
    n_groups = sizes.count();
    for (int64_t i = 0; i < n_groups; ++i) groups[i] = {sizes.first(i), isa.product[sizes.size(i) - 1]};
    ahead_step = ceil_div<int64_t>(4 * isa.lanes, n_groups);
  }

  // Each group fetches its part of the weights at `next`.
  void products(const int16_t* v, int64_t v_stride, const int16_t* u, int64_t steps, const int32_t* start, int32_t* m,
                const int16_t* next) const {
    for (int64_t i = 0; i < n_groups; ++i, next += steps * ahead_step) {
      const int64_t first = groups[i].first;
      groups[i].product(v + first * v_stride, v_stride, u, steps, start, m + first * kPoints * 2 * isa.lanes, next,
                        ahead_step);
    }
  }

  void output(const WinogradTiles::Position& at, const int32_t* m) {
    const int64_t pixel = (at.n * g.oh + at.h) * g.ow + at.w;
    std::byte* y = a.y.data + pixel * y_pixel;
    const uint8_t* residual = a.residual ? a.residual.as<uint8_t>() + pixel * residual_pixel : nullptr;
    for (int i = 0; i < kWinogradOut; ++i, y += g.ow * y_pixel, residual += g.ow * residual_pixel)
      for (int j = 0; j < kWinogradOut; ++j) {
        t.y[i * kWinogradOut + j] = y + j * y_pixel;
        t.residual[i * kWinogradOut + j] = residual + j * residual_pixel;
      }
    isa.output(t, tiles.rows(at), tiles.cols(at), m);
  }

  const op::QConv2d& a;
  const Conv2dGeometry& g;
  const WinogradIsa& isa;
  const WinogradWeights weights;
  const WinogradTiles tiles;
  Scratch<uint8_t> padding;               // a pixel
  const int64_t y_pixel, residual_pixel;  // bytes
  Group groups[kMostTogether];
  int64_t n_groups = 0;
  int64_t ahead_step = 0;  // weights that a group fetches in each step
  QTile t;
};

}  // namespace

Refusal check_winograd(const op::QConv2d& a) {
  if (const Refusal r = winograd_shape(a.g)) return r;
  if (a.bias.shape[0] != 1) return {"the bias depends on the pixel"};
  return {};
}

Refusal winograd_admits(const op::QConv2d& a) {
  if (!sums_fit(a)) return {"the weights of a channel are so large that sums could exceed 2^25"};
  if (!multipliers_scale(a)) return {"a multiplier is next to 0"};
  return {};
}

bool winograd_pays(const op::QConv2d& a, const WinogradIsa& isa, WinogradWeights weights, double speed) {
  const Conv2dGeometry& g = a.g;
  if (g.n == 0) return false;
  const double tiles = double(tiles_of(g)), ic = double(g.ic), oc = double(g.oc);
  const double per_vector = 2.0 * isa.lanes;  // 16-bit products of an instruction, two of which start in a cycle
  // Cycles of one core: a vector takes some 280 instructions in input() and 600 in output(), of which three start in a
  // cycle. Weights come from beyond the cache while products are summed, 24 bytes per cycle, or 8 where they are many;
  // to transform them takes as long as these, and nothing goes on meanwhile.
  const double blocks = double(ceil_div(tiles_of(g), tiles_together(tiles_of(g))));
  const double size = double(transformed_bytes(g)), cache = double(isa.cache);
  const double products = tiles * kPoints * ic * oc / (2 * per_vector);
  const double transforms = tiles * (280 * ic / per_vector + 600 * oc / isa.lanes) / 3;
  const double streamed = size > cache ? blocks * size / (size > 2 * cache ? 8 : 24) : 0;
  const double direct = double(g.macs()) * (1 - padding_share(g)) / (2 * per_vector * speed);
  const bool stored = weights == WinogradWeights::stored;
  return transforms + (stored ? std::max(products, streamed) : products + blocks * size / 8) < direct;
}

Tensor pack_winograd(const op::QConv2d& a, const WinogradIsa& isa, WinogradWeights kind) {
  check_qconv2d_constants(a);
  const Conv2dGeometry& g = a.g;
  const int64_t width = 2 * isa.lanes, steps = steps_of(g), blocks = ceil_div(g.oc, width);
  const int64_t s8_bytes = block_bytes(g, width, WinogradWeights::on_the_fly), bytes = block_bytes(g, width, kind);
  Tensor packed = Tensor::zeros({start_bytes(g, width) + blocks * bytes}, DType::u8);
  auto* const start = reinterpret_cast<int32_t*>(packed.mutable_data<uint8_t>().data());
  auto* const to = reinterpret_cast<int8_t*>(start) + start_bytes(g, width);
  const auto* const w = a.w.as<int8_t>();
  parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    const bool stored = kind == WinogradWeights::stored;
    Scratch<int8_t> rearranged(stored ? s8_bytes : 0);
    for (int64_t block = begin; block < end; ++block) {
      std::fill_n(rearranged.data(), stored ? s8_bytes : 0, int8_t{0});
      int8_t* const s8 = stored ? rearranged.data() : to + block * bytes;
      for (int64_t lane = 0; lane < std::min(width, g.oc - block * width); ++lane) {
        const int64_t o = block * width + lane;
        start[o] = int32_t(uint32_t(576) * uint32_t(bias_of(a, o, weight_sums(a, o).first)));
        for (int64_t c = 0; c < g.ic; ++c)
          for (int64_t tap = 0; tap < 9; ++tap)
            s8[((c / 2 * 9 + tap) * width + lane) * 2 + c % 2] = w[(o * g.ic + c) * 9 + tap];
      }
      if (stored) isa.filter(s8, steps, reinterpret_cast<int16_t*>(to + block * bytes), steps * width * 2);
    }
  });
  return packed;
}

void run_winograd(const op::QConv2d& a, const WinogradIsa& isa, WinogradWeights weights) {
  const Conv2dGeometry& g = a.g;
  const int64_t tiles = tiles_of(g), blocks = ceil_div(g.oc, 2 * isa.lanes), threads = num_threads();
  if (tiles == 0 || g.oc == 0) return;
  // Threads share out the tiles, which keeps each to the images that it has worked on in the layer before; or the
  // channels, where a thread would have one tile or, with weights from beyond the L2 cache, too few to hide how long
  // these take: then each reads (or transforms) its part of them only, and transforms all of the input.
  const bool large = transformed_bytes(g) > 2 * isa.cache;
  const bool by_channels = (blocks >= threads && tiles < (large ? isa.tiles : 2) * threads) ||
                           std::min(blocks, threads) > std::min(tiles, threads);
  const int64_t macs = kPoints * g.ic * 2 * isa.lanes;
  if (by_channels)
    parallel_for(blocks, macs_grain(macs * tiles),
                 [&](int64_t b, int64_t e) { Walk(a, isa, weights).run(0, tiles, b, e); });
  else
    parallel_for(tiles, macs_grain(macs * blocks),
                 [&](int64_t b, int64_t e) { Walk(a, isa, weights).run(b, e, 0, blocks); });
}

}  // namespace mininn::cpu::own
