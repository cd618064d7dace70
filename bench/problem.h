// What bench_kernels computes: the layers of a network, and each op's operands on a layer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/kernel.h"
#include "core/tensor.h"
#include "ops/conv2d.h"
#include "ops/qconv2d.h"

namespace mininn::bench {

struct Layer {
  std::string name;
  Conv2dGeometry g;
  int64_t times = 1;  // how often the network has it
};

// A line for each distinct layer: name ic ih iw oc kh kw stride pad groups times. Throws FileError.
std::vector<Layer> read_shapes(const std::string& path, int64_t batch);

// One op on one layer: its arguments, and the tensors that they point into.
template <class Args>
struct Problem {
  Args args;
  Tensor out;
  std::vector<Tensor> keep;
};

// From fixed seeds. The table says which op. Floats are uniform in [-1, 1). Codes are those behind a ReLU (zero point
// 0), with multipliers that spread the results over all output codes.
Problem<op::Conv2dFwd> make_problem(const KernelTable<op::Conv2dFwd>&, const Conv2dGeometry& g, DType t);
Problem<op::Conv2dBwdData> make_problem(const KernelTable<op::Conv2dBwdData>&, const Conv2dGeometry& g, DType t);
Problem<op::Conv2dBwdWeights> make_problem(const KernelTable<op::Conv2dBwdWeights>&, const Conv2dGeometry& g, DType t);
Problem<op::QConv2d> make_problem(const KernelTable<op::QConv2d>&, const Conv2dGeometry& g, DType t);

}  // namespace mininn::bench
