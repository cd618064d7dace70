// Layout: flat arrays in one common order. Tile: 8 floats. Tail: masked loads and stores, which run the same lanes'
// arithmetic. Alignment: none needed. No fused multiply-add: each operation rounds on its own, as in the definition of
// ops/optimizer.h, so the results equal the reference's to the bit.
#include "cpu_kernels/own/memory/optimizer.h"

#include "core/parallel.h"
#include "cpu_kernels/common/cpu_features.h"
#include "cpu_kernels/common/isa.h"

MININN_TARGET_AVX2
namespace mininn::cpu::own {
namespace {

// The first `left` < 8 lanes of a block.
struct Lanes {
  __m256i mask;
  explicit Lanes(int64_t left)
      : mask(_mm256_cmpgt_epi32(_mm256_set1_epi32(int(left)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))) {}
  __m256 load(const float* p) const { return _mm256_maskload_ps(p, mask); }
  void store(float* p, __m256 x) const { _mm256_maskstore_ps(p, mask, x); }
};
struct AllLanes {
  __m256 load(const float* p) const { return _mm256_loadu_ps(p); }
  void store(float* p, __m256 x) const { _mm256_storeu_ps(p, x); }
};

// Calls body(lanes, i) for each block of 8 in [begin, end).
template <class Body>
void for_blocks(int64_t begin, int64_t end, const Body& body) {
  int64_t i = begin;
  for (; i + 8 <= end; i += 8) body(AllLanes{}, i);
  if (i < end) body(Lanes(end - i), i);
}

template <bool kMomentum>
void sgd_range(const op::SgdUpdate& a, int64_t begin, int64_t end) {
  const __m256 lr = _mm256_set1_ps(float(a.lr)), momentum = _mm256_set1_ps(float(a.momentum));
  const __m256 take = _mm256_set1_ps(float(1 - a.dampening)), decay = _mm256_set1_ps(float(a.weight_decay));
  float* p = a.param.as<float>();
  float* b = a.buffer.as<float>();
  const float* g = a.grad.as<float>();
  for_blocks(begin, end, [&](auto lanes, int64_t i) {
    const __m256 x = lanes.load(p + i);
    __m256 d = _mm256_add_ps(lanes.load(g + i), _mm256_mul_ps(decay, x));
    if constexpr (kMomentum) {
      const __m256 y = a.first ? d : _mm256_add_ps(_mm256_mul_ps(momentum, lanes.load(b + i)), _mm256_mul_ps(take, d));
      lanes.store(b + i, y);
      d = a.nesterov ? _mm256_add_ps(d, _mm256_mul_ps(momentum, y)) : y;
    }
    lanes.store(p + i, _mm256_sub_ps(x, _mm256_mul_ps(lr, d)));
  });
}

void adam_range(const op::AdamUpdate& a, int64_t begin, int64_t end) {
  const __m256 keep = _mm256_set1_ps(float(a.keep)), l2 = _mm256_set1_ps(float(a.l2));
  const __m256 take1 = _mm256_set1_ps(float(1 - a.beta1));
  const __m256 beta2 = _mm256_set1_ps(float(a.beta2)), take2 = _mm256_set1_ps(float(1 - a.beta2));
  const __m256 eps = _mm256_set1_ps(float(a.eps)), v_scale = _mm256_set1_ps(float(a.v_scale));
  const __m256 step_size = _mm256_set1_ps(float(a.step_size));
  float* p = a.param.as<float>();
  float* m = a.m.as<float>();
  float* v = a.v.as<float>();
  const float* g = a.grad.as<float>();
  for_blocks(begin, end, [&](auto lanes, int64_t i) {
    const __m256 x = lanes.load(p + i), old_m = lanes.load(m + i);
    const __m256 d = _mm256_add_ps(lanes.load(g + i), _mm256_mul_ps(l2, x));
    const __m256 new_m = _mm256_add_ps(old_m, _mm256_mul_ps(take1, _mm256_sub_ps(d, old_m)));
    const __m256 new_v =
        _mm256_add_ps(_mm256_mul_ps(beta2, lanes.load(v + i)), _mm256_mul_ps(take2, _mm256_mul_ps(d, d)));
    const __m256 scale = _mm256_add_ps(_mm256_div_ps(_mm256_sqrt_ps(new_v), v_scale), eps);
    lanes.store(m + i, new_m);
    lanes.store(v + i, new_v);
    lanes.store(p + i, _mm256_sub_ps(_mm256_mul_ps(keep, x), _mm256_div_ps(_mm256_mul_ps(step_size, new_m), scale)));
  });
}

}  // namespace
}  // namespace mininn::cpu::own
MININN_TARGET_END

namespace mininn::cpu::own {
namespace {

constexpr int64_t kGrain = 1 << 14;  // elements a thread must have to be worth waking

template <class Args>
Refusal check(const Args& a) {
  if (const Refusal r = needs(Isa::avx2)) return r;
  if (a.dtype != DType::f32) return {"f32 only"};
  return {};
}

void run_sgd(const op::SgdUpdate& a, const ExecContext&) {
  parallel_for(a.n, kGrain, [&](int64_t begin, int64_t end) {
    a.buffer ? sgd_range<true>(a, begin, end) : sgd_range<false>(a, begin, end);
  });
}

void run_adam(const op::AdamUpdate& a, const ExecContext&) {
  parallel_for(a.n, kGrain, [&](int64_t begin, int64_t end) { adam_range(a, begin, end); });
}

}  // namespace

const Kernel<op::SgdUpdate> sgd_update_avx2{"own.fused.avx2", kOwn, check<op::SgdUpdate>, run_sgd};
const Kernel<op::AdamUpdate> adam_update_avx2{"own.fused.avx2", kOwn, check<op::AdamUpdate>, run_adam};

}  // namespace mininn::cpu::own
