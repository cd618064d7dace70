// The table of gradient checks: at least one case per differentiable op.
#pragma once

#include <vector>

#include "tests/support/gradcheck.h"

namespace mininn::test {

inline constexpr uint64_t kSeed = 20240607;  // unless MININN_TEST_SEED says otherwise

// All of them.
std::vector<GradCase> grad_cases();

// Those of convolution, pooling, normalisation, products and losses (gradcheck_nn_cases.cpp).
std::vector<GradCase> nn_cases();

}  // namespace mininn::test
