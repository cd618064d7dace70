// Sums and maxima over any dimensions of any strides: a column of a block's threads reduces for one output.
#include "ops/reduce.h"

#include <bit>

#include "core/convert.h"
#include "core/strided_loop.h"
#include "cuda/block_reduce.h"
#include "cuda/own/memory/kernels.h"
#include "cuda/own/memory/map.h"
#include "cuda/scratch.h"

namespace mininn::cuda::own {
namespace {

// Columns of a block: neighbouring threads read neighbouring elements.
template <size_t N>
unsigned width_for(const StridedLoop<int(N)>& outputs, const StridedLoop<1>& inputs) {
  const bool across = outputs.inner().size > 1 &&
                      (inputs.size() <= 1 || std::abs(outputs.inner().stride[0]) < std::abs(inputs.inner().stride[0]));
  if (across) return 32;
  return inputs.size() >= kThreads ? 1 : kThreads / std::bit_ceil(unsigned(inputs.size() > 0 ? inputs.size() : 1));
}

template <class T>
__global__ void sum_kernel(const __grid_constant__ StridedLoop<2> outputs,
                           const __grid_constant__ StridedLoop<1> inputs, const T* x, int64_t each, unsigned width,
                           double* partial) {
  __shared__ double shared[kThreads];
  const int64_t j = int64_t(blockIdx.x) * width + threadIdx.x % width, begin = int64_t(blockIdx.y) * each;
  const int64_t end = begin + each < inputs.size() ? begin + each : inputs.size();
  double sum = 0;
  if (j < outputs.size()) {
    const T* const from = x + outputs.offsets(j)[0];
    for (int64_t i = begin + threadIdx.x / width; i < end; i += kThreads / width)
      sum += convert<double>(from[inputs.offsets(i)[0]]);
  }
  sum = reduce_columns(shared, sum, width, Plus());
  if (threadIdx.x < width && j < outputs.size()) partial[int64_t(blockIdx.y) * outputs.size() + j] = sum;
}

template <class T>
__global__ void finish_sum_kernel(const __grid_constant__ StridedLoop<2> outputs, int64_t parts, double scale, T* y,
                                  const double* partial) {
  for (int64_t j = thread_index(); j < outputs.size(); j += thread_count()) {
    double sum = 0;
    for (int64_t p = 0; p < parts; ++p) sum += partial[p * outputs.size() + j];
    y[outputs.offsets(j)[1]] = convert<T>(scale * sum);
  }
}

template <class T>
void run_sum(const op::Sum& a, const ExecContext& at) {
  const op::ReducedDims s(a.x, a.y);
  const StridedLoop<2> outputs(s.kept, {s.kept_full, s.kept_small});
  const StridedLoop<1> inputs(s.reduced, {s.reduced_full});
  const unsigned width = width_for<2>(outputs, inputs);
  const int64_t blocks = ceil_div(outputs.size(), width);
  const Parts parts(inputs.size(), blocks);
  Scratch<double> partial(parts.count * outputs.size(), at);
  launch(sum_kernel<T>, {dim3(unsigned(blocks), unsigned(parts.count))}, at, outputs, inputs, a.x.as<T>(), parts.each,
         width, partial.data());
  launch(finish_sum_kernel<T>, grid_of(outputs.size()), at, outputs, parts.count, a.scale, a.y.as<T>(), partial.data());
}

struct Best {
  double value;
  int64_t position;  // -1: none yet
};
struct Better {  // NaN is greater than every number; the first of equals wins
  __device__ Best operator()(const Best& a, const Best& b) const {
    if (a.position < 0 || b.position < 0) return a.position < 0 ? b : a;
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    const bool equal = a_nan || b_nan ? a_nan == b_nan : a.value == b.value;
    if (equal) return a.position < b.position ? a : b;
    return b_nan || (!a_nan && b.value > a.value) ? b : a;
  }
};

template <class T>
__global__ void max_kernel(const __grid_constant__ StridedLoop<3> outputs,
                           const __grid_constant__ StridedLoop<1> inputs, const T* x, unsigned width, T* y,
                           int64_t* index) {
  __shared__ Best shared[kThreads];
  const int64_t j = int64_t(blockIdx.x) * width + threadIdx.x % width;
  const bool mine = j < outputs.size();
  const auto out = outputs.offsets(mine ? j : int64_t{0});
  Best best{0, -1};
  for (int64_t i = threadIdx.x / width; mine && i < inputs.size(); i += kThreads / width)
    best = Better()(best, {convert<double>(x[out[0] + inputs.offsets(i)[0]]), i});
  best = reduce_columns(shared, best, width, Better());
  if (threadIdx.x >= width || !mine) return;
  if (y) y[out[1]] = convert<T>(best.value);
  if (index) index[out[2]] = best.position;
}

template <class T>
void run_max(const op::AmaxFwd& a, const ExecContext& at) {
  const op::ReducedDims s(a.x, a.y ? a.y : a.index);  // at least one is asked for, and they have one shape
  const Strides index = a.index ? op::ReducedDims(a.x, a.index).kept_small : s.kept_small;
  const StridedLoop<3> outputs(s.kept, {s.kept_full, s.kept_small, index});
  const StridedLoop<1> inputs(s.reduced, {s.reduced_full}, Order::logical);
  const unsigned width = width_for<3>(outputs, inputs);
  launch(max_kernel<T>, {unsigned(ceil_div(outputs.size(), width))}, at, outputs, inputs, a.x.as<T>(), width,
         a.y.as<T>(), a.index.as<int64_t>());
}

template <class T>
struct Zero {
  __device__ T operator()() const { return T(0); }
};

template <class T>
__global__ void max_grad_kernel(const __grid_constant__ StridedLoop<3> outputs,
                                const __grid_constant__ StridedLoop<1> inputs, T* gx, const T* gy,
                                const int64_t* index) {
  for (int64_t j = thread_index(); j < outputs.size(); j += thread_count()) {
    const auto out = outputs.offsets(j);
    gx[out[0] + inputs.offsets(index[out[2]])[0]] = gy[out[1]];
  }
}

template <class T>
void run_max_grad(const op::AmaxBwd& a, const ExecContext& at) {
  map<T>(at, a.gx, Zero<Compute<T>>());
  const op::ReducedDims s(a.gx, a.gy);
  const StridedLoop<3> outputs(s.kept, {s.kept_full, s.kept_small, op::ReducedDims(a.gx, a.index).kept_small});
  const StridedLoop<1> inputs(s.reduced, {s.reduced_full}, Order::logical);
  launch(max_grad_kernel<T>, grid_of(outputs.size()), at, outputs, inputs, a.gx.as<T>(), a.gy.as<T>(),
         a.index.as<int64_t>());
}

}  // namespace

constinit const Kernel<op::Sum> sum{"own", kOwn, takes_all, [](const op::Sum& a, const ExecContext& at) {
                                      with_floating(a.x.dtype, [&]<class T>() { run_sum<T>(a, at); });
                                    }};
constinit const Kernel<op::AmaxFwd> amax_fwd{"own", kOwn, takes_all, [](const op::AmaxFwd& a, const ExecContext& at) {
                                               with_floating(a.x.dtype, [&]<class T>() { run_max<T>(a, at); });
                                             }};
constinit const Kernel<op::AmaxBwd> amax_bwd{"own", kOwn, takes_all, [](const op::AmaxBwd& a, const ExecContext& at) {
                                               with_floating(a.gx.dtype, [&]<class T>() { run_max_grad<T>(a, at); });
                                             }};

}  // namespace mininn::cuda::own
