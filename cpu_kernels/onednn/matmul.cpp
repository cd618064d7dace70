// Matrix products by oneDNN, which takes row- and column-major operands as they are.
#include "core/parallel.h"
#include "cpu_kernels/onednn/engine.h"
#include "cpu_kernels/onednn/kernels.h"

namespace mininn::cpu::onednn {
namespace {

using dnnl::memory;

struct Key {
  int64_t batch, m, n, k, dtype, bias, threads;
  int64_t a[3], b[3], c[3];  // strides
};

// Whether a matrix can be seen as rows that lie one behind the other, or as columns.
bool is_row_major(int64_t row, int64_t col, int64_t rows, int64_t cols) {
  return (col == 1 || cols == 1) && (row >= cols || rows == 1);
}
bool is_column_major(int64_t row, int64_t col, int64_t rows, int64_t cols) {
  return is_row_major(col, row, cols, rows);
}

// A batch stride of 0 is said as a batch of one, which oneDNN repeats. A matrix with one row or column may have any
// stride there; oneDNN makes kernels that fail later, others' too, unless it is that of a larger matrix.
memory::desc matrices(const int64_t (&strides)[3], int64_t batch, int64_t rows, int64_t cols, DType t) {
  const bool one = strides[0] == 0 || batch == 1, by_rows = is_row_major(strides[1], strides[2], rows, cols);
  const int64_t row = rows == 1 ? by_rows ? cols : 1 : strides[1], col = cols == 1 ? by_rows ? 1 : rows : strides[2];
  return {
      {one ? 1 : batch, rows, cols}, data_type(t), memory::dims{one ? rows * row + cols * col : strides[0], row, col}};
}

Program make(const Key& k) {
  const auto t = DType(k.dtype);
  const memory::desc a = matrices(k.a, k.batch, k.m, k.k, t), b = matrices(k.b, k.batch, k.k, k.n, t),
                     c = matrices(k.c, k.batch, k.m, k.n, t);
  const memory::desc bias = k.bias ? dense({1, 1, k.n}, t, memory::format_tag::abc) : memory::desc();
  const dnnl::matmul::primitive_desc desc(engine(), a, b, bias, c, attributes());
  std::vector<Operand> operands{{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c, true}};
  if (k.bias) operands.push_back({DNNL_ARG_BIAS, bias});
  return {"matmul", desc, dnnl::matmul(desc), operands};
}

Program& program(const op::Matmul& a) {
  thread_local PlanCache<Key, Program> cache;
  Key key{a.batch, a.m, a.n, a.k, int64_t(a.c.dtype), bool(a.bias), num_threads(), {}, {}, {}};
  for (int d = 0; d < 3; ++d) {
    key.a[d] = a.a.strides[d];
    key.b[d] = a.b.strides[d];
    key.c[d] = a.c.strides[d];
  }
  return cache.get(key, [&] { return program_or_refusal("matmul", key.threads, [&] { return make(key); }); });
}

// oneDNN wants rows or columns that lie one behind the other, and so the matrices of a batch, unless they are all one.
bool takes_layout(const CView& v, int64_t batch) {
  const int64_t rows = v.shape[1], cols = v.shape[2], row = v.strides[1], col = v.strides[2];
  const bool by_rows = is_row_major(row, col, rows, cols);
  const int64_t extent = by_rows ? (rows - 1) * row + cols : (cols - 1) * col + rows;
  return (by_rows || is_column_major(row, col, rows, cols)) &&
         (batch == 1 || v.strides[0] == 0 || v.strides[0] >= extent);
}

Refusal check(const op::Matmul& a) {
  if (a.c.dtype != DType::f32 && a.c.dtype != DType::bf16) return {"takes f32 and bf16 only"};
  if (a.batch * a.m * a.n * a.k == 0) return {"takes no empty matrices"};
  if (a.k > kLongestSum) return {kSumTooLong};
  if (!takes_layout(a.a, a.batch) || !takes_layout(a.b, a.batch))
    return {"needs matrices whose rows or columns, and which themselves, lie one behind the other"};
  if (a.batch > 1 && a.a.strides[0] == 0 && a.b.strides[0] == 0) return {"needs more than one matrix on one side"};
  if (a.c.strides[2] != 1 || a.c.strides[1] < a.n) return {"needs a result whose rows have stride 1"};
  if (a.batch > 1 && a.c.strides[0] == 0) return {"needs a result of its own for each matrix"};
  return {};
}
Refusal admits(const op::Matmul& a) { return program(a).refusal(); }

void run(const op::Matmul& a, const ExecContext&) {
  Program& p = program(a);
  if (a.bias)
    p.run({a.a.data, a.b.data, a.c.data, a.bias.data});
  else
    p.run({a.a.data, a.b.data, a.c.data});
}

}  // namespace

const Kernel<op::Matmul> matmul{"onednn.auto", kOneDnn, check, run, nullptr, admits};

}  // namespace mininn::cpu::onednn
