// Ops on real numbers behind int8 layers: a thread for each output.
#include <limits>

#include "cuda/own/int8/kernels.h"
#include "cuda/own/int8/window.h"

namespace mininn::cuda::own {
namespace {

// y[i] = number(pixel, channel), channels-last.
template <class Number>
__global__ void fill_kernel(int64_t count, int64_t c, const __grid_constant__ Number number, float* y) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) y[i] = number(i / c, i % c);
}
template <class Number>
void fill(const View& y, const Number& number, const ExecContext& at) {
  launch(fill_kernel<Number>, grid_of(y.size()), at, y.size(), y.shape[1], number, y.as<float>());
}

template <class F>
struct Unary {
  RealOperand x;
  double value;
  __device__ float operator()(int64_t pixel, int64_t c) const {
    if constexpr (op::ScalarOps::contains<F>)
      return float(F::f(double(x(pixel, c)), value));
    else
      return float(F::f(double(x(pixel, c))));
  }
};

void run(const op::RealUnary& a, const ExecContext& at) {
  const auto run_if_called = [&]<class F>() {
    if (a.functor == F::op) fill(a.y, Unary<F>{{a.x, a.q}, a.value}, at);
  };
  op::for_each_functor(op::UnaryOps(), run_if_called);
  op::for_each_functor(op::ScalarOps(), run_if_called);
}

struct Sum {
  RealOperand a, b;
  __device__ float operator()(int64_t pixel, int64_t c) const { return a(pixel, c) + b(pixel, c); }
};
void run(const op::RealAdd& a, const ExecContext& at) { fill(a.y, Sum{{a.a, a.a_q}, {a.b, a.b_q}}, at); }

// Number (h, w) of channel c of a window's map.
__device__ inline double number_of(const RealOperand& x, const PoolSizes& s, const Window& win, int64_t h, int64_t w,
                                   int64_t c) {
  return double(x((win.image * s.ih + h) * s.iw + w, c));
}

struct Max {
  PoolSizes sizes;
  RealOperand x;
  __device__ float operator()(int64_t pixel, int64_t c) const {
    const Window win(sizes, pixel);
    double top = -std::numeric_limits<double>::infinity();
    for (int64_t h = win.h0; h < win.h1; ++h)
      for (int64_t w = win.w0; w < win.w1; ++w) {
        const double v = number_of(x, sizes, win, h, w, c);
        top = top != top || v <= top ? top : v;
      }
    return float(top);
  }
};
void run(const op::RealMaxPool2d& a, const ExecContext& at) { fill(a.y, Max{{a.x, a.y, a.window}, {a.x, a.q}}, at); }

struct Mean {
  PoolSizes sizes;
  RealOperand x;
  bool count_include_pad;
  __device__ float operator()(int64_t pixel, int64_t c) const {
    const Window win(sizes, pixel);
    double sum = 0;
    for (int64_t h = win.h0; h < win.h1; ++h)
      for (int64_t w = win.w0; w < win.w1; ++w) sum += number_of(x, sizes, win, h, w, c);
    const Hw& whole = sizes.window.kernel;
    return float(sum / double(count_include_pad ? whole.h * whole.w : win.inside()));
  }
};
void run(const op::RealAvgPool2d& a, const ExecContext& at) {
  fill(a.y, Mean{{a.x, a.y, a.window}, {a.x, a.q}, a.count_include_pad}, at);
}

}  // namespace

constinit const Kernel<op::RealUnary> real_unary{"own", kOwn, takes_all, run};
constinit const Kernel<op::RealAdd> real_add{"own", kOwn, takes_all, run};
constinit const Kernel<op::RealMaxPool2d> real_max_pool2d{"own", kOwn, takes_all, run};
constinit const Kernel<op::RealAvgPool2d> real_avg_pool2d{"own", kOwn, takes_all, run};

}  // namespace mininn::cuda::own
