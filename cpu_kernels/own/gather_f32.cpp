#include "cpu_kernels/own/gather_f32.h"

#include <algorithm>

#include "core/parallel.h"

namespace mininn::cpu::own {

int64_t images_per_block(int64_t image_floats, int64_t images) {
  constexpr int64_t kBlockFloats = 1 << 18;  // 1 MiB
  return std::clamp<int64_t>(kBlockFloats / std::max<int64_t>(image_floats, 1), 1, std::max<int64_t>(images, 1));
}

void gather_gemm(const TilesF32& t, const GatherGemm& p, std::span<const GatherRegion> regions, int64_t images) {
  // Work is counted in rows x taps. A tile starts at some count of this total; the thread whose share of 0..total
  // contains that count computes it. So any number of threads gets equal work, whatever mix of regions there is.
  const auto row_work = [](const GatherRegion& r) { return std::max<int64_t>(r.tap_count, 1); };
  int64_t image_work = 0;
  for (const GatherRegion& r : regions) image_work += r.h * r.w * row_work(r);
  const int64_t panels = (p.columns + t.nr - 1) / t.nr;
  const int64_t block = images_per_block(p.in_h * p.in_w * p.in_pixel, images);
  const int64_t grain = std::max<int64_t>(1, (1 << 18) / std::max<int64_t>(p.k * t.nr, 1));  // 256 K multiplications

  parallel_for(images * panels * image_work, grain, [&](int64_t begin, int64_t end) {
    for (int64_t n0 = 0; n0 < images; n0 += block) {
      const int64_t n = std::min(block, images - n0);
      for (int64_t panel = 0; panel < panels; ++panel) {
        int64_t work = (n0 * panels + n * panel) * image_work;
        if (work >= end || work + n * image_work <= begin) continue;
        for (const GatherRegion& r : regions) {
          const int64_t pixels = n * r.h * r.w, tiles = tile_count(t, pixels);
          for (int64_t i = 0; i < tiles; ++i) {
            const int64_t first = pixels * i / tiles, last = pixels * (i + 1) / tiles;
            const int64_t at = work + first * row_work(r);
            if (at >= begin && at < end) t.gather(p, r, n0, first, int(last - first), panel);
          }
          work += pixels * row_work(r);
        }
      }
    }
  });
}

}  // namespace mininn::cpu::own
