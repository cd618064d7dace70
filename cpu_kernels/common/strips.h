// Convolutions on strips of 16 output pixels: how their input lies in memory, and the walk over strips and
// channels.
//
// A tile register takes 16 rows of up to 64 bytes at equal distances: here so many input channels (or values of a
// patch) of each of 16 output pixels, called a strip. So at every tap the input pixels of a strip must be evenly
// spaced, and padding must be zeros somewhere in memory. That asks for a copy of the input, a part at a time, in one of
// these forms:
//
// - in_place: 1x1 kernels of stride 1. No copy: a strip is any 16 pixels.
// - rows: maps at least 16 pixels wide. A strip is 16 pixels of an output row; the copy has a border of zeros. There is
//   none where nothing is padded, and of rows of many bytes only what their first and their last strip read. Kernel
//   rows that fall on padding are left out.
// - shifted: narrower maps. A copy for each column of the kernel holds the input of each output row without a gap, so a
//   strip runs over the ends of rows.
// - across: narrow maps in large batches. A strip is 16 images at one position and has only the taps that fall on the
//   map; the copy holds the images of a position one after the other.
//
// Where a pixel has so few channels that a tap would fill little of a tile's row, rows take a row of the kernel as one
// tap: its columns follow each other in memory, and neighbouring pixels' rows of a tile overlap.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/parallel.h"
#include "cpu_kernels/common/scratch.h"
#include "cpu_kernels/common/taps.h"
#include "ops/conv2d.h"

namespace mininn::cpu {

inline constexpr int kStrip = 16;

// What is computed, seen as bytes: a tile register does not care what they mean.
struct StripSource {
  Conv2dGeometry g;            // ic: bytes of a pixel
  const uint8_t* x = nullptr;  // the input
  int64_t image, row, pixel;   // bytes from one to the next
  int64_t out_pixel;           // bytes of an output pixel
  bool clean = false;          // what a copy has behind a pixel's bytes is zero
};

// The bytes that a convolution sums up for one output, in the order of the packed weights. What has no weight is
// multiplied by zero.
struct StripDepth {
  bool merged;       // the columns of the kernel are one tap
  int64_t taps;      // per row of the kernel
  int64_t channels;  // of a tap: bytes
  int64_t column;    // merged: from a column of the kernel to the next
  int64_t step;      // bytes of one row of a tile, at most 64; divides channels
  int64_t size;

  explicit StripDepth(const Conv2dGeometry& g);
  // The byte that the weight of byte c of a pixel and tap (kh, kw) meets.
  int64_t value(int64_t kh, int64_t kw, int64_t c) const {
    return merged ? kh * channels + kw * column + c : (kh * taps + kw) * channels + c;
  }
};

// Whether strips are parts of output rows.
inline bool is_wide(const Conv2dGeometry& g) { return g.ow >= kStrip; }

struct Strip {
  uintptr_t origin = 0;                    // + an element of StripInput::taps(): the input of row 0
  int kh0 = 0, kh1 = 0, kw0 = 0, kw1 = 0;  // the taps
  int64_t pixel = 0;                       // the output pixel of row 0, counted through the batch
  int first = 0, last = 0;  // the rows that count; others repeat pixels of another strip, or mean nothing
  int64_t pieces = 0;       // of the copy that it reads: the first so many
};

inline bool same_taps(const Strip& a, const Strip& b) {
  return a.kh0 == b.kh0 && a.kh1 == b.kh1 && a.kw0 == b.kw0 && a.kw1 == b.kw1;
}

// The strips of one call. Units are shared out among threads; a unit's strips have their input in one copy.
class StripInput {
 public:
  // Strips that follow each other, all rows of which count, are one strip of many rows, where they are evenly spaced:
  // in a row of the output, or (in_place) anywhere.
  enum class Long { no, in_rows, anywhere };
  StripInput(const StripSource& source, Long long_strips);
  StripInput(const StripInput&) = delete;
  StripInput& operator=(const StripInput&) = delete;

  int64_t units() const { return units_; }
  int64_t strips_per_unit() const { return strips_; }  // at most
  int64_t pitch() const { return pitch_; }             // bytes from a row of a strip to the next
  int64_t pixel_step() const { return pixel_step_; }   // output pixels from a row of a strip to the next
  // Bytes from a strip's origin to its input at a tap: taps()[kh * depth().taps + kw].
  const int64_t* taps() const { return tap_; }
  const StripDepth& depth() const { return depth_; }

  bool copies() const { return copies_; }
  bool in_rows() const { return form_ == Form::rows; }  // a strip is part of an output row
  // The end of the units from `unit` on, before `end`, whose input and output together take about `bytes`.
  int64_t part(int64_t unit, int64_t end, int64_t bytes) const;
  // The copy of the part that begins with `unit`. It is made in pieces, in the order in which the strips read them.
  int64_t copy_bytes(int64_t unit, int64_t end) const;
  void load(int64_t unit, int64_t piece, uint8_t* copy) const;
  // Lists the strips of the part [unit, end), and says how many these are.
  int64_t strips(int64_t unit, int64_t end, const uint8_t* copy, Strip* list) const;
  // Makes one's taps those of both, so that they can be multiplied together. False if that would read what is not
  // there.
  bool join(Strip& a, Strip& b) const;
  // Sorts strips into `list`, those first that can be multiplied in pairs. Returns how many these are.
  int64_t arrange(const Strip* strips, int64_t count, Strip* list) const;

