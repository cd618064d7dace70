#include "cpu_kernels/own/float/conv2d/winograd.h"

#include <algorithm>

#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/data_gradient.h"
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/common/taps.h"
#include "cpu_kernels/own/float/conv2d/layout.h"
#include "cpu_kernels/own/float/pack.h"

namespace mininn::cpu::own {
namespace {

constexpr int64_t kPoints = kWinogradPoints;
// The most products that an element of M adds up in registers; what comes then is added to it in memory.
constexpr int64_t kChain = 512;
// Between the points of one array: not a multiple of 4 KiB, for then all of them would compete for a set of the L1
// cache.
constexpr int64_t kApart = 16;

// Weights as B[tap][input channel][output channel].
struct Weights {
  MatrixLayout layout;
  const float* w;
  bool turned;  // by 180 degrees: the input gradient's
};

// Transformed ones: [panel][36][input channel][nr], points u_stride apart.
int64_t u_stride(const TilesF32& t, int64_t ic) { return ic * t.nr + kApart; }
int64_t u_panel(const TilesF32& t, int64_t ic) { return kPoints * u_stride(t, ic); }
int64_t u_size(const TilesF32& t, const MatrixLayout& w) {
  return checked_mul("Winograd's weights", w.panels(t), u_panel(t, w.k));
}

void transform_panel(const WinogradF32& isa, const Weights& weights, int64_t panel, float* u) {
  const TilesF32& t = isa.tiles();
  const MatrixLayout& w = weights.layout;
  constexpr int64_t kChunk = 64;  // input channels: their taps stay in the cache
  Scratch<float> taps(9 * kChunk * t.nr);
  MatrixLayout part = w;
  for (int64_t k = 0; k < w.k; k += kChunk) {
    part.k = std::min(kChunk, w.k - k);
    pack_panel(t, part, weights.w + k * w.k_stride, panel, taps.data());
    const int64_t tap = part.k * t.nr;
    isa.filter(weights.turned ? taps.data() + 8 * tap : taps.data(), weights.turned ? -tap : tap, part.k, u + k * t.nr,
               u_stride(t, w.k));
  }
}

void transform_weights(const WinogradF32& isa, const Weights& w, float* u) {
  const TilesF32& t = isa.tiles();
  parallel_for(w.layout.panels(t), 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel)
      transform_panel(isa, w, panel, u + panel * u_panel(t, w.layout.k));
  });
}

// A convolution of stride 1.
template <class T>
struct Convolution {
  Conv2dGeometry g;
  const T* x = nullptr;
  Weights w;
  const float* u = nullptr;  // transformed; null: who needs them makes them
  const float* bias = nullptr;
  const T* residual = nullptr;
  bool relu = false;
  T* y = nullptr;
};

// With 28 tiles, what they become and the weights of two panels of 64 channels stay in a cache of 1 MB.
constexpr int64_t kMostTogether = 28;

// One thread's share of the tiles and of the panels.
template <class T>
class Walk {
 public:
  Walk(const WinogradF32& isa, const Convolution<T>& c)
      : isa_(isa), io_(isa.activations<T>()), t_(isa.tiles()), c_(c), g_(c.g), tiles_(c.g), padding_(c.g.ic) {
    std::fill_n(padding_.data(), g_.ic, T(0.0f));
  }

  void run(int64_t tile0, int64_t tile1, int64_t panel0, int64_t panel1) {
    const int64_t together = winograd_together(tile1 - tile0, kMostTogether);
    const int64_t v_row = round_up(g_.ic, t_.lanes) + kApart, v_stride = together * v_row + kApart;
    Scratch<float> v(kPoints * v_stride), m(together * kPoints * t_.nr);
    Scratch<float> own(c_.u ? 0 : (panel1 - panel0) * u_panel(t_, g_.ic));
    for (int64_t panel = panel0; !c_.u && panel < panel1; ++panel)
      transform_panel(isa_, c_.w, panel, own.data() + (panel - panel0) * u_panel(t_, g_.ic));
    for (int64_t first = tile0; first < tile1; first += together) {
      const int64_t count = std::min(together, tile1 - first);
      transform_input(first, count, v.data(), v_row, v_stride);
      const WinogradGroups groups(count, isa_.most_tiles);
      for (int64_t panel = panel0; panel < panel1; ++panel) {
        const float* const u =
            c_.u ? c_.u + panel * u_panel(t_, g_.ic) : own.data() + (panel - panel0) * u_panel(t_, g_.ic);
        for (int64_t k = 0; k < g_.ic; k += kChain)
          multiply(groups, u + k * t_.nr, std::min(kChain, g_.ic - k), k > 0, v.data() + k, v_row, v_stride, m.data());
        transform_output(first, count, panel, m.data());
      }
    }
  }

