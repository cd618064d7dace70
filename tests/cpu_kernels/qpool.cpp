// Every int8 pooling kernel against a plain loop: equal bytes.
#include "ops/qpool.h"

#include "tests/cpu_kernels/int8_buffers.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

struct Pooling {
  Shape in, out;
  QPoolWindow window;
};

Pooling random_pooling(Rng& rng) {
  for (;;) {
    Pooling p;
    p.in = {uniform(rng, 0, 3), uniform(rng, 1, 70), uniform(rng, 1, 12), uniform(rng, 1, 12)};
    p.window.kernel = {uniform(rng, 1, 4), uniform(rng, 1, 4)};
    p.window.stride = {uniform(rng, 1, 3), uniform(rng, 1, 3)};
    p.window.padding = {uniform(rng, 0, p.window.kernel.h - 1), uniform(rng, 0, p.window.kernel.w - 1)};
    const int64_t h = p.in[2] + 2 * p.window.padding.h - p.window.kernel.h;
    const int64_t w = p.in[3] + 2 * p.window.padding.w - p.window.kernel.w;
    if (h < 0 || w < 0) continue;
    p.out = {p.in[0], p.in[1], h / p.window.stride.h + 1, w / p.window.stride.w + 1};
    return p;
  }
}

// Calls body(n, c, oh, ow, codes of the window that are not padding).
template <class Body>
void for_each_output(const Pooling& p, const Codes& x, const Body& body) {
  for (int64_t n = 0; n < p.out[0]; ++n)
    for (int64_t c = 0; c < p.out[1]; ++c)
      for (int64_t oh = 0; oh < p.out[2]; ++oh)
        for (int64_t ow = 0; ow < p.out[3]; ++ow) {
          std::vector<int> codes;
          for (int64_t i = 0; i < p.window.kernel.h; ++i)
            for (int64_t j = 0; j < p.window.kernel.w; ++j) {
              const int64_t h = oh * p.window.stride.h - p.window.padding.h + i;
              const int64_t w = ow * p.window.stride.w - p.window.padding.w + j;
              if (h >= 0 && h < p.in[2] && w >= 0 && w < p.in[3]) codes.push_back(x.at(n, c, h, w));
            }
          body(n, c, oh, ow, codes);
        }
}

}  // namespace

TEST_CASE("int8 pooling kernels equal the definition") {
  const uint64_t seed = test_seed();
  Rng rng(seed);
  INFO("MININN_TEST_SEED=" << seed);
  for (int i = 0; i < 300; ++i) {
    const Pooling p = random_pooling(rng);
    const Codes x = Codes::random(rng, p.in);
    Codes y = Codes::output(rng, p.out), want = y;

    for_each_output(p, x, [&](int64_t n, int64_t c, int64_t h, int64_t w, const std::vector<int>& codes) {
      want.at(n, c, h, w) = uint8_t(*std::max_element(codes.begin(), codes.end()));
    });
    const op::QMaxPool2d max{x.view(), p.window, y.view()};
    check_qmax_pool2d(max);
    for_each_kernel<op::QMaxPool2d>(gives(max, y, want));

    op::QAvgPool2d avg;
    avg.x = x.view();
    avg.x_zero = int32_t(uniform(rng, 0, 255));
    avg.window = p.window;
    avg.count_include_pad = chance(rng, 0.5);
    avg.scale = chance(rng, 0.5) ? 1.0f : uniform_real(rng, 0.1f, 4.0f);
    avg.y = y.view();
    avg.y_zero = chance(rng, 0.5) ? avg.x_zero : int32_t(uniform(rng, 0, 255));
    avg.lo = int32_t(uniform(rng, 0, 20));
    avg.hi = int32_t(uniform(rng, 200, 255));
    check_qavg_pool2d(avg);
    want = y;
    want.poison();
    for_each_output(p, x, [&](int64_t n, int64_t c, int64_t h, int64_t w, const std::vector<int>& codes) {
      int sum = 0;
      for (const int code : codes) sum += code - avg.x_zero;
      const auto count = avg.count_include_pad ? size_t(p.window.kernel.h * p.window.kernel.w) : codes.size();
      want.at(n, c, h, w) = expected_code(float(sum) * (avg.scale / float(count)), avg.y_zero, avg.lo, avg.hi);
    });
    for_each_kernel<op::QAvgPool2d>(gives(avg, y, want));
  }
}

TEST_CASE("the global sum adds every code") {
  Rng rng(2);
  for (int i = 0; i < 100; ++i) {
    const Shape in{uniform(rng, 0, 3), uniform(rng, 1, 70), uniform(rng, 1, 9), uniform(rng, 1, 9)};
    const Codes x = Codes::random(rng, in);
    Array<int32_t> y({in[0], in[1]}), want({in[0], in[1]});
    for (int64_t j = 0; j < y.size(); ++j) {
      want[j] = 0;
      for (int64_t h = 0; h < in[2]; ++h)
        for (int64_t w = 0; w < in[3]; ++w) want[j] += x.at(j / in[1], j % in[1], h, w);
    }
    const op::QGlobalSum a{x.view(), y.view()};
    check_qglobal_sum(a);
    for_each_kernel<op::QGlobalSum>(gives(a, y, want));
  }
}
