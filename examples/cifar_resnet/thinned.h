// Long curves, where more points cannot be told apart.
#pragma once

#include <cstddef>

namespace cifar_resnet {

// use(i) for at most about `most` of i in [0, n), evenly; the last one is among them.
template <class Use>
void thinned(size_t n, size_t most, const Use& use) {
  const size_t every = 1 + n / most;
  for (size_t i = n == 0 ? 0 : (n - 1) % every; i < n; i += every) use(i);
}

}  // namespace cifar_resnet