 private:
  void transform_input(int64_t first, int64_t count, float* v, int64_t v_row, int64_t v_stride) {
    auto at = tiles_.position(first);
    for (int64_t i = 0; i < count; ++i, tiles_.advance(at)) {
      const T* x[kPoints];
      tiles_.patch(at, c_.x, g_.ic, padding_.data(), x);
      io_.input(x, g_.ic, v + i * v_row, v_stride);
    }
  }

  // All points of one panel; each group of tiles fetches its part of the next point's weights.
  void multiply(const WinogradGroups& groups, const float* u, int64_t n, bool add, const float* v, int64_t v_row,
                int64_t v_stride, float* m) const {
    const int64_t stride = u_stride(t_, g_.ic), ahead_step = ceil_div<int64_t>(t_.nr, groups.count());
    for (int64_t point = 0; point < kPoints; ++point, u += stride) {
      const float* const next = point + 1 < kPoints ? u + stride : u;
      for (int64_t i = 0; i < groups.count(); ++i) {
        const int64_t tile = groups.first(i);
        isa_.product[groups.size(i) - 1](v + point * v_stride + tile * v_row, v_row, u, n, add,
                                         m + (tile * kPoints + point) * t_.nr, next + i * n * ahead_step, ahead_step);
      }
    }
  }

  void transform_output(int64_t first, int64_t count, int64_t panel, const float* m) const {
    const int64_t c = panel * t_.nr;
    auto at = tiles_.position(first);
    WinogradOutput<T> o{.bias = c_.bias ? c_.bias + c : nullptr,
                        .row = g_.ow * g_.oc,
                        .pixel = g_.oc,
                        .columns = std::min<int64_t>(t_.nr, g_.oc - c),
                        .relu = c_.relu};
    for (int64_t i = 0; i < count; ++i, tiles_.advance(at)) {
      const int64_t to = ((at.n * g_.oh + at.h) * g_.ow + at.w) * g_.oc + c;
      o.y = c_.y + to;
      o.residual = c_.residual ? c_.residual + to : nullptr;
      o.rows = tiles_.rows(at);
      o.cols = tiles_.cols(at);
      io_.output(o, m + i * kPoints * t_.nr);
    }
  }

  const WinogradF32& isa_;
  const WinogradActivations<T>& io_;
  const TilesF32& t_;
  const Convolution<T>& c_;
  const Conv2dGeometry& g_;
  const WinogradTiles tiles_;
  Scratch<T> padding_;  // a pixel
};

// Cycles of one core, which starts a vector's multiply-adds in each. A vector of channels of a tile takes some 200 in
// input() and output(), one of a filter's 400 in pack_panel() and filter().
struct Estimate {
  double products, input, output, weights;
  Estimate(const WinogradF32& isa, const Conv2dGeometry& g) {
    const TilesF32& t = isa.tiles();
    const auto tiles = double(WinogradTiles(g).count());
    const auto in = double(ceil_div<int64_t>(g.ic, t.lanes)), out = double(2 * ceil_div<int64_t>(g.oc, t.nr));
    products = tiles * double(kPoints) * double(g.ic) * out;
    input = tiles * 200 * in;
    output = tiles * 200 * out;
    weights = 400 * double(g.ic) * out;
  }
};

