// The CUDA devices' tables: for each op the candidates in the order in which they are asked.
#include "cuda/backend.h"
#include "cuda/own/float/kernels.h"
#include "cuda/own/int8/kernels.h"
#include "cuda/own/memory/kernels.h"

#ifdef MININN_HAVE_CUBLAS
#include "cuda/cublas/kernels.h"
#define CUBLAS_KERNEL(name) cublas::name,
#else
#define CUBLAS_KERNEL(name)
#endif

#ifdef MININN_HAVE_CUDNN
#include "cuda/cudnn/kernels.h"
#define CUDNN_KERNEL(name) cudnn::name,
#else
#define CUDNN_KERNEL(name)
#endif

#ifdef MININN_HAVE_SM90A
#define SM90A_KERNEL(name) own::name,
#else
#define SM90A_KERNEL(name)
#endif

namespace mininn {
namespace cuda {
namespace {

constexpr DeviceType kCuda = DeviceType::cuda;

// Puts each kernel into the table of its op.
template <class... Args>
void add(const Kernel<Args>&... alone) {
  (kernels<Args>().set(kCuda, {alone}), ...);
}

}  // namespace
}  // namespace cuda

void register_cuda() {
  using namespace cuda;
  install_backend();
  set_elementwise_kernels(kCuda, own::elementwise);
  add(own::copy, own::fill, own::accumulate);
  add(own::augment, own::dropout_fwd, own::dropout_bwd, own::sgd_update, own::adam_update);
  add(own::sum, own::amax_fwd, own::amax_bwd);
  add(own::softmax_fwd, own::softmax_bwd, own::cross_entropy_fwd, own::cross_entropy_bwd);
  add(own::batch_norm_moments, own::batch_norm_rstd, own::batch_norm_apply, own::batch_norm_bwd);
  add(own::max_pool2d_fwd, own::max_pool2d_bwd, own::avg_pool2d_fwd, own::avg_pool2d_bwd);
  kernels<op::Matmul>().set(kCuda, {CUBLAS_KERNEL(matmul) own::matmul});
  kernels<op::Conv2dFwd>().set(
      kCuda, {CUDNN_KERNEL(conv2d_fwd) SM90A_KERNEL(conv2d_fwd_wgmma) own::conv2d_fwd_mma, own::conv2d_fwd});
  kernels<op::Conv2dBwdData>().set(
      kCuda, {CUDNN_KERNEL(conv2d_bwd_data) SM90A_KERNEL(conv2d_bwd_data_wgmma) own::conv2d_bwd_data_mma,
              own::conv2d_bwd_data});
  kernels<op::Conv2dBwdWeights>().set(
      kCuda, {CUDNN_KERNEL(conv2d_bwd_weights) own::conv2d_bwd_weights_mma, own::conv2d_bwd_weights});
  add(own::qadd, own::qmul, own::qlut, own::requantize, own::quantize, own::qpack, own::dequantize);
  add(own::qmax_pool2d, own::qavg_pool2d, own::qglobal_sum, own::qlinear);
  add(own::real_unary, own::real_add, own::real_max_pool2d, own::real_avg_pool2d);
  kernels<op::QConv2d>().set(kCuda, {SM90A_KERNEL(qconv2d_wgmma) own::qconv2d_mma, own::qconv2d});
}

}  // namespace mininn
