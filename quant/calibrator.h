// Post-training quantization: watches a float network on a few hundred inputs and compiles its int8 form.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/image_normalization.h"
#include "nn/graph/graph.h"
#include "quant/grid/observer.h"
#include "quant/int8_net.h"

namespace mininn::quant {

struct CalibratorOptions {
  ObserverOptions activations = histogram_mse();
  bool per_channel = true;       // one weight scale per output channel, else one per tensor
  bool equalize = false;         // quant/weights/equalize.h
  bool bias_correction = false;  // quant/weights/bias_correction.h
  // How the network's inputs are made from image bytes. Folded into the first layer, without any rounding of the input:
  // the int8 net then takes raw u8 images.
  std::optional<ImageNormalization> input = {};
  std::map<std::string, std::string> notes = {};  // UTF-8; kept in the file: where the calibration data came from
};

//   quant::Calibrator calib(nn::trace(model, example), {.activations = quant::histogram_mse()});
//   for (const auto& [x, y] : batches) calib.observe(x);
//   const quant::Int8Net net = calib.compile();
//
// Calibration inputs are kept (512 CIFAR images are 6 MB) and replayed in compile(): twice for the ranges, once for the
// error report, and once to correct biases, twice. The result does not depend on how they were batched, on their
// order, or on the number of threads.
class Calibrator {
 public:
  // Optimizes the traced graph (nn::graph::optimize), and equalizes it if wanted. Copies its constants: what is written
  // to the caller's tensors later changes nothing here. Throws what lower() throws (quant/lower.h), ValueError
  // for an option out of range, notes that are no UTF-8 text and sizes beyond the limits (docs/int8.md).
  explicit Calibrator(nn::graph::Graph graph, CalibratorOptions options = {});

  // f32 as the float network takes it; with `input` given also raw u8 images, and f32 only if it stands for such (see
  // denormalize_images). Throws ShapeError, DTypeError, ValueError.
  void observe(const Tensor& x);
  int64_t images() const { return images_; }

  // Throws ValueError without any data, and if a value is NaN or infinite on the way (naming it). In this thread the
  // library's own kernels are preferred while it calibrates: how a vendor's float kernels round depends on their
  // version. A value between float ops alone may be what it likes.
  Int8Net compile(Int8NetOptions options = {}) const;

  // The float network, as optimized; its constants are frozen copies.
  const nn::graph::Graph& graph() const { return graph_; }

 private:
  template <class Fn>
  void replay(int64_t images, const Fn& fn) const;
  Tensor counted(int id, const Tensor& v, int64_t images) const;
  std::vector<Range> ranges() const;
  Tensor int8_input(const Tensor& x) const;  // a float input as the int8 network takes it
  Int8Model quantized() const;
  void measure(Int8Model& model, const std::vector<int>& source) const;

  nn::graph::Graph graph_;
  CalibratorOptions options_;
  std::vector<bool> observed_;  // values whose range counts
  std::vector<int64_t> rows_;   // of each value per image; 0 where they do not depend on the images
  std::vector<Tensor> inputs_;  // contiguous f32
  int64_t images_ = 0;
};

// The float network's input for raw u8 images [N,C,H,W]. Both throw ValueError for a
// normalisation without means and positive deviations, ShapeError for images of other channels.
Tensor normalize_images(const Tensor& bytes, const ImageNormalization& n);
// The way back, exactly. Throws ValueError unless every number stands for a byte (within a hundredth of one).
Tensor denormalize_images(const Tensor& x, const ImageNormalization& n);

}  // namespace mininn::quant
