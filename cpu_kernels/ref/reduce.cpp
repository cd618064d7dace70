// Sums and maxima over any dimensions of any strides.
//
// Work is cut into blocks of outputs and chunks of what is summed into them. The cuts follow from the shapes alone and
// the chunks' partial sums are added in order, so the number of threads changes no bit of the result. Within a chunk
// the loops run in the memory order of x: along the reduced dimension if its stride is the smaller, else across the
// outputs.
#include <algorithm>
#include <vector>

#include "core/integers.h"
#include "cpu_kernels/common/map.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

constexpr int64_t kBlock = 256;    // outputs whose accumulators stay in the first-level cache
constexpr int64_t kChunk = 32768;  // elements summed by one task

template <class T>
double sum_run(const T* x, int64_t stride, int64_t n) {
  double lanes[8] = {};
  int64_t i = 0;
  if (stride == 1) {
    for (; i + 8 <= n; i += 8)
      for (int l = 0; l < 8; ++l) lanes[l] += double(Compute<T>(x[i + l]));
  }
  for (; i < n; ++i) lanes[0] += double(Compute<T>(x[i * stride]));
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

template <class T>
void add_row(double* acc, const T* x, int64_t stride, int64_t n) {
  if (stride == 1)
    for (int64_t i = 0; i < n; ++i) acc[i] += double(Compute<T>(x[i]));
  else
    for (int64_t i = 0; i < n; ++i) acc[i] += double(Compute<T>(x[i * stride]));
}

template <class T>
void run_sum(const op::Sum& a) {
  const op::ReducedDims s(a.x, a.y);
  const StridedLoop<2> outputs(s.kept, {s.kept_full, s.kept_small});
  const StridedLoop<1> inputs(s.reduced, {s.reduced_full});
  const int64_t m = outputs.size(), r = inputs.size();
  if (m == 0) return;
  const int64_t out_step = outputs.inner().stride[0], in_step = inputs.inner().stride[0];
  const bool across = outputs.inner().size > 1 && (r <= 1 || std::abs(out_step) < std::abs(in_step));
  const int64_t block = std::clamp<int64_t>(across ? kBlock : kChunk / std::max<int64_t>(r, 1), 1, kBlock);
  const int64_t chunk = kChunk / block;
  const int64_t blocks = ceil_div(m, block), chunks = std::max<int64_t>(1, ceil_div(r, chunk));

  Scratch<double> partial(checked_mul("sum", chunks, m));
  std::fill_n(partial.data(), chunks * m, 0.0);
  const int64_t task = block * std::min(chunk, std::max<int64_t>(r, 1));
  parallel_for(blocks * chunks, std::max<int64_t>(1, kGrain / task), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t first = t / chunks * block, part = t % chunks;
      double* acc = partial.data() + part * m + first;
      outputs.walk(first, std::min(first + block, m), [&](const auto& out, int64_t columns) {
        inputs.walk(part * chunk, std::min((part + 1) * chunk, r), [&](const auto& in, int64_t rows) {
          const T* x = a.x.as<T>() + out[0] + in[0];
          if (across)
            for (int64_t i = 0; i < rows; ++i) add_row(acc, x + i * in_step, out_step, columns);
          else
            for (int64_t i = 0; i < columns; ++i) acc[i] += sum_run(x + i * out_step, in_step, rows);
        });
        acc += columns;
      });
    }
  });

  parallel_for(m, kGrain, [&](int64_t begin, int64_t end) {
    int64_t j = begin;
    outputs.walk(begin, end, [&](const auto& out, int64_t n) {
      for (int64_t i = 0; i < n; ++i, ++j) {
        double total = 0;
        for (int64_t p = 0; p < chunks; ++p) total += partial[p * m + j];
        a.y.as<T>()[out[1] + i * outputs.inner().stride[1]] = T(Compute<T>(a.scale * total));
      }
    });
  });
}

template <class T>
void run_max(const op::AmaxFwd& a) {
  const op::ReducedDims s(a.x, a.y ? a.y : a.index);  // at least one is asked for, and they have one shape
  const Strides index = a.index ? op::ReducedDims(a.x, a.index).kept_small : s.kept_small;
  const StridedLoop<3> outputs(s.kept, {s.kept_full, s.kept_small, index});
  const StridedLoop<1> inputs(s.reduced, {s.reduced_full}, Order::logical);
  const auto out_step = outputs.inner().stride;
  const int64_t in_step = inputs.inner().stride[0];
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(inputs.size(), 1));
  parallel_for(outputs.size(), grain, [&](int64_t begin, int64_t end) {
    outputs.walk(begin, end, [&](const auto& out, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        const T* const x = a.x.as<T>() + out[0] + i * out_step[0];
        Compute<T> best = Compute<T>(*x);
        int64_t where = 0, position = 0;
        inputs.walk(0, inputs.size(), [&](const auto& in, int64_t count) {
          for (int64_t j = 0; j < count; ++j, ++position) {
            const auto v = Compute<T>(x[in[0] + j * in_step]);
            if (v > best || (v != v && best == best)) {
              best = v;
              where = position;
            }
          }
        });
        if (a.y) a.y.as<T>()[out[1] + i * out_step[1]] = T(best);
        if (a.index) a.index.as<int64_t>()[out[2] + i * out_step[2]] = where;
      }
    });
  });
}

template <class T>
void run_max_grad(const op::AmaxBwd& a) {
  map<T>(a.gx, [] { return Compute<T>(0); });
  const op::ReducedDims s(a.gx, a.gy);
  const StridedLoop<3> outputs(s.kept, {s.kept_full, s.kept_small, op::ReducedDims(a.gx, a.index).kept_small});
  const auto step = outputs.inner().stride;
  outputs.run([&](const auto& at, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t where = a.index.as<int64_t>()[at[2] + i * step[2]];
      a.gx.as<T>()[at[0] + i * step[0] + offset_of(s.reduced, s.reduced_full, where)] =
          a.gy.as<T>()[at[1] + i * step[1]];
    }
  });
}

}  // namespace

constinit const Kernel<op::Sum> sum{"ref", kReference, takes_all, [](const op::Sum& a, const ExecContext&) {
                                      with_floating(a.x.dtype, [&]<class T>() { run_sum<T>(a); });
                                    }};
constinit const Kernel<op::AmaxFwd> amax_fwd{
    "ref", kReference, takes_all,
    [](const op::AmaxFwd& a, const ExecContext&) { with_floating(a.x.dtype, [&]<class T>() { run_max<T>(a); }); }};
constinit const Kernel<op::AmaxBwd> amax_bwd{"ref", kReference, takes_all,
                                             [](const op::AmaxBwd& a, const ExecContext&) {
                                               with_floating(a.gx.dtype, [&]<class T>() { run_max_grad<T>(a); });
                                             }};

}  // namespace mininn::cpu::ref
