// An int8 network computed the slow and obvious way, from the definitions alone: nothing here is shared with the
// library except the model's data. Values are [N,C,H,W] row-major.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "quant/int8_model.h"

namespace mininn::testing {

class Simulator {
 public:
  Simulator(const quant::Int8Model& m, int64_t n) : m_(m), n_(n), values_(m.values.size()) {}

  // Codes of the input, for [N,C,H,W] row-major numbers: bytes as they are, or real numbers to be rounded.
  void set_input(const std::vector<double>& x) {
    const quant::Int8Value& v = m_.values[0];
    for (const double d : x)
      values_[0].push_back(m_.normalization ? d : code(float(d) / v.q.scale, v.q.zero_point, 0, 255));
  }

  void run(const quant::Int8Step& s) {
    values_[size_t(s.output)].assign(size_t(numel(out(s).shape(n_))), 0);
    std::visit([&](const auto& body) { step(s, body); }, s.body);
  }

  // Codes, sums or real numbers.
  const std::vector<double>& value(int id) const { return values_[size_t(id)]; }

 private:
  const quant::Int8Value& in(const quant::Int8Step& s, size_t i = 0) const { return m_.values[size_t(s.inputs[i])]; }
  const quant::Int8Value& out(const quant::Int8Step& s) const { return m_.values[size_t(s.output)]; }
  double at(const quant::Int8Step& s, size_t input, int64_t n, int64_t c, int64_t h, int64_t w) const {
    const quant::Int8Value& v = in(s, input);
    return values_[size_t(s.inputs[input])][size_t(((n * v.c + c) * v.h + h) * v.w + w)];
  }

  bool is_real(const quant::Int8Step& s) const { return out(s).kind == quant::Int8Value::Kind::real; }
  // What element x of an input stands for.
  double number(const quant::Int8Step& s, size_t input, double x) const {
    const quant::Int8Value& v = in(s, input);
    return v.kind == quant::Int8Value::Kind::real ? x : double(float(x - v.q.zero_point) * v.q.scale);
  }

  static double code(float t, int32_t zero, int32_t lo, int32_t hi) {
    if (std::isnan(t)) return 0;
    return std::clamp(std::nearbyint(double(t)) + zero, double(lo), double(hi));
  }

  // Calls fn(n, c, h, w, element) for every element of the step's output.
  template <class Fn>
  void each(const quant::Int8Step& s, Fn fn) {
    const quant::Int8Value& v = out(s);
    size_t i = 0;
    for (int64_t n = 0; n < n_; ++n)
      for (int64_t c = 0; c < v.c; ++c)
        for (int64_t h = 0; h < v.h; ++h)
          for (int64_t w = 0; w < v.w; ++w) fn(n, c, h, w, values_[size_t(s.output)][i++]);
  }

