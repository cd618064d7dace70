#include <algorithm>

#include "core/parallel.h"
#include "cpu_kernels/common/windows.h"
#include "cpu_kernels/ref/int8.h"
#include "ops/requant.h"

namespace mininn::cpu::ref {
namespace {

void run_max(const op::QMaxPool2d& a, const ExecContext&) {
  for_each_window(a.x, a.y, a.window,
                  [&](int64_t at, const uint8_t* x, int64_t h0, int64_t h1, int64_t w0, int64_t w1) {
                    uint8_t* y = a.y.as<uint8_t>() + at * a.y.strides[3];
                    for (int64_t c = 0; c < a.x.shape[1]; ++c) {
                      uint8_t most = 0;  // no code is smaller
                      for (int64_t h = h0; h < h1; ++h)
                        for (int64_t w = w0; w < w1; ++w)
                          most = std::max(most, x[h * a.x.strides[2] + w * a.x.strides[3] + c]);
                      y[c] = most;
                    }
                  });
}

void run_avg(const op::QAvgPool2d& a, const ExecContext&) {
  const CodeRange range = code_range(a.y_zero, a.lo, a.hi);
  for_each_window(a.x, a.y, a.window,
                  [&](int64_t at, const uint8_t* x, int64_t h0, int64_t h1, int64_t w0, int64_t w1) {
                    uint8_t* y = a.y.as<uint8_t>() + at * a.y.strides[3];
                    const int64_t inside = (h1 - h0) * (w1 - w0);
                    const int64_t count = a.count_include_pad ? a.window.kernel.h * a.window.kernel.w : inside;
                    const float multiplier = a.scale / float(count);
                    for (int64_t c = 0; c < a.x.shape[1]; ++c) {
                      int32_t sum = int32_t(inside) * -a.x_zero;
                      for (int64_t h = h0; h < h1; ++h)
                        for (int64_t w = w0; w < w1; ++w) sum += x[h * a.x.strides[2] + w * a.x.strides[3] + c];
                      y[c] = to_code(float(sum) * multiplier, range);
                    }
                  });
}

void run_sum(const op::QGlobalSum& a, const ExecContext&) {
  const int64_t channels = a.x.shape[1], pixels = a.x.shape[2] * a.x.shape[3];
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, channels * pixels));
  parallel_for(a.x.shape[0], grain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      int32_t* y = a.y.as<int32_t>() + n * channels;
      std::fill(y, y + channels, 0);
      for (int64_t i = 0; i < pixels; ++i) {
        const uint8_t* x = a.x.as<uint8_t>() + n * a.x.strides[0] + i * a.x.strides[3];
        for (int64_t c = 0; c < channels; ++c) y[c] += x[c];
      }
    }
  });
}

}  // namespace

const Kernel<op::QMaxPool2d> qmax_pool2d{"ref", kReferenceInRegions, takes_all, run_max};
const Kernel<op::QAvgPool2d> qavg_pool2d{"ref", kReferenceInRegions, takes_all, run_avg};
const Kernel<op::QGlobalSum> qglobal_sum{"ref", kReferenceInRegions, takes_all, run_sum};

}  // namespace mininn::cpu::ref
