#include "bench/peaks.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "bench/cuda_peaks.h"
#include "core/parallel.h"
#include "core/stopwatch.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/isa.h"

namespace mininn::bench {
namespace {

constexpr int kChains = 14;         // independent results: covers the latency of any current processor's units
constexpr int64_t kSteps = 600000;  // per chain: about a millisecond, long enough for every thread to be awake
constexpr double kSettle = 0.2;     // seconds

}  // namespace
}  // namespace mininn::bench

MININN_TARGET_AVX512
namespace mininn::bench {
namespace {
float fma_avx512() {
  __m512 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_ps(float(i));
  const __m512 a = _mm512_set1_ps(1.0001f), b = _mm512_set1_ps(0.5f);
  for (int64_t s = 0; s < kSteps; ++s)
#pragma GCC unroll 14
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_fmadd_ps(sum[i], a, b);
  float total = 0;
  for (int i = 0; i < kChains; ++i) total += _mm512_cvtss_f32(sum[i]);
  return total;
}
}  // namespace
}  // namespace mininn::bench
MININN_TARGET_END

MININN_TARGET_AVX512VNNI
namespace mininn::bench {
namespace {
float dot_avx512() {
  __m512i sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_epi32(i);
  const __m512i a = _mm512_set1_epi32(0x01020304);
  for (int64_t s = 0; s < kSteps; ++s)
#pragma GCC unroll 14
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], a, a);
  int total = 0;
  for (int i = 0; i < kChains; ++i) total += _mm512_cvtsi512_si32(sum[i]);
  return float(total);
}
}  // namespace
}  // namespace mininn::bench
MININN_TARGET_END

MININN_TARGET_AVX2
namespace mininn::bench {
namespace {
float fma_avx2() {
  __m256 sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_set1_ps(float(i));
  const __m256 a = _mm256_set1_ps(1.0001f), b = _mm256_set1_ps(0.5f);
  for (int64_t s = 0; s < kSteps; ++s)
#pragma GCC unroll 14
    for (int i = 0; i < kChains; ++i) sum[i] = _mm256_fmadd_ps(sum[i], a, b);
  float total = 0;
  for (int i = 0; i < kChains; ++i) total += _mm256_cvtss_f32(sum[i]);
  return total;
}

// What an exact direct convolution does without vpdpbusd (cpu_kernels/own/int8/conv/direct_avx2.cpp): for every 32
// products the weights take over the activations' signs, are multiplied, and pairs of 16-bit sums are widened and
// added.
float dot_avx2() {
  constexpr int kSums = 2;  // enough: only the last addition is a chain; more of them were slower on Zen 3
  __m256i sum[kSums];
  for (int i = 0; i < kSums; ++i) sum[i] = _mm256_set1_epi32(i);
  const __m256i x = _mm256_set1_epi32(0x01020304), ones = _mm256_set1_epi16(1);
  __m256i w = _mm256_set1_epi32(0x04030201);
  for (int64_t s = 0; s < kSteps; ++s)
#pragma GCC unroll 14
    for (int i = 0; i < kChains; ++i) {
      asm("" : "+x"(w));  // no new value, but the compiler must think so: else it multiplies once for all steps
      const __m256i pairs = _mm256_maddubs_epi16(x, _mm256_sign_epi8(w, x));
      sum[i % kSums] = _mm256_add_epi32(sum[i % kSums], _mm256_madd_epi16(pairs, ones));
    }
  int total = 0;
  for (int i = 0; i < kSums; ++i) total += _mm256_extract_epi32(sum[i], 0);
  return float(total);
}
}  // namespace
}  // namespace mininn::bench
MININN_TARGET_END

MININN_TARGET_AVXVNNI
namespace mininn::bench {
namespace {
float dot_avxvnni() {
  __m256i sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_set1_epi32(i);
  const __m256i a = _mm256_set1_epi32(0x01020304);
  for (int64_t s = 0; s < kSteps; ++s)
#pragma GCC unroll 14
    for (int i = 0; i < kChains; ++i) sum[i] = _mm256_dpbusd_avx_epi32(sum[i], a, a);
  int total = 0;
  for (int i = 0; i < kChains; ++i) total += _mm256_extract_epi32(sum[i], 0);
  return float(total);
}
}  // namespace
}  // namespace mininn::bench
MININN_TARGET_END

