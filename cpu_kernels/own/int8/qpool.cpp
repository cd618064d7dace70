#include "cpu_kernels/own/int8/qpool.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/isa.h"
#include "cpu_kernels/common/windows.h"

namespace mininn::cpu::own {
namespace {

void max_scalar(uint8_t* y, const uint8_t* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = std::max(y[i], x[i]);
}

void add_scalar(int32_t* y, const uint8_t* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

void max_avx2(uint8_t* y, const uint8_t* x, int64_t n) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    auto* to = reinterpret_cast<__m256i*>(y + i);
    _mm256_storeu_si256(
        to, _mm256_max_epu8(_mm256_loadu_si256(to), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i))));
  }
  if (i < n) max_scalar(y + i, x + i, n - i);
}

void add_avx2(int32_t* y, const uint8_t* x, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    auto* to = reinterpret_cast<__m256i*>(y + i);
    const __m256i codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x + i)));
    _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), codes));
  }
  if (i < n) add_scalar(y + i, x + i, n - i);
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

template <class Args>
Refusal check_avx2(const Args&) {
  return needs(Isa::avx2);
}

template <void (*kMax)(uint8_t*, const uint8_t*, int64_t)>
void run_max(const op::QMaxPool2d& a, const ExecContext&) {
  const int64_t c = a.x.shape[1];
  for_each_window(a.x, a.y, a.window,
                  [&](int64_t at, const uint8_t* x, int64_t h0, int64_t h1, int64_t w0, int64_t w1) {
                    uint8_t* y = a.y.as<uint8_t>() + at * a.y.strides[3];
                    std::memset(y, 0, size_t(c));  // no code is smaller
                    for (int64_t h = h0; h < h1; ++h)
                      for (int64_t w = w0; w < w1; ++w) kMax(y, x + h * a.x.strides[2] + w * a.x.strides[3], c);
                  });
}

template <void (*kAdd)(int32_t*, const uint8_t*, int64_t)>
void run_sum(const op::QGlobalSum& a, const ExecContext&) {
  const int64_t c = a.x.shape[1], pixels = a.x.shape[2] * a.x.shape[3];
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, c * pixels));
  parallel_for(a.x.shape[0], grain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      int32_t* y = a.y.as<int32_t>() + n * c;
      std::fill(y, y + c, 0);
      for (int64_t i = 0; i < pixels; ++i) kAdd(y, a.x.as<uint8_t>() + n * a.x.strides[0] + i * a.x.strides[3], c);
    }
  });
}

}  // namespace

const Kernel<op::QMaxPool2d> qmax_pool2d_avx2{"own.avx2", kOwnInRegions, check_avx2<op::QMaxPool2d>, run_max<max_avx2>};
const Kernel<op::QGlobalSum> qglobal_sum_avx2{"own.avx2", kOwnInRegions, check_avx2<op::QGlobalSum>, run_sum<add_avx2>};

}  // namespace mininn::cpu::own
