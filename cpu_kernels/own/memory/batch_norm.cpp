// Layout: [rows, c] f32 or bf16 without gaps; any c, any alignment. A vector holds neighbouring channels; channels
// behind the last full vector go one by one.
//
// The rows are cut into blocks of about 64 KiB, whose number depends on the sizes alone, and the blocks are shared out
// to the threads. Sums are taken in short chains of f32 within a block and otherwise in double, in order, so results do
// not depend on the number of threads. Each pass over a map reads it once from memory.
#include "cpu_kernels/own/memory/batch_norm.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/bf16_vectors.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/common/isa.h"
#include "cpu_kernels/common/scratch.h"

namespace mininn::cpu::own {
namespace {

// Of each channel: gx = g * scale - shift - (x - mean) * slope.
struct GradientFactors {
  const float *scale, *shift, *slope;
};

// The loops of one instruction set and element type over `rows` rows, whose first element is `at`; what they compute is
// said in batch_norm_rows.inl.
struct Passes {
  void (*moments)(const op::BatchNormMoments& a, int64_t at, int64_t rows, double* mean, double* m2);
  void (*apply)(const op::BatchNormApply& a, const float* scale, int64_t at, int64_t rows);
  void (*gradient_sums)(const op::BatchNormBwd& a, int64_t at, int64_t rows, double* sum, double* product);
  void (*input_gradient)(const op::BatchNormBwd& a, const GradientFactors& f, int64_t at, int64_t rows);
};

}  // namespace
}  // namespace mininn::cpu::own

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {
namespace avx2 {
constexpr int kLanes = 8;
#include "cpu_kernels/own/memory/channel_strips.inl"
//
#include "cpu_kernels/own/memory/batch_norm_rows.inl"
}  // namespace avx2
}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

MININN_TARGET_AVX512
namespace mininn::cpu::own {
namespace {
namespace avx512 {
constexpr int kLanes = 16;
#include "cpu_kernels/own/memory/channel_strips.inl"
//
#include "cpu_kernels/own/memory/batch_norm_rows.inl"
}  // namespace avx512
}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

// How a matrix is cut into blocks of rows.
struct Blocks {
  int64_t rows, c, per_block, count;

  Blocks(int64_t rows_, int64_t c_)
      : rows(rows_),
        c(c_),
        per_block(std::clamp<int64_t>(16384 / std::max<int64_t>(c_, 1), 16, 4096)),
        count(ceil_div(rows_, per_block)) {}

  int64_t size(int64_t block) const { return std::min(per_block, rows - block * per_block); }

  // fn(block, offset of its first element, its rows)
  template <class Fn>
  void for_each(const Fn& fn) const {
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) fn(b, b * per_block * c, size(b));
    });
  }
};

using PassesFor = const Passes& (*)(DType);

template <PassesFor passes>
void moments(const op::BatchNormMoments& a, const ExecContext&) {
  const Passes& isa = passes(a.x.dtype);
  const Blocks blocks(a.rows, a.c);
  const int64_t c = a.c;
  Scratch<double> doubles(2 * (blocks.count + 1) * c);
  double* means = doubles.data();
  double* m2s = means + blocks.count * c;
  blocks.for_each([&](int64_t b, int64_t at, int64_t rows) { isa.moments(a, at, rows, means + b * c, m2s + b * c); });

  // Chan's combination of all blocks at once: M2 = sum(M2_b + n_b (mean_b - mean)^2).
  double* mean = m2s + blocks.count * c;
  double* m2 = mean + c;
  std::fill_n(mean, 2 * c, 0.0);
  for (int64_t b = 0; b < blocks.count; ++b)
    for (int64_t i = 0; i < c; ++i) mean[i] += double(blocks.size(b)) * means[b * c + i];
  for (int64_t i = 0; i < c; ++i) mean[i] /= double(a.rows);
  for (int64_t b = 0; b < blocks.count; ++b)
    for (int64_t i = 0; i < c; ++i) {
      const double d = means[b * c + i] - mean[i];
      m2[i] += m2s[b * c + i] + double(blocks.size(b)) * d * d;
    }
  const auto blend = [&](const View& running, int64_t i, double now) {
    float& r = running.as<float>()[i];
    r = float(double(r) + a.momentum * (now - double(r)));
  };
  for (int64_t i = 0; i < c; ++i) {
    a.mean.as<float>()[i] = float(mean[i]);
    a.rstd.as<float>()[i] = float(1 / std::sqrt(m2[i] / double(a.rows) + a.eps));
    blend(a.running_mean, i, mean[i]);
    blend(a.running_var, i, m2[i] / double(a.rows - 1));
  }
}

