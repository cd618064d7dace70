#include "tests/support/gradcheck.h"

#include <algorithm>
#include <cmath>

#include "core/autograd.h"
#include "core/random.h"

namespace mininn::testing {

namespace {

// `values` (row-major) laid out like `like`.
Tensor laid_out(const Tensor& like, const std::vector<double>& values) {
  Tensor t = Tensor::empty_like(like);
  t.copy_from(Tensor::from(values, like.shape()));
  return t;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

std::string gradcheck(const GradCase& c, uint64_t seed) {
  const auto fail = [&](const auto&... parts) { return message(c.op, " (", c.what, "), seed ", seed, ": ", parts...); };

  std::vector<Tensor> leaves;
  for (const Tensor& x : c.inputs) {
    leaves.push_back(x ? x.clone() : Tensor());
    if (x && x.dtype() == DType::f64) leaves.back().set_requires_grad(true);
  }
  const Tensor y = c.fn(leaves);
  if (!y.requires_grad()) return fail("the result does not require a gradient");
  Generator g(seed);
  std::vector<double> cotangent(static_cast<size_t>(y.numel()));
  for (double& v : cotangent) v = g.normal();
  y.backward(laid_out(y, cotangent));

  double size = 1;  // S without the gradient
  const std::vector<double> y0 = y.to_vector();
  for (size_t i = 0; i < y0.size(); ++i) size += std::abs(cotangent[i] * y0[i]);

  const NoGradGuard no_grad;
  for (size_t k = 0; k < leaves.size(); ++k) {
    if (!leaves[k] || leaves[k].dtype() != DType::f64) continue;
    if (!leaves[k].grad()) return fail("input ", k, " has no gradient");
    const std::vector<double> analytic = leaves[k].grad().to_vector();
    const std::vector<double> x0 = leaves[k].to_vector();
    for (size_t i = 0; i < x0.size(); ++i) {
      const double h = std::cbrt(c.eps) * std::max(1.0, std::abs(x0[i]));
      std::vector<Tensor> inputs;
      for (const Tensor& leaf : leaves) inputs.push_back(leaf ? leaf.detach() : Tensor());
      const auto value_at = [&](double x) {
        std::vector<double> moved = x0;
        moved[i] = x;
        inputs[k] = laid_out(leaves[k], moved);
        return dot(cotangent, c.fn(inputs).to_vector());
      };
      const double high = x0[i] + h, low = x0[i] - h;  // what was really added, after rounding
      const double numeric = (value_at(high) - value_at(low)) / (high - low);
      const double tolerance = 50 * (size + std::abs(analytic[i])) * (c.eps / h + h * h);
      if (!(std::abs(numeric - analytic[i]) <= tolerance))
        return fail("input ", k, leaves[k].shape(), ", element ", i, ": backward gives ", analytic[i],
                    ", the difference quotient ", numeric, "; they may differ by ", tolerance);
    }
  }
  return "";
}

}  // namespace mininn::testing
