#include "core/parallel.h"
#include "cpu_kernels/common/elements.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

int64_t at(const Strides& s, int64_t a, int64_t b, int64_t c, int64_t d) {
  return a * s[0] + b * s[1] + c * s[2] + d * s[3];
}

// W is the type of weights, T that of everything else.
template <class T, class W>
void fwd(const op::Conv2dFwd& a) {
  const Conv2dGeometry& g = a.g;
  const T* x = a.x.as<T>();
  const W* w = a.w.as<W>();
  parallel_for(g.n * g.oh, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / g.oh, oh = row % g.oh;
      for (int64_t ow = 0; ow < g.ow; ++ow)
        for (int64_t oc = 0; oc < g.oc; ++oc) {
          const int64_t c0 = oc / g.ocg() * g.icg();
          double acc = a.bias ? to_double(a.bias.as<W>()[oc]) : 0;
          for (int64_t kh = 0; kh < g.kh; ++kh) {
            const int64_t ih = oh * g.stride_h - g.pad_h + kh * g.dil_h;
            if (ih < 0 || ih >= g.ih) continue;
            for (int64_t kw = 0; kw < g.kw; ++kw) {
              const int64_t iw = ow * g.stride_w - g.pad_w + kw * g.dil_w;
              if (iw < 0 || iw >= g.iw) continue;
              const T* px = x + at(a.x.strides, n, c0, ih, iw);
              const W* pw = w + at(a.w.strides, oc, 0, kh, kw);
              for (int64_t c = 0; c < g.icg(); ++c)
                acc += to_double(px[c * a.x.strides[1]]) * to_double(pw[c * a.w.strides[1]]);
            }
          }
          if (a.residual) acc += to_double(a.residual.as<T>()[at(a.residual.strides, n, oc, oh, ow)]);
          if (a.relu && acc < 0) acc = 0;
          a.y.as<T>()[at(a.y.strides, n, oc, oh, ow)] = from_double<T>(acc);
        }
    }
  });
}

// The output position that meets input position `i` at kernel tap `k`; -1 if there is none.
int64_t output_of(int64_t i, int64_t k, int64_t pad, int64_t dil, int64_t stride, int64_t outputs) {
  const int64_t o = i + pad - k * dil;
  return o >= 0 && o % stride == 0 && o / stride < outputs ? o / stride : -1;
}

template <class T, class W>
void bwd_data(const op::Conv2dBwdData& a) {
  const Conv2dGeometry& g = a.g;
  const T* gy = a.gy.as<T>();
  const W* w = a.w.as<W>();
  parallel_for(g.n * g.ih, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / g.ih, ih = row % g.ih;
      for (int64_t iw = 0; iw < g.iw; ++iw)
        for (int64_t ic = 0; ic < g.ic; ++ic) {
          const int64_t o0 = ic / g.icg() * g.ocg(), c = ic % g.icg();
          double acc = 0;
          for (int64_t kh = 0; kh < g.kh; ++kh) {
            const int64_t oh = output_of(ih, kh, g.pad_h, g.dil_h, g.stride_h, g.oh);
            if (oh < 0) continue;
            for (int64_t kw = 0; kw < g.kw; ++kw) {
              const int64_t ow = output_of(iw, kw, g.pad_w, g.dil_w, g.stride_w, g.ow);
              if (ow < 0) continue;
              const T* pg = gy + at(a.gy.strides, n, o0, oh, ow);
              const W* pw = w + at(a.w.strides, o0, c, kh, kw);
              for (int64_t o = 0; o < g.ocg(); ++o)
                acc += to_double(pg[o * a.gy.strides[1]]) * to_double(pw[o * a.w.strides[0]]);
            }
          }
          a.gx.as<T>()[at(a.gx.strides, n, ic, ih, iw)] = from_double<T>(acc);
        }
    }
  });
}

template <class T, class W>
void bwd_weights(const op::Conv2dBwdWeights& a) {
  const Conv2dGeometry& g = a.g;
  const T* gy = a.gy.as<T>();
  const T* x = a.x.as<T>();
  parallel_for(g.oc * g.icg(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t oc = i / g.icg(), c = i % g.icg(), ic = oc / g.ocg() * g.icg() + c;
      for (int64_t kh = 0; kh < g.kh; ++kh)
        for (int64_t kw = 0; kw < g.kw; ++kw) {
          double acc = 0;
          for (int64_t n = 0; n < g.n; ++n)
            for (int64_t oh = 0; oh < g.oh; ++oh) {
              const int64_t ih = oh * g.stride_h - g.pad_h + kh * g.dil_h;
              if (ih < 0 || ih >= g.ih) continue;
              for (int64_t ow = 0; ow < g.ow; ++ow) {
                const int64_t iw = ow * g.stride_w - g.pad_w + kw * g.dil_w;
                if (iw < 0 || iw >= g.iw) continue;
                acc += to_double(x[at(a.x.strides, n, ic, ih, iw)]) * to_double(gy[at(a.gy.strides, n, oc, oh, ow)]);
              }
            }
          a.gw.as<W>()[at(a.gw.strides, oc, c, kh, kw)] = from_double<W>(acc);
        }
    }
  });
}

Refusal check_types(DType t, DType w) {
  if (t == w) return check_floating(t);
  return {t == DType::bf16 && w == DType::f32 ? nullptr : "the dtypes differ, and are not bf16 with weights of f32"};
}

Refusal check_fwd(const op::Conv2dFwd& a) { return check_types(a.x.dtype, a.w.dtype); }
Refusal check_bwd_data(const op::Conv2dBwdData& a) { return check_types(a.gy.dtype, a.w.dtype); }
Refusal check_bwd_weights(const op::Conv2dBwdWeights& a) { return check_types(a.x.dtype, a.gw.dtype); }

void run_fwd(const op::Conv2dFwd& a, const ExecContext&) {
  op::with_conv2d_types(a.x.dtype, a.w.dtype, [&]<class T, class W>() { fwd<T, W>(a); });
}
void run_bwd_data(const op::Conv2dBwdData& a, const ExecContext&) {
  op::with_conv2d_types(a.gy.dtype, a.w.dtype, [&]<class T, class W>() { bwd_data<T, W>(a); });
}
void run_bwd_weights(const op::Conv2dBwdWeights& a, const ExecContext&) {
  op::with_conv2d_types(a.x.dtype, a.gw.dtype, [&]<class T, class W>() { bwd_weights<T, W>(a); });
}

}  // namespace

constinit const Kernel<op::Conv2dFwd> conv2d_fwd{"ref", kReference, check_fwd, run_fwd};
constinit const Kernel<op::Conv2dBwdData> conv2d_bwd_data{"ref", kReference, check_bwd_data, run_bwd_data};
constinit const Kernel<op::Conv2dBwdWeights> conv2d_bwd_weights{"ref", kReference, check_bwd_weights, run_bwd_weights};

}  // namespace mininn::cpu::ref
