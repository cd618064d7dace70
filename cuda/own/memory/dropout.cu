// Dropout with the CPU's random numbers.
#include "ops/dropout.h"

#include "core/random.h"
#include "cuda/own/memory/kernels.h"
#include "cuda/own/memory/map.h"

namespace mininn::cuda::own {
namespace {

struct Draw {
  uint64_t seed, stream, position;
  uint32_t threshold;
};

template <class T>
__global__ void dropout_kernel(const __grid_constant__ StridedLoop<2> loop, Draw draw, Compute<T> scale, T* y,
                               const T* x, uint8_t* mask) {
  for (int64_t i = thread_index(); i < loop.size(); i += thread_count()) {
    const auto at = loop.offsets(i);
    const bool keep = random_word(draw.seed, draw.stream, draw.position + uint64_t(i)) >= draw.threshold;
    mask[i] = keep;
    y[at[0]] = T(keep ? Compute<T>(x[at[1]]) * scale : Compute<T>(0));
  }
}

template <class T>
void run(const op::DropoutFwd& a, const ExecContext& at) {
  // Row-major, since an element's number decides its fate.
  const StridedLoop<2> loop(a.y.shape, {a.y.strides, a.x.strides}, Order::logical);
  launch(dropout_kernel<T>, grid_of(loop.size()), at, loop, Draw{a.seed, a.stream, a.position, a.threshold},
         Compute<T>(a.scale), a.y.as<T>(), a.x.as<T>(), a.mask.as<uint8_t>());
}

template <class T>
__global__ void dropout_grad_kernel(const __grid_constant__ StridedLoop<3> loop, Compute<T> scale, T* gx, const T* gy,
                                    const uint8_t* mask) {
  for (int64_t i = thread_index(); i < loop.size(); i += thread_count()) {
    const auto at = loop.offsets(i);
    gx[at[0]] = T(mask[at[2]] ? Compute<T>(gy[at[1]]) * scale : Compute<T>(0));
  }
}

template <class T>
void run_grad(const op::DropoutBwd& a, const ExecContext& at) {
  const StridedLoop<3> loop(a.gx.shape, {a.gx.strides, a.gy.strides, a.mask.strides});
  launch(dropout_grad_kernel<T>, grid_of(loop.size()), at, loop, Compute<T>(a.scale), a.gx.as<T>(), a.gy.as<T>(),
         a.mask.as<uint8_t>());
}

}  // namespace

constinit const Kernel<op::DropoutFwd> dropout_fwd{"own", kOwn, takes_all,
                                                   [](const op::DropoutFwd& a, const ExecContext& at) {
                                                     with_floating(a.x.dtype, [&]<class T>() { run<T>(a, at); });
                                                   }};
constinit const Kernel<op::DropoutBwd> dropout_bwd{"own", kOwn, takes_all,
                                                   [](const op::DropoutBwd& a, const ExecContext& at) {
                                                     with_floating(a.gx.dtype, [&]<class T>() { run_grad<T>(a, at); });
                                                   }};

}  // namespace mininn::cuda::own
