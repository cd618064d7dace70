// Matrix products as BLAS sees them: matrices lie column by column.
#pragma once

#include "ops/matmul.h"

namespace mininn::cuda::cublas {

struct Matrix {
  int64_t rows, columns, ld, batch;  // as they lie in memory: elements from column to column, and to the next matrix
  int64_t transposed;                // 1: the product takes the transposed one
};

// c = a b. A result that lies row by row is a column-major one transposed, and so are its operands, which change sides:
// c^T = b^T a^T.
struct Problem {
  Matrix a, b, c;
  int64_t batch, k;
  int64_t swapped;  // 1: a is the caller's b
};

// For a call that refuse() has let through.
Problem problem_of(const op::Matmul& mm);

// Why BLAS cannot be asked for this product.
Refusal refuse(const op::Matmul& mm);

}  // namespace mininn::cuda::cublas