namespace mininn::bench {
namespace {

// Without vector units: what plain code reaches.
float multiply_add_scalar() {
  float sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = float(i);
  for (int64_t s = 0; s < kSteps; ++s)
    for (int i = 0; i < kChains; ++i) sum[i] = sum[i] * 1.0001f + 0.5f;
  float total = 0;
  for (const float v : sum) total += v;
  return total;
}

std::atomic<float> sink;  // keeps the loops alive

// The fastest of a few runs: a peak is what the machine does undisturbed.
double fastest_on_all_threads(float (*loop)()) {
  double best = 1e9;
  for (int repeat = 0; repeat < 8; ++repeat) {
    const Stopwatch pass;
    parallel_for(num_threads(), 1, [&](int64_t, int64_t) { sink.store(loop(), std::memory_order_relaxed); });
    best = std::min(best, pass.seconds());
  }
  return best;
}

// New threads may begin on one core, and cores at a low clock: readings of half a peak that agree with each other. So a
// changed number of threads is kept busy until it must have settled, and then readings go on until two in a row agree.
double seconds_on_all_threads(float (*loop)()) {
  static int settled = 0;  // number of threads
  const Stopwatch busy;
  while (settled != num_threads() && busy.seconds() < kSettle) fastest_on_all_threads(loop);
  settled = num_threads();

  double before = fastest_on_all_threads(loop), best = before;
  for (const Stopwatch measuring; measuring.seconds() < kSettle;) {
    const double now = fastest_on_all_threads(loop);
    best = std::min(best, now);
    if (std::max(before, now) < 1.02 * std::min(before, now)) break;
    before = now;
  }
  return best;
}

// Billions of lane results per second.
double rate(float (*loop)(), int lanes) {
  return double(num_threads()) * double(kSteps) * kChains * lanes / seconds_on_all_threads(loop) / 1e9;
}

}  // namespace

double peak_fma_gflops() {
  if (cpu::has(cpu::Isa::avx512)) return 2 * rate(fma_avx512, 16);
  if (cpu::has(cpu::Isa::avx2)) return 2 * rate(fma_avx2, 8);
  return 2 * rate(multiply_add_scalar, 1);
}

double peak_dot_gmacs() {
  if (cpu::has(cpu::Isa::avx512vnni)) return rate(dot_avx512, 64);
  if (cpu::has(cpu::Isa::avxvnni)) return rate(dot_avxvnni, 32);
  if (cpu::has(cpu::Isa::avx2)) return rate(dot_avx2, 32);
  return 0;
}

const char* peak_dot_instructions() {
  if (cpu::has(cpu::Isa::avx512vnni)) return "512-bit vpdpbusd";
  if (cpu::has(cpu::Isa::avxvnni)) return "256-bit vpdpbusd";
  if (cpu::has(cpu::Isa::avx2)) return "vpsignb+vpmaddubsw+vpmaddwd+vpaddd";
  return "none";
}

double copy_gb_per_s() {
  std::vector<char> from(size_t{256} << 20, 1), to(from.size());
  double best = 1e9;
  for (int repeat = 0; repeat < 4; ++repeat) {
    const Stopwatch pass;
    parallel_for(int64_t(from.size()), 1 << 20, [&](int64_t begin, int64_t end) {
      std::memcpy(to.data() + begin, from.data() + begin, size_t(end - begin));
    });
    best = std::min(best, pass.seconds());
  }
  return 2.0 * double(from.size()) / best / 1e9;
}

double peak_float_gflops(Device d, DType activations) {
  if (d.type == DeviceType::cpu) return peak_fma_gflops();
  return activations == DType::bf16 ? cuda_bf16_gflops(d) : cuda_fma_gflops(d);
}

double peak_int8_gmacs(Device d) { return d.type == DeviceType::cpu ? peak_dot_gmacs() : cuda_int8_gmacs(d); }

}  // namespace mininn::bench
