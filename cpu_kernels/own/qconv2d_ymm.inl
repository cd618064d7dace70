// The 256-bit tile functions. Included inside the target region and namespace of each dot product, which has defined
//   load_x(p)          four input channels of a pixel in every lane, prepared for dot()
//   dot(acc, x, w)     acc + their products with the weights of eight output channels

// Lanes 0..count-1 as a mask of dwords.
inline __m256i first_lanes(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline __m256i load_codes(const uint8_t* p, int64_t count) {
  int64_t codes = 0;
  if (count >= 8)
    __builtin_memcpy(&codes, p, 8);
  else
    __builtin_memcpy(&codes, p, size_t(count));
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(codes));
}

inline void store_codes(std::byte* p, int64_t count, __m256i v) {
  const int64_t codes = _mm_cvtsi128_si64(pack_codes(v));
  if (count >= 8)
    __builtin_memcpy(p, &codes, 8);
  else
    __builtin_memcpy(p, &codes, size_t(count));
}

template <int P, int V>
inline void store(const QTile& t, const __m256i (&acc)[P][V]) {
  const __m256 lo = _mm256_set1_ps(t.range.lo), hi = _mm256_set1_ps(t.range.hi);
  const __m256i zero = _mm256_set1_epi32(t.range.zero), r_zero = _mm256_set1_epi32(t.residual_zero);
  const __m256 r_scale = _mm256_set1_ps(t.residual_scale);
#pragma GCC unroll 2
  for (int v = 0; v < V; ++v) {
    const int64_t channel = t.channel + 8 * v, left = t.channels - 8 * v;
    const __m256i mask = first_lanes(left);
    const __m256 multiplier = _mm256_maskload_ps(t.multiplier + channel, mask);
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      if (p >= t.pixels) break;
      __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[p][v]), multiplier);
      if (t.has_residual) {
        const __m256i r = load_codes(t.residual[p] + channel, left);
        y = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(r, r_zero)), r_scale, y);
      }
      if (t.f32)
        _mm256_maskstore_ps(reinterpret_cast<float*>(t.y[p]) + channel, mask, y);
      else
        store_codes(t.y[p] + channel, left, to_codes(y, lo, hi, zero));
    }
  }
}

template <int P, int V>
void tile(const QTile& t) {
  __m256i acc[P][V];
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v)
      acc[p][v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.bias[p] + t.bias_channel + 8 * v));
  for (int tap = 0; tap < t.taps; ++tap) {
    const uint8_t* x[P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) x[p] = t.x[tap * kTilePixels + p];
    const int8_t* w = t.w + t.tap_offset[tap];
#pragma GCC unroll 2
    for (int64_t c = 0; c < t.steps * 4; c += 4, w += 32) {
      __m256i wv[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) wv[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + v * t.w_block));
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        const auto xv = load_x(x[p] + c);
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) acc[p][v] = dot(acc[p][v], xv, wv[v]);
      }
    }
  }
  store<P, V>(t, acc);
}
