#include "ops/dropout.h"

#include "core/convert.h"
#include "core/random.h"
#include "core/strided_loop.h"
#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

template <class T>
void run_dropout(const op::DropoutFwd& a) {
  // Row-major, since an element's number decides its fate; the mask is contiguous, so that number is its offset there.
  const StridedLoop<2> loop(a.y.shape, {a.y.strides, a.x.strides}, Order::logical);
  const auto step = loop.inner().stride;
  const auto scale = Compute<T>(a.scale);
  parallel_for(loop.size(), kGrain, [&](int64_t begin, int64_t end) {
    Generator words(a.seed, a.stream);
    words.set_position(a.position + uint64_t(begin));
    uint8_t* mask = a.mask.as<uint8_t>() + begin;
    loop.walk(begin, end, [&](const auto& at, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        const bool keep = words.next_u32() >= a.threshold;
        *mask++ = keep;
        const auto x = Compute<T>(a.x.as<T>()[at[1] + i * step[1]]);
        a.y.as<T>()[at[0] + i * step[0]] = T(keep ? x * scale : Compute<T>(0));
      }
    });
  });
}

template <class T>
void run_dropout_grad(const op::DropoutBwd& a) {
  const StridedLoop<3> loop(a.gx.shape, {a.gx.strides, a.gy.strides, a.mask.strides});
  const auto step = loop.inner().stride;
  const auto scale = Compute<T>(a.scale);
  loop.run([&](const auto& at, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const auto gy = Compute<T>(a.gy.as<T>()[at[1] + i * step[1]]);
      const bool keep = a.mask.as<uint8_t>()[at[2] + i * step[2]];
      a.gx.as<T>()[at[0] + i * step[0]] = T(keep ? gy * scale : Compute<T>(0));
    }
  });
}

}  // namespace

constinit const Kernel<op::DropoutFwd> dropout_fwd{"ref", kReference, takes_all,
                                                   [](const op::DropoutFwd& a, const ExecContext&) {
                                                     with_floating(a.x.dtype, [&]<class T>() { run_dropout<T>(a); });
                                                   }};
constinit const Kernel<op::DropoutBwd> dropout_bwd{
    "ref", kReference, takes_all, [](const op::DropoutBwd& a, const ExecContext&) {
      with_floating(a.gx.dtype, [&]<class T>() { run_dropout_grad<T>(a); });
    }};

}  // namespace mininn::cpu::ref
