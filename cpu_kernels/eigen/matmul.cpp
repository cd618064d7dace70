// Layout: each of a, b and c row-major or column-major with any distance between lines; other strides are refused.
// Eigen runs single-threaded here (EIGEN_DONT_PARALLELIZE); the rows of c are shared out to our own
// threads in slices of fixed size, so results do not depend on their number.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>
#include <algorithm>

#include "core/integers.h"
#include "core/parallel.h"
#include "cpu_kernels/eigen/kernels.h"

namespace mininn::cpu::eigen {
namespace {

template <class T, int Order>
using MatrixOf = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Order>;
template <class T, int Order>
using Mapped = Eigen::Map<MatrixOf<T, Order>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class T, int Order>
using ConstMapped = Eigen::Map<const MatrixOf<T, Order>, Eigen::Unaligned, Eigen::OuterStride<>>;

// Whether the elements of a line lie side by side: of a row (dimension 2) or of a column (dimension 1).
bool has_lines_along(const CView& v, int dim) { return v.strides[dim] == 1 || v.shape[dim] <= 1; }

// Calls fn(matrix) with rows [r0, r0 + rows) of matrix `i` of a view.
template <class T, class Fn>
void with_rows(const CView& v, int64_t i, int64_t r0, int64_t rows, const Fn& fn) {
  const T* p = v.as<T>() + i * v.strides[0] + r0 * v.strides[1];
  if (has_lines_along(v, 2))
    fn(ConstMapped<T, Eigen::RowMajor>(p, rows, v.shape[2], Eigen::OuterStride<>(v.strides[1])));
  else
    fn(ConstMapped<T, Eigen::ColMajor>(p, rows, v.shape[2], Eigen::OuterStride<>(v.strides[2])));
}

template <class T>
void product(const op::Matmul& mm) {
  constexpr int64_t kSlice = 64;
  constexpr int64_t kChain = 8192;  // products: Eigen adds up a single row or column in one chain, which loses digits
  const int64_t slices = ceil_div(mm.m, kSlice);
  parallel_for(mm.batch * slices, 1, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      const int64_t i = s / slices, r0 = s % slices * kSlice, rows = std::min(kSlice, mm.m - r0);
      with_rows<T>(mm.a, i, r0, rows, [&](const auto& a) {
        with_rows<T>(mm.b, i, 0, mm.k, [&](const auto& b) {
          T* p = mm.c.as<T>() + i * mm.c.strides[0] + r0 * mm.c.strides[1];
          Mapped<T, Eigen::RowMajor> c(p, rows, mm.n, Eigen::OuterStride<>(mm.c.strides[1]));
          c.noalias() = a.leftCols(std::min(mm.k, kChain)) * b.topRows(std::min(mm.k, kChain));
          for (int64_t k = kChain; k < mm.k; k += kChain) {
            const int64_t n = std::min(mm.k - k, kChain);
            c.noalias() += a.middleCols(k, n) * b.middleRows(k, n);
          }
          if (mm.bias) c.rowwise() += Eigen::Map<const Eigen::Matrix<T, 1, Eigen::Dynamic>>(mm.bias.as<T>(), mm.n);
        });
      });
    }
  });
}

Refusal check(const op::Matmul& mm) {
  if (mm.a.dtype != DType::f32 && mm.a.dtype != DType::f64) return {"the dtype is not f32 or f64"};
  for (const CView& v : {mm.a, mm.b})
    if (!has_lines_along(v, 2) && !has_lines_along(v, 1)) return {"an operand is neither row-major nor column-major"};
  if (!has_lines_along(mm.c, 2)) return {"the result is not row-major"};
  return {};
}

void run(const op::Matmul& mm, const ExecContext&) {
  mm.a.dtype == DType::f32 ? product<float>(mm) : product<double>(mm);
}

}  // namespace

constinit const Kernel<op::Matmul> matmul{"eigen.gemm", {.family = Family::vendor}, check, run};

}  // namespace mininn::cpu::eigen
