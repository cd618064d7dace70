// Forward and input gradient on strips of 16 output pixels (cpu_kernels/common/strips.h): a call multiplies two strips
// by two blocks of 16 output channels, or one by four, and writes the results of the call before meanwhile.
//
// Packed weights are blocks of 16 output channels, [depth / 4][16][2] bf16: what a step meets follows each other.
#include <algorithm>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/amx.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/data_gradient.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/common/strips.h"
#include "cpu_kernels/own/float/conv2d/amx.h"
#include "cpu_kernels/own/float/conv2d/layout.h"
#include "cpu_kernels/own/float/vec_avx512.h"

namespace mininn::cpu::own {
namespace {

constexpr int64_t kLanes = kStripLanes;

// A convolution of bf16 activations. Of a strided input gradient the outputs are every so many pixels of a map.
struct Convolution {
  Conv2dGeometry g;  // counts elements; behind the input's last row and column there is padding, as much as is read
  const bf16* x;
  const std::byte* w;  // packed
  const float* bias = nullptr;
  const bf16* residual = nullptr;
  bool relu = false;
  bf16* y;
  int64_t y_image, y_row, y_pixel;  // elements from one to the next; of the residual, too

  bool plain() const { return !bias && !residual && !relu; }
};

// What a call multiplies: strips by blocks.
struct Operands {
  const StripStep* step;
  int64_t steps;
  const uint8_t* x[2];  // of each strip
  int64_t pitch;        // from a row of a strip to the next
  const std::byte* w;
  int64_t w_block[4];  // from `w` to each block; a missing one repeats the first
};

// What a call writes: its strips at its channels.
struct Target {
  bf16* y;  // of these channels
  const bf16* residual;
  const float* bias;
  int64_t at[2][kStrip];  // elements from y, or residual, to each row
  int first[2], last[2];  // the rows that count
  int64_t columns;        // blocks that were multiplied: two or four
  int64_t channels;       // to be written
};

// Where the weights of a tap are in what is packed: of input channel 0 and the first block.
struct PackedTap {
  std::byte* w;
  int64_t block;  // bytes from a block to the next
};

// The bytes of a packed block.
int64_t block_bytes(const StripDepth& depth) { return depth.size * kLanes; }

Conv2dGeometry in_bytes(Conv2dGeometry g) {
  g.ic *= int64_t(sizeof(bf16));
  return g;
}

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AMX
namespace mininn::cpu::own {
namespace {

// Writes a call's sums part by part. kPlain: nothing is added to them.
template <bool kPlain>
class Results {
 public:
  Results(const Convolution& c, const Target& target, const std::byte* sums) : relu_(c.relu), t_(target), sums_(sums) {}

  void write() {
    if (t_.columns == 4) {
      write_row(0, part_, 0);
      write_row(0, part_, 2);
    } else {
      write_row(part_ / 8, part_ % 8 * 2, 0);
      write_row(part_ / 8, part_ % 8 * 2 + 1, 0);
    }
    ++part_;
  }

 private:
  // Of one pixel, blocks `block` and the next.
  void write_row(int m, int r, int64_t block) const {
    const int64_t c = block * kLanes, channels = t_.channels - c;
    if (r < t_.first[m] || r >= t_.last[m] || channels <= 0) return;
    const auto* const from =
        reinterpret_cast<const float*>(sums_ + (t_.columns == 4 ? block : 2 * m) * kTileSize + r * kTileRow);
    const int64_t at = t_.at[m][r];
    const __m512 low = finished(from, at, c), high = finished(from + kTileSize / 4, at, c + kLanes);
    const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
    if (channels >= 2 * kLanes)
      _mm512_storeu_si512(t_.y + at + c, both);
    else
      _mm512_mask_storeu_epi16(t_.y + at + c, (__mmask32{1} << channels) - 1, both);
  }
  __m512 finished(const float* sums, int64_t at, int64_t c) const {
    __m512 v = Vec::load(sums);
    if constexpr (!kPlain) {
      const Vec::Mask mask = Vec::mask(t_.channels - c);
      if (t_.bias) v = Vec::add(v, Vec::load(t_.bias + c, mask));
      if (t_.residual) v = Vec::add(v, Vec::load(t_.residual + at + c, mask));
      if (relu_) v = Vec::relu(v);
    }
    return v;
  }

