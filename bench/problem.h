// What bench_kernels computes: the layers of a network, and each op's operands on a layer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/kernel.h"
#include "core/members.h"
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

// The same with operands on a device.
template <class Args>
Problem<Args> on(Device d, const Problem<Args>& host) {
  Problem<Args> p{host.args, host.out.to(d), {}};
  for (const Tensor& t : host.keep) p.keep.push_back(t.to(d));
  for_each_member(p.args, [&]<class M>(M& member) {
    if constexpr (std::is_same_v<M, View>) member.data = p.out.mutable_view().data;
    if constexpr (std::is_same_v<M, CView>)
      for (size_t i = 0; i < p.keep.size(); ++i)
        if (member && member.data == host.keep[i].view().data) member.data = p.keep[i].view().data;
  });
  return p;
}

// From fixed seeds. The table says which op. Floats are uniform in [-1, 1). Codes are those behind a ReLU (zero point
// 0), with multipliers that spread the results over all output codes.
Problem<op::Conv2dFwd> make_problem(const KernelTable<op::Conv2dFwd>&, const Conv2dGeometry& g, DType t);
Problem<op::Conv2dBwdData> make_problem(const KernelTable<op::Conv2dBwdData>&, const Conv2dGeometry& g, DType t);
Problem<op::Conv2dBwdWeights> make_problem(const KernelTable<op::Conv2dBwdWeights>&, const Conv2dGeometry& g, DType t);
Problem<op::QConv2d> make_problem(const KernelTable<op::QConv2d>&, const Conv2dGeometry& g, DType t);

}  // namespace mininn::bench
