// An int8 network computed the slow and obvious way, from the definitions alone: nothing here is shared with the
// library except the model's data. Values are [N,C,H,W] row-major.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

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
#include "quant/int8_model.h"

namespace mininn::testing {

class Simulator {
 public:
  Simulator(const quant::Int8Model& m, int64_t n)
      : g_(m.graph), n_(n), infos_(infer(g_, batched_inputs(g_, n))), values_(g_.values.size()) {}

  void set_input(const std::vector<double>& x) { values_[size_t(g_.inputs[0])] = x; }

  void run(const nn::graph::Node& node) {
    node_ = &node;
    y_.assign(size_t(numel(y().shape)), 0);
    compute();
    values_[size_t(node.output)] = y_;
  }

  // Codes, sums or real numbers.
  const std::vector<double>& value(int id) const { return values_[size_t(id)]; }

 private:
  const TensorInfo& y() const { return infos_[size_t(node_->output)]; }
  const TensorInfo& in(size_t i = 0) const { return infos_[size_t(node_->inputs[i])]; }
  const std::vector<double>& x(size_t i = 0) const { return values_[size_t(node_->inputs[i])]; }
  const Tensor& constant(size_t i) const { return g_.values[size_t(node_->inputs[i])].constant; }
  double at(size_t input, int64_t n, int64_t c, int64_t h, int64_t w) const {
    const Shape& s = in(input).shape;
    return x(input)[size_t(((n * s[1] + c) * s[2] + h) * s[3] + w)];
  }
  QParams q(size_t input) const { return *in(input).qparams; }
  QParams yq() const { return *y().qparams; }
  bool is_real() const { return !y().qparams; }

  // What element v of an input stands for.
  double number(size_t input, double v) const {
    return in(input).qparams ? double(float(v - q(input).zero_point) * q(input).scale) : v;
  }

  static double code(float t, int32_t zero, int32_t lo, int32_t hi) {
    if (std::isnan(t)) return 0;
    return std::clamp(std::nearbyint(double(t)) + zero, double(lo), double(hi));
  }

  // Calls fn(n, c, h, w, element) for every element of the result [N,C,H,W].
  template <class Fn>
  void each(Fn fn) {
    const Shape& s = y().shape;
    size_t i = 0;
    for (int64_t n = 0; n < n_; ++n)
      for (int64_t c = 0; c < s[1]; ++c)
        for (int64_t h = 0; h < s[2]; ++h)
          for (int64_t w = 0; w < s[3]; ++w) fn(n, c, h, w, y_[i++]);
  }

  void compute() {
    const OpDef* const op = node_->op;
    const std::string_view name = op->name;
    if (op == &opdef::reshape || op == &opdef::qpack) y_ = x();
    if (op == &opdef::quantize)
      for (size_t i = 0; i < y_.size(); ++i) y_[i] = code(float(x()[i]) / yq().scale, yq().zero_point, 0, 255);
    if (op == &opdef::dequantize)
      for (size_t i = 0; i < y_.size(); ++i) y_[i] = number(0, x()[i]);
    if (op == &opdef::qconv2d) conv(node_->options<QConv2dOptions>());
    if (op == &opdef::qlinear) linear(node_->options<QLinearOptions>());
    if (op == &opdef::qmax_pool2d || op == &opdef::real_max_pool2d) max_pool(node_->options<QPoolWindow>());
    if (op == &opdef::qavg_pool2d) {
      const auto o = node_->options<QAvgPool2dOptions>();
      avg_pool(o.window, o.count_include_pad);
    }
    if (op == &opdef::real_avg_pool2d) {
      const auto o = node_->options<RealAvgPool2dOptions>();
      avg_pool(o.window, o.count_include_pad);
    }
    if (op == &opdef::qglobal_sum) {
      const int64_t pixels = in().shape[2] * in().shape[3];
      for (size_t i = 0; i < x().size(); ++i) y_[i / size_t(pixels)] += x()[i];
    }
    if (op == &opdef::qlut)
      for (size_t i = 0; i < y_.size(); ++i) y_[i] = constant(1).data<uint8_t>()[size_t(x()[i])];
    if (op == &opdef::qadd) add(node_->options<QResult>());
    if (op == &opdef::real_add)
      for (size_t i = 0; i < y_.size(); ++i) y_[i] = double(float(number(0, x(0)[i])) + float(number(1, x(1)[i])));
    if (op == &opdef::qmul) mul(node_->options<QResult>());
    if (op == &opdef::qcat) cat();
    if (name.starts_with("real_") && node_->inputs.size() == 1 && name.find("pool") == name.npos)
      unary(name.substr(5), node_->options<RealUnaryOptions>().value);
  }

