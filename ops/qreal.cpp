#include "ops/qreal.h"

#include <algorithm>

#include "core/convert.h"
#include "ops/layout.h"
#include "ops/operand.h"
#include "ops/qlayout.h"
#include "ops/work.h"

namespace mininn {
namespace {

using detail::Operand;

// As kernels take it: codes stay, f32 becomes channels-last.
struct Real {
  Tensor x;
  QParams q;

  Real(const char* op, const char* name, const Tensor& t) {
    const Operand in = Operand(op, name, t).is(DType::f32, DType::u8);
    check_map(op, t.shape());
    if (t.dtype() == DType::u8) {
      q = codes_of(op, name, t);
      x = t;
    } else {
      x = in.dense(MemoryFormat::channels_last);
    }
  }
};

Tensor result(const Shape& shape, const Real& like) {
  return Tensor::empty(shape, DType::f32, like.x.device(), MemoryFormat::channels_last);
}

// Throws unless `x` is what a Real may be made of.
void check_real(const char* op, const TensorInfo& x) {
  check_map(op, x.shape);
  if (x.dtype != DType::f32) codes_of(op, "x", x);
}
TensorInfo real_info(const Shape& shape) { return {shape, DType::f32}; }

void check_constant(const char* op, double value) {
  if (!stays_finite(value, DType::f32)) throw ValueError(message(op, ": no f32 holds the number ", value));
}

TensorInfo unary_info(const char* op, const TensorInfo& x, double value) {
  check_real(op, x);
  check_constant(op, value);
  return real_info(x.shape);
}

constexpr std::string_view kPrefix = "real_";

// "real_exp"
template <class F>
struct RealName {
  char text[kPrefix.size() + std::string_view(F::op).size() + 1] = {};
  consteval RealName() {
    const std::string_view name(F::op);
    std::copy_n(name.data(), name.size(), std::copy_n(kPrefix.data(), kPrefix.size(), text));
  }
};

template <class F>
struct RealUnaryOp {
  static constexpr RealName<F> name{};
  static constexpr OpDef def =
      define_op<RealUnaryOptions, [](auto in, const auto& o) { return real_unary(in[0], F::op, o.value); },
                [](auto in, const auto& o) { return unary_info(name.text, in[0], o.value); }>(name.text);
};

}  // namespace

RealFunction real_function(std::string_view op) {
  RealFunction found = nullptr;
  op::for_each_functor(op::UnaryOps(), [&]<class Op>() {
    if (op == Op::op) found = [](double x, double) { return Op::f(x); };
  });
  op::for_each_functor(op::ScalarOps(), [&]<class Op>() {
    if (op == Op::op) found = [](double x, double value) { return Op::f(x, value); };
  });
  return found;
}

Tensor real_unary(const Tensor& x, std::string_view functor, double value) {
  const OpDef* const def = opdef::real_unary(functor);
  if (!def) throw ValueError(message("real_unary: there is no elementwise op '", excerpt(functor), "' of one operand"));
  check_constant("real_unary", value);
  const Real in("real_unary", "x", x);
  Tensor y = result(x.shape(), in);
  kernels<op::RealUnary>().run(
      {in.x.view(), in.q, std::string_view(def->name).substr(kPrefix.size()), value, y.mutable_view()}, x.device());
  return recorded(*def, {x}, RealUnaryOptions{value}, y);
}

Tensor real_add(const Tensor& a, const Tensor& b) {
  const Real left("real_add", "a", a), right("real_add", "b", b);
  Operand("real_add", "b", b).beside(Operand("real_add", "a", a)).shape(a.shape());
  Tensor y = result(a.shape(), left);
  kernels<op::RealAdd>().run({left.x.view(), right.x.view(), left.q, right.q, y.mutable_view()}, a.device());
  return recorded(opdef::real_add, {a, b}, NoOptions(), y);
}

Tensor real_max_pool2d(const Tensor& x, const QPoolWindow& window) {
  const Real in("real_max_pool2d", "x", x);
  Tensor y = result(pooled_shape("real_max_pool2d", x.shape(), window), in);
  kernels<op::RealMaxPool2d>().run({in.x.view(), in.q, window, y.mutable_view()}, x.device());
  return recorded(opdef::real_max_pool2d, {x}, window, y);
}

Tensor real_avg_pool2d(const Tensor& x, const RealAvgPool2dOptions& o) {
  const Real in("real_avg_pool2d", "x", x);
  Tensor y = result(pooled_shape("real_avg_pool2d", x.shape(), o.window), in);
  kernels<op::RealAvgPool2d>().run({in.x.view(), in.q, o.window, o.count_include_pad, y.mutable_view()}, x.device());
  return recorded(opdef::real_avg_pool2d, {x}, o, y);
}

constinit const OpDef opdef::real_add =
    define_op<NoOptions, [](auto in, const auto&) { return mininn::real_add(in[0], in[1]); },
              [](auto in, const auto&) {
                for (const TensorInfo& x : in) check_real("real_add", x);
                if (in[0].shape != in[1].shape)
                  throw ShapeError(message("real_add: shapes differ: ", in[0].shape, " + ", in[1].shape));
                return real_info(in[0].shape);
              }>("real_add", kTwoInputs);
constinit const OpDef opdef::real_max_pool2d =
    costs(define_op<QPoolWindow, [](auto in, const auto& o) { return mininn::real_max_pool2d(in[0], o); },
                    [](auto in, const auto& o) {
                      check_real("real_max_pool2d", in[0]);
                      return real_info(pooled_shape("real_max_pool2d", in[0].shape, o));
                    }>("real_max_pool2d"),
          pool_work);
constinit const OpDef opdef::real_avg_pool2d =
    costs(define_op<RealAvgPool2dOptions, [](auto in, const auto& o) { return mininn::real_avg_pool2d(in[0], o); },
                    [](auto in, const auto& o) {
                      check_real("real_avg_pool2d", in[0]);
                      return real_info(pooled_shape("real_avg_pool2d", in[0].shape, o.window));
                    }>("real_avg_pool2d"),
          pool_work);

const OpDef* opdef::real_unary(std::string_view functor) {
  const OpDef* found = nullptr;
  const auto look = [&]<class F>() {
    if (functor == F::op) found = &RealUnaryOp<F>::def;
  };
  op::for_each_functor(op::UnaryOps(), look);
  op::for_each_functor(op::ScalarOps(), look);
  return found;
}

}  // namespace mininn
