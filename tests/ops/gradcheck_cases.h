// The table of gradient checks: at least one case per differentiable op.
#pragma once

#include <vector>

#include "tests/support/gradcheck.h"

namespace mininn::testing {

// All of them.
std::vector<GradCase> grad_cases();

// Those of convolution, pooling, normalisation, products and losses (gradcheck_nn_cases.cpp).
std::vector<GradCase> nn_cases();

}  // namespace mininn::testing
