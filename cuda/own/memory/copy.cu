// What core itself asks for: copies that convert, constants, sums of two gradients.
#include "cuda/block_reduce.h"
#include "cuda/own/memory/kernels.h"
#include "cuda/own/memory/map.h"

namespace mininn::cuda::own {
namespace {

template <class To>
struct Convert {
  template <class From>
  __device__ To operator()(From x) const {
    return convert<To>(x);
  }
};

void run_copy(const op::Copy& a, const ExecContext& at) {
  with_type(a.x.dtype, [&]<class From>(From) {
    with_type(a.y.dtype, [&]<class To>(To) { map_elements<To>(at, a.y, Convert<To>(), Typed<From>{a.x}); });
  });
}

template <class T>
struct Constant {
  T value;
  __device__ T operator()() const { return value; }
};

void run_fill(const op::Fill& a, const ExecContext& at) {
  with_type(a.y.dtype, [&]<class T>(T) { map_elements<T>(at, a.y, Constant<T>{convert<T>(a.value)}); });
}

void run_accumulate(const op::Accumulate& a, const ExecContext& at) {
  with_floating(a.y.dtype, [&]<class T>() { map<T>(at, a.y, Plus(), a.a, a.b); });
}

}  // namespace

constinit const Kernel<op::Copy> copy{"own.map", kOwn, takes_all, run_copy};
constinit const Kernel<op::Fill> fill{"own.map", kOwn, takes_all, run_fill};
constinit const Kernel<op::Accumulate> accumulate{"own.map", kOwn, takes_all, run_accumulate};

}  // namespace mininn::cuda::own
