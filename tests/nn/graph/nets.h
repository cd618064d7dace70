// Small networks made of plain op calls, for tests of tracing and quantization.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "ops/batch_norm.h"
#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/pool2d.h"

namespace mininn::testing {

// Makes named parameters; a layer's function holds them, so that calling it twice uses the same ones.
class Layers {
 public:
  using Fn = std::function<Tensor(const Tensor&)>;

  explicit Layers(uint64_t seed, DType dtype = DType::f32) : g_(seed), dtype_(dtype) {}

  Tensor normal(const std::string& name, const Shape& shape, double mean, double deviation) {
    std::vector<double> v(size_t(numel(shape)));
    for (double& x : v) x = mean + deviation * g_.normal();
    return tensor(name, shape, v);
  }
  Tensor uniform(const std::string& name, const Shape& shape, double low, double high) {
    std::vector<double> v(size_t(numel(shape)));
    for (double& x : v) x = low + (high - low) * g_.uniform();
    return tensor(name, shape, v);
  }
  Tensor input(const Shape& shape) { return normal("", shape, 0, 1); }

  Fn conv(const std::string& name, int64_t in, int64_t out, int64_t k, Conv2dParams o = {}, bool bias = true) {
    const int64_t fan_in = in / o.groups * k * k;
    const Tensor w = normal(name + ".weight", {out, in / o.groups, k, k}, 0, std::sqrt(2.0 / double(fan_in)));
    const Tensor b = bias ? normal(name + ".bias", {out}, 0, 0.2) : Tensor();
    return [=](const Tensor& x) { return conv2d(x, w, b, o); };
  }
  Fn linear(const std::string& name, int64_t in, int64_t out, bool bias = true) {
    const Tensor w = normal(name + ".weight", {out, in}, 0, std::sqrt(1.0 / double(in)));
    const Tensor b = bias ? normal(name + ".bias", {out}, 0, 0.2) : Tensor();
    return [=](const Tensor& x) { return mininn::linear(x, w, b); };
  }
  Fn batch_norm(const std::string& name, int64_t channels, bool training = false) {
    const Tensor gamma = uniform(name + ".weight", {channels}, 0.5, 1.5);
    const Tensor beta = normal(name + ".bias", {channels}, 0, 0.3);
    const Tensor mean = normal(name + ".running_mean", {channels}, 0, 0.3);
    const Tensor var = uniform(name + ".running_var", {channels}, 0.5, 2);
    return [=](const Tensor& x) {
      Tensor m = mean, v = var;
      return mininn::batch_norm(x, gamma, beta, m, v, {.training = training});
    };
  }

 private:
  Tensor tensor(const std::string& name, const Shape& shape, const std::vector<double>& v) {
    Tensor t = Tensor::empty(shape, dtype_);
    t.copy_from(Tensor::from(v, shape));
    return t.set_name(name);
  }

