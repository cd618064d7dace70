#include "cpu_kernels/own/float/gemm.h"

#include <algorithm>
#include <utility>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/own/float/gather.h"
#include "cpu_kernels/own/float/pack.h"

namespace mininn::cpu::own {
namespace {

// One operand of a product, with the strides of a row and of a column.
struct Matrix {
  const float* data;
  int64_t row, column;
};

// a as rows of k neighbouring elements, in parallel.
void copy_rows(const TilesF32& t, const Matrix& a, int64_t m, int64_t k, float* dst) {
  const int64_t blocks_k = ceil_div(k, t.lanes), blocks_m = ceil_div(m, t.lanes);
  parallel_for(blocks_m * blocks_k, 64, [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      const int64_t m0 = u / blocks_k * t.lanes, k0 = u % blocks_k * t.lanes;
      const int64_t rows = std::min<int64_t>(t.lanes, m - m0), columns = std::min<int64_t>(t.lanes, k - k0);
      if (a.row == 1) {
        const float* from[16];
        float* to[16];
        for (int64_t i = 0; i < columns; ++i) from[i] = a.data + (k0 + i) * a.column + m0;
        for (int64_t i = 0; i < rows; ++i) to[i] = dst + (m0 + i) * k + k0;
        t.transpose(from, int(columns), int(rows), to, int(columns));
      } else {
        for (int64_t i = m0; i < m0 + rows; ++i)
          for (int64_t j = k0; j < k0 + columns; ++j) dst[i * k + j] = a.data[i * a.row + j * a.column];
      }
    }
  });
}

void matmul(const TilesF32& t, const op::Matmul& a) {
  // c^T = b^T a^T: whichever of c's dimensions has neighbouring elements becomes the columns.
  const bool swap = a.c.strides[2] != 1 && a.n != 1;
  const int64_t m = swap ? a.n : a.m, n = swap ? a.m : a.n;
  const auto matrix = [&](const CView& v, int64_t i) {
    const Matrix x{v.as<float>() + i * v.strides[0], v.strides[1], v.strides[2]};
    return swap ? Matrix{x.data, x.column, x.row} : x;
  };
  const CView& left = swap ? a.b : a.a;
  const CView& right = swap ? a.a : a.b;

  const MatrixLayout layout{n, a.k, 1, matrix(right, 0).column, matrix(right, 0).row, 1};
  const bool copy = matrix(left, 0).column != 1 && a.k != 1;
  Scratch<float> rows(copy ? m * a.k : 0);
  const Tap tap;
  for (int64_t i = 0; i < a.batch; ++i) {
    Matrix x = matrix(left, i);
    if (copy && (i == 0 || left.strides[0] != 0)) copy_rows(t, x, m, a.k, rows.data());
    if (copy) x = {rows.data(), a.k, 1};
    GatherGemm p;
    p.in = x.data;
    p.in_h = 1;
    p.in_w = m;
    p.in_pixel = x.row;
    p.out = a.c.as<float>() + i * a.c.strides[0];
    p.out_w = a.c.strides[swap ? 2 : 1];
    if (a.bias) p.bias = a.bias.as<float>();
    GatherRegion all;
    all.h = 1;
    all.w = m;
    all.taps = &tap;
    all.tap_count = 1;
    gather_gemm(t, p, layout, matrix(right, i).data, {&all, 1}, 1);
  }
}

template <Isa kIsa>
Refusal check(const op::Matmul& a) {
  if (a.c.dtype != DType::f32) return {"takes f32 only"};
  if (const Refusal r = needs(kIsa)) return r;
  if (a.c.strides[2] != 1 && a.n != 1 && (a.c.strides[1] != 1 || a.bias))
    return {"takes a c with neighbouring elements in its rows, or without bias in its columns"};
  return {};
}

template <Isa kIsa, const TilesF32& (*tiles)()>
constexpr Kernel<op::Matmul> kernel(std::string_view name) {
  return {name, kOwn, check<kIsa>, [](const op::Matmul& a, const ExecContext&) { matmul(tiles(), a); }};
}

}  // namespace

constexpr Kernel<op::Matmul> matmul_avx512 = kernel<Isa::avx512, tiles_f32_avx512>("own.gemm.avx512");
constexpr Kernel<op::Matmul> matmul_avx2 = kernel<Isa::avx2, tiles_f32_avx2>("own.gemm.avx2");

}  // namespace mininn::cpu::own
