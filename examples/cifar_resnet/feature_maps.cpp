#include "examples/cifar_resnet/feature_maps.h"

#include <algorithm>
#include <span>

#include "core/error.h"
#include "examples/cifar_resnet/base64.h"
#include "examples/cifar_resnet/json_fields.h"

namespace cifar_resnet {

using mininn::message;
using mininn::Tensor;
using mininn::ValueError;
using nlohmann::json;

namespace {

constexpr int64_t kMostChannels = 16;  // of a layer, that are shown
constexpr int64_t kMostSide = 1024;

}  // namespace

std::string layer_name(size_t i) { return i == 0 ? "stem" : message("layer", i); }

std::vector<std::vector<uint8_t>> channel_bytes(const Tensor& maps, int64_t most) {
  const std::vector<double> values = maps.to_vector();  // row-major: one plane after the other
  const auto plane = size_t(maps.size(2) * maps.size(3));
  std::vector<std::vector<uint8_t>> channels(size_t(std::min(maps.size(1), most)), std::vector<uint8_t>(plane));
  for (size_t c = 0; c < channels.size(); ++c) {
    const auto map = std::span(values).subspan(c * plane, plane);
    const auto [least, largest] = std::minmax_element(map.begin(), map.end());
    for (size_t i = 0; i < plane && *least < *largest; ++i) {
      const double byte = 255 * (map[i] - *least) / (*largest - *least) + 0.5;
      if (byte >= 0 && byte < 256) channels[c][i] = uint8_t(byte);
    }
  }
  return channels;
}

ImageFeatures image_features(const Tensor& image, const std::string& caption, const std::vector<Tensor>& maps) {
  const auto pixels = image.data<uint8_t>();
  ImageFeatures f{.pixels = {pixels.begin(), pixels.end()}, .caption = caption, .layers = {}};
  for (const Tensor& map : maps)
    f.layers.push_back({.name = layer_name(f.layers.size()),
                        .height = map.size(2),
                        .width = map.size(3),
                        .all = map.size(1),
                        .channels = channel_bytes(map, kMostChannels)});
  return f;
}

json to_json(const ImageFeatures& f) {
  json layers = json::array();
  for (const FeatureMaps& l : f.layers) {
    json channels = json::array();
    for (const auto& c : l.channels) channels.push_back(base64(c));
    layers.push_back(
        {{"name", l.name}, {"height", l.height}, {"width", l.width}, {"all", l.all}, {"channels", channels}});
  }
  return {{"pixels", base64(f.pixels)}, {"caption", f.caption}, {"layers", layers}};
}

ImageFeatures image_features(const json& log) {
  ImageFeatures f{.pixels = bytes_at(log, "pixels", 3 * 32 * 32), .caption = text_at(log, "caption"), .layers = {}};
  for (const json& l : array_at(log, "layers")) {
    FeatureMaps maps{.name = text_at(l, "name"),
                     .height = integer_at(l, "height", 1, kMostSide),
                     .width = integer_at(l, "width", 1, kMostSide),
                     .all = integer_at(l, "all", 1, kMostSide * kMostSide),
                     .channels = {}};
    for (const std::string& channel : texts_at(l, "channels")) {
      auto bytes = from_base64(channel);
      if (!bytes || int64_t(bytes->size()) != maps.height * maps.width ||
          int64_t(maps.channels.size()) == kMostChannels)
        throw ValueError(message("'channels' are not at most ", kMostChannels, " maps of ", maps.height, " x ",
                                 maps.width, " bytes in base64"));
      maps.channels.push_back(*std::move(bytes));
    }
    f.layers.push_back(std::move(maps));
  }
  return f;
}

}  // namespace cifar_resnet