  const bool relu_;
  const Target& t_;
  const std::byte* const sums_;
  int part_ = 0;
};

inline void zero_tiles() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

// Two strips by two blocks, blocks innermost. Writes what the call before has left in `sums`, and leaves its own there.
template <class Results>
inline void multiply_two_by_two(const Operands& k, Results results, std::byte* sums) {
  const uint8_t *x0 = k.x[0], *x1 = k.x[1];
  const std::byte *w0 = k.w, *w1 = k.w + k.w_block[1];
  zero_tiles();
  interleave(
      k.step, k.steps, results, [&](const StripStep& i) __attribute__((always_inline)) {
        _tile_loadd(6, w0 + i.w, kTileRow);
        _tile_loadd(4, x0 + i.x, k.pitch);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, w1 + i.w, kTileRow);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, x1 + i.x, k.pitch);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      });
  store_four_tiles(sums);
}

// One strip by four blocks.
template <class Results>
inline void multiply_one_by_four(const Operands& k, Results results, std::byte* sums) {
  zero_tiles();
  interleave(
      k.step, k.steps, results, [&](const StripStep& i) __attribute__((always_inline)) {
        const std::byte* const w = k.w + i.w;
        _tile_loadd(4, k.x[0] + i.x, k.pitch);
        _tile_loadd(6, w, kTileRow);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, w + k.w_block[1], kTileRow);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(6, w + k.w_block[2], kTileRow);
        _tile_dpbf16ps(2, 4, 6);
        _tile_loadd(7, w + k.w_block[3], kTileRow);
        _tile_dpbf16ps(3, 4, 7);
      });
  store_four_tiles(sums);
}

class Walk : StripWalk {
 public:
  Walk(const Convolution& c, const StripInput& strips, int64_t blocks)
      : StripWalk(strips, strips.depth().step),
        c_(c),
        blocks_(blocks),
        w_block_(block_bytes(strips.depth())),
        dense_(c.y_row == c.g.ow * c.y_pixel && c.y_image == c.g.oh * c.y_row) {}

  void run(int64_t unit0, int64_t unit1, int64_t pair0, int64_t pair1) {
    Scratch<std::byte> sums(4 * kTileSize);
    sums_ = sums.data();
    const Tiles tiles(strip_tiles(input.depth().step));
    for_calls(
        unit0, unit1, pair0, pair1, w_block_,
        [&](int64_t block, int64_t end, int64_t columns) { set_blocks(block, end, columns); },
        [&](const Strip* strips, int64_t count) { call(strips, count); });
    with_results([](auto results) {
      for (int i = 0; i < kResultParts; ++i) results.write();
    });
  }

 private:
  // Blocks [block, end) for the calls that follow, of which the last may not exist; `columns` are multiplied.
  void set_blocks(int64_t block, int64_t end, int64_t columns) {
    const int64_t present = std::min(end, blocks_) - block;
    columns_ = columns;
    channel_ = block * kLanes;
    channels_ = std::min(present * kLanes, c_.g.oc - channel_);
    k_.w = c_.w + block * w_block_;
    for (int64_t v = 0; v < columns; ++v) k_.w_block[v] = v < present ? v * w_block_ : 0;
  }

  void call(const Strip* strips, int64_t count) {
    Target& t = targets_[before_ == &targets_[0] ? 1 : 0];
    set_steps(strips[0]);
    k_.step = steps.data();
    k_.steps = step_count;
    k_.pitch = input.pitch();
    t.columns = columns_;
    t.channels = channels_;
    t.y = c_.y + channel_;
    t.residual = c_.residual ? c_.residual + channel_ : nullptr;
    t.bias = c_.bias ? c_.bias + channel_ : nullptr;
    for (int64_t m = 0; m < count; ++m) {
      const Strip& s = strips[m];
      load(s);
      for (int64_t r = 0; r < kStrip; ++r) t.at[m][r] = output(s.pixel + r * input.pixel_step());
      t.first[m] = s.first;
      t.last[m] = s.last;
      k_.x[m] = reinterpret_cast<const uint8_t*>(s.origin);
    }
    with_results([&](auto results) __attribute__((always_inline)) {
      count == 1 ? multiply_one_by_four(k_, results, sums_) : multiply_two_by_two(k_, results, sums_);
    });
    before_ = &t;
  }

  // Where output pixel `i` of the batch is.
  int64_t output(int64_t i) const {
    if (dense_) return i * c_.y_pixel;
    const int64_t row = i / c_.g.ow;
    return row / c_.g.oh * c_.y_image + row % c_.g.oh * c_.y_row + i % c_.g.ow * c_.y_pixel;
  }

  // Calls f with those of the call before.
  template <class F>
  void with_results(const F& f) const {
    if (!before_)
      f(NoResults());
    else if (c_.plain())
      f(Results<true>(c_, *before_, sums_));
    else
      f(Results<false>(c_, *before_, sums_));
  }

