#include "tests/cpu_kernels/qconv2d_case.h"

#include <algorithm>
#include <cmath>

#include "tests/cpu_kernels/emulated_amx.h"

namespace mininn::testing {
namespace {

int64_t accumulator(const QConv2dCase& k, int64_t n, int64_t o, int64_t oh, int64_t ow) {
  int64_t acc = k.bias[(k.row_class ? (*k.row_class)[oh] + (*k.col_class)[ow] : 0) * k.g.oc + o];
  for (int64_t c = 0; c < k.g.icg(); ++c)
    for (int64_t kh = 0; kh < k.g.kh; ++kh)
      for (int64_t kw = 0; kw < k.g.kw; ++kw) {
        const int64_t ih = oh * k.g.stride_h - k.g.pad_h + kh * k.g.dil_h,
                      iw = ow * k.g.stride_w - k.g.pad_w + kw * k.g.dil_w;
        const bool inside = ih >= 0 && ih < k.g.ih && iw >= 0 && iw < k.g.iw;
        const int code = inside ? k.x.at(n, o / k.g.ocg() * k.g.icg() + c, ih, iw) : k.x_zero;
        acc += int64_t{code - k.x_zero} * k.w[((o * k.g.icg() + c) * k.g.kh + kh) * k.g.kw + kw];
      }
  return acc;
}

}  // namespace

op::QConv2d QConv2dCase::args(const View& y) const {
  op::QConv2d a;
  a.g = g;
  a.x = x.view();
  if (x_copy) a.x.data = x_copy;
  a.x_zero = x_zero;
  a.w = w.view();
  a.bias = bias.view();
  if (row_class) a.row_class = row_class->view(), a.col_class = col_class->view();
  a.multiplier = multiplier.view();
  if (residual) a.residual = residual->view();
  a.residual_scale = residual_scale;
  a.residual_zero = residual_zero;
  a.y = y;
  a.y_zero = y_zero;
  a.lo = lo;
  a.hi = hi;
  return a;
}

float QConv2dCase::real(int64_t n, int64_t o, int64_t oh, int64_t ow) const {
  const float t = float(int32_t(accumulator(*this, n, o, oh, ow))) * multiplier[o];
  return residual ? std::fmaf(float(residual->at(n, o, oh, ow) - residual_zero), residual_scale, t) : t;
}

Conv2dGeometry geometry(int64_t n, int64_t ic, int64_t size, int64_t oc, int64_t kernel, int64_t stride, int64_t pad,
                        int64_t groups) {
  return Conv2dGeometry::make("test", {n, ic, size, size}, {oc, ic / groups, kernel, kernel},
                              {.stride = stride, .padding = pad, .groups = groups});
}

void fill(QConv2dCase& c, Rng& rng, bool classes, bool residual) {
  const Conv2dGeometry& g = c.g;
  c.x_zero = chance(rng, 0.3) ? 0 : int32_t(uniform(rng, 0, 255));
  for (int64_t i = 0; i < c.w.size(); ++i) c.w[i] = int8_t(uniform(rng, -127, 127));
  if (classes) {
    const int64_t rows = uniform(rng, 1, 3), cols = uniform(rng, 1, 3);
    auto &row = c.row_class.emplace(Shape{g.oh}), &col = c.col_class.emplace(Shape{g.ow});
    for (int64_t i = 0; i < g.oh; ++i) row[i] = int32_t(uniform(rng, 0, rows - 1) * cols);
    for (int64_t i = 0; i < g.ow; ++i) col[i] = int32_t(uniform(rng, 0, cols - 1));
    c.bias = Array<int32_t>({rows * cols, g.oc});
  }
  const double spread = 73.0 * 100.0 * std::sqrt(double(g.icg() * g.kh * g.kw));
  for (int64_t i = 0; i < c.bias.size(); ++i) c.bias[i] = int32_t(uniform(rng, int64_t(-spread), int64_t(spread)));
  for (int64_t i = 0; i < g.oc; ++i) c.multiplier[i] = uniform_real(rng, 20.0f, 120.0f) / float(spread);
  if (residual) {
    c.residual = Codes::random(rng, {g.n, g.oc, g.oh, g.ow});
    c.residual_scale = uniform_real(rng, 0.1f, 2.0f);
    c.residual_zero = int32_t(uniform(rng, 0, 255));
  }
  c.y_zero = chance(rng, 0.5) ? 0 : int32_t(uniform(rng, 0, 255));
  c.lo = chance(rng, 0.5) ? c.y_zero : int32_t(uniform(rng, 0, 100));
  c.hi = chance(rng, 0.5) ? 255 : std::max<int32_t>(c.lo, int32_t(uniform(rng, 150, 255)));
}

void for_each_qconv2d(const std::function<void(Device, const Kernel<op::QConv2d>&)>& fn) {
  for_each_kernel<op::QConv2d>(fn);
  fn(Device::cpu(), emulated_amx<op::QConv2d>());
}

void check_kernels(Rng& rng, const QConv2dCase& c, std::map<std::string, int>* accepted) {
  const Conv2dGeometry& g = c.g;
  const Shape shape{g.n, g.oc, g.oh, g.ow};
  Codes codes = Codes::output(rng, shape), want_codes = codes;
  Array<float> reals = Array<float>::channels_last(shape), want_reals = reals;
  for (int64_t n = 0; n < g.n; ++n)
    for (int64_t h = 0; h < g.oh; ++h)
      for (int64_t w = 0; w < g.ow; ++w)
        for (int64_t o = 0; o < g.oc; ++o) {
          const float t = c.real(n, o, h, w);
          want_reals[((n * g.oh + h) * g.ow + w) * g.oc + o] = t;
          want_codes.at(n, o, h, w) = expected_code(t, c.y_zero, c.lo, c.hi);
        }
  op::QConv2d a = c.args(codes.view());
  check_qconv2d(a);
  for_each_qconv2d([&](Device device, const Kernel<op::QConv2d>& k) {
    a.y = codes.view();
    if (refuses(device, k, a)) return;
    const std::string kernel = message(to_string(device), ' ', k.name);
    if (accepted) ++(*accepted)[kernel];
    const Tensor packed = pack_kernel(device, k, a);
    for (const int threads : thread_counts(device)) {
      const Threads guard(threads);
      INFO(kernel << " on " << threads << " threads: [" << g.n << ',' << g.ic << ',' << g.ih << ',' << g.iw << "] x ["
                  << g.oc << ',' << g.icg() << ',' << g.kh << ',' << g.kw << "] stride " << g.stride_h << ','
                  << g.stride_w << " pad " << g.pad_h << ',' << g.pad_w << " dilation " << g.dil_h << ',' << g.dil_w
                  << " x_zero " << c.x_zero);
      codes.poison();
      a.y = codes.view();
      REQUIRE(run_kernel(device, k, a, packed));
      CHECK(codes == want_codes);
      reals.poison();
      a.y = reals.view();
      if (run_kernel(device, k, a, packed)) CHECK(reals == want_reals);  // others write codes only
    }
  });
}

}  // namespace mininn::testing
