#include "quant/weights/layer_codes.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "ops/qconv2d.h"
#include "quant/weights/nearest.h"

namespace mininn::quant {
namespace {

constexpr double kMaxAccumulator = 2147483647;
constexpr double kLeastRoom = 1 << 24;  // for the bias: fewer units are too few

// What the codes of each output's weights add up to, signs left out, on the finest grid that holds them.
std::vector<double> code_sums(const std::vector<double>& w, const Shape& shape, bool per_channel) {
  const size_t outputs = size_t(shape[0]);
  const QWeights q = quantize_weights({}, w, shape, std::vector<double>(outputs), per_channel, nearest);
  const auto codes = q.codes.data<int8_t>();
  std::vector<double> sums(outputs);
  for (size_t i = 0; i < codes.size(); ++i) sums[i / (codes.size() / outputs)] += std::abs(int{codes[i]});
  return sums;
}

}  // namespace

LayerCodes quantize_layer(const std::string& name, std::vector<double> w, const Shape& shape,
                          const std::vector<double>& b, double x_scale, const Conv2dGeometry& g,
                          const ImageNormalization* image, bool per_channel, const Rounder& round) {
  const size_t oc = size_t(g.oc), taps = size_t(g.kh * g.kw), icg = size_t(g.icg());
  const auto channel = [&](size_t o, size_t c) { return o / size_t(g.ocg()) * icg + c; };  // that weight [o,c] reads
  std::vector<double> least(oc);  // what the bias may be, as a real number; below the least scale
  for (size_t o = 0; o < oc; ++o) {
    double& largest = least[o] = std::abs(b[o]);
    for (size_t c = 0; c < icg && image; ++c)
      for (size_t t = 0; t < taps; ++t) {
        double& v = w[(o * icg + c) * taps + t];
        v /= image->bytes_per_one(channel(o, c));
        largest += std::abs(v * image->zero_byte(channel(o, c)));
      }
  }
  const std::vector<double> sums = code_sums(w, shape, per_channel);
  for (size_t o = 0; o < oc; ++o) {
    const double room = kMaxAccumulator - 255 * sums[o];
    if (room < kLeastRoom) throw KernelError(message("the sums of output channel ", o, " can leave 32 bits"));
    least[o] /= x_scale * std::min(room, kMostBias);
  }
  const QWeights q = quantize_weights(name, w, shape, least, per_channel, round);
  LayerCodes out{q.codes, Tensor::from(std::vector<float>(q.scale.begin(), q.scale.end()), {g.oc}), {}};

  // y = sum over taps inside of w' (byte - zero byte) + b: what a tap on padding contributes is missing from the bias
  // of that pixel. With the rounded weights, so that rounding them shifts no mean.
  const BorderClasses border = image ? border_classes(g) : BorderClasses{{{}}, {{}}, {}, {}};
  out.bias = Tensor::empty({border.count(), g.oc}, DType::i32);
  const auto bias = out.bias.mutable_data<int32_t>();
  const auto codes = q.codes.data<int8_t>();
  size_t row = 0;
  for (const auto& rows : border.row_taps)
    for (const auto& cols : border.col_taps) {
      for (size_t o = 0; o < oc; ++o) {
        double units = b[o] / (x_scale * q.scale[o]);
        for (size_t c = 0; c < icg && image; ++c)
          for (size_t t = 0; t < taps; ++t)
            if (rows.contain(int64_t(t) / g.kw) && cols.contain(int64_t(t) % g.kw))
              units -= double(codes[(o * icg + c) * taps + t]) * image->zero_byte(channel(o, c));
        bias[row * oc + o] = int32_t(std::clamp(std::nearbyint(units), -kMaxAccumulator, kMaxAccumulator));
      }
      ++row;
    }
  return out;
}

}  // namespace mininn::quant
