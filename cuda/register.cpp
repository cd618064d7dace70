// The CUDA devices' tables: for each op the candidates in the order in which they are asked.
#include "cuda/backend.h"
#include "cuda/own/float/kernels.h"
#include "cuda/own/int8/kernels.h"
#include "cuda/own/memory/kernels.h"

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
  add(own::dropout_fwd, own::dropout_bwd, own::sgd_update, own::adam_update);
  add(own::sum, own::amax_fwd, own::amax_bwd);
  add(own::softmax_fwd, own::softmax_bwd, own::cross_entropy_fwd, own::cross_entropy_bwd);
  add(own::batch_norm_moments, own::batch_norm_rstd, own::batch_norm_apply, own::batch_norm_bwd);
  add(own::max_pool2d_fwd, own::max_pool2d_bwd, own::avg_pool2d_fwd, own::avg_pool2d_bwd);
  add(own::matmul);
  kernels<op::Conv2dFwd>().set(kCuda, {own::conv2d_fwd_mma, own::conv2d_fwd});
  kernels<op::Conv2dBwdData>().set(kCuda, {own::conv2d_bwd_data_mma, own::conv2d_bwd_data});
  kernels<op::Conv2dBwdWeights>().set(kCuda, {own::conv2d_bwd_weights_mma, own::conv2d_bwd_weights});
  add(own::qadd, own::qmul, own::qlut, own::requantize, own::quantize, own::qpack, own::dequantize);
  add(own::qmax_pool2d, own::qavg_pool2d, own::qglobal_sum, own::qlinear);
  add(own::real_unary, own::real_add, own::real_max_pool2d, own::real_avg_pool2d);
  kernels<op::QConv2d>().set(kCuda, {own::qconv2d_mma, own::qconv2d});
}

}  // namespace mininn
