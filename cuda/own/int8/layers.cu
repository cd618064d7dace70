// Convolution, fully connected layer and pooling on codes: a thread for each output.
#include "cuda/own/int8/constants.h"
#include "cuda/own/int8/convolution.h"
#include "cuda/own/int8/kernels.h"
#include "cuda/own/int8/window.h"

namespace mininn::cuda::own {
namespace {

// --- convolution -----------------------------------------------------------------------------------------------------

__device__ inline int32_t accumulate(const Convolution& q, int32_t x_zero, int64_t pixel, int64_t o) {
  const Conv2dGeometry& g = q.g;
  const int64_t ow = pixel % g.ow, oh = pixel / g.ow % g.oh, n = pixel / (g.ow * g.oh);
  int32_t acc = 0;
  const uint8_t* const x = q.x + n * q.x_image + o / g.ocg() * g.icg();
  const int8_t* const w = q.w + o * g.icg() * g.kh * g.kw;
  for (int64_t kh = 0; kh < g.kh; ++kh)
    for (int64_t kw = 0; kw < g.kw; ++kw) {
      const int64_t ih = oh * g.stride_h - g.pad_h + kh * g.dil_h, iw = ow * g.stride_w - g.pad_w + kw * g.dil_w;
      if (ih < 0 || ih >= g.ih || iw < 0 || iw >= g.iw) continue;  // padding is the code x_zero, which adds nothing
      const uint8_t* const from = x + ih * q.x_row + iw * q.x_pixel;
      for (int64_t c = 0; c < g.icg(); ++c) acc += (int32_t{from[c]} - x_zero) * w[(c * g.kh + kh) * g.kw + kw];
    }
  return acc;
}

template <class Y>
__global__ void conv2d_kernel(const __grid_constant__ Convolution q, int32_t x_zero, int64_t count, Y* y) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t pixel = i / q.g.oc, o = i % q.g.oc;
    ResultPixel<Y>(q, pixel, o, y).store({{accumulate(q, x_zero, pixel, o)}}, 1);
  }
}

void run_conv2d(const op::QConv2d& a, const ExecContext& at) {
  const Convolution q(a);
  const int64_t count = q.pixels * q.g.oc;
  if (a.y.dtype == DType::f32)
    launch(conv2d_kernel<float>, grid_of(count), at, q, a.x_zero, count, a.y.as<float>());
  else
    launch(conv2d_kernel<uint8_t>, grid_of(count), at, q, a.x_zero, count, a.y.as<uint8_t>());
}

// The kernel reads the constants as they are.
Tensor pack_conv2d(const op::QConv2d& a) {
  const HostConstants checked(a);
  return Tensor::empty({0}, DType::u8, checked.device);
}

// --- fully connected -------------------------------------------------------------------------------------------------

template <class X>
__global__ void linear_kernel(int64_t count, int64_t o, int64_t k, int64_t x_row, const X* x, const int8_t* w,
                              const int32_t* bias, const float* multiplier, float* y) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const X* const row = x + i / o * x_row;
    int32_t acc = bias[i % o];
    for (int64_t j = 0; j < k; ++j) acc += int32_t(row[j]) * w[i % o * k + j];
    y[i] = float(acc) * multiplier[i % o];
  }
}

template <class X>
void linear(const op::QLinear& a, int64_t x_row, const ExecContext& at) {
  const int64_t o = a.w.shape[0], k = a.x.shape[1], count = a.x.shape[0] * o;
  launch(linear_kernel<X>, grid_of(count), at, count, o, k, x_row, a.x.as<X>(), a.w.as<int8_t>(), a.bias.as<int32_t>(),
         a.multiplier.as<float>(), a.y.as<float>());
}

void run_linear(const op::QLinear& a, const ExecContext& at) {
  a.x.dtype == DType::u8 ? linear<uint8_t>(a, a.x.strides[0], at) : linear<int32_t>(a, a.x.shape[1], at);
}

// --- pooling ---------------------------------------------------------------------------------------------------------

