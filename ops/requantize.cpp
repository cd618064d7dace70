#include "ops/requantize.h"

#include <span>

#include "ops/operand.h"
#include "ops/qlayout.h"

namespace mininn {
namespace {

void requantize_into(const char* op, const Tensor& x, Tensor y, const QParams& y_q) {
  const QParams x_q = codes_of(op, "x", x);
  const op::Requantize a{x.view(), x_q.zero_point, float(double(x_q.scale) / double(y_q.scale)), y.mutable_view(),
                         y_q.zero_point};
  check_requantize(a);
  kernels<op::Requantize>().run(a, x.device());
}

// Throws unless codes `x` can be moved to the grid `y`.
void check_ratio(const char* op, const TensorInfo& x, const QParams& y) {
  check_scale(op, "the ratio of the scales", float(double(codes_of(op, "x", x).scale) / double(y.scale)));
}

// [N, the sum of all C, H, W]. `shape_of` gives the shape of one of `all`.
template <class All, class ShapeOf>
Shape joined(const All& all, const ShapeOf& shape_of) {
  if (all.empty()) throw ShapeError("qcat: there is nothing to join");
  Shape y = check_map("qcat", shape_of(all[0]));
  y[1] = 0;
  for (const auto& each : all) {
    Shape s = check_map("qcat", shape_of(each));
    y[1] = checked_add("qcat", y[1], s[1]);
    s[1] = y[1];
    if (s != y) throw ShapeError(message("qcat: ", shape_of(each), " cannot be joined to ", shape_of(all[0])));
  }
  return y;
}

}  // namespace

void check_requantize(const op::Requantize& a) {
  check_codes("requantize", "x", a.x);
  check_codes("requantize", "y", a.y);
  if (a.x.shape != a.y.shape) throw ShapeError(message("requantize: shapes differ: ", a.x.shape, " -> ", a.y.shape));
  check_code_range("requantize", a.x_zero, 0, 255);
  check_code_range("requantize", a.y_zero, 0, 255);
  check_scale("requantize", "scale", a.scale);
}

Tensor requantize(const Tensor& x, const QParams& q) {
  codes_of("requantize", "x", x);
  Tensor y = empty_codes(x.shape(), 0, x.device()).with_qparams(q);
  requantize_into("requantize", x, y, q);
  return recorded(opdef::requantize, {x}, q, y);
}

Tensor qcat(const std::vector<Tensor>& tensors, const QParams& q) {
  for (const Tensor& t : tensors) {
    codes_of("qcat", "x", t);
    detail::Operand("qcat", "x", t).beside(detail::Operand("qcat", "the first", tensors[0]));
  }
  const Shape shape = joined(tensors, [](const Tensor& t) -> const Shape& { return t.shape(); });
  const Tensor y = empty_codes(shape, 0, tensors[0].device()).with_qparams(q);
  int64_t channel = 0;
  for (const Tensor& t : tensors) {
    requantize_into("qcat", t, y.as_strided(t.shape(), y.strides(), channel), q);
    channel += t.size(1);
  }
  if (active_tracer()) record(opdef::qcat.name, tensors, to_attrs(q), y);
  return y;
}

constinit const OpDef opdef::requantize =
    define_op<QParams, [](auto in, const auto& q) { return mininn::requantize(in[0], q); },
              [](auto in, const auto& q) {
                check_ratio("requantize", in[0], q);
                return codes_info("requantize", in[0].shape, q);
              }>("requantize");
constinit const OpDef opdef::qcat =
    define_op<QParams,
              [](auto in, const auto& q) {
                return mininn::qcat({in.begin(), in.end()}, q);
              },
              [](auto in, const auto& q) {
                for (const TensorInfo& x : in) check_ratio("qcat", x, q);
                return codes_info("qcat", joined(in, [](const TensorInfo& t) -> const Shape& { return t.shape; }), q);
              }>("qcat", kAnyInputs);

}  // namespace mininn
