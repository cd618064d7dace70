#include "quant/int8_file_v1.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "nn/graph/graph_file.h"
#include "nn/json_fields.h"
#include "ops/layout.h"
#include "ops/qadd.h"
#include "ops/qconv2d.h"
#include "ops/qlinear.h"
#include "ops/qlut.h"
#include "ops/qmul.h"
#include "ops/qpool.h"
#include "ops/qreal.h"
#include "ops/quantize.h"
#include "ops/requantize.h"

namespace mininn::quant {
namespace {

using namespace nn;
using nlohmann::json;
using nn::graph::Graph, nn::graph::kAbsent;

// What flowed between two steps: codes, sums of them [N,C], or f32, all [N,C,H,W] otherwise.
struct Value {
  std::string name, kind;
  int64_t c = 0, h = 0, w = 0;
  QParams q;
  int id = kAbsent;  // in the graph
};

Hw pair_at(const json& j, const char* key) {
  const json& v = array_at(j, key, 2);
  return {integer(v[0], key), integer(v[1], key)};
}
QPoolWindow window_at(const json& j) {
  const json& w = object_at(j, "window");
  return {pair_at(w, "kernel"), pair_at(w, "stride"), pair_at(w, "padding")};
}

class Reader {
 public:
  explicit Reader(const SafeTensors& file) : tensors_(file.tensors.begin(), file.tensors.end()) {}

  Int8Model read(const json& j) {
    if (const json& n = field_at(j, "normalization"); !n.is_null()) m_.normalization = read_normalization(n);
    for (const json& v : array_at(j, "values")) read_value(v);
    if (values_.empty() || values_[0].kind != "codes") throw ValueError("the input must be codes");
    const json& steps = array_at(j, "steps");
    for (const json& s : steps) names_.insert(text_at(s, "name"));
    add_input(flag_at(j, "flat_input"));
    for (const json& s : steps) read_step(s);
    if (!tensors_.empty()) throw ValueError("it holds tensors that no step uses");
    for (const Value& v : values_)
      if (v.id == kAbsent) throw ValueError(message("no step makes value ", excerpt(v.name)));
    add_output(value(small_integer(field_at(j, "output"), "output"), "the output"), flag_at(j, "flat_output"));
    m_.graph_macs = integer_at(j, "graph_macs");
    for (const auto& [key, note] : object_at(j, "calibration").items()) m_.calibration[key] = text(note, key.c_str());
    return std::move(m_);
  }

 private:
  Graph& graph() { return m_.graph; }

  static ImageNormalization read_normalization(const json& j) {
    ImageNormalization n;
    for (const json& v : array_at(j, "mean")) n.mean.push_back(real(v, "mean"));
    for (const json& v : array_at(j, "std")) n.std.push_back(real(v, "std"));
    return n;
  }

  void read_value(const json& j) {
    Value v{text_at(j, "name"), text_at(j, "kind"), integer_at(j, "c"), integer_at(j, "h"), integer_at(j, "w"), {}};
    v.q = {real(field_at(j, "scale"), "scale"), small_integer(field_at(j, "zero_point"), "zero_point")};
    if (v.kind != "codes" && v.kind != "sums" && v.kind != "real")
      throw ValueError(message("value ", excerpt(v.name), " is of unknown kind '", excerpt(v.kind), "'"));
    if (v.c < 1 || v.h < 1 || v.w < 1)
      throw ValueError(message("value ", excerpt(v.name), " is [", v.c, ",", v.h, ",", v.w, "]"));
    values_.push_back(std::move(v));
  }

  Value& value(int id, const char* where) {
    if (id < 0 || size_t(id) >= values_.size() || values_[size_t(id)].id == kAbsent)
      throw ValueError(message(where, " reads value ", id, ", which nothing made before"));
    return values_[size_t(id)];
  }

