#include "nn/init.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>

#include "core/error.h"

namespace mininn::nn::init {

namespace {

int64_t fan(const Shape& w, int dim) {
  if (w.rank() < 2) throw ShapeError(message("nn::init: a weight has at least two dimensions, this one is ", w));
  numel(w);  // throws if a product of its sizes overflows
  int64_t n = w[dim];
  for (int d = 2; d < w.rank(); ++d) n *= w[d];
  return std::max<int64_t>(n, 1);
}

void require(const char* init, bool fits, std::initializer_list<double> numbers) {
  std::string list;
  for (const double v : numbers) {
    fits = fits && std::isfinite(v);
    list += message(' ', v);
  }
  if (!fits) throw ValueError(message("nn::init::", init, " makes no distribution of", list));
}

void require(const char* init, Fan f) {
  if (f != Fan::in && f != Fan::out) throw ValueError(message("nn::init::", init, ": there is no fan ", int(f)));
}

// An Init whose distribution depends on the shape: `spread(shape)` is the standard deviation, or the bound.
template <class Spread>
Init normal_with(Spread spread) {
  return [=](std::span<double> v, const Shape& s, Generator& g) { normal(0, spread(s))(v, s, g); };
}
template <class Spread>
Init uniform_with(Spread spread) {
  return [=](std::span<double> v, const Shape& s, Generator& g) { uniform(-spread(s), spread(s))(v, s, g); };
}

}  // namespace

int64_t fan_in(const Shape& w) { return fan(w, 1); }
int64_t fan_out(const Shape& w) { return fan(w, 0); }

Init constant(double value) {
  require("constant", true, {value});
  return [=](std::span<double> v, const Shape&, Generator&) { std::fill(v.begin(), v.end(), value); };
}

Init uniform(double low, double high) {
  require("uniform", low <= high && std::isfinite(high - low), {low, high});
  return [=](std::span<double> v, const Shape&, Generator& g) {
    for (double& x : v) x = low + (high - low) * g.uniform();
  };
}

Init normal(double mean, double stddev) {
  require("normal", stddev >= 0, {mean, stddev});
  return [=](std::span<double> v, const Shape&, Generator& g) {
    for (double& x : v) x = mean + stddev * g.normal();
  };
}

Init kaiming_normal(Fan f, double gain) {
  require("kaiming_normal", f);
  require("kaiming_normal", gain >= 0, {gain});
  return normal_with([=](const Shape& s) { return gain / std::sqrt(double(f == Fan::in ? fan_in(s) : fan_out(s))); });
}

Init kaiming_uniform(Fan f, double gain) {
  require("kaiming_uniform", f);
  require("kaiming_uniform", gain >= 0, {gain});
  return uniform_with(
      [=](const Shape& s) { return gain * std::sqrt(3.0 / double(f == Fan::in ? fan_in(s) : fan_out(s))); });
}

Init xavier_normal(double gain) {
  require("xavier_normal", gain >= 0, {gain});
  return normal_with([=](const Shape& s) { return gain * std::sqrt(2.0 / (double(fan_in(s)) + double(fan_out(s)))); });
}

Init xavier_uniform(double gain) {
  require("xavier_uniform", gain >= 0, {gain});
  return uniform_with([=](const Shape& s) { return gain * std::sqrt(6.0 / (double(fan_in(s)) + double(fan_out(s)))); });
}

Init torch_default(int64_t weight_fan_in) {
  require("torch_default", weight_fan_in >= 0, {double(weight_fan_in)});
  const double b = 1 / std::sqrt(double(std::max<int64_t>(weight_fan_in, 1)));
  return uniform(-b, b);
}

}  // namespace mininn::nn::init