  void conv(const QConv2dOptions& o) {
    const Tensor &weight = constant(1), &biases = constant(3);
    const auto w = weight.data<int8_t>();
    const auto bias = biases.data<int32_t>();
    const Shape &xs = in().shape, &ys = y().shape;
    const int64_t oc = weight.size(0), icg = weight.size(1), kh = weight.size(2), kw = weight.size(3);
    // The taps that fall on padding name the bias: collect what patterns there are, in order of appearance.
    const auto pattern = [](int64_t out, int64_t size, int64_t k, int64_t stride, int64_t pad, int64_t dil) {
      std::vector<bool> p;
      for (int64_t t = 0; t < k; ++t)
        p.push_back(out * stride - pad + t * dil >= 0 && out * stride - pad + t * dil < size);
      return p;
    };
    const auto rows = [&](int64_t h) {
      return pattern(h, xs[2], kh, o.conv.stride.h, o.conv.padding.h, o.conv.dilation.h);
    };
    const auto cols = [&](int64_t v) {
      return pattern(v, xs[3], kw, o.conv.stride.w, o.conv.padding.w, o.conv.dilation.w);
    };
    const auto number_of = [](auto fn, int64_t index) {  // which distinct pattern this is, counting from 0
      std::vector<std::vector<bool>> seen;
      for (int64_t i = 0;; ++i) {
        const auto p = fn(i);
        const auto it = std::find(seen.begin(), seen.end(), p);
        if (i == index) return int64_t(it - seen.begin());
        if (it == seen.end()) seen.push_back(p);
      }
    };
    std::vector<std::vector<bool>> col_patterns;
    for (int64_t v = 0; v < ys[3]; ++v)
      if (std::find(col_patterns.begin(), col_patterns.end(), cols(v)) == col_patterns.end())
        col_patterns.push_back(cols(v));
    each([&](int64_t n, int64_t out, int64_t h, int64_t v, double& result) {
      const int64_t cls =
          biases.size(0) == 1 ? 0 : number_of(rows, h) * int64_t(col_patterns.size()) + number_of(cols, v);
      int64_t acc = bias[size_t(cls * oc + out)];
      for (int64_t i = 0; i < icg; ++i)
        for (int64_t a = 0; a < kh; ++a)
          for (int64_t b = 0; b < kw; ++b) {
            const int64_t ih = h * o.conv.stride.h - o.conv.padding.h + a * o.conv.dilation.h;
            const int64_t iw = v * o.conv.stride.w - o.conv.padding.w + b * o.conv.dilation.w;
            if (ih < 0 || iw < 0 || ih >= xs[2] || iw >= xs[3]) continue;
            const int64_t channel = out / (oc / o.conv.groups) * icg + i;
            acc +=
                (int64_t(at(0, n, channel, ih, iw)) - q(0).zero_point) * w[size_t(((out * icg + i) * kh + a) * kw + b)];
          }
      const double y_scale = is_real() ? 1.0 : double(yq().scale);
      const float multiplier = float(double(q(0).scale) * double(constant(2).data<float>()[size_t(out)]) / y_scale);
      float t = float(acc) * multiplier;
      if (node_->inputs[4] != nn::graph::kAbsent)
        t = std::fmaf(float(at(4, n, out, h, v) - q(4).zero_point), float(double(q(4).scale) / y_scale), t);
      result = is_real() ? double(t) : code(t, yq().zero_point, o.lo, o.hi);
    });
  }

  void linear(const QLinearOptions& o) {
    const int64_t k = in().shape[1], outputs = y().shape[1];
    for (int64_t n = 0; n < n_; ++n)
      for (int64_t out = 0; out < outputs; ++out) {
        int64_t acc = constant(3).data<int32_t>()[size_t(out)];
        for (int64_t i = 0; i < k; ++i)
          acc += int64_t(x()[size_t(n * k + i)]) * constant(1).data<int8_t>()[size_t(out * k + i)];
        const double scale = double(q(0).scale) / double(o.pixels) * double(constant(2).data<float>()[size_t(out)]);
        y_[size_t(n * outputs + out)] = double(float(acc) * float(scale));
      }
  }

