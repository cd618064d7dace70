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

// The pixels of a region as lines of neighbours, cut into pieces of almost equal length.
struct Pieces {
  bool has_rows;
  int64_t lines, length, per_line;

  // Rows, where they are long enough; else whatever pixels make a tile.
  Pieces(const TilesF32& t, const GatherRegion& r) {
    constexpr int64_t kShortRow = 7, kTilesTogether = 8;
    has_rows = !r.padded && r.w >= kShortRow;
    lines = has_rows ? r.h : 1;
    length = has_rows ? r.w : r.h * r.w;
    per_line = ceil_div(length, has_rows ? kTilesTogether * t.mr : t.mr);
  }
  int64_t count() const { return lines * per_line; }
  int64_t begin(int64_t i) const { return i / per_line * length + length * (i % per_line) / per_line; }
  int64_t size(int64_t i) const { return length * (i % per_line + 1) / per_line - length * (i % per_line) / per_line; }
};

// Little to add up per pixel: finding, reading and writing pixels takes the time. The tiles of a row go from one to the
// next, each through all panels of two vectors, so that pixels are written one after the other.
void by_rows(const TilesF32& t, const GatherGemm& p, int64_t panels, std::span<const GatherRegion> regions,
             int64_t images) {
  int64_t image_pieces = 0, image_pixels = 0;
  for (const GatherRegion& r : regions) {
    image_pieces += Pieces(t, r).count();
    image_pixels += r.h * r.w;
  }
  const int64_t image_work = std::max<int64_t>(image_pixels * p.taps * p.k * p.columns, 1);
  parallel_for(images * image_pieces, ceil_div(kGrain * image_pieces, image_work), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin / image_pieces; n * image_pieces < end; ++n) {
      int64_t first = n * image_pieces;
      for (const GatherRegion& r : regions) {
        const Pieces pieces(t, r);
        for (int64_t i = std::max<int64_t>(begin - first, 0); i < std::min(end - first, pieces.count()); ++i)
          (p.depthwise ? t.depthwise : t.gather)(p, r, {n, pieces.begin(i), pieces.size(i), 0, panels});
        first += pieces.count();
      }
    }
  });
}

// Whether by_rows() pays: sums so short, B so small (320 KiB) that it stays in the second-level cache beside the
// pixels, rows for most of the pixels (small maps have better tiles across images), and pieces for all threads.
bool rows_pay(const TilesF32& t, const GatherGemm& p, const MatrixLayout& layout, std::span<const GatherRegion> regions,
              int64_t images) {
  constexpr int64_t kShortSum = 1200, kSmallB = 5 << 14;
  if (p.taps * p.k > kShortSum || layout.packed_size(t) > kSmallB) return false;
  int64_t in_rows = 0, all = 0, pieces = 0;
  for (const GatherRegion& r : regions) {
    const Pieces cut(t, r);
    all += r.h * r.w;
    pieces += images * cut.count();
    if (cut.has_rows) in_rows += r.h * r.w;
  }
  return 4 * in_rows >= 3 * all && pieces >= 4 * num_threads();
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
  // While one block is multiplied, the next is fetched bit by bit, or a batch that no cache holds would be waited for.
  const int64_t image_total = panels * image_work, image_floats = p.in_h * p.in_w * p.in_pixel;
  const auto fetch_ahead = [&](int64_t at, int64_t work, int64_t end) {
    if (p.k < p.in_pixel) return;  // one group: the others would fetch the same again
    const auto input = [&](int64_t w) {
      return p.in + int64_t(double(w) / double(image_total) * double(image_floats));
    };
    const int64_t from = at + block * image_total, to = std::min(from + work, end);
    if (from >= to) return;
    const float* const last = input(to);
    for (const float* line = input(from); line < last; line += 16) __builtin_prefetch(line, 0, 2);
  };
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
            if (at < begin || at >= end) return;
            fetch_ahead(at, pixels * per_row, end);
            t.gather(p, r, {n0, first, pixels, panel});
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
  p.k = p.k_count = layout.k;
  p.taps = layout.taps;
  p.columns = layout.columns;
  const int64_t block = images_per_block(p, images);
  const int64_t panels = layout.panels(t), threads = num_threads();
  const bool rows = p.depthwise || rows_pay(t, p, layout, regions, images);
  if (!p.packed && !rows && block == images && (panels % threads == 0 || panels >= 4 * threads))
    return by_panels(t, p, layout, b, regions, images);
  Scratch<float> packed(p.packed ? 0 : layout.packed_size(t));
  if (!p.packed) {
    pack(t, layout, b, packed.data());
    p.packed = packed.data();
  }
  if (rows)
    by_rows(t, p, panels, regions, images);
  else
    by_blocks(t, p, panels, regions, images, block);
}

}  // namespace mininn::cpu::own
