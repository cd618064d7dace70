#include "cpu_kernels/own/float/gather.h"

#include <algorithm>

#include "core/parallel.h"
#include "cpu_kernels/common/scratch.h"

namespace mininn::cpu::own {

int64_t images_per_block(const GatherGemm& p, int64_t images) {
  constexpr int64_t kBlockFloats = 1 << 18;  // 1 MiB
  const int64_t image_floats = p.in_h * p.in_w * p.in_pixel + p.out_n;
  return std::clamp<int64_t>(kBlockFloats / std::max<int64_t>(image_floats, 1), 1, std::max<int64_t>(images, 1));
}

namespace {

constexpr int64_t kGrain = 1 << 18;  // multiplications worth a thread

int64_t taps(const GatherRegion& r) {
  int64_t n = 0;
  for (int64_t i = 0; i < r.tap_count; ++i) n += r.taps[i].count;
  return n;
}

// fn(first pixel, pixels) for every tile of so many pixels.
template <class Fn>
void for_tiles(const TilesF32& t, int64_t pixels, const Fn& fn) {
  const int64_t tiles = tile_count(t, pixels);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t first = pixels * i / tiles;
    fn(first, pixels * (i + 1) / tiles - first);
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
        for_tiles(t, images * r.h * r.w, [&](int64_t first, int64_t pixels) { t.gather(q, r, {0, first, pixels}); });
    }
  });
}

// Little to add up per pixel: finding, reading and writing pixels takes the time. The tiles of a row go from one to the
// next, each through all panels, so that pixels are written one after the other.
void by_rows(const TilesF32& t, const GatherGemm& p, int64_t panels, std::span<const GatherRegion> regions,
             int64_t images) {
  constexpr int64_t kShortRow = 7;
  const auto has_rows = [](const GatherRegion& r) { return !r.padded && r.w >= kShortRow; };
  const auto strips = [&](const GatherRegion& r) { return has_rows(r) ? r.h : 1; };
  int64_t image_strips = 0, longest = 1;
  for (const GatherRegion& r : regions) {
    image_strips += strips(r);
    longest = std::max(longest, r.w);
  }
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(longest * p.taps * p.k * p.columns, 1));
  parallel_for(images * image_strips, grain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin / image_strips; n * image_strips < end; ++n) {
      int64_t strip = n * image_strips;
      for (const GatherRegion& r : regions) {
        const int64_t count = strips(r);
        for (int64_t i = std::max<int64_t>(begin - strip, 0); i < std::min(end - strip, count); ++i)
          if (has_rows(r))
            t.gather(p, r, {n, i * r.w, r.w, 0, panels});
          else
            for_tiles(t, r.h * r.w, [&](int64_t first, int64_t pixels) {
              t.gather(p, r, {n, first, pixels, 0, panels});
            });

        strip += count;
      }
    }
  });
}

// Many pixels, or B is packed already: blocks of images go through the panels that all threads share.
void by_blocks(const TilesF32& t, const GatherGemm& p, int64_t panels, std::span<const GatherRegion> regions,
               int64_t images, int64_t block) {
  // Work is counted in rows x taps. A tile starts at some count of this total; the thread whose share of 0..total
  // contains that count computes it. So any number of threads gets equal work, whatever mix of regions there is.
  const auto row_work = [](const GatherRegion& r) { return std::max<int64_t>(taps(r), 1); };
  int64_t image_work = 0;
  for (const GatherRegion& r : regions) image_work += r.h * r.w * row_work(r);
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(p.k * t.nr, 1));

  parallel_for(images * panels * image_work, grain, [&](int64_t begin, int64_t end) {
    for (int64_t n0 = 0; n0 < images; n0 += block) {
      const int64_t n = std::min(block, images - n0);
      for (int64_t panel = 0; panel < panels; ++panel) {
        int64_t work = (n0 * panels + n * panel) * image_work;
        if (work >= end || work + n * image_work <= begin) continue;
        for (const GatherRegion& r : regions) {
          const int64_t per_row = row_work(r);
          for_tiles(t, n * r.h * r.w, [&](int64_t first, int64_t pixels) {
            const int64_t at = work + first * per_row;
            if (at >= begin && at < end) t.gather(p, r, {n0, first, pixels, panel});
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
  const int64_t block = images_per_block(p, images);
  const int64_t panels = layout.panels(t), threads = num_threads();
  constexpr int64_t kShortSum = 256, kSmallB = 1 << 15;
  const bool short_sums = p.taps * p.k <= kShortSum && layout.packed_size(t) <= kSmallB;
  if (!p.packed && !short_sums && block == images && (panels % threads == 0 || panels >= 4 * threads))
    return by_panels(t, p, layout, b, regions, images);
  Scratch<float> packed(p.packed ? 0 : layout.packed_size(t));
  if (!p.packed) {
    pack(t, layout, b, packed.data());
    p.packed = packed.data();
  }
  if (short_sums)
    by_rows(t, p, panels, regions, images);
  else
    by_blocks(t, p, panels, regions, images, block);
}

}  // namespace mininn::cpu::own
