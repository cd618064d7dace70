// Ops on codes, element by element.
#include <cmath>

#include "cuda/own/int8/kernels.h"
#include "cuda/own/memory/map.h"
#include "ops/requant.h"

namespace mininn::cuda::own {
namespace {

struct Add {
  int32_t a_zero, b_zero;
  float a_scale, b_scale;
  CodeRange range;
  __device__ uint8_t operator()(uint8_t a, uint8_t b) const {
    const float tb = float(int32_t{b} - b_zero) * b_scale;
    return to_code(std::fmaf(float(int32_t{a} - a_zero), a_scale, tb), range);
  }
};
void run(const op::QAdd& q, const ExecContext& at) {
  map_elements<uint8_t>(at, q.y, Add{q.a_zero, q.b_zero, q.a_scale, q.b_scale, code_range(q.y_zero, q.lo, q.hi)},
                        Typed<uint8_t>{q.a}, Typed<uint8_t>{q.b});
}

struct Multiply {
  int32_t a_zero, b_zero;
  float scale;
  CodeRange range;
  __device__ uint8_t operator()(uint8_t a, uint8_t b) const {
    return to_code(float((int32_t{a} - a_zero) * (int32_t{b} - b_zero)) * scale, range);
  }
};
void run(const op::QMul& q, const ExecContext& at) {
  map_elements<uint8_t>(at, q.y, Multiply{q.a_zero, q.b_zero, q.scale, code_range(q.y_zero, q.lo, q.hi)},
                        Typed<uint8_t>{q.a}, Typed<uint8_t>{q.b});
}

struct LookUp {
  const uint8_t* table;  // on the device
  __device__ uint8_t operator()(uint8_t x) const { return table[x]; }
};
void run(const op::QLut& q, const ExecContext& at) {
  map_elements<uint8_t>(at, q.y, LookUp{q.table.as<uint8_t>()}, Typed<uint8_t>{q.x});
}

struct Rescale {
  int32_t zero;
  float scale;
  CodeRange range;
  __device__ uint8_t operator()(uint8_t x) const { return to_code(float(int32_t{x} - zero) * scale, range); }
};
void run(const op::Requantize& q, const ExecContext& at) {
  map_elements<uint8_t>(at, q.y, Rescale{q.x_zero, q.scale, code_range(q.y_zero, 0, 255)}, Typed<uint8_t>{q.x});
}

struct ToCode {
  float scale;
  CodeRange range;
  __device__ uint8_t operator()(float x) const { return to_code(x / scale, range); }
};
void run(const op::Quantize& q, const ExecContext& at) {
  map_elements<uint8_t>(at, q.y, ToCode{q.q.scale, code_range(q.q.zero_point, 0, 255)}, Typed<float>{q.x});
}

struct FromCode {
  QParams q;
  __device__ float operator()(uint8_t x) const { return float(int32_t{x} - q.zero_point) * q.scale; }
};
void run(const op::Dequantize& q, const ExecContext& at) {
  map_elements<float>(at, q.y, FromCode{q.q}, Typed<uint8_t>{q.x});
}

struct Same {
  __device__ uint8_t operator()(uint8_t x) const { return x; }
};
struct Nothing {
  __device__ uint8_t operator()() const { return 0; }
};
void run(const op::QPack& q, const ExecContext& at) {
  map_elements<uint8_t>(at, q.y, Same(), Typed<uint8_t>{q.x});
  View behind = q.y;  // the bytes behind a pixel's channels
  behind.data += behind.shape[1];
  behind.shape[1] = q.y.strides[3] - q.y.shape[1];
  map_elements<uint8_t>(at, behind, Nothing());
}

}  // namespace

constinit const Kernel<op::QAdd> qadd{"own.map", kOwn, takes_all, run};
constinit const Kernel<op::QMul> qmul{"own.map", kOwn, takes_all, run};
constinit const Kernel<op::QLut> qlut{"own.map", kOwn, takes_all, run};
constinit const Kernel<op::Requantize> requantize{"own.map", kOwn, takes_all, run};
constinit const Kernel<op::Quantize> quantize{"own.map", kOwn, takes_all, run};
constinit const Kernel<op::QPack> qpack{"own.map", kOwn, takes_all, run};
constinit const Kernel<op::Dequantize> dequantize{"own.map", kOwn, takes_all, run};

}  // namespace mininn::cuda::own
