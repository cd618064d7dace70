// The 256-bit tile functions. Included inside the target region and namespace of each dot product, which has defined
//   load_x(p)          four input channels of a pixel in every lane, prepared for dot()
//   dot(acc, x, w)     acc + their products with the weights of eight output channels

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
  const YmmEpilogue<V> epilogue(t, 0);
  const int pixels = t.pixels;
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p)
    if (p < pixels) epilogue.store(p, acc[p]);
}