  void max_pool(const QPoolWindow& p) {
    each([&](int64_t n, int64_t c, int64_t h, int64_t w, double& result) {
      result = is_real() ? -INFINITY : 0;
      window(p, h, w, [&](int64_t ih, int64_t iw) {
        const double v = at(0, n, c, ih, iw);
        result = std::max(result, is_real() ? number(0, v) : v);
      });
    });
  }
  void avg_pool(const QPoolWindow& p, bool count_include_pad) {
    each([&](int64_t n, int64_t c, int64_t h, int64_t w, double& result) {
      double sum = 0, count = 0;
      window(p, h, w, [&](int64_t ih, int64_t iw) {
        sum += is_real() ? number(0, at(0, n, c, ih, iw)) : at(0, n, c, ih, iw) - q(0).zero_point;
        ++count;
      });
      if (count_include_pad) count = double(p.kernel.h * p.kernel.w);
      if (is_real()) {
        result = double(float(sum / count));
        return;
      }
      const float scale = float(double(q(0).scale) / double(yq().scale));
      result = code(float(sum) * (scale / float(count)), yq().zero_point, 0, 255);
    });
  }

  void unary(std::string_view op, double value) {
    for (size_t i = 0; i < y_.size(); ++i) {
      const double v = number(0, x()[i]);
      double r = NAN;
      if (op == "relu") r = std::max(v, 0.0);
      if (op == "relu6") r = std::clamp(v, 0.0, 6.0);
      if (op == "sigmoid") r = 1 / (1 + std::exp(-v));
      if (op == "mul_scalar") r = v * value;
      y_[i] = double(float(r));
    }
  }

  void add(const QResult& o) {
    const QParams a = q(0), b = q(1);
    for (size_t i = 0; i < y_.size(); ++i) {
      const float u = float(x(0)[i] - a.zero_point), v = float(x(1)[i] - b.zero_point);
      const float v_scale = float(double(b.scale) / double(o.y.scale));
      const float t = std::fmaf(u, float(double(a.scale) / double(o.y.scale)), v * v_scale);
      y_[i] = code(t, o.y.zero_point, o.lo, o.hi);
    }
  }

  void mul(const QResult& o) {
    const QParams a = q(0), b = q(1);
    const bool gate = in(1).shape[2] == 1 && in(1).shape[3] == 1;
    const float scale = float(double(a.scale) * double(b.scale) / double(o.y.scale));
    each([&](int64_t n, int64_t c, int64_t h, int64_t w, double& v) {
      const double product =
          (at(0, n, c, h, w) - a.zero_point) * (at(1, n, c, gate ? 0 : h, gate ? 0 : w) - b.zero_point);
      v = code(float(product) * scale, o.y.zero_point, o.lo, o.hi);
    });
  }

  void cat() {
    each([&](int64_t n, int64_t c, int64_t h, int64_t w, double& v) {
      size_t i = 0;
      for (; c >= in(i).shape[1]; ++i) c -= in(i).shape[1];
      v = code(float(at(i, n, c, h, w) - q(i).zero_point) * float(double(q(i).scale) / double(yq().scale)),
               yq().zero_point, 0, 255);
    });
  }

  template <class Fn>
  void window(const QPoolWindow& p, int64_t h, int64_t w, Fn fn) const {
    for (int64_t a = 0; a < p.kernel.h; ++a)
      for (int64_t b = 0; b < p.kernel.w; ++b) {
        const int64_t ih = h * p.stride.h - p.padding.h + a, iw = w * p.stride.w - p.padding.w + b;
        if (ih >= 0 && iw >= 0 && ih < in().shape[2] && iw < in().shape[3]) fn(ih, iw);
      }
  }

  const nn::graph::Graph& g_;
  int64_t n_;
  std::vector<TensorInfo> infos_;
  std::vector<std::vector<double>> values_;
  const nn::graph::Node* node_ = nullptr;  // at hand
  std::vector<double> y_;                  // its result
};

}  // namespace mininn::testing