 private:
  enum class Form { in_place, rows, shifted, across };
  Form form_of() const;
  bool has_whole_rows() const;
  int64_t map_pixels() const { return g_.oh * g_.ow; }
  int64_t last_end() const { return (g_.iw - end_pixels_) * pixel_; }  // where in a row the last strip's input is
  void copy_pixels(uint8_t* to, int64_t n, int64_t h, int64_t w, int64_t count, int64_t step) const;
  int64_t copied_rows(int64_t units) const;
  void load_row(uint8_t* to, int64_t n, int64_t h, int64_t w, int64_t count, int64_t step) const;

  const StripSource source_;
  const Conv2dGeometry& g_;
  const StripDepth depth_;
  const Form form_;
  const int64_t pixel_;  // bytes in a copy
  const bool copies_, long_;
  int64_t units_ = 0, strips_ = 0, pitch_ = 0, pixel_step_ = 1;
  int64_t unit_bytes_ = 0;               // of a copy
  bool ends_ = false;                    // rows: copies have the ends of the input's rows, in their places
  int64_t end_pixels_ = 0;               // what a strip reads of a row
  int64_t row_bytes_ = 0;                // rows, shifted: of an input row of the copy
  int64_t plane_rows_ = 0, planes_ = 1;  // shifted: rows of a copy, and the phases of the stride it is sorted by
  int64_t group_bytes_ = 0;              // across: of 16 images
  int64_t tap_[kMaxTaps];
};

// Bytes that are multiplied at once: where they are, from a strip's origin and from the begin of a block's weights.
struct StripStep {
  int64_t x, w;
};

// Output channels are multiplied in blocks of 16, whose weights are packed as [depth / 4][16][4] bytes.
inline constexpr int kStripLanes = 16;

// A thread's way through units of strips.
class StripWalk {
 protected:
  // step_bytes: of a step; divides depth().step.
  StripWalk(const StripInput& strips, int64_t step_bytes)
      : input(strips), steps(strips.depth().size / step_bytes), step_bytes_(step_bytes) {}

  // Calls work(strips, count) for one part of the units after the other. `weights`: the bytes of those that each part
  // meets.
  template <class Work>
  void for_parts(int64_t unit0, int64_t unit1, int64_t weights, const Work& work) {
    const int64_t bytes = part_bytes(weights);
    for (int64_t unit = unit0, end; unit < unit1; unit = end) {
      end = input.part(unit, unit1, bytes);
      Scratch<uint8_t> buffer(input.copy_bytes(unit, end));
      Scratch<Strip> list((end - unit) * input.strips_per_unit());
      part_ = unit;
      copy_ = buffer.data();
      loaded_ = 0;
      work(list.data(), input.strips(unit, end, copy_, list.data()));
    }
  }
  // The same, cut into what AMX multiplies at once: after set_blocks(block, end, columns), for blocks of which the last
  // may not exist, call(strips, count): pairs of strips with two blocks, and strips without a partner with four.
  // `weights`: the bytes of a block.
  template <class SetBlocks, class Call>
  void for_calls(int64_t unit0, int64_t unit1, int64_t pair0, int64_t pair1, int64_t weights,
                 const SetBlocks& set_blocks, const Call& call) {
    for_parts(unit0, unit1, (pair1 - pair0) * 2 * weights, [&](const Strip* strips, int64_t count) {
      Scratch<Strip> list(count);
      const int64_t paired = input.arrange(strips, count, list.data());
      // Four blocks at a time, so that single strips find them in the cache.
      for (int64_t pair = pair0; pair < pair1; pair += 2) {
        const int64_t end = std::min(pair + 2, pair1);
        for (int64_t p = pair; p < end; ++p) {
          set_blocks(p * 2, p * 2 + 2, 2);
          for (int64_t i = 0; i < paired; i += 2) call(list.data() + i, 2);
        }
        set_blocks(pair * 2, end * 2, 4);
        for (int64_t i = paired; i < count; ++i) call(list.data() + i, 1);
      }
    });
  }
  // Copies what a strip reads, where that has not been done.
  void load(const Strip& s);
  // Sets `steps` to those of a strip.
  void set_steps(const Strip& s);

  const StripInput& input;
  Scratch<StripStep> steps;
  int64_t step_count = 0;

 private:
  int64_t part_bytes(int64_t weights) const;

  int64_t part_ = 0, loaded_ = 0;  // its first unit, and the pieces of its copy
  uint8_t* copy_ = nullptr;
  const int64_t step_bytes_;
  Strip taps_;  // those of the steps
};

// Shares a call out among threads: run(unit0, unit1, pair0, pair1) on each, of units and pairs of blocks. `weights`:
// the bytes of a block.
template <class Run>
void share_out_strips(const StripSource& source, const StripInput& input, int64_t blocks, int64_t weights,
                      const Run& run) {
  const Conv2dGeometry& g = source.g;
  const int64_t units = input.units(), pairs = (blocks + 1) / 2, threads = num_threads();
  if (units == 0 || pairs == 0) return;
  // Threads share out the pixels, and each reads all weights, or the channels, and each reads all pixels: whichever is
  // less, unless it leaves threads idle.
  const double by_units = balance(units, threads), by_pairs = balance(pairs, threads);
  const bool heavy = blocks * weights > g.n * g.ih * g.iw * source.pixel;
  const int64_t unit_macs = input.strips_per_unit() * kStrip * 2 * kStripLanes * input.depth().size;
  if (by_pairs > by_units || (heavy && by_pairs == by_units))
    parallel_for(pairs, macs_grain(unit_macs * units), [&](int64_t b, int64_t e) { run(0, units, b, e); });
  else
    parallel_for(units, macs_grain(unit_macs * pairs), [&](int64_t b, int64_t e) { run(b, e, 0, pairs); });
}

}  // namespace mininn::cpu
