// The CPU's kernel tables: for each op the candidates in order, best first, the reference last. Nothing else is here.
#include "cpu_kernels/own/batch_norm.h"
#include "cpu_kernels/own/conv2d_f32.h"
#include "cpu_kernels/own/elementwise.h"
#include "cpu_kernels/own/gemm_f32.h"
#include "cpu_kernels/own/optimizer.h"
#include "cpu_kernels/own/pool2d.h"
#include "cpu_kernels/own/qadd.h"
#include "cpu_kernels/own/qconv2d.h"
#include "cpu_kernels/own/qlinear.h"
#include "cpu_kernels/own/qlut.h"
#include "cpu_kernels/own/qpool.h"
#include "cpu_kernels/own/quantize.h"
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

void register_elementwise() {
  for_each_type(UnaryOps(), []<class Op>() {
    if constexpr (VectorUnaryOps::contains<Op>) {
      unary_kernels<Op>().set(kCpu, {own::unary_avx512.of<Op>(), own::unary_avx2.of<Op>(), ref::unary.of<Op>()});
      unary_grad_kernels<Op>().set(
          kCpu, {own::unary_grad_avx512.of<Op>(), own::unary_grad_avx2.of<Op>(), ref::unary_grad.of<Op>()});
    } else {
      unary_kernels<Op>().set(kCpu, {ref::unary.of<Op>()});
      unary_grad_kernels<Op>().set(kCpu, {ref::unary_grad.of<Op>()});
    }
  });
  for_each_type(BinaryOps(), []<class Op>() {
    binary_kernels<Op>().set(kCpu, {own::binary_avx512.of<Op>(), own::binary_avx2.of<Op>(), ref::binary.of<Op>()});
    if constexpr (Op::da_reads != kReadsNothing)
      binary_grad_kernels<Op, 0>().set(
          kCpu, {own::binary_grad_a_avx512.of<Op>(), own::binary_grad_a_avx2.of<Op>(), ref::binary_grad_a.of<Op>()});
    if constexpr (Op::db_reads != kReadsNothing)
      binary_grad_kernels<Op, 1>().set(
          kCpu, {own::binary_grad_b_avx512.of<Op>(), own::binary_grad_b_avx2.of<Op>(), ref::binary_grad_b.of<Op>()});
  });
  for_each_type(ScalarOps(), []<class Op>() {
    scalar_kernels<Op>().set(kCpu, {own::scalar_avx512.of<Op>(), own::scalar_avx2.of<Op>(), ref::scalar.of<Op>()});
  });
}

void register_layout_and_reductions() {
  accumulate_kernels().set(kCpu, {ref::accumulate});
  copy_kernels().set(kCpu, {ref::copy});
  sum_kernels().set(kCpu, {ref::sum});
  amax_kernels().set(kCpu, {ref::amax});
  amax_grad_kernels().set(kCpu, {ref::amax_grad});
  dropout_kernels().set(kCpu, {ref::dropout});
  dropout_grad_kernels().set(kCpu, {ref::dropout_grad});
}

