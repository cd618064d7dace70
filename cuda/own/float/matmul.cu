#include "ops/matmul.h"

#include "core/convert.h"
#include "cuda/own/float/gemm.h"
#include "cuda/own/float/kernels.h"

namespace mininn::cuda::own {
namespace {

template <class T>
struct Product {
  using Acc = Compute<T>;
  struct Matrices {
    int64_t batch, row, column;  // distances in elements
    __device__ int64_t at(int64_t i, int64_t r, int64_t c) const { return i * batch + r * row + c * column; }
  };
  int64_t m, n, k;
  Matrices left, right, result;
  const T *x, *y, *bias;
  T* z;

  __device__ Acc a(int64_t batch, int64_t i, int64_t j) const { return Acc(x[left.at(batch, i, j)]); }
  __device__ Acc b(int64_t batch, int64_t i, int64_t j) const { return Acc(y[right.at(batch, i, j)]); }
  __device__ void store(int64_t batch, int64_t i, int64_t j, Acc sum) const {
    z[result.at(batch, i, j)] = T(bias ? sum + Acc(bias[j]) : sum);
  }
};

template <class T>
Product<T> product(const op::Matmul& mm) {
  const auto matrices = [](const Strides& s) { return typename Product<T>::Matrices{s[0], s[1], s[2]}; };
  return {mm.m,
          mm.n,
          mm.k,
          matrices(mm.a.strides),
          matrices(mm.b.strides),
          matrices(mm.c.strides),
          mm.a.as<T>(),
          mm.b.as<T>(),
          mm.bias.as<T>(),
          mm.c.as<T>()};
}

}  // namespace

constinit const Kernel<op::Matmul> matmul{"own.gemm", kOwn, takes_all, [](const op::Matmul& mm, const ExecContext& at) {
                                            with_floating(mm.a.dtype,
                                                          [&]<class T>() { gemm(product<T>(mm), mm.batch, at); });
                                          }};

}  // namespace mininn::cuda::own
