// Loops over channels in vectors of kLanes floats, by the compiler's portable vector types; bf16 in memory is float in
// them. Included inside a target region (isa.h), once per instruction set, so it has no include guard, after
// common/bf16_vectors.h.

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

template <class V, class T>
V load(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class V, class T>
void store(T* p, const V& v) {
  __builtin_memcpy(p, &v, sizeof v);
}

template <class V>
V load(const bf16* p) {
  if constexpr (std::is_same_v<V, float>) {
    return float(*p);
  } else {
    decltype(bf16_of(V())) halves;
    __builtin_memcpy(&halves, p, sizeof halves);
    return floats_of(halves);
  }
}
[[maybe_unused]] void store(bf16* p, const Floats& v) {
  const auto halves = bf16_of(v);
  __builtin_memcpy(static_cast<void*>(p), &halves, sizeof halves);
}
[[maybe_unused]] void store(bf16* p, float v) { *p = bf16(v); }

// Sums keep their digits where at most kChain numbers are added up in f32, and these sums in double.
constexpr int64_t kChain = 64;
typedef double Doubles __attribute__((vector_size(8 * kLanes)));

void add(Doubles& sum, Floats v) { sum += __builtin_convertvector(v, Doubles); }
void add(double& sum, float v) { sum += double(v); }
Floats narrow(const Doubles& v) { return __builtin_convertvector(v, Floats); }
float narrow(double v) { return float(v); }
template <class V>
using Wide = std::conditional_t<sizeof(V) == sizeof(float), double, Doubles>;

// Calls op.strip<V, I, K>(i) so that the strips of K vectors that start at channels i cover [0, c): wide ones, then
// single vectors, then single channels.
template <class Op>
void for_strips(int64_t c, const Op& op) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= c; i += 4 * kLanes) op.template strip<Floats, Ints, 4>(i);
  for (; i + kLanes <= c; i += kLanes) op.template strip<Floats, Ints, 1>(i);
  for (; i < c; ++i) op.template strip<float, int32_t, 1>(i);
}
