// Checks an op's gradient against central differences, in f64.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace mininn::testing {

struct GradCase {
  std::string op;              // the traced name that this case covers
  std::string what;            // what is special about it
  std::vector<Tensor> inputs;  // f64 ones are checked, others (labels) only passed on; away from kinks
  std::function<Tensor(const std::vector<Tensor>&)> fn;  // must be a function of the inputs alone
  double eps = std::numeric_limits<double>::epsilon();   // of the coarsest number format that fn computes in
};

// Empty if d(sum(c * fn(x))) / dx from backward() agrees with (f(x + h) - f(x - h)) / 2h for every element of every
// input and one random cotangent c; else what differs, where and by how much.
//
// The step h is cbrt(eps) * max(1, |x|). The tolerance is the sum of the two errors of a central difference with it,
// times 50 for constants of the function: rounding of f, eps * S / h, and truncation, h^2 * S, where S = sum |c f(x)| +
// |gradient| + 1.
std::string gradcheck(const GradCase& c, uint64_t seed);

}  // namespace mininn::testing
