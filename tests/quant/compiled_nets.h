// The test networks of tests/nn/graph/nets.h, calibrated and compiled.
#pragma once

#include "nn/graph/trace.h"
#include "quant/calibrator.h"
#include "tests/nn/graph/nets.h"

namespace mininn::testing {

inline const ImageNormalization kImages{{0.49f, 0.48f, 0.45f}, {0.247f, 0.243f, 0.261f}};

// Random bytes shaped like the network's input, or with `n` images.
inline Tensor random_images(const Shape& shape, uint64_t seed) {
  Generator g(seed);
  Tensor x = Tensor::empty(shape, DType::u8);
  for (uint8_t& b : x.mutable_data<uint8_t>()) b = uint8_t(g.below(256));
  return x;
}

// What forward() of a net compiled from `net` takes: bytes with `images`, else normal numbers.
inline Tensor random_input(const TestNet& net, int64_t n, bool images, uint64_t seed) {
  const Shape shape = with_batch(net.input, n);
  return images ? random_images(shape, seed) : Layers(seed).input(shape);
}

inline quant::Calibrator calibrated(const TestNet& net, uint64_t seed, bool images, quant::CalibratorOptions o = {}) {
  if (images) o.input = kImages;
  quant::Calibrator calib(nn::trace(net.fn, Tensor::zeros(net.input)), o);
  calib.observe(random_input(net, 24, images, seed));
  return calib;
}

// The node of this name; fails the test if there is none.
inline nn::graph::Node& node(quant::Int8Model& m, std::string_view name) {
  for (nn::graph::Node& n : m.graph.nodes)
    if (n.name == name) return n;
  throw Error("there is no node " + std::string(name));
}
inline Tensor& constant(quant::Int8Model& m, std::string_view name) {
  for (nn::graph::Value& v : m.graph.values)
    if (v.constant && v.name == name) return v.constant;
  throw Error("there is no constant " + std::string(name));
}
inline AttrValue& attr(nn::graph::Node& n, std::string_view name) {
  for (Attr& a : n.attrs)
    if (a.name == name) return a.value;
  throw Error("there is no attribute " + std::string(name));
}

}  // namespace mininn::testing