  // A node, with a name that no step has.
  int add_around(const OpDef& op, int x, Attrs attrs = {}) {
    std::string name = op.name;
    while (!names_.insert(name).second) name = message(op.name, '_', ++number_);
    m_.layers.emplace_back();
    return graph().add_node(op, name, {x}, std::move(attrs));
  }
  int reshaped(int x, const Shape& shape) { return add_around(opdef::reshape, x, to_attrs(ShapeOptions{shape})); }

  void add_input(bool flat) {
    Value& v = values_[0];
    const Shape map{1, v.c, v.h, v.w};
    const DType dtype = m_.normalization ? DType::u8 : DType::f32;
    if (flat && (v.h != 1 || v.w != 1)) throw ValueError("a flat input has no height and width");
    int x = graph().add_value({.name = v.name, .shape = flat ? Shape{1, v.c} : map, .dtype = dtype, .constant = {}});
    graph().inputs = {x};
    if (flat) x = reshaped(x, {-1, v.c, 1, 1});
    v.id = m_.normalization ? add_around(opdef::qpack, x) : add_around(opdef::quantize, x, to_attrs(v.q));
    expect(v, "the input");
  }
  void add_output(const Value& v, bool flat) {
    int y = v.id;
    if (v.kind == "sums") throw ValueError("the output must not be sums");
    if (v.kind == "codes") y = add_around(opdef::dequantize, y);
    if (flat && (v.h != 1 || v.w != 1))
      throw ValueError(
          message("a flat output has no height and width, ", excerpt(v.name), " is [", v.c, ",", v.h, ",", v.w, "]"));
    if (flat) y = reshaped(y, {-1, v.c});
    graph().outputs = {y};
  }

  // Throws unless the graph's value is what the file says that it is.
  void expect(const Value& v, const std::string& maker) {
    const nn::graph::Value& made = graph().values[size_t(v.id)];
    const bool sums = v.kind == "sums", codes = v.kind == "codes";
    const Shape shape = sums ? Shape{1, v.c} : Shape{1, v.c, v.h, v.w};
    if (made.shape != shape || made.dtype != (sums ? DType::i32 : codes ? DType::u8 : DType::f32))
      throw ShapeError(message(maker, " makes ", name(made.dtype), made.shape, ", but value ", excerpt(v.name), " is ",
                               v.kind, shape));
    if ((sums || codes) && made.qparams != v.q)
      throw ValueError(message(maker, " makes codes of another grid than value ", excerpt(v.name), " has, scale ",
                               v.q.scale, " and zero point ", v.q.zero_point));
  }

  int constant(const char* what) {
    const std::string full = name_ + "." + what;
    auto tensor = tensors_.extract(full);
    if (!tensor) throw ValueError(message("tensor ", excerpt(full), " is missing"));
    return graph().add_constant(full, tensor.mapped());
  }

  void read_step(const json& j) {
    name_ = text_at(j, "name");
    const std::string where = message("step ", excerpt(name_)), kind = text_at(j, "kind");
    std::vector<int> in;
    for (const json& v : array_at(j, "inputs")) in.push_back(value(small_integer(v, "inputs"), where.c_str()).id);
    const int out = small_integer(field_at(j, "output"), "output");
    if (out < 0 || size_t(out) >= values_.size() || values_[size_t(out)].id != kAbsent)
      throw ValueError(message(where, " makes value ", out, ", which does not exist or is made already"));
    Value& y = values_[size_t(out)];
    m_.layers.push_back({text_at(j, "op"), {}});
    try {
      y.id = add_step(kind, j, in, y);
    } catch (const Error& e) {
      throw ValueError(message(where, ", which makes value ", excerpt(y.name), ": ", e.what()));
    }
    expect(y, where);
  }

