// What the layers of a network make of an image, and feature_maps.json, which says so of a trained one.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "examples/cifar_resnet/figures.h"

namespace cifar_resnet {

inline constexpr const char* kFeatureMapsFile = "feature_maps.json";

// The name of the i-th of a network's maps.
std::string layer_name(size_t i);

// What pictures show of the first channels, at most `most`, of maps [1,C,H,W]: a byte per value, from the channel's
// least to its largest one. What is no number becomes 0.
std::vector<std::vector<uint8_t>> channel_bytes(const mininn::Tensor& maps, int64_t most);

struct ImageFeatures {
  std::vector<uint8_t> pixels;  // 3 planes (R, G, B) of 32 x 32
  std::string caption;
  std::vector<FeatureMaps> layers;
};

// Of a network's maps [1,C,H,W] for an image u8 [1,3,32,32]: a stem's, and those of the stages.
ImageFeatures image_features(const mininn::Tensor& image, const std::string& caption,
                             const std::vector<mininn::Tensor>& maps);

nlohmann::json to_json(const ImageFeatures& f);
// Throws ValueError naming the field that makes no sense.
ImageFeatures image_features(const nlohmann::json& log);

}  // namespace cifar_resnet