  void step(const quant::Int8Step& s, const quant::Int8Conv& c) {
    const quant::Int8Value &x = in(s), &y = out(s);
    const bool real = y.kind == quant::Int8Value::Kind::real;
    const auto w = c.weight.data<int8_t>();
    const auto bias = c.bias.data<int32_t>();
    const int64_t oc = c.weight.size(0), icg = c.weight.size(1), kh = c.weight.size(2), kw = c.weight.size(3);
    // The taps that fall on padding name the bias: collect what patterns there are, in order of appearance.
    const auto pattern = [](int64_t o, int64_t size, int64_t k, int64_t stride, int64_t pad, int64_t dil) {
      std::vector<bool> p;
      for (int64_t t = 0; t < k; ++t) p.push_back(o * stride - pad + t * dil >= 0 && o * stride - pad + t * dil < size);
      return p;
    };
    const auto rows = [&](int64_t h) {
      return pattern(h, x.h, kh, c.options.stride.h, c.options.padding.h, c.options.dilation.h);
    };
    const auto cols = [&](int64_t v) {
      return pattern(v, x.w, kw, c.options.stride.w, c.options.padding.w, c.options.dilation.w);
    };
    const auto number = [](auto fn, int64_t index) {  // which distinct pattern this is, counting from 0
      std::vector<std::vector<bool>> seen;
      for (int64_t i = 0;; ++i) {
        const auto p = fn(i);
        const auto it = std::find(seen.begin(), seen.end(), p);
        if (i == index) return int64_t(it - seen.begin());
        if (it == seen.end()) seen.push_back(p);
      }
    };
    std::vector<std::vector<bool>> col_patterns;
    for (int64_t v = 0; v < y.w; ++v)
      if (std::find(col_patterns.begin(), col_patterns.end(), cols(v)) == col_patterns.end())
        col_patterns.push_back(cols(v));
    each(s, [&](int64_t n, int64_t o, int64_t h, int64_t v, double& result) {
      const int64_t cls = c.bias.size(0) == 1 ? 0 : number(rows, h) * int64_t(col_patterns.size()) + number(cols, v);
      int64_t acc = bias[size_t(cls * oc + o)];
      for (int64_t i = 0; i < icg; ++i)
        for (int64_t a = 0; a < kh; ++a)
          for (int64_t b = 0; b < kw; ++b) {
            const int64_t ih = h * c.options.stride.h - c.options.padding.h + a * c.options.dilation.h;
            const int64_t iw = v * c.options.stride.w - c.options.padding.w + b * c.options.dilation.w;
            if (ih < 0 || iw < 0 || ih >= x.h || iw >= x.w) continue;
            const int64_t channel = o / (oc / c.options.groups) * icg + i;
            acc +=
                (int64_t(at(s, 0, n, channel, ih, iw)) - x.q.zero_point) * w[size_t(((o * icg + i) * kh + a) * kw + b)];
          }
      const double y_scale = real ? 1.0 : double(y.q.scale);
      const float multiplier = float(double(x.q.scale) * double(c.weight_scale.data<float>()[size_t(o)]) / y_scale);
      float t = float(acc) * multiplier;
      if (s.inputs.size() == 2)
        t = std::fmaf(float(at(s, 1, n, o, h, v) - in(s, 1).q.zero_point), float(double(in(s, 1).q.scale) / y_scale),
                      t);
      result = real ? double(t) : code(t, y.q.zero_point, c.lo, c.hi);
    });
  }
  void step(const quant::Int8Step& s, const quant::Int8Linear& l) {
    const quant::Int8Value& x = in(s);
    const auto w = l.weight.data<int8_t>();
    each(s, [&](int64_t n, int64_t o, int64_t, int64_t, double& result) {
      int64_t acc = l.bias.data<int32_t>()[size_t(o)];
      for (int64_t k = 0; k < x.c; ++k)
        acc += int64_t(values_[size_t(s.inputs[0])][size_t(n * x.c + k)]) * w[size_t(o * x.c + k)];
      const double scale = double(x.q.scale) / double(x.h * x.w) * double(l.weight_scale.data<float>()[size_t(o)]);
      result = double(float(acc) * float(scale));
    });
  }
  void step(const quant::Int8Step& s, const quant::Int8MaxPool& p) {
    each(s, [&](int64_t n, int64_t c, int64_t h, int64_t w, double& result) {
      result = is_real(s) ? -INFINITY : 0;
      window(s, p.window, h, w, [&](int64_t ih, int64_t iw) {
        const double v = at(s, 0, n, c, ih, iw);
        result = std::max(result, is_real(s) ? number(s, 0, v) : v);
      });
    });
  }
  void step(const quant::Int8Step& s, const quant::Int8AvgPool& p) {
    const QParams &x = in(s).q, &y = out(s).q;
    each(s, [&](int64_t n, int64_t c, int64_t h, int64_t w, double& result) {
      double sum = 0, count = 0;
      window(s, p.window, h, w, [&](int64_t ih, int64_t iw) {
        sum += is_real(s) ? number(s, 0, at(s, 0, n, c, ih, iw)) : at(s, 0, n, c, ih, iw) - x.zero_point;
        ++count;
      });
      if (p.count_include_pad) count = double(p.window.kernel.h * p.window.kernel.w);
      if (is_real(s)) {
        result = double(float(sum / count));
        return;
      }
      const float scale = float(double(x.scale) / double(y.scale));
      result = code(float(sum) * (scale / float(count)), y.zero_point, 0, 255);
    });
  }
  void step(const quant::Int8Step& s, const quant::Int8GlobalSum&) {
    const quant::Int8Value& x = in(s);
    auto& sums = values_[size_t(s.output)];
    sums.assign(size_t(n_ * x.c), 0);
    for (size_t i = 0; i < values_[size_t(s.inputs[0])].size(); ++i)
      sums[i / size_t(x.h * x.w)] += values_[size_t(s.inputs[0])][i];
  }
  void step(const quant::Int8Step& s, const quant::Int8Lut& l) {
    for (size_t i = 0; i < values_[size_t(s.output)].size(); ++i)
      values_[size_t(s.output)][i] = l.table.data<uint8_t>()[size_t(values_[size_t(s.inputs[0])][i])];
  }
  void step(const quant::Int8Step& s, const quant::RealUnary& u) {
    for (size_t i = 0; i < values_[size_t(s.output)].size(); ++i) {
      const double x = number(s, 0, values_[size_t(s.inputs[0])][i]);
      double y = NAN;
      if (u.op == "relu") y = std::max(x, 0.0);
      if (u.op == "relu6") y = std::clamp(x, 0.0, 6.0);
      if (u.op == "sigmoid") y = 1 / (1 + std::exp(-x));
      if (u.op == "mul_scalar") y = x * u.value;
      values_[size_t(s.output)][i] = double(float(y));
    }
  }
  void step(const quant::Int8Step& s, const quant::Int8Add& add) {
    const QParams &a = in(s, 0).q, &b = in(s, 1).q, &y = out(s).q;
    for (size_t i = 0; i < values_[size_t(s.output)].size(); ++i) {
      if (is_real(s)) {
        const auto term = [&](size_t k) { return float(number(s, k, values_[size_t(s.inputs[k])][i])); };
        values_[size_t(s.output)][i] = double(term(0) + term(1));
        continue;
      }
      const float u = float(values_[size_t(s.inputs[0])][i] - a.zero_point);
      const float v = float(values_[size_t(s.inputs[1])][i] - b.zero_point);
      const float v_scale = float(double(b.scale) / double(y.scale));
      const float t = std::fmaf(u, float(double(a.scale) / double(y.scale)), v * v_scale);
      values_[size_t(s.output)][i] = code(t, y.zero_point, add.lo, add.hi);
    }
  }

