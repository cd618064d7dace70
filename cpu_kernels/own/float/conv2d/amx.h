// bf16 convolution on AMX tiles, in mixed precision: tdpbf16ps multiplies 16 rows of 32 bf16 by 32 x 16 and adds up in
// f32, at 16 times the rate of fp32's multiply-adds. Weights are f32 in memory and rounded to bf16.
//
// The weight gradient is a sum over images and output pixels. Its kernel adds up 32 images at a time, pixel by pixel:
// then whatever the stride and the map, no tap is multiplied that falls on padding. Sums are short chains, added up in
// a fixed order: the number of threads decides no bit.
#pragma once

#include <cstdint>

#include "ops/conv2d.h"

namespace mininn::cpu::own {

// The most products that are added up in one chain of f32, and why calls with more are refused.
inline constexpr int64_t kLongestChain = 8192;
inline constexpr const char* kChainTooLong = "so many products in one sum would lose digits";

extern const Kernel<op::Conv2dFwd> conv2d_fwd_amx;
extern const Kernel<op::Conv2dBwdData> conv2d_bwd_data_amx;
extern const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights_amx;

}  // namespace mininn::cpu::own