struct Maps : PoolSizes {
  int64_t x_image, x_row, x_pixel, y_pixel;  // distances in elements

  Maps(const CView& x, const View& y, const QPoolWindow& w)
      : PoolSizes(x, y, w), x_image(x.strides[0]), x_row(x.strides[2]), x_pixel(x.strides[3]), y_pixel(y.strides[3]) {}
};

__global__ void max_kernel(const __grid_constant__ Maps m, int64_t count, const uint8_t* x, uint8_t* y) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t pixel = i / m.c, c = i % m.c;
    const Window win(m, pixel);
    const uint8_t* const map = x + win.image * m.x_image + c;
    uint8_t most = 0;  // no code is smaller
    for (int64_t h = win.h0; h < win.h1; ++h)
      for (int64_t w = win.w0; w < win.w1; ++w) {
        const uint8_t v = map[h * m.x_row + w * m.x_pixel];
        most = v > most ? v : most;
      }
    y[pixel * m.y_pixel + c] = most;
  }
}

void run_max(const op::QMaxPool2d& a, const ExecContext& at) {
  launch(max_kernel, grid_of(a.y.size()), at, Maps(a.x, a.y, a.window), a.y.size(), a.x.as<uint8_t>(),
         a.y.as<uint8_t>());
}

struct Average {
  int32_t x_zero;
  bool count_include_pad;
  float scale;
  CodeRange range;
};

__global__ void avg_kernel(const __grid_constant__ Maps m, Average a, int64_t count, const uint8_t* x, uint8_t* y) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const int64_t pixel = i / m.c, c = i % m.c;
    const Window win(m, pixel);
    const uint8_t* const map = x + win.image * m.x_image + c;
    const int64_t inside = win.inside();
    const float multiplier = a.scale / float(a.count_include_pad ? m.window.kernel.h * m.window.kernel.w : inside);
    int32_t sum = int32_t(inside) * -a.x_zero;
    for (int64_t h = win.h0; h < win.h1; ++h)
      for (int64_t w = win.w0; w < win.w1; ++w) sum += map[h * m.x_row + w * m.x_pixel];
    y[pixel * m.y_pixel + c] = to_code(float(sum) * multiplier, a.range);
  }
}

void run_avg(const op::QAvgPool2d& a, const ExecContext& at) {
  const Average average{a.x_zero, a.count_include_pad, a.scale, code_range(a.y_zero, a.lo, a.hi)};
  launch(avg_kernel, grid_of(a.y.size()), at, Maps(a.x, a.y, a.window), average, a.y.size(), a.x.as<uint8_t>(),
         a.y.as<uint8_t>());
}

__global__ void sum_kernel(int64_t count, int64_t c, int64_t pixels, int64_t image, int64_t pixel, const uint8_t* x,
                           int32_t* y) {
  for (int64_t i = thread_index(); i < count; i += thread_count()) {
    const uint8_t* const map = x + i / c * image + i % c;
    int32_t sum = 0;
    for (int64_t p = 0; p < pixels; ++p) sum += map[p * pixel];
    y[i] = sum;
  }
}

void run_sum(const op::QGlobalSum& a, const ExecContext& at) {
  const int64_t count = a.y.size();
  launch(sum_kernel, grid_of(count), at, count, a.x.shape[1], a.x.shape[2] * a.x.shape[3], a.x.strides[0],
         a.x.strides[3], a.x.as<uint8_t>(), a.y.as<int32_t>());
}

}  // namespace

constinit const Kernel<op::QConv2d> qconv2d{"own.direct", kOwn, takes_all, run_conv2d, pack_conv2d};
constinit const Kernel<op::QLinear> qlinear{"own", kOwn, takes_all, run_linear};
constinit const Kernel<op::QMaxPool2d> qmax_pool2d{"own", kOwn, takes_all, run_max};
constinit const Kernel<op::QAvgPool2d> qavg_pool2d{"own", kOwn, takes_all, run_avg};
constinit const Kernel<op::QGlobalSum> qglobal_sum{"own", kOwn, takes_all, run_sum};

}  // namespace mininn::cuda::own
