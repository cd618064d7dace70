// All argument structs of kernels, for what holds for every table. tests/cpu_kernels/tables.cpp finds missing ones.
#pragma once

#include "core/memory_ops.h"
#include "ops/augment.h"
#include "ops/batch_norm.h"
#include "ops/conv2d.h"
#include "ops/cross_entropy.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/optimizer.h"
#include "ops/pool2d.h"
#include "ops/qadd.h"
#include "ops/qconv2d.h"
#include "ops/qlinear.h"
#include "ops/qlut.h"
#include "ops/qmul.h"
#include "ops/qpool.h"
#include "ops/qreal.h"
#include "ops/quantize.h"
#include "ops/reduce.h"
#include "ops/requantize.h"
#include "ops/softmax.h"

namespace mininn::testing {

namespace detail {
template <class... Args, class Fn>
void for_each_of(const Fn& fn) {
  (fn.template operator()<Args>(), ...);
}
}  // namespace detail

// Calls fn.operator()<Args>() for each of them.
template <class Fn>
void for_each_kernel_args(const Fn& fn) {
  op::for_each_functor(op::UnaryOps(), [&]<class F>() { detail::for_each_of<op::UnaryFwd<F>, op::UnaryBwd<F>>(fn); });
  op::for_each_functor(op::BinaryOps(), [&]<class F>() {
    detail::for_each_of<op::BinaryFwd<F>>(fn);
    if constexpr (F::da_reads != op::kReadsNothing) detail::for_each_of<op::BinaryBwdA<F>>(fn);
    if constexpr (F::db_reads != op::kReadsNothing) detail::for_each_of<op::BinaryBwdB<F>>(fn);
  });
  op::for_each_functor(op::ScalarOps(), [&]<class F>() { detail::for_each_of<op::Scalar<F>>(fn); });
  op::for_each_functor(op::CurvedScalarOps(), [&]<class F>() { detail::for_each_of<op::ScalarBwd<F>>(fn); });
  detail::for_each_of<op::Accumulate, op::Copy, op::Fill, op::Sum, op::AmaxFwd, op::AmaxBwd, op::Augment,
                      op::DropoutFwd, op::DropoutBwd, op::Conv2dFwd, op::Conv2dBwdData, op::Conv2dBwdWeights,
                      op::Matmul, op::MaxPool2dFwd, op::MaxPool2dBwd, op::AvgPool2dFwd, op::AvgPool2dBwd,
                      op::BatchNormMoments, op::BatchNormRstd, op::BatchNormApply, op::BatchNormBwd, op::SoftmaxFwd,
                      op::SoftmaxBwd, op::CrossEntropyFwd, op::CrossEntropyBwd, op::SgdUpdate, op::AdamUpdate,
                      op::QConv2d, op::QAdd, op::QMaxPool2d, op::QAvgPool2d, op::QGlobalSum, op::QLinear, op::QLut,
                      op::QMul, op::Requantize, op::Quantize, op::QPack, op::Dequantize, op::RealUnary, op::RealAdd,
                      op::RealMaxPool2d, op::RealAvgPool2d>(fn);
}

}  // namespace mininn::testing
