// Int8 convolution: oneDNN's integer sums, then the epilogue of ops/qconv2d.h, so the bytes equal every other kernel's.
// oneDNN's own epilogue adds the bias in fp32 and would not.
//
// Packed: a Header, the weights in the layout that oneDNN chose for this shape, batch and number of threads, and the
// weights as they came, for calls with another number of threads. For another batch it may want another layout; then
// its weights are reordered on every call.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/onednn/engine.h"
#include "cpu_kernels/onednn/kernels.h"

namespace mininn::cpu::onednn {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;

struct Key {
  Conv2dGeometry g;
  int64_t x_zero, threads, packed_batch;  // the weights come in oneDNN's layout for such a batch; 0: as they are
};

struct Header {
  int64_t threads, batch, plain_offset;
};
constexpr size_t kHeaderBytes = 64;

memory::desc plain_weights(const Conv2dGeometry& g, Tag tag, Tag grouped_tag) {
  if (g.groups > 1) return dense({g.groups, g.ocg(), g.icg(), g.kh, g.kw}, DType::i8, grouped_tag);
  return dense({g.oc, g.ic, g.kh, g.kw}, DType::i8, tag);
}
memory::desc plain_weights(const Conv2dGeometry& g) { return plain_weights(g, Tag::oihw, Tag::goihw); }
memory::desc source(const Conv2dGeometry& g) { return dense({g.n, g.ic, g.ih, g.iw}, DType::u8, Tag::nhwc); }
memory::desc sums(const Conv2dGeometry& g) { return dense({g.n, g.oc, g.oh, g.ow}, DType::i32, Tag::nhwc); }

dnnl::convolution_forward::primitive_desc make_desc(const Key& k) {
  const Conv2dGeometry& g = k.g;
  dnnl::primitive_attr attr = attributes();
  if (k.x_zero) attr.set_zero_points_mask(DNNL_ARG_SRC, 0);
  const memory::dims padding{g.pad_h, g.pad_w};
  return {engine(),
          dnnl::prop_kind::forward_inference,
          dnnl::algorithm::convolution_direct,
          source(g),
          plain_weights(g, Tag::any, Tag::any),
          memory::desc(),
          sums(g),
          {g.stride_h, g.stride_w},
          {g.dil_h - 1, g.dil_w - 1},
          padding,
          padding,
          attr};
}

memory::desc packed_weights(Key k) {
  k.g.n = k.packed_batch;
  return make_desc(k).weights_desc();
}

Program make(const Key& k) {
  const auto desc = make_desc(k);
  const std::string_view implementation = desc.impl_info_str();
  const auto has = [&](const char* text) { return implementation.find(text) != std::string_view::npos; };
  // Without these instructions oneDNN adds pairs of products in 16 bits, which saturate.
  if (!has("vnni") && !has("amx")) return Program("oneDNN is exact only where it uses VNNI or AMX");
  // Other implementations pass their sums through fp32, which is exact up to 2^24.
  if (!implementation.starts_with("brg") && 255 * 128 * k.g.icg() * k.g.kh * k.g.kw > (1 << 24))
    return Program("oneDNN would round its sums");
  std::vector<Operand> operands{{DNNL_ARG_SRC, source(k.g)},
                                {DNNL_ARG_WEIGHTS, k.packed_batch ? packed_weights(k) : plain_weights(k.g)},
                                {DNNL_ARG_DST, sums(k.g), true}};
  if (k.x_zero) operands.push_back({DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC, dense({1}, DType::i32, Tag::a)});
  return {"qconv2d", desc, dnnl::convolution_forward(desc), operands};
}

Key key_of(const op::QConv2d& a, int64_t packed_batch) { return {a.g, a.x_zero, num_threads(), packed_batch}; }

Program& program(const Key& key) {
  thread_local PlanCache<Key, Program> cache;
  return cache.get(key, [&] { return program_or_refusal("qconv2d", key.threads, [&] { return make(key); }); });
}

Refusal check(const op::QConv2d& a) {
  const Conv2dGeometry& g = a.g;
  if (g.n * g.ic * g.ih * g.iw * g.oc * g.oh * g.ow == 0) return {"takes no empty tensors"};
  if (a.x.strides[3] != g.ic) return {"needs pixels without gaps: channels in multiples of 4"};
  return {};
}
Refusal admits(const op::QConv2d& a) { return program(key_of(a, a.g.n)).refusal(); }

Tensor pack(const op::QConv2d& a) {
  check_qconv2d_constants(a);
  const Key key = key_of(a, a.g.n);
  const OpenMpThreads pool{int(key.threads)};
  return checked("qconv2d pack", [&] {
    const memory::desc wanted = packed_weights(key), plain = plain_weights(a.g);
    const size_t plain_offset = kHeaderBytes + round_up(wanted.get_size(), 64);
    Tensor out = Tensor::empty({int64_t(plain_offset + plain.get_size())}, DType::u8);
    std::byte* const to = out.mutable_view().data;
    const Header header{key.threads, a.g.n, int64_t(plain_offset)};
    std::memcpy(to, &header, sizeof header);
    std::memcpy(to + plain_offset, a.w.data, plain.get_size());
    reorder(plain, to + plain_offset, wanted, to + kHeaderBytes);
    return out;
  });
}

// Adding and subtracting 1.5 * 2^23 leaves the nearest integer, ties to even, of anything smaller than 2^22. Unlike a
// call of lrintf the compiler can vectorise it.
float round_to_even(float t) { return (t + 12582912.0f) - 12582912.0f; }

// One output pixel.
struct Pixel {
  const int32_t* acc;
  const int32_t* bias;
  const uint8_t* residual;  // null: none
  std::byte* y;
};
void finish(const op::QConv2d& a, const Pixel& p) {
  constexpr int64_t kBlock = 64;
  const float* multiplier = a.multiplier.as<float>();
  const float lo = float(a.lo - a.y_zero), hi = float(a.hi - a.y_zero);
  for (int64_t o = 0; o < a.g.oc; o += kBlock) {
    const int64_t count = std::min(kBlock, a.g.oc - o);
    float t[kBlock];
    // Unsigned: what does not fit into 32 bits on the way wraps, and comes back.
    for (int64_t i = 0; i < count; ++i)
      t[i] = float(int32_t(uint32_t(p.acc[o + i]) + uint32_t(p.bias[o + i]))) * multiplier[o + i];
    if (p.residual)
      for (int64_t i = 0; i < count; ++i)
        t[i] = std::fmaf(float(int32_t{p.residual[o + i]} - a.residual_zero), a.residual_scale, t[i]);
    if (a.y.dtype == DType::f32) {
      std::memcpy(p.y + o * int64_t(sizeof(float)), t, size_t(count) * sizeof(float));
      continue;
    }
    for (int64_t i = 0; i < count; ++i) {
      float v = t[i] > lo ? t[i] : lo;
      v = v < hi ? v : hi;
      p.y[o + i] = std::byte(int32_t(round_to_even(v)) + a.y_zero);
    }
  }
}

void epilogue(const op::QConv2d& a, const int32_t* acc) {
  const Conv2dGeometry& g = a.g;
  const int64_t y_pixel = a.y.dtype == DType::f32 ? g.oc * int64_t(sizeof(float)) : a.y.strides[3];
  const auto *row_class = a.row_class.as<int32_t>(), *col_class = a.col_class.as<int32_t>();
  parallel_for(g.n * g.oh * g.ow, std::max<int64_t>(1, 16384 / g.oc), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t bias_row = row_class ? row_class[i / g.ow % g.oh] + col_class[i % g.ow] : 0;
      finish(a, {acc + i * g.oc, a.bias.as<int32_t>() + bias_row * g.oc,
                 a.residual ? a.residual.as<uint8_t>() + i * a.residual.strides[3] : nullptr, a.y.data + i * y_pixel});
    }
  });
}

void run(const op::QConv2d& a, const ExecContext&) {
  Header header;
  std::memcpy(&header, a.packed, sizeof header);
  const bool same_threads = header.threads == num_threads();
  const std::byte* w = a.packed + (same_threads ? int64_t{kHeaderBytes} : header.plain_offset);
  const Scratch acc(sums(a.g).get_size());
  Program& p = program(key_of(a, same_threads ? header.batch : 0));
  if (const Refusal r = p.refusal()) throw KernelError(message("onednn.s32: a batch of ", a.g.n, ": ", r.why));
  if (a.x_zero)
    p.run({a.x.data, w, acc.data(), &a.x_zero});
  else
    p.run({a.x.data, w, acc.data()});
  epilogue(a, reinterpret_cast<const int32_t*>(acc.data()));
}

}  // namespace

constexpr Traits kTraits{.family = Family::vendor, .packing_serves_any_batch = false};
const Kernel<op::QConv2d> qconv2d{"onednn.s32", kTraits, check, run, pack, admits};

}  // namespace mininn::cpu::onednn
