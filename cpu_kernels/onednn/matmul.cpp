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

// A batch stride of 0 is said as a batch of one, which oneDNN repeats.
memory::desc matrices(const int64_t (&strides)[3], int64_t batch, int64_t rows, int64_t cols, DType t) {
  const bool one = strides[0] == 0 || batch == 1;
  return {{one ? 1 : batch, rows, cols},
          data_type(t),
          memory::dims{one ? rows * strides[1] + cols * strides[2] : strides[0], strides[1], strides[2]}};
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

// oneDNN wants rows or columns that lie one behind the other; a matrix with one row or column may have any stride.
bool rows_or_columns(const CView& v) {
  const int64_t rows = v.shape[1], cols = v.shape[2];
  return (v.strides[2] == 1 && (v.strides[1] >= cols || rows == 1)) ||
         (v.strides[1] == 1 && (v.strides[2] >= rows || cols == 1));
}

Refusal check(const op::Matmul& a) {
  if (a.c.dtype != DType::f32 && a.c.dtype != DType::bf16) return {"takes f32 and bf16 only"};
  if (a.batch * a.m * a.n * a.k == 0) return {"takes no empty matrices"};
  if (a.k > kLongestSum) return {kSumTooLong};
  if (!rows_or_columns(a.a) || !rows_or_columns(a.b)) return {"needs operands whose rows or columns have stride 1"};
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
