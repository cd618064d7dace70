#include "bench/problem.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "core/random.h"
#include "ops/cast.h"
#include "ops/qlayout.h"

namespace mininn::bench {
namespace {

constexpr uint64_t kMostOfShapes = 1 << 20;  // bytes

Shape x_shape(const Conv2dGeometry& g) { return {g.n, g.ic, g.ih, g.iw}; }
Shape y_shape(const Conv2dGeometry& g) { return {g.n, g.oc, g.oh, g.ow}; }
Shape w_shape(const Conv2dGeometry& g) { return {g.oc, g.icg(), g.kh, g.kw}; }

// Uniform in [-1, 1), from a fixed seed.
Tensor random_tensor(const Shape& shape, DType dtype, MemoryFormat format) {
  Tensor t = Tensor::empty(shape, DType::f32, Device::cpu(), format);
  Generator g(1);
  for (float& v : t.mutable_data<float>()) v = float(g.next_u32()) * 0x1p-31f - 1.0f;
  return dtype == DType::f32 ? t : cast(t, dtype);
}
Tensor random_image(const Shape& s, DType t) { return random_tensor(s, t, MemoryFormat::channels_last); }
Tensor random_weights(const Shape& s) { return random_tensor(s, DType::f32, MemoryFormat::contiguous); }

// Weights as a quantizer leaves trained ones: bell-shaped, the largest of each output channel 127. Uniform codes would
// be twice as large on average, and a kernel that is exact only for bounded sums of |w| would refuse layers here that
// it takes in every real network.
Tensor random_codes_of_weights(const Conv2dGeometry& g, Generator& random) {
  Tensor w = Tensor::empty(w_shape(g), DType::i8);
  const auto codes = w.mutable_data<int8_t>();
  const size_t taps = codes.size() / size_t(g.oc);
  std::vector<double> channel(taps);
  for (size_t begin = 0; begin < codes.size(); begin += taps) {
    double largest = 0;
    for (double& v : channel) largest = std::max(largest, std::abs(v = random.normal()));
    for (size_t i = 0; i < taps; ++i) codes[begin + i] = int8_t(std::lround(channel[i] * 127 / largest));
  }
  return w;
}

}  // namespace

std::vector<Layer> read_shapes(const std::string& path, int64_t batch) {
  const File file = open_regular_file(path);
  if (file_size(file.get()) > kMostOfShapes)
    throw FileError(message(path, ": is larger than ", kMostOfShapes, " bytes"));
  std::istringstream in(read_all(file.get()));
  std::vector<Layer> layers;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    Layer l;
    int64_t ic, ih, iw, oc, kh, kw, stride, pad, groups;
    if (!(fields >> l.name >> ic >> ih >> iw >> oc >> kh >> kw >> stride >> pad >> groups >> l.times) || groups < 1)
      throw FileError(message(path, ":", number, ": a layer is: name ic ih iw oc kh kw stride pad groups times"));
    try {
      l.g = Conv2dGeometry::make(l.name.c_str(), {batch, ic, ih, iw}, {oc, ic / groups, kh, kw},
                                 {.stride = stride, .padding = pad, .groups = groups});
      for (const Shape& s : {x_shape(l.g), y_shape(l.g), w_shape(l.g)}) numel(s);  // may overflow
    } catch (const Error& e) {
      throw FileError(message(path, ":", number, ": ", e.what()));
    }
    layers.push_back(l);
  }
  if (layers.empty()) throw FileError(message(path, ": has no layers"));
  return layers;
}

Problem<op::Conv2dFwd> make_problem(const KernelTable<op::Conv2dFwd>&, const Conv2dGeometry& g, DType t) {
  const Tensor x = random_image(x_shape(g), t), w = random_weights(w_shape(g));
  Tensor y = random_image(y_shape(g), t);
  return {{.g = g, .x = x.view(), .w = w.view(), .bias = {}, .residual = {}, .relu = false, .y = y.mutable_view()},
          y,
          {x, w}};
}
Problem<op::Conv2dBwdData> make_problem(const KernelTable<op::Conv2dBwdData>&, const Conv2dGeometry& g, DType t) {
  const Tensor gy = random_image(y_shape(g), t), w = random_weights(w_shape(g));
  Tensor gx = random_image(x_shape(g), t);
  return {{g, gy.view(), w.view(), gx.mutable_view()}, gx, {gy, w}};
}
Problem<op::Conv2dBwdWeights> make_problem(const KernelTable<op::Conv2dBwdWeights>&, const Conv2dGeometry& g, DType t) {
  const Tensor x = random_image(x_shape(g), t), gy = random_image(y_shape(g), t);
  Tensor gw = random_weights(w_shape(g));
  return {{g, x.view(), gy.view(), gw.mutable_view()}, gw, {x, gy}};
}

Problem<op::QConv2d> make_problem(const KernelTable<op::QConv2d>&, const Conv2dGeometry& g, DType) {
  Generator random(1);
  const QParams grid{1, 0};
  Tensor x = empty_codes(x_shape(g)).with_qparams(grid);
  std::byte* const bytes = x.mutable_view().data;
  for (size_t i = 0; i < x.storage()->bytes(); ++i) bytes[i] = std::byte(random.below(256));
  const Tensor w = random_codes_of_weights(g, random);
  const Tensor bias = Tensor::zeros({1, g.oc}, DType::i32);
  Tensor multiplier = Tensor::empty({g.oc});
  const auto codes = w.data<int8_t>();
  const size_t taps = codes.size() / size_t(g.oc);
  for (size_t o = 0; o < size_t(g.oc); ++o) {
    double squares = 0;
    for (const int8_t v : codes.subspan(o * taps, taps)) squares += double(v) * v;
    const double spread = 148 * std::sqrt(squares);  // standard deviation of a sum; 148 is the codes' root mean square
    multiplier.mutable_data<float>()[o] = float(100 / spread);
  }
  Tensor y = empty_codes(y_shape(g)).with_qparams(grid);
  op::QConv2d a;
  a.g = g;
  a.x = x.view();
  a.w = w.view();
  a.bias = bias.view();
  a.multiplier = multiplier.view();
  a.y = y.mutable_view();
  return {a, y, {x, w, bias, multiplier}};
}

}  // namespace mininn::bench