void register_layers() {
  conv2d_fwd_kernels().set(kCpu,
                           {own::conv2d_fwd_avx512, own::conv2d_fwd_avx2, ONEDNN_KERNEL(conv2d_fwd) ref::conv2d_fwd});
  conv2d_bwd_data_kernels().set(kCpu, {own::conv2d_bwd_data_avx512, own::conv2d_bwd_data_avx2,
                                       ONEDNN_KERNEL(conv2d_bwd_data) ref::conv2d_bwd_data});
  conv2d_bwd_weights_kernels().set(kCpu, {own::conv2d_bwd_weights_avx512, own::conv2d_bwd_weights_avx2,
                                          ONEDNN_KERNEL(conv2d_bwd_weights) ref::conv2d_bwd_weights});
  matmul_kernels().set(kCpu,
                       {ONEDNN_KERNEL(matmul) own::matmul_avx512, own::matmul_avx2, EIGEN_KERNEL(matmul) ref::matmul});
  max_pool2d_fwd_kernels().set(kCpu, {own::max_pool2d_fwd_avx512, own::max_pool2d_fwd_avx2, ref::max_pool2d_fwd});
  max_pool2d_bwd_kernels().set(kCpu, {own::max_pool2d_bwd_avx512, own::max_pool2d_bwd_avx2, ref::max_pool2d_bwd});
  avg_pool2d_fwd_kernels().set(
      kCpu, {own::avg_pool2d_fwd_avx512, own::avg_pool2d_fwd_avx2, ONEDNN_KERNEL(avg_pool2d_fwd) ref::avg_pool2d_fwd});
  avg_pool2d_bwd_kernels().set(
      kCpu, {own::avg_pool2d_bwd_avx512, own::avg_pool2d_bwd_avx2, ONEDNN_KERNEL(avg_pool2d_bwd) ref::avg_pool2d_bwd});
  batch_norm_fwd_train_kernels().set(
      kCpu, {own::batch_norm_train_avx512, own::batch_norm_train_avx2, ref::batch_norm_fwd_train});
  batch_norm_fwd_eval_kernels().set(kCpu, {own::batch_norm_eval_avx512, own::batch_norm_eval_avx2,
                                           ONEDNN_KERNEL(batch_norm_fwd_eval) ref::batch_norm_fwd_eval});
  batch_norm_bwd_kernels().set(
      kCpu, {own::batch_norm_bwd_avx512, own::batch_norm_bwd_avx2, ONEDNN_KERNEL(batch_norm_bwd) ref::batch_norm_bwd});
  softmax_fwd_kernels().set(kCpu, {ref::softmax_fwd});
  softmax_bwd_kernels().set(kCpu, {ref::softmax_bwd});
  cross_entropy_fwd_kernels().set(kCpu, {ref::cross_entropy_fwd});
  cross_entropy_bwd_kernels().set(kCpu, {ref::cross_entropy_bwd});
}

void register_int8() {
  qconv2d_kernels().set(
      kCpu,
      {own::qconv2d_depthwise_avx512vnni, own::qconv2d_direct_amx, own::qconv2d_winograd_avx512vnni,
       own::qconv2d_winograd_s8_avx512vnni, own::qconv2d_strips_avx512vnni, own::qconv2d_direct_avx512vnni,
       own::qconv2d_direct_avxvnni, own::qconv2d_depthwise_avx2, own::qconv2d_winograd_avx2,
       own::qconv2d_winograd_s8_avx2, own::qconv2d_direct_avx2, ONEDNN_KERNEL(qconv2d) own::qconv2d_direct_scalar});
  qadd_kernels().set(kCpu, {own::qadd_avx512, own::qadd_avx2, own::qadd_scalar});
  qmax_pool2d_kernels().set(kCpu, {own::qmax_pool2d_avx2, own::qmax_pool2d_scalar});
  qavg_pool2d_kernels().set(kCpu, {own::qavg_pool2d_scalar});
  qglobal_sum_kernels().set(kCpu, {own::qglobal_sum_avx2, own::qglobal_sum_scalar});
  qlinear_kernels().set(kCpu, {own::qlinear_avx2, own::qlinear_scalar});
  qlut_kernels().set(kCpu, {own::qlut_scalar});
  quantize_kernels().set(kCpu, {own::quantize_avx2, own::quantize_scalar});
  qpack_kernels().set(kCpu, {own::qpack_avx2, own::qpack_scalar});
  dequantize_kernels().set(kCpu, {own::dequantize_scalar});
}

void register_optimizers() {
  sgd_update_kernels().set(kCpu, {own::sgd_update_avx2, ref::sgd_update});
  adam_update_kernels().set(kCpu, {own::adam_update_avx2, ref::adam_update});
}

}  // namespace
}  // namespace cpu

void register_cpu_kernels() {
  cpu::register_int8();
#ifndef MININN_INT8_ONLY  // examples/int8_infer: a program without the rest
  cpu::register_elementwise();
  cpu::register_layout_and_reductions();
  cpu::register_layers();
  cpu::register_optimizers();
#endif
}

}  // namespace mininn
