#include "bench/onednn_fused.h"

#ifdef MININN_HAVE_ONEDNN

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "core/parallel.h"

namespace mininn::bench {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

class Convolution final : public OneDnnFused {
 public:
  explicit Convolution(const op::QConv2d& a) : stream_(engine_), g_(a.g) {
    const OpenMpThreads pool(num_threads());
    const Conv2dGeometry& g = a.g;
    const bool grouped = g.groups > 1;
    const memory::dims x_dims{g.n, g.ic, g.ih, g.iw}, y_dims{g.n, g.oc, g.oh, g.ow};
    const memory::dims w_dims =
        grouped ? memory::dims{g.groups, g.ocg(), g.icg(), g.kh, g.kw} : memory::dims{g.oc, g.ic, g.kh, g.kw};
    dnnl::primitive_attr attr;
    attr.set_scales_mask(DNNL_ARG_WEIGHTS, grouped ? 3 : 1);
    const memory::dims padding{g.pad_h, g.pad_w};
    const dnnl::convolution_forward::primitive_desc desc(
        engine_, dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, {x_dims, Type::u8, Tag::any},
        {w_dims, Type::s8, Tag::any}, {{g.oc}, Type::f32, Tag::x}, {y_dims, Type::u8, Tag::any},
        {g.stride_h, g.stride_w}, {g.dil_h - 1, g.dil_w - 1}, padding, padding, attr);
    reference_ = std::string_view(desc.impl_info_str()).starts_with("ref");

    const memory::dims x_strides{a.x.strides[0], a.x.strides[1], a.x.strides[2], a.x.strides[3]};
    memory x({x_dims, Type::u8, x_strides}, engine_, const_cast<std::byte*>(a.x.data));
    memory w({w_dims, Type::s8, grouped ? Tag::goihw : Tag::oihw}, engine_, const_cast<std::byte*>(a.w.data));
    memory scales({{g.oc}, Type::f32, Tag::x}, engine_), bias({{g.oc}, Type::f32, Tag::x}, engine_);
    for (int64_t o = 0; o < g.oc; ++o) {
      const float multiplier = a.multiplier.as<float>()[o];
      static_cast<float*>(scales.get_data_handle())[o] = multiplier;
      static_cast<float*>(bias.get_data_handle())[o] = multiplier * float(a.bias.as<int32_t>()[o]);
    }
    y_ = memory(desc.dst_desc(), engine_);
    arguments_ = {{DNNL_ARG_SRC, reordered(x, desc.src_desc())},
                  {DNNL_ARG_WEIGHTS, reordered(w, desc.weights_desc())},
                  {DNNL_ARG_BIAS, bias},
                  {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, scales},
                  {DNNL_ARG_DST, y_}};
    convolution_ = dnnl::convolution_forward(desc);
  }

  bool reference() const { return reference_; }

  void run() override {
    const OpenMpThreads pool(num_threads());
    convolution_.execute(stream_, arguments_);
    stream_.wait();
  }

  int largest_difference(const View& y) override {
    const memory plain = reordered(y_, {{g_.n, g_.oc, g_.oh, g_.ow}, Type::u8, Tag::nhwc});
    const auto* codes = static_cast<const uint8_t*>(plain.get_data_handle());
    int difference = 0;
    for (int64_t pixel = 0; pixel < g_.n * g_.oh * g_.ow; ++pixel)
      for (int64_t o = 0; o < g_.oc; ++o)
        difference =
            std::max(difference, std::abs(int{y.as<uint8_t>()[pixel * y.strides[3] + o]} - codes[pixel * g_.oc + o]));
    return difference;
  }

 private:
  memory reordered(memory from, const memory::desc& wanted) {
    memory to(wanted, engine_);
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
    return to;
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_;
  Conv2dGeometry g_;
  bool reference_ = false;
  memory y_;
  std::unordered_map<int, memory> arguments_;
  dnnl::primitive convolution_;
};

}  // namespace

std::unique_ptr<OneDnnFused> OneDnnFused::make(const op::QConv2d& a) {
  try {
    auto convolution = std::make_unique<Convolution>(a);
    if (convolution->reference()) return nullptr;
    return convolution;
  } catch (const dnnl::error& e) {
    if (e.status == dnnl_unimplemented) return nullptr;
    throw Error(message("oneDNN: ", e.message, " (status ", int(e.status), ")"));
  }
}

}  // namespace mininn::bench

#else

std::unique_ptr<mininn::bench::OneDnnFused> mininn::bench::OneDnnFused::make(const op::QConv2d&) { return nullptr; }

#endif
