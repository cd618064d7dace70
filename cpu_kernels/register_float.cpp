// The CPU's tables of floating kernels, and of what adds up gradients: for each op the candidates in the order in which
// they are asked; the reference comes last.
#include "cpu_kernels/own/float/conv2d/amx.h"
#include "cpu_kernels/own/float/conv2d/direct.h"
#include "cpu_kernels/own/float/conv2d/widened.h"
#include "cpu_kernels/own/float/conv2d/winograd.h"
#include "cpu_kernels/own/float/gemm.h"
#include "cpu_kernels/own/memory/batch_norm.h"
#include "cpu_kernels/own/memory/elementwise.h"
#include "cpu_kernels/own/memory/optimizer.h"
#include "cpu_kernels/own/memory/pool2d.h"
#include "cpu_kernels/ref/kernels.h"
#include "cpu_kernels/ref/optimizer.h"

#ifdef MININN_HAVE_EIGEN
#include "cpu_kernels/eigen/kernels.h"
#define EIGEN_KERNEL(name) eigen::name,
#else
#define EIGEN_KERNEL(name)
#endif

#ifdef MININN_HAVE_ONEDNN
#include "cpu_kernels/onednn/kernels.h"
#define ONEDNN_KERNEL(name) onednn::name,
#else
#define ONEDNN_KERNEL(name)
#endif

namespace mininn {
namespace cpu {
namespace {

constexpr DeviceType kCpu = DeviceType::cpu;

void register_reductions_and_draws() {
  kernels<op::Sum>().set(kCpu, {ref::sum});
  kernels<op::AmaxFwd>().set(kCpu, {ref::amax_fwd});
  kernels<op::AmaxBwd>().set(kCpu, {ref::amax_bwd});
  kernels<op::Augment>().set(kCpu, {ref::augment});
  kernels<op::DropoutFwd>().set(kCpu, {ref::dropout_fwd});
  kernels<op::DropoutBwd>().set(kCpu, {ref::dropout_bwd});
}

void register_layers() {
  kernels<op::Conv2dFwd>().set(
      kCpu, {own::conv2d_fwd_amx, own::conv2d_fwd_winograd_avx512, own::conv2d_fwd_winograd_avx2,
             ONEDNN_KERNEL(conv2d_fwd) own::conv2d_fwd_avx512, own::conv2d_fwd_avx2, own::conv2d_fwd_widened_avx512,
             own::conv2d_fwd_widened_avx2, ref::conv2d_fwd});
  kernels<op::Conv2dBwdData>().set(
      kCpu, {own::conv2d_bwd_data_amx, own::conv2d_bwd_data_winograd_avx512, own::conv2d_bwd_data_winograd_avx2,
             ONEDNN_KERNEL(conv2d_bwd_data) own::conv2d_bwd_data_avx512, own::conv2d_bwd_data_avx2,
             own::conv2d_bwd_data_widened_avx512, own::conv2d_bwd_data_widened_avx2, ref::conv2d_bwd_data});
  kernels<op::Conv2dBwdWeights>().set(
      kCpu,
      {own::conv2d_bwd_weights_amx, own::conv2d_bwd_weights_winograd_avx512, own::conv2d_bwd_weights_winograd_avx2,
       ONEDNN_KERNEL(conv2d_bwd_weights) own::conv2d_bwd_weights_avx512, own::conv2d_bwd_weights_avx2,
       own::conv2d_bwd_weights_widened_avx512, own::conv2d_bwd_weights_widened_avx2, ref::conv2d_bwd_weights});
  kernels<op::Matmul>().set(
      kCpu, {ONEDNN_KERNEL(matmul) own::matmul_avx512, own::matmul_avx2, EIGEN_KERNEL(matmul) ref::matmul});
  kernels<op::MaxPool2dFwd>().set(kCpu, {own::max_pool2d_fwd_avx512, own::max_pool2d_fwd_avx2, ref::max_pool2d_fwd});
  kernels<op::MaxPool2dBwd>().set(kCpu, {own::max_pool2d_bwd_avx512, own::max_pool2d_bwd_avx2, ref::max_pool2d_bwd});
  kernels<op::AvgPool2dFwd>().set(
      kCpu, {own::avg_pool2d_fwd_avx512, own::avg_pool2d_fwd_avx2, ONEDNN_KERNEL(avg_pool2d_fwd) ref::avg_pool2d_fwd});
  kernels<op::AvgPool2dBwd>().set(
      kCpu, {own::avg_pool2d_bwd_avx512, own::avg_pool2d_bwd_avx2, ONEDNN_KERNEL(avg_pool2d_bwd) ref::avg_pool2d_bwd});
  kernels<op::BatchNormMoments>().set(
      kCpu, {own::batch_norm_moments_avx512, own::batch_norm_moments_avx2, ref::batch_norm_moments});
  kernels<op::BatchNormRstd>().set(kCpu, {ref::batch_norm_rstd});
  kernels<op::BatchNormApply>().set(kCpu, {own::batch_norm_apply_avx512, own::batch_norm_apply_avx2,
                                           ONEDNN_KERNEL(batch_norm_apply) ref::batch_norm_apply});
  kernels<op::BatchNormBwd>().set(
      kCpu, {own::batch_norm_bwd_avx512, own::batch_norm_bwd_avx2, ONEDNN_KERNEL(batch_norm_bwd) ref::batch_norm_bwd});
  kernels<op::SoftmaxFwd>().set(kCpu, {ref::softmax_fwd});
  kernels<op::SoftmaxBwd>().set(kCpu, {ref::softmax_bwd});
  kernels<op::CrossEntropyFwd>().set(kCpu, {ref::cross_entropy_fwd});
  kernels<op::CrossEntropyBwd>().set(kCpu, {ref::cross_entropy_bwd});
}

void register_optimizers() {
  kernels<op::SgdUpdate>().set(kCpu, {own::sgd_update_avx2, ref::sgd_update});
  kernels<op::AdamUpdate>().set(kCpu, {own::adam_update_avx2, ref::adam_update});
}

}  // namespace
}  // namespace cpu

void register_cpu_float_kernels() {
  using namespace cpu;
  kernels<op::Accumulate>().set(kCpu, {own::accumulate_avx512, own::accumulate_avx2, ref::accumulate});
  set_elementwise_kernels(kCpu, own::elementwise_avx512, own::elementwise_avx2, ref::elementwise);
  register_reductions_and_draws();
  register_layers();
  register_optimizers();
}

}  // namespace mininn
