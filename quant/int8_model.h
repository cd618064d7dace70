// An int8 network as plain data: what the quantizer makes, what a file holds, what Int8Net runs.
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/image_normalization.h"
#include "core/qparams.h"
#include "core/tensor.h"
#include "ops/conv2d.h"
#include "ops/qpool.h"

namespace mininn::quant {

// What flows between two steps, for one image.
struct Int8Value {
  enum class Kind {
    codes,  // u8 [N,C,H,W], pixel-strided (ops/qlayout.h)
    sums,   // i32 [N,C]: codes of a map added up (QGlobalSum); `q` is that of the codes
    real    // f32 [N,C,H,W], channels-last: what the last layers make, and what follows up to the network's result
  };
  std::string name;
  Kind kind = Kind::codes;
  int64_t c = 0, h = 1, w = 1;
  QParams q = {};

  Shape shape(int64_t n) const { return {n, c, h, w}; }
};

// Inputs x, or x and the residual. Also a linear layer: its kernel then covers the whole map.
struct Int8Conv {
  Conv2dParams options;
  Tensor weight;             // s8 [O, C/groups, kh, kw], -127..127
  Tensor weight_scale;       // f32 [O]
  Tensor bias;               // i32 [classes, O] in units of x's scale times weight_scale; see border_classes()
  int32_t lo = 0, hi = 255;  // clamp of the output's codes: the activation function
};
struct Int8Linear {     // sums -> real
  Tensor weight;        // s8 [O,K]
  Tensor weight_scale;  // f32 [O]
  Tensor bias;          // i32 [O], with -x_zero * sum of weights in it
};
// Pooling and addition turn codes into codes, or codes and real numbers into real numbers.
struct Int8MaxPool {
  QPoolWindow window;
};
struct Int8AvgPool {
  QPoolWindow window;
  bool count_include_pad = true;
};
struct Int8GlobalSum {};
struct Int8Lut {
  Tensor table;  // u8 [256]
};
struct Int8Add {  // inputs a, b
  int32_t lo = 0, hi = 255;
};

struct Int8Mul {  // inputs a, and b of the same shape or with one pixel for each map; codes alone
  int32_t lo = 0, hi = 255;
};
struct Int8Cat {};  // any number of inputs, along their channels; codes alone

struct RealUnary {  // codes or real -> real
  std::string op;   // of ops/functors.h: a unary op, or one with a number
  double value = 0;
};

struct Int8Step {
  std::string name;         // the graph node's, unique
  std::string op;           // for people: "conv2d+add+relu"
  std::vector<int> inputs;  // positions in Int8Model::values
  int output = 0;
  std::variant<Int8Conv, Int8Linear, Int8MaxPool, Int8AvgPool, Int8GlobalSum, Int8Lut, Int8Add, Int8Mul, Int8Cat,
               RealUnary>
      body;

  // Signal to noise against the float network in dB, measured by the calibrator and not kept in files; NaN if unknown.
  // Local: with this step's inputs taken from the float network; total: with those of the int8 network.
  double sqnr_local = std::numeric_limits<double>::quiet_NaN();
  double sqnr_total = std::numeric_limits<double>::quiet_NaN();

  int64_t weight_count() const;  // 0 for steps without weights
};

struct Int8Model {
  std::vector<Int8Value> values;  // the first one is the network's input
  std::vector<Int8Step> steps;    // in order of execution
  int output = 0;                 // codes (then the net dequantizes them) or real
  bool flat_input = false;        // x is [N,C], not [N,C,H,W]
  bool flat_output = false;
  std::optional<ImageNormalization> normalization;  // folded into the weights: the input is raw bytes
  int64_t graph_macs = 0;                           // per image, of the float graph's convolutions and linear layers
  std::map<std::string, std::string> calibration;   // how the scales came about

  // Makes all weights, scales, biases and tables frozen copies (Tensor::frozen).
  void freeze();

  // Throws ValueError or ShapeError naming the step or value unless everything fits together: references, shapes,
  // dtypes, ranges, sums within 32 bits, and names and notes are UTF-8 text. Nothing else in this folder trusts a model
  // before this. The limits on sizes and work are in docs/int8.md.
  void validate() const;
};

// Geometry of a convolution step for a batch of n. Throws ShapeError.
Conv2dGeometry geometry(const Int8Model& m, const Int8Step& s, const Int8Conv& c, int64_t n);
// Multiply-accumulates per image.
int64_t macs(const Int8Model& m, const Int8Step& s);

}  // namespace mininn::quant
