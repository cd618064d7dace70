// The kernels on AMX with loops for their tile instructions, so that their walks, their packing and their epilogues are
// tested on every processor with AVX-512 (and its BF16, for those of bf16).
#pragma once

#include "ops/conv2d.h"
#include "ops/qconv2d.h"

namespace mininn::testing {

// Of op::QConv2d, op::Conv2dFwd, op::Conv2dBwdData and op::Conv2dBwdWeights. Refuses the calls that the real one takes
// here.
template <class Args>
Kernel<Args> emulated_amx();
template <>
Kernel<op::QConv2d> emulated_amx();
template <>
Kernel<op::Conv2dFwd> emulated_amx();
template <>
Kernel<op::Conv2dBwdData> emulated_amx();
template <>
Kernel<op::Conv2dBwdWeights> emulated_amx();

}  // namespace mininn::testing