  Generator g_;
  DType dtype_;
};

struct TestNet {
  std::string name;
  Shape input;  // with batch size 2
  Layers::Fn fn;
};

// Two linear layers on flat inputs.
inline TestNet mlp(uint64_t seed, DType dtype = DType::f32) {
  Layers l(seed, dtype);
  const auto fc1 = l.linear("fc1", 20, 33), bn = l.batch_norm("bn1", 33), fc2 = l.linear("fc2", 33, 7);
  return {"mlp", {2, 20}, [=](const Tensor& x) { return fc2(relu(bn(fc1(x)))); }};
}

// Convolutions, max pooling, a linear layer on a flattened map.
inline TestNet vgg(uint64_t seed, DType dtype = DType::f32) {
  Layers l(seed, dtype);
  const auto c1 = l.conv("features.0", 3, 9, 3, {.padding = 1}, false), b1 = l.batch_norm("features.1", 9);
  const auto c2 = l.conv("features.3", 9, 12, 3, {.padding = 1}), fc1 = l.linear("classifier.0", 12 * 9, 16);
  const auto fc2 = l.linear("classifier.2", 16, 5);
  return {"vgg", {2, 3, 12, 12}, [=](const Tensor& x) {
            const Tensor y = max_pool2d(relu(b1(c1(x))), {.kernel = 2});
            return fc2(relu(fc1(flatten(max_pool2d(relu(c2(y)), {.kernel = 2})))));
          }};
}

// Depthwise-separable convolutions, relu6 and silu, average pooling, a reshape.
inline TestNet mobile(uint64_t seed, DType dtype = DType::f32) {
  Layers l(seed, dtype);
  const auto c1 = l.conv("stem", 3, 8, 3, {.stride = 2, .padding = 1});
  const auto dw = l.conv("dw", 8, 8, 3, {.padding = 1, .groups = 8}, false), bn = l.batch_norm("dw_bn", 8);
  const auto pw = l.conv("pw", 8, 13, 1), fc = l.linear("fc", 13 * 4, 6);
  return {"mobile", {2, 3, 16, 16}, [=](const Tensor& x) {
            const Tensor y = silu(pw(relu6(bn(dw(relu6(c1(x)))))));
            return fc(reshape(avg_pool2d(y, {.kernel = 4}), {x.size(0), 13 * 4}));
          }};
}

// A stem, an identity block, a projection block with stride 2, global average, linear: ResNet in small.
inline TestNet residual(uint64_t seed, DType dtype = DType::f32) {
  Layers l(seed, dtype);
  const auto conv_bn = [&l](const std::string& conv, const std::string& bn, int64_t in, int64_t out, int64_t k,
                            int64_t stride) {
    const auto c = l.conv(conv, in, out, k, {.stride = stride, .padding = k / 2}, false), b = l.batch_norm(bn, out);
    return Layers::Fn([=](const Tensor& x) { return b(c(x)); });
  };
  const auto stem = conv_bn("conv1", "bn1", 3, 8, 3, 1);
  const auto a1 = conv_bn("layer1.0.conv1", "layer1.0.bn1", 8, 8, 3, 1);
  const auto a2 = conv_bn("layer1.0.conv2", "layer1.0.bn2", 8, 8, 3, 1);
  const auto b1 = conv_bn("layer2.0.conv1", "layer2.0.bn1", 8, 18, 3, 2);
  const auto b2 = conv_bn("layer2.0.conv2", "layer2.0.bn2", 18, 18, 3, 1);
  const auto down = conv_bn("layer2.0.downsample.0", "layer2.0.downsample.1", 8, 18, 1, 2);
  const auto fc = l.linear("fc", 18, 10);
  return {"residual", {2, 3, 9, 9}, [=](const Tensor& x) {
            Tensor y = relu(stem(x));
            y = relu(a2(relu(a1(y))) + y);
            const Tensor branch = b2(relu(b1(y)));
            y = relu(branch + down(y));
            return fc(flatten(global_avg_pool2d(y)));
          }};
}

// Squeeze-and-excite (Hu et al. 2018): a gate of its own for each map.
inline TestNet squeeze_excite(uint64_t seed, DType dtype = DType::f32) {
  Layers l(seed, dtype);
  const auto head = l.conv("head", 3, 5, 3, {.stride = 2, .padding = 1}), squeeze = l.conv("squeeze", 5, 2, 1);
  const auto excite = l.conv("excite", 2, 5, 1), fc = l.linear("fc", 5, 4);
  return {"squeeze_excite", {2, 3, 9, 8}, [=](const Tensor& x) {
            const Tensor y = relu(head(x)), gate = sigmoid(excite(relu(squeeze(global_avg_pool2d(y)))));
            return fc(flatten(global_avg_pool2d(relu(gate * y) + y)));
          }};
}

// Maps, and vectors, that are joined, and a product of two maps.
inline TestNet joined(uint64_t seed, DType dtype = DType::f32) {
  Layers l(seed, dtype);
  const auto head = l.conv("head", 3, 5, 3, {.stride = 2, .padding = 1}), mix = l.conv("mix", 13, 4, 1);
  const auto stem = l.conv("stem", 3, 3, 1), fc = l.linear("fc", 8, 3);
  return {"joined", {2, 3, 7, 8}, [=](const Tensor& x) {
            const Tensor y = head(x), m = max_pool2d(stem(x), {.kernel = 3, .stride = 2, .padding = 1});
            const Tensor z = mix(cat({relu(y), m, tanh(y)}, 1)), v = flatten(global_avg_pool2d(relu6(z * z)));
            return fc(cat({v, tanh(v)}, -1));
          }};
}

inline std::vector<TestNet> test_nets(uint64_t seed, DType dtype = DType::f32) {
  return {mlp(seed, dtype),   vgg(seed, dtype), mobile(seed, dtype), residual(seed, dtype), squeeze_excite(seed, dtype),
          joined(seed, dtype)};
}

inline Shape with_batch(Shape shape, int64_t n) {
  shape[0] = n;
  return shape;
}

// The largest |a - b|; infinite for different shapes.
inline double max_difference(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape()) return INFINITY;
  const auto x = a.to_vector(), y = b.to_vector();
  double top = 0;
  for (size_t i = 0; i < x.size(); ++i) top = std::max(top, std::abs(x[i] - y[i]));
  return top;
}

}  // namespace mininn::testing
