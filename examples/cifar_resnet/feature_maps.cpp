#include "examples/cifar_resnet/feature_maps.h"

#include <algorithm>

#include "core/error.h"
#include "examples/cifar_resnet/base64.h"
#include "examples/cifar_resnet/json_fields.h"

namespace cifar_resnet {

using mininn::message;
using mininn::Tensor;
using mininn::ValueError;
using nlohmann::json;

namespace {

constexpr size_t kMostChannels = 16;  // of a layer, that are shown
constexpr int64_t kMostSide = 1024;

}  // namespace

std::string layer_name(size_t i) { return i == 0 ? "stem" : message("layer", i); }

std::vector<uint8_t> map_bytes(std::span<const double> map) {
  const auto [least, most] = std::minmax_element(map.begin(), map.end());
  std::vector<uint8_t> bytes(map.size());
  for (size_t i = 0; i < map.size() && *least < *most; ++i) {
    const double byte = 255 * (map[i] - *least) / (*most - *least) + 0.5;
    if (byte >= 0 && byte < 256) bytes[i] = uint8_t(byte);
  }
  return bytes;
}

ImageFeatures image_features(const Tensor& image, const std::string& caption, const std::vector<Tensor>& maps) {
  const auto pixels = image.data<uint8_t>();
  ImageFeatures f{.pixels = {pixels.begin(), pixels.end()}, .caption = caption, .layers = {}};
  for (const Tensor& map : maps) {
    FeatureMaps l{.name = layer_name(f.layers.size()),
                  .height = map.size(2),
                  .width = map.size(3),
                  .all = map.size(1),
                  .channels = {}};
    const std::vector<double> values = map.to_vector();  // row-major: one plane after the other
    const auto plane = l.height * l.width;
    for (int64_t c = 0; c < std::min(map.size(1), int64_t(kMostChannels)); ++c)
      l.channels.emplace_back(values.begin() + c * plane, values.begin() + (c + 1) * plane);
    f.layers.push_back(std::move(l));
  }
  return f;
}

json to_json(const ImageFeatures& f) {
  json layers = json::array();
  for (const FeatureMaps& l : f.layers) {
    json channels = json::array();
    for (const auto& c : l.channels) channels.push_back(base64(map_bytes(c)));
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
      const auto bytes = from_base64(channel);
      if (!bytes || int64_t(bytes->size()) != maps.height * maps.width || maps.channels.size() == kMostChannels)
        throw ValueError(message("'channels' are not at most ", kMostChannels, " maps of ", maps.height, " x ",
                                 maps.width, " bytes in base64"));
      maps.channels.emplace_back(bytes->begin(), bytes->end());
    }
    f.layers.push_back(std::move(maps));
  }
  return f;
}

}  // namespace cifar_resnet
