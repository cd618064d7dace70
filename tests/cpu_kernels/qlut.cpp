// Every table look-up kernel against the table.
#include "ops/qlut.h"

#include "tests/cpu_kernels/int8_buffers.h"

using namespace mininn;
using namespace mininn::testing;

TEST_CASE("qlut kernels look every code up") {
  Rng rng(1);
  for (int i = 0; i < 50; ++i) {
    const Shape shape{uniform(rng, 0, 3), uniform(rng, 1, 70), uniform(rng, 1, 9), uniform(rng, 1, 9)};
    const Codes x = Codes::random(rng, shape);
    Codes y = Codes::output(rng, shape), want = y;
    Array<uint8_t> table({256});
    for (int64_t j = 0; j < 256; ++j) table[j] = uint8_t(uniform(rng, 0, 255));
    for (int64_t j = 0; j < numel(shape); ++j) {
      const int64_t w = j % shape[3], h = j / shape[3] % shape[2], c = j / shape[3] / shape[2] % shape[1];
      const int64_t n = j / shape[3] / shape[2] / shape[1];
      want.at(n, c, h, w) = table[x.at(n, c, h, w)];
    }
    const op::QLut a{x.view(), std::as_const(table).view(), y.view()};
    check_qlut(a);
    for_each_kernel<op::QLut>(gives(a, y, want));
  }
}
