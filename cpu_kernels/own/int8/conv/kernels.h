// The own int8 convolution kernels.
#pragma once

#include "ops/qconv2d.h"

namespace mininn::cpu::own {

extern const Kernel<op::QConv2d> qconv2d_winograd_avx512vnni;
extern const Kernel<op::QConv2d> qconv2d_winograd_s8_avx512vnni;
extern const Kernel<op::QConv2d> qconv2d_winograd_avx2;
extern const Kernel<op::QConv2d> qconv2d_winograd_s8_avx2;
extern const Kernel<op::QConv2d> qconv2d_strips_amx;
extern const Kernel<op::QConv2d> qconv2d_strips_avx512vnni;
extern const Kernel<op::QConv2d> qconv2d_direct_avx512vnni;
extern const Kernel<op::QConv2d> qconv2d_direct_avxvnni;
extern const Kernel<op::QConv2d> qconv2d_depthwise_avx512vnni;
extern const Kernel<op::QConv2d> qconv2d_depthwise_avx2;
extern const Kernel<op::QConv2d> qconv2d_direct_avx2;

}  // namespace mininn::cpu::own
