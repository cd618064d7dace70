// Distributions of values before and after quantization.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace cifar_resnet {

struct Histogram {
  double lo = 0, hi = 1;  // outer edges; the bins are equally wide
  std::vector<double> counts;
};
struct BeforeAfter {
  std::string name;  // of the layer
  Histogram before, after;
};

// At most 80 bins for both, over the finite values of `before`; what lies outside counts in the last ones, what is not
// finite nowhere. Throws mininn::ValueError if `before` has no finite value.
//
// Where all of `after` are multiples of `step`, each bin holds the same number of these: bins of another width would
// hold one more here and there, and draw combs that are not in the data. 0: there is no such step.
BeforeAfter before_after(const std::string& name, std::span<const double> before, std::span<const double> after,
                         double step = 0);

}  // namespace cifar_resnet