  void step(const quant::Int8Step& s, const quant::Int8Mul& mul) {
    const QParams &a = in(s, 0).q, &b = in(s, 1).q, &y = out(s).q;
    const bool gate = in(s, 1).h == 1 && in(s, 1).w == 1;
    const float scale = float(double(a.scale) * double(b.scale) / double(y.scale));
    each(s, [&](int64_t n, int64_t c, int64_t h, int64_t w, double& v) {
      const double product =
          (at(s, 0, n, c, h, w) - a.zero_point) * (at(s, 1, n, c, gate ? 0 : h, gate ? 0 : w) - b.zero_point);
      v = code(float(product) * scale, y.zero_point, mul.lo, mul.hi);
    });
  }
  void step(const quant::Int8Step& s, const quant::Int8Cat&) {
    const QParams& y = out(s).q;
    each(s, [&](int64_t n, int64_t c, int64_t h, int64_t w, double& v) {
      size_t i = 0;
      for (; c >= in(s, i).c; ++i) c -= in(s, i).c;
      const QParams& x = in(s, i).q;
      v = code(float(at(s, i, n, c, h, w) - x.zero_point) * float(double(x.scale) / double(y.scale)), y.zero_point, 0,
               255);
    });
  }

  template <class Fn>
  void window(const quant::Int8Step& s, const QPoolWindow& p, int64_t h, int64_t w, Fn fn) const {
    for (int64_t a = 0; a < p.kernel.h; ++a)
      for (int64_t b = 0; b < p.kernel.w; ++b) {
        const int64_t ih = h * p.stride.h - p.padding.h + a, iw = w * p.stride.w - p.padding.w + b;
        if (ih >= 0 && iw >= 0 && ih < in(s).h && iw < in(s).w) fn(ih, iw);
      }
  }

  const quant::Int8Model& m_;
  int64_t n_;
  std::vector<std::vector<double>> values_;
};

}  // namespace mininn::testing