template <PassesFor passes>
void apply(const op::BatchNormApply& a, const ExecContext&) {
  const Passes& isa = passes(a.x.dtype);
  Scratch<float> scale(a.c);
  for (int64_t i = 0; i < a.c; ++i) scale[i] = float(double(a.rstd.as<float>()[i]) * double(a.gamma.as<float>()[i]));
  Blocks(a.rows, a.c).for_each([&](int64_t, int64_t at, int64_t rows) { isa.apply(a, scale.data(), at, rows); });
}

template <PassesFor passes>
void bwd(const op::BatchNormBwd& a, const ExecContext&) {
  const Passes& isa = passes(a.x.dtype);
  const Blocks blocks(a.rows, a.c);
  const int64_t c = a.c;
  Scratch<float> floats(3 * c);
  Scratch<double> doubles(2 * (blocks.count + 1) * c);
  double* sums = doubles.data();
  double* products = sums + blocks.count * c;
  float* scale = floats.data();
  float* shift = scale + c;
  float* slope = shift + c;
  blocks.for_each(
      [&](int64_t b, int64_t at, int64_t rows) { isa.gradient_sums(a, at, rows, sums + b * c, products + b * c); });

  double* sum = products + blocks.count * c;
  double* product = sum + c;
  std::fill_n(sum, 2 * c, 0.0);
  for (int64_t b = 0; b < blocks.count; ++b)
    for (int64_t i = 0; i < c; ++i) {
      sum[i] += sums[b * c + i];
      product[i] += products[b * c + i];
    }
  // With h = (x - mean) * rstd:  gx = gamma * rstd * (g - mean(g) - h * mean(g * h))  while training.
  const double per_row = a.training ? 1 / double(a.rows) : 0;
  for (int64_t i = 0; i < c; ++i) {
    const double rstd = double(a.rstd.as<float>()[i]), ggamma = product[i] * rstd;
    const double s = rstd * double(a.gamma.as<float>()[i]);
    a.gbeta.as<float>()[i] = float(sum[i]);
    a.ggamma.as<float>()[i] = float(ggamma);
    scale[i] = float(s);
    shift[i] = float(s * sum[i] * per_row);
    slope[i] = float(s * rstd * ggamma * per_row);
  }
  if (!a.gx && !a.gresidual) return;
  blocks.for_each([&](int64_t, int64_t at, int64_t rows) { isa.input_gradient(a, {scale, shift, slope}, at, rows); });
}

template <Isa kIsa, class Args>
Refusal check(const Args& a) {
  if (const Refusal r = check_f32_or_bf16(a.x.dtype)) return r;
  return needs(kIsa);
}

template <Isa kIsa, class Args>
constexpr Kernel<Args> kernel(void (*run)(const Args&, const ExecContext&)) {
  return {kIsa == Isa::avx512 ? "own.rows.avx512" : "own.rows.avx2", kOwn, check<kIsa, Args>, run};
}

}  // namespace

constinit const Kernel<op::BatchNormMoments> batch_norm_moments_avx2 = kernel<Isa::avx2>(moments<avx2::passes>);
constinit const Kernel<op::BatchNormMoments> batch_norm_moments_avx512 = kernel<Isa::avx512>(moments<avx512::passes>);
constinit const Kernel<op::BatchNormApply> batch_norm_apply_avx2 = kernel<Isa::avx2>(apply<avx2::passes>);
constinit const Kernel<op::BatchNormApply> batch_norm_apply_avx512 = kernel<Isa::avx512>(apply<avx512::passes>);
constinit const Kernel<op::BatchNormBwd> batch_norm_bwd_avx2 = kernel<Isa::avx2>(bwd<avx2::passes>);
constinit const Kernel<op::BatchNormBwd> batch_norm_bwd_avx512 = kernel<Isa::avx512>(bwd<avx512::passes>);

}  // namespace mininn::cpu::own
