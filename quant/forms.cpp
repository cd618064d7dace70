#include "quant/forms.h"

#include <utility>

#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/quantize.h"
#include "quant/grid/affine.h"

namespace mininn::quant {

using nn::graph::kAbsent, nn::graph::Node, nn::graph::Value;

Forms::Forms(const nn::graph::Graph& g, const std::vector<Range>& ranges,
             const std::optional<ImageNormalization>& image)
    : g_(g),
      ranges_(ranges),
      image_(image),
      forms_(g.values.size()),
      real_(g.values.size(), kAbsent),
      ranges_used_(g.values.size()) {
  for (size_t i = 0; i < g.values.size(); ++i) root_.push_back(int(i));
  range_of_ = root_;
  for (const Node& n : g.nodes) {
    names_.insert(n.name);
    if (n.is(opdef::flatten) || n.is(opdef::reshape)) range_of_[size_t(n.output)] = range_of_[size_t(n.inputs[0])];
  }
  const int x = g.inputs[0];
  Value input = g.values[size_t(x)];
  if (image_) input.dtype = DType::u8;
  const int id = model_.graph.add_value(std::move(input));
  model_.graph.inputs = {id};
  source_.push_back(x);
  if (image_) {
    bytes_ = between(kAbsent, opdef::qpack, id);
  } else {
    real_[size_t(x)] = id;
    of(x).ours = true;
  }
}

QParams Forms::wanted_grid(int id) {
  const auto value = size_t(range_of_[size_t(id)]);
  ranges_used_[value] = true;
  try {
    return affine_u8(ranges_[value].lo, ranges_[value].hi);
  } catch (const ValueError& e) {
    throw ValueError(message("quantizing ", g_.values[value].name, ": ", e.what()));
  }
}

int Forms::codes(int id) {
  if (g_.is_constant(id)) throw KernelError(message(g_.values[size_t(id)].name, " is a constant"));
  Form& f = of(id);
  if (f.codes == kAbsent) {
    const int x = map(id);
    f.codes = between(id, opdef::quantize, x, to_attrs(wanted_grid(id)));
  }
  return f.codes;
}

int Forms::operand(int id) {
  if (const Form& f = of(id); f.codes != kAbsent) return f.codes;
  return g_.is_constant(id) ? codes(id) : map(id);
}

int Forms::layer_input(int id) { return is_image(id) ? bytes_ : codes(id); }

int Forms::map(int id) {
  Form& f = of(id);
  if (f.map != kAbsent) return f.map;
  if (f.codes != kAbsent) return f.map = between(id, opdef::dequantize, f.codes);
  if (is_image(id)) return f.map = numbers_of_image();
  const int root = root_[size_t(id)];
  const Value& v = g_.values[size_t(root)];
  const int rank = v.shape.rank();
  if (v.dtype != DType::f32 || (rank != 2 && rank != 4))
    throw KernelError(message("codes are made of f32 [N,C] or [N,C,H,W], its operand is ", name(v.dtype), v.shape));
  const int x = real(root);
  return f.map = rank == 4 ? x : between(root, opdef::reshape, x, to_attrs(ShapeOptions{{-1, v.shape[1], 1, 1}}));
}

int Forms::real(int id) {
  int& made = real_[size_t(id)];
  if (made != kAbsent) return made;
  const Value& v = g_.values[size_t(id)];
  if (v.constant) return made = add_constant(v.name, v.constant);
  const int x = map(id);
  if (shape(x) == v.shape) return made = x;
  std::vector<int64_t> sizes(v.shape.begin(), v.shape.end());
  sizes[0] = -1;
  return made = between(id, opdef::reshape, x, to_attrs(ShapeOptions{Shape(std::span<const int64_t>(sizes))}));
}

// (byte - zero byte) / bytes per one, as a product and a sum.
int Forms::numbers_of_image() {
  std::vector<float> factor, offset;
  for (size_t c = 0; c < image_->mean.size(); ++c) {
    factor.push_back(float(1 / image_->bytes_per_one(c)));
    offset.push_back(float(-image_->zero_byte(c) / image_->bytes_per_one(c)));
  }
  const Shape each{1, int64_t(factor.size()), 1, 1};
  const auto with = [&](int source, const OpDef& op, int x, const char* what, const std::vector<float>& v) {
    const int constant = add_constant(std::string("image.") + what, Tensor::from(v, each));
    return append(source, op, unused_name(op.name), {x, constant}, {}, {});
  };
  const int numbers = between(kAbsent, opdef::dequantize, bytes_);
  const int scaled = with(kAbsent, opdef::functor<op::Mul>, numbers, "factor", factor);
  return with(g_.inputs[0], opdef::functor<op::Add>, scaled, "offset", offset);
}

int Forms::append(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs, LayerNote note) {
  names_.insert(name);
  const int y = model_.graph.add_node(op, std::move(name), std::move(in), std::move(attrs));
  model_.layers.push_back(std::move(note));
  source_.push_back(source);
  return y;
}

int Forms::add(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs, LayerNote note) {
  try {
    return append(source, op, std::move(name), std::move(in), std::move(attrs), std::move(note));
  } catch (const Error& e) {
    throw KernelError(e.what());
  }
}

int Forms::add_constant(std::string name, const Tensor& t) {
  source_.push_back(kAbsent);
  return model_.graph.add_constant(std::move(name), t);
}

int Forms::between(int source, const OpDef& op, int x, Attrs attrs) {
  return append(source, op, unused_name(op.name), {x}, std::move(attrs), {});
}

int Forms::add_codes(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs,
                     std::string label) {
  const int y = add(source, op, std::move(name), std::move(in), std::move(attrs), {std::move(label), {}});
  of(source) = {.codes = y, .ours = true};
  return y;
}

int Forms::add_map(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs, std::string label) {
  const int y = add(source, op, std::move(name), std::move(in), std::move(attrs), {std::move(label), {}});
  of(source) = {.map = y, .ours = true};
  return y;
}

int Forms::add_vector(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs,
                      std::string label) {
  const int y = add(source, op, std::move(name), std::move(in), std::move(attrs), {std::move(label), {}});
  of(source).ours = true;
  return real_[size_t(source)] = y;
}

int Forms::add_float(int source, const OpDef& op, std::string name, std::vector<int> in, Attrs attrs, std::string why) {
  LayerNote note{op.name, std::move(why)};
  return real_[size_t(source)] = append(source, op, std::move(name), std::move(in), std::move(attrs), std::move(note));
}

std::string Forms::unused_name(const std::string& name) const {
  std::string unused = name;
  for (int number = 2; names_.contains(unused); ++number) unused = message(name, '_', number);
  return unused;
}

Int8Model Forms::finish(int id) {
  model_.graph.outputs = {real(id)};
  return std::move(model_);
}

}  // namespace mininn::quant
