#include "cpu_kernels/own/int8/conv/packed.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "core/integers.h"
#include "cpu_kernels/common/taps.h"

namespace mininn::cpu::own {
namespace {

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

  // Gives each row (or column) a kind of its own, in their order.
  void spread() {
    std::vector<std::tuple<int32_t, int64_t, int64_t>> each;
    for (int32_t& kind : of) {
      each.push_back(keys[size_t(kind)]);
      kind = int32_t(each.size() - 1);
    }
    keys = std::move(each);
  }
};

struct Header {
  int64_t row, col, bias, w;  // offsets in bytes
  int64_t bias_rows, bias_stride, blocks;
  int64_t w_block;  // bytes
};

// sum over taps and input channels of w[o], taps restricted to the given ranges.
int64_t weight_sum(const op::QConv2d& a, int64_t o, std::pair<int64_t, int64_t> rows,
                   std::pair<int64_t, int64_t> cols) {
  const Conv2dGeometry& g = a.g;
  const auto* w = a.w.as<int8_t>() + o * g.icg() * g.kh * g.kw;
  int64_t sum = 0;
  for (int64_t c = 0; c < g.icg(); ++c)
    for (int64_t kh = rows.first; kh < rows.second; ++kh)
      for (int64_t kw = cols.first; kw < cols.second; ++kw) sum += w[(c * g.kh + kh) * g.kw + kw];
  return sum;
}

}  // namespace

Refusal check_packed(const op::QConv2d& a) {
  if (a.g.groups > 1 && a.g.icg() % 4 != 0) return {"the input channels of a group are no multiple of 4"};
  if (a.g.kh * a.g.kw > kMaxTaps) return {"the kernel has more than 128 taps"};
  return {};
}

QPacking pack_bias_rows(const op::QConv2d& a, int64_t groups, int64_t lanes, int64_t w_block, int recode,
                        bool of_each_column) {
  check_qconv2d_constants(a);
  const Conv2dGeometry& g = a.g;
  const int64_t zero = a.x_zero - recode, channels = g.oc / groups;
  const Kinds rows(g.oh, g.ih, g.kh, g.stride_h, g.pad_h, g.dil_h, a.row_class.as<int32_t>(), zero != 0);
  Kinds cols(g.ow, g.iw, g.kw, g.stride_w, g.pad_w, g.dil_w, a.col_class.as<int32_t>(), zero != 0);
  if (of_each_column && rows.keys.size() * cols.keys.size() > 1) cols.spread();
  const int64_t n_rows = int64_t(rows.keys.size()), n_cols = int64_t(cols.keys.size());

  Header h{};
  h.blocks = ceil_div(channels, lanes);
  h.bias_rows = n_rows * n_cols;
  h.bias_stride = groups * h.blocks * lanes;
  h.w_block = w_block;
  h.row = round_up(int64_t{sizeof(Header)}, 64);
  h.col = h.row + g.oh * 4;
  h.bias = round_up(h.col + g.ow * 4, 64);
  h.w = round_up(h.bias + n_rows * n_cols * h.bias_stride * 4, 64);
  Tensor packed = Tensor::empty({h.w + groups * h.blocks * h.w_block}, DType::u8);
  auto* base = packed.mutable_data<uint8_t>().data();
  std::memset(base, 0, size_t(packed.numel()));
  std::memcpy(base, &h, sizeof h);

  auto* row = reinterpret_cast<int32_t*>(base + h.row);
  auto* col = reinterpret_cast<int32_t*>(base + h.col);
  for (int64_t i = 0; i < g.oh; ++i) row[i] = rows.of[size_t(i)] * int32_t(n_cols);
  for (int64_t i = 0; i < g.ow; ++i) col[i] = cols.of[size_t(i)];

  auto* bias = reinterpret_cast<int32_t*>(base + h.bias);
  for (int64_t r = 0; r < n_rows; ++r)
    for (int64_t c = 0; c < n_cols; ++c) {
      const auto [row_class, kh0, kh1] = rows.keys[size_t(r)];
      const auto [col_class, kw0, kw1] = cols.keys[size_t(c)];
      int32_t* const to = bias + (r * n_cols + c) * h.bias_stride;
      if (c > 0 && cols.keys[size_t(c)] == cols.keys[size_t(c - 1)]) {
        std::copy_n(to - h.bias_stride, h.bias_stride, to);
        continue;
      }
      for (int64_t o = 0; o < g.oc; ++o) {
        const int64_t b = a.bias.as<int32_t>()[(row_class + col_class) * g.oc + o];
        const int64_t sum = zero != 0 ? weight_sum(a, o, {kh0, kh1}, {kw0, kw1}) : 0;
        const int64_t place = o / channels * h.blocks * lanes + o % channels;
        to[place] = int32_t(uint32_t(b - zero * sum));
      }
    }
  return {std::move(packed), reinterpret_cast<int8_t*>(base + h.w), h.blocks};
}

PackedQConv unpack(const op::QConv2d& a) {
  Header h;
  std::memcpy(&h, a.packed, sizeof h);
  const auto ints = [&](int64_t offset) { return reinterpret_cast<const int32_t*>(a.packed + offset); };
  return {ints(h.row), ints(h.col),   ints(h.bias), reinterpret_cast<const int8_t*>(a.packed + h.w),
          h.bias_rows, h.bias_stride, h.blocks,     h.w_block};
}

}  // namespace mininn::cpu::own
