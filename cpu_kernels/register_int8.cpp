// The CPU's tables of int8 kernels, as register_float.cpp has the floating ones. Where convolutions are tuned, their
// order only decides what is not measured.
#include "cpu_kernels/own/int8/conv/kernels.h"
#include "cpu_kernels/own/int8/qadd.h"
#include "cpu_kernels/own/int8/qlinear.h"
#include "cpu_kernels/own/int8/qpool.h"
#include "cpu_kernels/own/int8/quantize.h"
#include "cpu_kernels/ref/int8.h"

#ifdef MININN_HAVE_ONEDNN
#include "cpu_kernels/onednn/kernels.h"
#define ONEDNN_KERNEL(name) onednn::name,
#else
#define ONEDNN_KERNEL(name)
#endif

namespace mininn {

void register_cpu_int8_kernels() {
  using namespace cpu;
  constexpr DeviceType kCpu = DeviceType::cpu;
  kernels<op::QConv2d>().set(
      kCpu, {own::qconv2d_depthwise_avx512vnni, own::qconv2d_strips_amx, own::qconv2d_winograd_avx512vnni,
             own::qconv2d_winograd_s8_avx512vnni, own::qconv2d_strips_avx512vnni, own::qconv2d_direct_avx512vnni,
             own::qconv2d_direct_avxvnni, own::qconv2d_depthwise_avx2, own::qconv2d_winograd_avx2,
             own::qconv2d_winograd_s8_avx2, own::qconv2d_direct_avx2, ONEDNN_KERNEL(qconv2d) ref::qconv2d});
  kernels<op::QAdd>().set(kCpu, {own::qadd_avx512, own::qadd_avx2, ref::qadd});
  kernels<op::QMaxPool2d>().set(kCpu, {own::qmax_pool2d_avx2, ref::qmax_pool2d});
  kernels<op::QAvgPool2d>().set(kCpu, {ref::qavg_pool2d});
  kernels<op::QGlobalSum>().set(kCpu, {own::qglobal_sum_avx2, ref::qglobal_sum});
  kernels<op::QLinear>().set(kCpu, {own::qlinear_avx2, ref::qlinear});
  kernels<op::QLut>().set(kCpu, {ref::qlut});
  kernels<op::QMul>().set(kCpu, {ref::qmul});
  kernels<op::Requantize>().set(kCpu, {ref::requantize});
  kernels<op::Quantize>().set(kCpu, {own::quantize_avx2, ref::quantize});
  kernels<op::QPack>().set(kCpu, {own::qpack_avx2, ref::qpack});
  kernels<op::Dequantize>().set(kCpu, {ref::dequantize});
  kernels<op::RealUnary>().set(kCpu, {ref::real_unary});
  kernels<op::RealAdd>().set(kCpu, {ref::real_add});
  kernels<op::RealMaxPool2d>().set(kCpu, {ref::real_max_pool2d});
  kernels<op::RealAvgPool2d>().set(kCpu, {ref::real_avg_pool2d});
}

}  // namespace mininn
