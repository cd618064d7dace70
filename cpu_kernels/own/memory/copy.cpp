// Element-by-element copies over any strides within one dtype, and conversions between f32 and bf16.
//
// Where the run that y writes is a stride in x (NCHW to NHWC and back, any transposition), elements go through tiles of
// kTile x kTile, so that a cache line of x is used up while it is there.
#include "cpu_kernels/own/memory/copy.h"

#include <cstring>

#include "core/integers.h"
#include "core/strided_loop.h"
#include "cpu_kernels/common/bf16_vectors.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/elements.h"

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

void convert_run(const bf16* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i));
    _mm256_storeu_ps(y + i, floats_of(halves));
  }
  for (; i < n; ++i) y[i] = float(x[i]);
}

void convert_run(const float* x, bf16* y, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i halves = bf16_of(_mm256_loadu_ps(x + i));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), halves);
  }
  for (; i < n; ++i) y[i] = bf16(x[i]);
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

constexpr int64_t kTile = 32;

template <class T>
void copy_tiled(const T* x, T* y, const StridedLoop<2>& loop, int column_dim) {
  const int row_dim = loop.rank() - 1;  // unit stride in y; column_dim has it in x
  const auto& row = loop.dim(row_dim);
  const auto& column = loop.dim(column_dim);
  Shape outer;
  std::array<Strides, 2> strides;
  for (int d = 0; d < row_dim; ++d) {
    if (d == column_dim) continue;
    outer.push_back(loop.dim(d).size);
    for (size_t k = 0; k < 2; ++k) strides[k].push_back(loop.dim(d).stride[k]);
  }
  const StridedLoop<2> planes(outer, strides, Order::logical);
  const int64_t tiles = ceil_div(column.size, kTile);  // of one plane, each the full row long
  const int64_t grain = std::max<int64_t>(1, kGrain / (row.size * kTile));
  parallel_for(planes.size() * tiles, grain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      planes.walk(t / tiles, t / tiles + 1, [&](const auto& at, int64_t) {
        const int64_t c0 = t % tiles * kTile, c1 = std::min(c0 + kTile, column.size);
        for (int64_t r0 = 0; r0 < row.size; r0 += kTile) {
          const int64_t r1 = std::min(r0 + kTile, row.size);
          for (int64_t c = c0; c < c1; ++c) {
            T* const to = y + at[0] + c * column.stride[0];
            const T* const from = x + at[1] + c;
            for (int64_t r = r0; r < r1; ++r) to[r] = from[r * row.stride[1]];
          }
        }
      });
    }
  });
}

// T is any type of the element's size: nothing is computed.
template <class T>
void copy_as(const op::Copy& a) {
  const StridedLoop<2> loop(a.y.shape, {a.y.strides, a.x.strides});
  if (loop.size() == 0) return;
  const auto step = loop.inner().stride;
  const T* const x = a.x.as<T>();
  T* const y = a.y.as<T>();
  if (step[0] == 1 && step[1] != 1)
    for (int d = 0; d < loop.rank() - 1; ++d)
      if (loop.dim(d).stride[1] == 1) return copy_tiled(x, y, loop, d);
  loop.run([&](const auto& at, int64_t n) {
    if (step[0] == 1 && step[1] == 1) {
      std::memcpy(y + at[0], x + at[1], size_t(n) * sizeof(T));
    } else {
      for (int64_t i = 0; i < n; ++i) y[at[0] + i * step[0]] = x[at[1] + i * step[1]];
    }
  });
}

template <class From, class To>
void convert(const op::Copy& a) {
  const StridedLoop<2> loop(a.y.shape, {a.y.strides, a.x.strides});
  loop.run([&](const auto& at, int64_t n) { convert_run(a.x.as<From>() + at[1], a.y.as<To>() + at[0], n); });
}

Refusal check(const op::Copy& a) {
  if (a.x.dtype == a.y.dtype) return {};
  if (check_f32_or_bf16(a.x.dtype) || check_f32_or_bf16(a.y.dtype)) return {"converts between f32 and bf16 only"};
  const StridedLoop<2> loop(a.y.shape, {a.y.strides, a.x.strides});
  if (loop.inner().stride != std::array<int64_t, 2>{1, 1}) return {"to convert, needs runs without gaps"};
  return needs(Isa::avx2);
}

void run(const op::Copy& a, const ExecContext&) {
  if (a.x.dtype != a.y.dtype) return a.x.dtype == DType::f32 ? convert<float, bf16>(a) : convert<bf16, float>(a);
  switch (size_of(a.x.dtype)) {
    case 1: return copy_as<uint8_t>(a);
    case 2: return copy_as<uint16_t>(a);
    case 4: return copy_as<uint32_t>(a);
    default: return copy_as<uint64_t>(a);
  }
}

}  // namespace

constinit const Kernel<op::Copy> copy{"own.tiled", kOwnInRegions, check, run};

}  // namespace mininn::cpu::own