  int add_step(const std::string& kind, const json& j, std::vector<int> in, const Value& y) {
    const bool codes = y.kind == "codes";
    const auto node = [&](const OpDef& op, std::vector<int> inputs, size_t given, Attrs attrs = {}) {
      if (in.size() != given) throw ValueError(message("it has ", in.size(), " inputs, not ", given));
      return graph().add_node(op, name_, std::move(inputs), std::move(attrs));
    };
    const auto result = [&] {
      const json& clamp = array_at(j, "clamp", 2);
      return QResult{y.q, small_integer(clamp[0], "clamp"), small_integer(clamp[1], "clamp")};
    };
    const auto first = [&](size_t i) { return i < in.size() ? in[i] : throw ValueError("it lacks an input"); };
    if (kind == "conv") {
      QConv2dOptions o;
      o.conv = {pair_at(j, "stride"), pair_at(j, "padding"), pair_at(j, "dilation"), integer_at(j, "groups")};
      const QResult r = result();
      if (codes) o.y = y.q;
      o.lo = r.lo;
      o.hi = r.hi;
      const int residual = in.size() == 2 ? in[1] : kAbsent;
      const std::vector<int> inputs{first(0), constant("weight"), constant("weight_scale"), constant("bias"), residual};
      return node(opdef::qconv2d, inputs, in.size() == 2 ? 2 : 1, to_attrs(o));
    }
    if (kind == "linear") return add_linear(first(0), in.size(), y);
    if (kind == "max_pool")
      return node(codes ? opdef::qmax_pool2d : opdef::real_max_pool2d, in, 1, to_attrs(window_at(j)));
    if (kind == "avg_pool") {
      const bool padding = flag_at(j, "count_include_pad");
      return codes ? node(opdef::qavg_pool2d, in, 1, to_attrs(QAvgPool2dOptions{window_at(j), padding, y.q}))
                   : node(opdef::real_avg_pool2d, in, 1, to_attrs(RealAvgPool2dOptions{window_at(j), padding}));
    }
    if (kind == "global_sum") return node(opdef::qglobal_sum, in, 1);
    if (kind == "lut") return node(opdef::qlut, {first(0), constant("table")}, 1, to_attrs(y.q));
    if (kind == "add") return codes ? node(opdef::qadd, in, 2, to_attrs(result())) : node(opdef::real_add, in, 2);
    if (kind == "mul") return node(opdef::qmul, in, 2, to_attrs(result()));
    if (kind == "cat") return node(opdef::qcat, in, std::max<size_t>(in.size(), 1), to_attrs(y.q));
    if (kind == "unary") {
      const std::string function = text_at(j, "function");
      const OpDef* const op = opdef::real_unary(function);
      if (!op) throw ValueError(message("there is no elementwise op '", excerpt(function), "'"));
      return node(*op, in, 1, to_attrs(RealUnaryOptions{number(field_at(j, "value"), "value")}));
    }
    throw ValueError(message("it is of unknown kind '", excerpt(kind), "'"));
  }

  // [N,C] sums -> [N,O], which was a map like any other value.
  int add_linear(int sums, size_t inputs, const Value& y) {
    if (inputs != 1) throw ValueError(message("it has ", inputs, " inputs, not 1"));
    const auto x = std::find_if(values_.begin(), values_.end(), [&](const Value& v) { return v.id == sums; });
    const int vector =
        graph().add_node(opdef::qlinear, name_, {sums, constant("weight"), constant("weight_scale"), constant("bias")},
                         to_attrs(QLinearOptions{checked_mul("linear", x->h, x->w)}));
    return reshaped(vector, {-1, y.c, 1, 1});
  }

  std::unordered_map<std::string, Tensor> tensors_;  // that no step has taken
  std::vector<Value> values_;
  std::unordered_set<std::string> names_;  // of nodes, those to come included
  int number_ = 1;                         // that a name has got
  std::string name_;                       // of the step at hand
  Int8Model m_;
};

}  // namespace

Int8Model read_version_1(const SafeTensors& file) {
  return Reader(file).read(parse_json("the network's description", nn::graph::metadata_text(file, "network")));
}

}  // namespace mininn::quant