  const Convolution& c_;
  const int64_t blocks_, w_block_;
  const bool dense_;  // no gaps between output pixels
  Operands k_{};
  int64_t columns_ = 0, channel_ = 0, channels_ = 0;  // of the blocks
  Target targets_[2];
  const Target* before_ = nullptr;  // of the call whose sums are in sums_
  std::byte* sums_ = nullptr;
};

// to[i] = a[i] and b[i] as a pair, for 16 channels.
inline void store_pairs(const float* a, const float* b, std::byte* to) {
  const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(Vec::load(b), Vec::load(a)));
  _mm512_store_si512(to, in_pairs(both));
}

// Weights as B[tap][input channel][output channel]. to[tap]: where a tap's go, or nowhere.
void pack_weights(const MatrixLayout& layout, const float* w, const PackedTap* to) {
  const TilesF32& t = tiles_f32_avx512();
  constexpr int64_t kChunk = 64;  // input channels: their taps stay in the cache
  parallel_for(layout.panels(t), 1, [&](int64_t begin, int64_t end) {
    Scratch<float> chunk(layout.taps * kChunk * t.nr), zeros(kLanes);
    std::fill_n(zeros.data(), kLanes, 0.0f);
    MatrixLayout part = layout;
    for (int64_t panel = begin; panel < end; ++panel)
      for (int64_t k0 = 0; k0 < layout.k; k0 += kChunk) {
        part.k = std::min(kChunk, layout.k - k0);
        pack_panel(t, part, w + k0 * layout.k_stride, panel, chunk.data());
        for (int64_t tap = 0; tap < layout.taps; ++tap)
          for (int64_t k = 0; to[tap].w && k < part.k; k += 2) {
            const float* const row = chunk.data() + (tap * part.k + k) * t.nr;
            std::byte* const pair = to[tap].w + 2 * panel * to[tap].block + (k0 + k) / 2 * kTileRow;
            for (int64_t v = 0; v < 2; ++v)
              store_pairs(row + v * kLanes, k + 1 < part.k ? row + t.nr + v * kLanes : zeros.data(),
                          pair + v * to[tap].block);
          }
      }
  });
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

// Of an even number of blocks.
int64_t packed_bytes(const Conv2dGeometry& g) {
  return ceil_div(g.oc, 2 * kLanes) * 2 * block_bytes(StripDepth(in_bytes(g)));
}

// Where the weights of a convolution's taps go in `packed`.
class PackedTaps {
 public:
  PackedTaps(const Conv2dGeometry& g, std::byte* packed) : depth_(in_bytes(g)), packed_(packed) {}
  PackedTap operator()(int64_t kh, int64_t kw) const {
    return {packed_ + depth_.value(kh, kw, 0) * kLanes, block_bytes(depth_)};
  }

 private:
  const StripDepth depth_;
  std::byte* const packed_;
};

void convolve(const Convolution& c) {
  const Conv2dGeometry& g = c.g;
  const int64_t pixel = g.ic * int64_t(sizeof(bf16)), blocks = ceil_div(g.oc, kLanes);
  const StripSource source{.g = in_bytes(g),
                           .x = reinterpret_cast<const uint8_t*>(c.x),
                           .image = g.ih * g.iw * pixel,
                           .row = g.iw * pixel,
                           .pixel = pixel,
                           .out_pixel = g.oc * int64_t(sizeof(bf16)),
                           .clean = true};
  const StripInput input(source, StripInput::Long::no);
  share_out_strips(source, input, blocks, block_bytes(input.depth()),
                   [&](int64_t unit0, int64_t unit1, int64_t pair0, int64_t pair1) {
                     Walk(c, input, blocks).run(unit0, unit1, pair0, pair1);
                   });
}

void pack_forward(const op::Conv2dFwd& a, std::byte* packed) {
  const PackedTaps taps(a.g, packed);
  PackedTap to[kMaxTaps];
  for (int64_t i = 0; i < a.g.kh * a.g.kw; ++i) to[i] = taps(i / a.g.kw, i % a.g.kw);
  pack_weights(weight_layout(a.g), a.w.as<float>(), to);
}

void forward(const op::Conv2dFwd& a, const ExecContext&) {
  const Conv2dGeometry& g = a.g;
  Scratch<std::byte> own(a.packed ? 0 : packed_bytes(g));
  if (!a.packed) pack_forward(a, own.data());
  convolve({.g = g,
            .x = a.x.as<bf16>(),
            .w = a.packed ? a.packed : own.data(),
            .bias = a.bias.as<float>(),
            .residual = a.residual.as<bf16>(),
            .relu = a.relu,
            .y = a.y.as<bf16>(),
            .y_image = g.oh * g.ow * g.oc,
            .y_row = g.ow * g.oc,
            .y_pixel = g.oc});
}

void backward_data(const op::Conv2dBwdData& a, const ExecContext&) {
  const Conv2dGeometry& g = a.g;
  bf16* const gx = a.gx.as<bf16>();
  if (g.kh < g.stride_h || g.kw < g.stride_w)  // some pixels have no taps
    parallel_for(a.gx.size(), 1 << 16,
                 [&](int64_t begin, int64_t end) { std::fill(gx + begin, gx + end, bf16(0.0f)); });
  int64_t bytes = 0;
  for_data_gradients(g, [&](int64_t, int64_t, const Conv2dGeometry& p) { bytes += packed_bytes(p); });
  Scratch<std::byte> packed(bytes);
  PackedTap to[kMaxTaps] = {};  // of an input smaller than the stride some taps meet nothing
  std::byte* next = packed.data();
  for_data_gradients(g, [&](int64_t i, int64_t j, const Conv2dGeometry& p) {
    const PackedTaps taps(p, next);
    const int64_t first_h = row_phase(g, i).first, first_w = column_phase(g, j).first;
    for (int64_t h = 0; h < p.kh; ++h)
      for (int64_t w = 0; w < p.kw; ++w)
        to[(first_h + h * g.stride_h) * g.kw + first_w + w * g.stride_w] = taps(p.kh - 1 - h, p.kw - 1 - w);
    next += packed_bytes(p);
  });
  pack_weights(transposed_weight_layout(g), a.w.as<float>(), to);
  next = packed.data();
  for_data_gradients(g, [&](int64_t i, int64_t j, const Conv2dGeometry& p) {
    convolve({.g = p,
              .x = a.gy.as<bf16>(),
              .w = next,
              .y = gx + (i * g.iw + j) * g.ic,
              .y_image = g.ih * g.iw * g.ic,
              .y_row = g.stride_h * g.iw * g.ic,
              .y_pixel = g.stride_w * g.ic});
    next += packed_bytes(p);
  });
}

Refusal check_shape(const Conv2dGeometry& g, DType activations, DType weights) {
  if (activations != DType::bf16 || weights != DType::f32) return {"takes bf16 with f32 weights only"};
  if (g.groups > 1) return {"the convolution has groups"};
  if (g.ic == 0 || g.oc == 0) return {"no channels"};
  if (g.kh * g.kw > kMaxTaps) return {"the kernel has too many taps"};
  if (g.kh * g.kw * g.ic > kLongestChain) return {kChainTooLong};
  if (g.n * g.oh * g.ow < 8) return {"fewer output pixels than half a tile"};
  // What fills up the rows of tiles would be multiplied with weights of zero, and may be infinite. And as long as there
  // is nothing of that kind, weights are packed in the same way for maps of any width.
  const StripDepth depth(in_bytes(g));
  const int64_t steps = ceil_div(depth.column, kTileRow), tap = depth.merged ? g.kw * depth.column : depth.column;
  if (depth.column % (4 * steps) != 0 || depth.channels != tap) return {"channels fill no whole rows of tiles"};
  return {};
}

Refusal check_shape(const op::Conv2dFwd& a) { return check_shape(a.g, a.x.dtype, a.w.dtype); }
Refusal check_shape(const op::Conv2dBwdData& a) {
  const Conv2dGeometry& g = a.g;
  if (a.gy.dtype != DType::bf16) return {"takes bf16 with f32 weights only"};
  if ((g.stride_h > 1 && g.dil_h > 1) || (g.stride_w > 1 && g.dil_w > 1)) return {"strides and dilates along one axis"};
  if (g.kh * g.kw > kMaxTaps) return {"the kernel has too many taps"};
  Refusal r;
  bool any = false;
  for_data_gradients(g, [&](int64_t, int64_t, const Conv2dGeometry& p) {
    any = true;
    if (r) return;
    r = p.pad_h < 0 || p.pad_w < 0 ? Refusal{"some pixels of gx would need gy from before its first"}
                                   : check_shape(p, a.gy.dtype, a.w.dtype);
  });
  return any ? r : Refusal{"no pixel has a tap"};
}

template <class Args>
Refusal check(const Args& a) {
  if (const Refusal r = needs(Isa::amx)) return r;
  return check_shape(a);
}

}  // namespace

const Kernel<op::Conv2dFwd> conv2d_fwd_amx{"own.strips.amx",
                                           {.joins_region = true, .rounds_weights = true},
                                           check<op::Conv2dFwd>,
                                           forward,
                                           [](const op::Conv2dFwd& a) {
                                             Tensor packed = Tensor::empty({packed_bytes(a.g)}, DType::u8);
                                             pack_forward(a, packed.mutable_view().data);
                                             return packed;
                                           }};
const Kernel<op::Conv2dBwdData> conv2d_bwd_data_amx{
    "own.strips.amx", {.rounds_weights = true}, check<op::Conv2dBwdData>, backward_data};

}  // namespace mininn::cpu::own
