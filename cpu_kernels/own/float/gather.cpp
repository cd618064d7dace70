#include "cpu_kernels/own/float/gather.h"

#include <algorithm>

#include "core/parallel.h"
#include "cpu_kernels/common/scratch.h"

namespace mininn::cpu::own {

int64_t images_per_block(int64_t image_floats, int64_t images) {
  constexpr int64_t kBlockFloats = 1 << 18;  // 1 MiB
  return std::clamp<int64_t>(kBlockFloats / std::max<int64_t>(image_floats, 1), 1, std::max<int64_t>(images, 1));
}

namespace {

int64_t taps(const GatherRegion& r) {
  int64_t n = 0;
  for (int64_t i = 0; i < r.tap_count; ++i) n += r.taps[i].count;
  return n;
}

// fn(first pixel, rows) for every tile of a region of n images. Where there is little to add up per pixel, tiles end
// where rows do: it takes less to find their pixels.
template <class Fn>
void for_tiles(const TilesF32& t, const GatherRegion& r, int64_t k, int64_t n, const Fn& fn) {
  constexpr int64_t kShortSum = 128, kShortRow = 7;
  const bool by_rows = !r.padded && taps(r) * k <= kShortSum && r.w >= kShortRow;
  const int64_t pixels = by_rows ? r.w : n * r.h * r.w, tiles = tile_count(t, pixels);
  for (int64_t begin = 0; begin < n * r.h * r.w; begin += pixels)
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t first = pixels * i / tiles;
      fn(begin + first, int(pixels * (i + 1) / tiles - first));
    }
}

// Few pixels: packing B is a good part of the work. A thread packs a panel, uses it while it is in its cache, and
// forgets it.
void by_panels(const TilesF32& t, const GatherGemm& p, const MatrixLayout& layout, const float* b,
               std::span<const GatherRegion> regions, int64_t images) {
  parallel_for(layout.panels(t), 1, [&](int64_t begin, int64_t end) {
    Scratch<float> packed(layout.panel_size(t));
    for (int64_t panel = begin; panel < end; ++panel) {
      pack_panel(t, layout, b, panel, packed.data());
      GatherGemm q = p;
      const int64_t c0 = panel * t.nr;
      q.packed = packed.data();
      q.columns = p.columns - c0;
      q.out += c0;
      if (q.bias) q.bias += c0;
      if (q.residual) q.residual += c0;
      for (const GatherRegion& r : regions)
        for_tiles(t, r, layout.k, images, [&](int64_t first, int rows) { t.gather(q, r, 0, first, rows, 0); });
    }
  });
}

// Many pixels, or B is packed already: blocks of images go through the panels that all threads share.
void by_blocks(const TilesF32& t, GatherGemm p, const MatrixLayout& layout, const float* b,
               std::span<const GatherRegion> regions, int64_t images, int64_t block) {
  Scratch<float> packed(p.packed ? 0 : layout.packed_size(t));
  if (!p.packed) {
    pack(t, layout, b, packed.data());
    p.packed = packed.data();
  }
  // Work is counted in rows x taps. A tile starts at some count of this total; the thread whose share of 0..total
  // contains that count computes it. So any number of threads gets equal work, whatever mix of regions there is.
  const auto row_work = [](const GatherRegion& r) { return std::max<int64_t>(taps(r), 1); };
  int64_t image_work = 0;
  for (const GatherRegion& r : regions) image_work += r.h * r.w * row_work(r);
  const int64_t panels = layout.panels(t);
  const int64_t grain = std::max<int64_t>(1, (1 << 18) / std::max<int64_t>(p.k * t.nr, 1));  // 256 K multiplications

  parallel_for(images * panels * image_work, grain, [&](int64_t begin, int64_t end) {
    for (int64_t n0 = 0; n0 < images; n0 += block) {
      const int64_t n = std::min(block, images - n0);
      for (int64_t panel = 0; panel < panels; ++panel) {
        int64_t work = (n0 * panels + n * panel) * image_work;
        if (work >= end || work + n * image_work <= begin) continue;
        for (const GatherRegion& r : regions) {
          const int64_t per_row = row_work(r);
          for_tiles(t, r, layout.k, n, [&](int64_t first, int rows) {
            const int64_t at = work + first * per_row;
            if (at >= begin && at < end) t.gather(p, r, n0, first, rows, panel);
          });
          work += n * r.h * r.w * per_row;
        }
      }
    }
  });
}

}  // namespace

void gather_gemm(const TilesF32& t, GatherGemm p, const MatrixLayout& layout, const float* b,
                 std::span<const GatherRegion> regions, int64_t images) {
  if (images == 0) return;
  Scratch<float> zeros(layout.k);
  std::fill_n(zeros.data(), layout.k, 0.0f);
  p.zeros = zeros.data();
  p.k = p.k_end = layout.k;
  p.taps = layout.taps;
  p.columns = layout.columns;
  const int64_t block = images_per_block(p.in_h * p.in_w * p.in_pixel, images);
  const int64_t panels = layout.panels(t), threads = num_threads();
  if (!p.packed && block == images && (panels % threads == 0 || panels >= 4 * threads))
    by_panels(t, p, layout, b, regions, images);
  else
    by_blocks(t, p, layout, b, regions, images, block);
}

}  // namespace mininn::cpu::own
