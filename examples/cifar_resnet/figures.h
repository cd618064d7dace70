// The pictures of a run, drawn with Cairo into PNG files. They take plain numbers and know nothing of networks.
//
// Where the build found no Cairo the functions below do not exist; call them inside `if constexpr (kHaveFigures)`.
// All throw mininn::FileError if the file cannot be written, mininn::ValueError if the numbers do not fit together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "examples/cifar_resnet/histogram.h"

namespace cifar_resnet {

#ifdef MININN_HAVE_CAIRO
inline constexpr bool kHaveFigures = true;
#else
inline constexpr bool kHaveFigures = false;
#endif

using Path = std::filesystem::path;

// confusion_matrix_*.png: counts[truth * n + prediction] for n = classes.size().
void draw_confusion_matrix(const Path& file, const std::string& title, std::span<const int64_t> counts,
                           std::span<const std::string> classes);

// training_history.png: loss, accuracy and learning rate over the epochs, and, as thin lines, inside of them. NaN where
// something was not measured.
struct EpochFigures {
  int64_t epoch = 0;  // from 1
  double train_loss = std::numeric_limits<double>::quiet_NaN(), test_loss = train_loss;
  double train_accuracy = train_loss, test_accuracy = train_loss;  // fractions of 1
  double lr = train_loss;
};
struct StepFigures {
  double epoch = 0;                       // how many were finished, with their fraction
  double loss = 0, accuracy = 0, lr = 0;  // of training
};
void draw_training_history(const Path& file, std::span<const EpochFigures> epochs,
                           std::span<const StepFigures> steps = {});

// misclassified_examples.png: at most 24 are shown.
struct Guess {
  int label = 0;  // class number
  double probability = 0;
};
struct Misclassified {
  std::vector<uint8_t> pixels;  // 3 planes (R, G, B) of 32 x 32
  int64_t index = 0;            // in the test set
  int truth = 0;
  std::vector<Guess> fp32, int8;  // the likeliest first

  bool disagree() const { return fp32.at(0).label != int8.at(0).label; }
};
void draw_misclassified(const Path& file, std::span<const Misclassified> examples,
                        std::span<const std::string> classes);

// layer_compression.png: a pair of bars per layer and the sum.
struct LayerBytes {
  std::string name;
  int64_t fp32_bytes = 0, int8_bytes = 0;
};
void draw_layer_compression(const Path& file, std::span<const LayerBytes> layers);

// quantization_effects.png: distributions before and after, and the error of every layer.
struct LayerError {
  std::string name;
  double sqnr_db = 0;  // signal to quantization noise, of the layer's output
};
void draw_quantization_effects(const Path& file, std::span<const BeforeAfter> weights,
                               std::span<const BeforeAfter> activations, std::span<const LayerError> errors);

// feature_maps.png: an input image and the activations of some layers for it, one row per layer (16 channels at most).
struct FeatureMaps {
  std::string name;  // of the layer
  int64_t height = 0, width = 0;
  int64_t all = 0;                             // channels that the layer has
  std::vector<std::vector<uint8_t>> channels;  // the first of them, height * width values each
};
void draw_feature_maps(const Path& file, std::span<const uint8_t> pixels, const std::string& caption,
                       std::span<const FeatureMaps> layers);

}  // namespace cifar_resnet
