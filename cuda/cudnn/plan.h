// Convolutions as cuDNN plans them: it is told a graph of operations, and advises engines that run it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/kernel.h"
#include "ops/conv2d.h"

namespace mininn::cuda::cudnn {

enum class Pass : int64_t { forward, data, weights };  // op::Conv2dFwd, Conv2dBwdData, Conv2dBwdWeights

// All that a plan depends on but the device. x and y are channels-last, and so is w: [oc, kh, kw, ic / groups].
struct Problem {
  Conv2dGeometry g;
  Pass pass;
  int64_t dtype;                 // of x, w, y and residual: f32 or bf16
  int64_t bias_dtype, residual;  // forward only: y = conv(x, w) + bias + residual. -1 and 0: there is none
};

// A plan's operands, at multiples of 16 bytes. Which of x, w and y it writes is a matter of its pass.
struct Operands {
  const void *x, *w, *y, *bias = nullptr, *residual = nullptr;
};

inline constexpr int64_t kWorkspace = 64 << 20;  // the most that a plan may need

// Of the plans that cuDNN advises the first that can be built, or why there is none. Sums are those of f32: no TF32, no
// Winograd or Fourier transforms, no partial sums in bf16, and an order that does not change from run to run.
class Plan {
 public:
  // For the current device, which is `device`.
  Plan(const Problem& p, int device);
  // For a device that need not be here, described by cuDNN's JSON. It cannot run.
  Plan(const Problem& p, const std::string& properties);

  Refusal refusal() const { return {why_.empty() ? nullptr : why_.c_str()}; }
  std::string engine() const;  // with its settings, as cuDNN writes them
  int64_t workspace() const;   // bytes
  void run(const Operands& o, const ExecContext& at) const;

 private:
  struct Graph;
  std::shared_ptr<Graph> graph_;
  std::string why_;
};

// The version of the library, as 91900 is 9.19. 0: it cannot be called.
int64_t version();

}  // namespace mininn::cuda::cudnn