template <class T>
void convolve(const WinogradF32& isa, Convolution<T> c) {
  const TilesF32& t = isa.tiles();
  const int64_t tiles = WinogradTiles(c.g).count(), panels = c.w.layout.panels(t), threads = num_threads();
  if (tiles == 0) return;
  // Threads share out the tiles, which keeps each to the images that it has worked on in the layer before. Or the
  // panels, where a thread would have too few tiles to hide how long the weights take, or they take longer to transform
  // than the input: then each reads (or transforms) its part of them only, and transforms all of the input.
  const Estimate e(isa, c.g);
  const bool few_tiles = tiles < isa.most_tiles * threads || (!c.u && e.input < e.weights);
  const bool by_panels = (panels >= threads && few_tiles) || std::min(panels, threads) > std::min(tiles, threads);
  // Weights that another core has just written come slowly: a few threads would rather transform all that they need,
  // and keep as much memory each.
  constexpr int64_t kFew = 4;
  const bool share = !c.u && !by_panels && threads > kFew;
  Scratch<float> shared(share ? u_size(t, c.w.layout) : 0);
  if (share) {
    transform_weights(isa, c.w, shared.data());
    c.u = shared.data();
  }
  const int64_t macs = kPoints * c.g.ic * t.nr;
  if (by_panels)
    parallel_for(panels, macs_grain(macs * tiles),
                 [&](int64_t begin, int64_t end) { Walk<T>(isa, c).run(0, tiles, begin, end); });
  else
    parallel_for(tiles, macs_grain(macs * panels),
                 [&](int64_t begin, int64_t end) { Walk<T>(isa, c).run(begin, end, 0, panels); });
}

Weights forward_weights(const op::Conv2dFwd& a) { return {weight_layout(a.g), a.w.as<float>(), false}; }

Tensor pack_weights(const WinogradF32& isa, const op::Conv2dFwd& a) {
  const Weights w = forward_weights(a);
  Tensor packed =
      Tensor::empty({checked_mul("Winograd's weights", u_size(isa.tiles(), w.layout), sizeof(float))}, DType::u8);
  transform_weights(isa, w, reinterpret_cast<float*>(packed.mutable_view().data));
  return packed;
}

template <class T>
void forward(const WinogradF32& isa, const op::Conv2dFwd& a) {
  convolve<T>(isa, {a.g, a.x.as<T>(), forward_weights(a), reinterpret_cast<const float*>(a.packed), a.bias.as<float>(),
                    a.residual.as<T>(), a.relu, a.y.as<T>()});
}

template <class T>
void backward_data(const WinogradF32& isa, const op::Conv2dBwdData& a) {
  convolve<T>(isa, {.g = data_gradient(a.g),
                    .x = a.gy.as<T>(),
                    .w = {transposed_weight_layout(a.g), a.w.as<float>(), true},
                    .y = a.gx.as<T>()});
}

// One thread's part of the weight gradient: of some panels of output channels and some input channels. It transforms
// what it needs of x and gy itself: what another core has just written comes slowly. It walks over all tiles, in blocks
// of a fixed size, so the number of threads decides no bit.
template <class T>
class WeightGradient {
 public:
  WeightGradient(const WinogradF32& isa, const op::Conv2dBwdWeights& a)
      : isa_(isa),
        io_(isa.activations<T>()),
        t_(isa.tiles()),
        a_(a),
        g_(a.g),
        tiles_(a.g),
        strips_(a.g.ic, isa.most_tiles),
        padding_(std::max(g_.ic, g_.oc)) {
    std::fill_n(padding_.data(), std::max(g_.ic, g_.oc), T(0.0f));
  }

  // Units are strips of input channels, panel by panel.
  void run(int64_t begin, int64_t end) const {
    for_rectangles(begin, end, strips_.count(), [&](int64_t panel0, int64_t panel1, int64_t strip0, int64_t strip1) {
      add_up(panel0, panel1 - panel0, strip0, strip1);
    });
  }

 private:
  static constexpr int64_t kBlock = 128;

