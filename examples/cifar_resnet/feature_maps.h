// feature_maps.json: what the layers of a trained network make of one image.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "examples/cifar_resnet/figures.h"

namespace cifar_resnet {

inline constexpr const char* kFeatureMapsFile = "feature_maps.json";

struct ImageFeatures {
  std::vector<uint8_t> pixels;  // 3 planes (R, G, B) of 32 x 32
  std::string caption;
  std::vector<FeatureMaps> layers;
};

// Of a network's maps [1,C,H,W] for an image u8 [1,3,32,32]: a stem's, and those of the stages.
ImageFeatures image_features(const mininn::Tensor& image, const std::string& caption,
                             const std::vector<mininn::Tensor>& maps);

// A channel is kept as a byte per value, from its least to its largest one: what pictures show of it.
nlohmann::json to_json(const ImageFeatures& f);
// Throws ValueError naming the field that makes no sense.
ImageFeatures image_features(const nlohmann::json& log);

}  // namespace cifar_resnet
