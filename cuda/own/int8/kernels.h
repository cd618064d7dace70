// The int8 ops as their headers write them down: the CPU's bytes. (Of ops/qreal.h as far as both mathematics libraries
// agree in double.)
#pragma once

#include "ops/qadd.h"
#include "ops/qconv2d.h"
#include "ops/qlinear.h"
#include "ops/qlut.h"
#include "ops/qmul.h"
#include "ops/qpool.h"
#include "ops/qreal.h"
#include "ops/quantize.h"
#include "ops/requantize.h"

namespace mininn::cuda::own {

extern const Kernel<op::QAdd> qadd;
extern const Kernel<op::QMul> qmul;
extern const Kernel<op::QLut> qlut;
extern const Kernel<op::Requantize> requantize;
extern const Kernel<op::Quantize> quantize;
extern const Kernel<op::QPack> qpack;
extern const Kernel<op::Dequantize> dequantize;
extern const Kernel<op::QMaxPool2d> qmax_pool2d;
extern const Kernel<op::QAvgPool2d> qavg_pool2d;
extern const Kernel<op::QGlobalSum> qglobal_sum;
extern const Kernel<op::QLinear> qlinear;
extern const Kernel<op::RealUnary> real_unary;
extern const Kernel<op::RealAdd> real_add;
extern const Kernel<op::RealMaxPool2d> real_max_pool2d;
extern const Kernel<op::RealAvgPool2d> real_avg_pool2d;
extern const Kernel<op::QConv2d> qconv2d;        // any
extern const Kernel<op::QConv2d> qconv2d_mma;    // without groups, on tensor cores (sm_80)
extern const Kernel<op::QConv2d> qconv2d_wgmma;  // the same on those of sm_90a

}  // namespace mininn::cuda::own