  void add_up(int64_t panel0, int64_t panels, int64_t strip0, int64_t strip1) const {
    const int64_t c0 = strips_.first(strip0), channels = strips_.first(strip1) - c0;
    const int64_t block = std::min(kBlock, tiles_.count());
    const int64_t v_row = round_up(channels, t_.lanes) + kApart, v_stride = block * v_row + kApart;
    const int64_t d_stride = block * t_.nr + kApart, s_stride = u_stride(t_, channels);
    // The sums of a panel that needs one block only become weights while they are in the cache.
    const bool one_block = tiles_.count() == block;
    Scratch<float> v(kPoints * v_stride), d(panels * kPoints * d_stride);
    Scratch<float> s((one_block ? 1 : panels) * u_panel(t_, channels));
    const auto sums = [&](int64_t panel) { return s.data() + (one_block ? 0 : panel) * u_panel(t_, channels); };
    for (int64_t first = 0; first < tiles_.count(); first += block) {
      const int64_t count = std::min(block, tiles_.count() - first);
      auto at = tiles_.position(first);
      for (int64_t i = 0; i < count; ++i, tiles_.advance(at)) {
        const T* pixels[kPoints];
        tiles_.patch(at, a_.x.as<T>() + c0, g_.ic, padding_.data(), pixels);
        io_.input(pixels, channels, v.data() + i * v_row, v_stride);
        tiles_.outputs(at, a_.gy.as<T>() + panel0 * t_.nr, g_.oc, padding_.data(), pixels);
        io_.gradient(pixels, std::min(panels * t_.nr, g_.oc - panel0 * t_.nr), d.data() + i * t_.nr, d_stride,
                     kPoints * d_stride);
      }
      for (int64_t panel = 0; panel < panels; ++panel) {
        for (int64_t point = 0; point < kPoints; ++point)
          for (int64_t strip = strip0; strip < strip1; ++strip) {
            const int64_t row = strips_.first(strip) - c0;
            isa_.correlation[strips_.size(strip) - 1](v.data() + point * v_stride + row, v_row,
                                                      d.data() + (panel * kPoints + point) * d_stride, count, first > 0,
                                                      sums(panel) + point * s_stride + row * t_.nr);
          }
        if (first + block >= tiles_.count()) store(panel0 + panel, c0, channels, sums(panel));
      }
    }
  }

  void store(int64_t panel, int64_t c0, int64_t channels, const float* s) const {
    const int64_t tap = channels * t_.nr, o = panel * t_.nr;
    Scratch<float> gw(9 * tap);
    isa_.filter_gradient(s, u_stride(t_, channels), channels, gw.data(), tap);
    MatrixLayout part = weight_layout(g_);
    part.columns = std::min<int64_t>(t_.nr, g_.oc - o);
    part.k = channels;
    unpack(t_, part, gw.data(), a_.gw.as<float>() + o * part.column_stride + c0 * part.k_stride);
  }

  const WinogradF32& isa_;
  const WinogradActivations<T>& io_;
  const TilesF32& t_;
  const op::Conv2dBwdWeights& a_;
  const Conv2dGeometry& g_;
  const WinogradTiles tiles_;
  const WinogradGroups strips_;  // of input channels
  Scratch<T> padding_;           // a pixel
};

// How many of them there are.
int64_t weight_gradient_units(const WinogradF32& isa, const Conv2dGeometry& g) {
  return ceil_div<int64_t>(g.oc, isa.tiles().nr) * WinogradGroups(g.ic, isa.most_tiles).count();
}

template <class T>
void backward_weights(const WinogradF32& isa, const op::Conv2dBwdWeights& a) {
  if (a.g.n == 0) {
    std::fill_n(a.gw.as<float>(), a.gw.size(), 0.0f);
    return;
  }
  parallel_for(weight_gradient_units(isa, a.g), 1,
               [&](int64_t begin, int64_t end) { WeightGradient<T>(isa, a).run(begin, end); });
}

double direct_cycles(const WinogradF32& isa, const Conv2dGeometry& g) {
  const int64_t vectors = ceil_div<int64_t>(g.oc, isa.tiles().lanes);
  return double(g.macs() / std::max<int64_t>(g.oc, 1) * vectors) * (1 - padding_share(g));
}

// A part of each vector of input channels would be empty; direct kernels do better.
bool is_stem(const WinogradF32& isa, const Conv2dGeometry& g) { return g.ic < isa.tiles().lanes; }

// Whether it is expected to beat the direct kernel. Weights come from beyond the cache while products are summed, 8
// bytes a cycle. pack() would spare their transformation, but what pays decides is which kernel packs.
bool pays(const WinogradF32& isa, const Conv2dGeometry& g) {
  if (is_stem(isa, g)) return false;
  const Estimate e(isa, g);
  const double bytes = double(u_size(isa.tiles(), {g.oc, g.ic})) * sizeof(float);
  const double blocks = double(ceil_div(WinogradTiles(g).count(), kMostTogether));
  const double streamed = bytes > double(isa.cache) ? blocks * bytes / 8 : 0;
  return std::max(e.products, streamed) + e.input + e.output + e.weights < direct_cycles(isa, g);
}

// The same for a batch that is neither small nor large: were another kernel taken for each, an image's result would
// depend on how many there are.
bool forward_pays(const WinogradF32& isa, Conv2dGeometry g) {
  g.n = 16;
  return pays(isa, g);
}

