#include "cuda/cublas/problem.h"

#include <algorithm>
#include <limits>

#include "cuda/library.h"

namespace mininn::cuda::cublas {
namespace {

// Whether the columns of such a matrix lie one behind the other. One column, or rows of one element, do anyhow.
bool by_columns(int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride) {
  return (row_stride == 1 || rows == 1) && (column_stride >= rows || columns == 1);
}
bool by_columns(const CView& v) { return by_columns(v.shape[1], v.shape[2], v.strides[1], v.strides[2]); }
bool by_rows(const CView& v) { return by_columns(v.shape[2], v.shape[1], v.strides[2], v.strides[1]); }

// `straight`: v lies by columns, otherwise by rows. `flipped`: the product takes v^T.
Matrix matrix(const CView& v, int64_t batch, bool straight, bool flipped) {
  const int rows = straight ? 1 : 2, columns = 3 - rows;
  const int64_t ld = v.shape[columns] == 1 ? v.shape[rows] : v.strides[columns];
  return {v.shape[rows], v.shape[columns], ld, batch == 1 ? 0 : v.strides[0], straight == flipped};
}

}  // namespace

Problem problem_of(const op::Matmul& mm) {
  const bool swapped = by_rows(mm.c);
  const CView &left = swapped ? mm.b : mm.a, &right = swapped ? mm.a : mm.b;
  return {.a = matrix(left, mm.batch, by_columns(left), swapped),
          .b = matrix(right, mm.batch, by_columns(right), swapped),
          .c = matrix(mm.c, mm.batch, !swapped, swapped),
          .batch = mm.batch,
          .k = mm.k,
          .swapped = swapped};
}

Refusal refuse(const op::Matmul& mm) {
  if (mm.batch * mm.m * mm.n * mm.k == 0) return {"takes no empty matrices"};
  if (mm.k > kLongestSum) return {kSumTooLong};
  if (mm.batch > std::numeric_limits<int32_t>::max()) return {"counts matrices in 32 bits"};
  for (const CView& v : {mm.a, mm.b, CView(mm.c)})
    if (!by_columns(v) && !by_rows(v)) return {"needs matrices whose rows or columns lie one behind the other"};
  if (mm.batch > 1 && mm.c.strides[0] < mm.m * mm.n) return {"needs results that lie one behind the other"};
  if (mm.bias && !by_rows(mm.c)) return {"adds a bias to results that lie row by row only"};
  return {};
}

}  // namespace mininn::cuda::cublas