// The weight gradient does the same work in another order, a fifth slower, and there is less of it to share out.
bool weight_gradient_pays(const WinogradF32& isa, const op::Conv2dBwdWeights& a) {
  if (is_stem(isa, a.g)) return false;
  const Estimate e(isa, a.g);
  const double share = balance_for_choice(weight_gradient_units(isa, a.g));
  return (e.products + e.input + e.output + e.weights) * 1.25 < direct_cycles(isa, a.g) * share;
}

template <Isa kIsa>
Refusal check(const Conv2dGeometry& g, DType activations, DType weights) {
  if (weights != DType::f32) return {"takes weights of f32 only"};
  if (const Refusal r = check_f32_or_bf16(activations)) return r;
  if (const Refusal r = needs(kIsa)) return r;
  return winograd_shape(g);
}

// Tiles of bf16 products are faster still, where the processor has them.
bool leaves_to_amx(DType activations) { return activations == DType::bf16 && has(Isa::amx); }

template <Isa kIsa, const WinogradF32& (*isa)()>
struct Winograd {
  static constexpr Kernel<op::Conv2dFwd> fwd(std::string_view name) {
    return {name,
            kOwnInRegions,
            [](const op::Conv2dFwd& a) { return check<kIsa>(a.g, a.x.dtype, a.w.dtype); },
            [](const op::Conv2dFwd& a, const ExecContext&) {
              with_f32_or_bf16(a.x.dtype, [&]<class T>() { forward<T>(isa(), a); });
            },
            [](const op::Conv2dFwd& a) { return pack_weights(isa(), a); },
            nullptr,
            [](const op::Conv2dFwd& a) { return !leaves_to_amx(a.x.dtype) && forward_pays(isa(), a.g); }};
  }
  static constexpr Kernel<op::Conv2dBwdData> bwd_data(std::string_view name) {
    return {name,
            kOwn,
            [](const op::Conv2dBwdData& a) {
              if (const Refusal r = check<kIsa>(a.g, a.gy.dtype, a.w.dtype)) return r;
              if (a.g.pad_h > 2 || a.g.pad_w > 2) return Refusal{"the padding is more than 2"};
              return Refusal{};
            },
            [](const op::Conv2dBwdData& a, const ExecContext&) {
              with_f32_or_bf16(a.gy.dtype, [&]<class T>() { backward_data<T>(isa(), a); });
            },
            nullptr,
            nullptr,
            [](const op::Conv2dBwdData& a) { return !leaves_to_amx(a.gy.dtype) && pays(isa(), data_gradient(a.g)); }};
  }
  static constexpr Kernel<op::Conv2dBwdWeights> bwd_weights(std::string_view name) {
    return {name,
            kOwn,
            [](const op::Conv2dBwdWeights& a) { return check<kIsa>(a.g, a.x.dtype, a.gw.dtype); },
            [](const op::Conv2dBwdWeights& a, const ExecContext&) {
              with_f32_or_bf16(a.x.dtype, [&]<class T>() { backward_weights<T>(isa(), a); });
            },
            nullptr,
            nullptr,
            [](const op::Conv2dBwdWeights& a) { return !leaves_to_amx(a.x.dtype) && weight_gradient_pays(isa(), a); }};
  }
};
using Avx512 = Winograd<Isa::avx512, winograd_f32_avx512>;
using Avx2 = Winograd<Isa::avx2, winograd_f32_avx2>;

}  // namespace

constexpr Kernel<op::Conv2dFwd> conv2d_fwd_winograd_avx512 = Avx512::fwd("own.winograd.avx512");
constexpr Kernel<op::Conv2dFwd> conv2d_fwd_winograd_avx2 = Avx2::fwd("own.winograd.avx2");
constexpr Kernel<op::Conv2dBwdData> conv2d_bwd_data_winograd_avx512 = Avx512::bwd_data("own.winograd.avx512");
constexpr Kernel<op::Conv2dBwdData> conv2d_bwd_data_winograd_avx2 = Avx2::bwd_data("own.winograd.avx2");
constexpr Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_winograd_avx512 = Avx512::bwd_weights("own.winograd.avx512");
constexpr Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_winograd_avx2 = Avx2::bwd_weights("own.winograd.avx2");

}  // namespace mininn::cpu::own
