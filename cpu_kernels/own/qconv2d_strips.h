// How the input of an int8 convolution lies in memory when tile registers are loaded from it.
//
// A tile register takes 16 rows of up to 64 bytes at equal distances: here so many input channels (or values of a
// patch) of each of 16 output pixels, called a strip. So at every tap the input pixels of a strip must be evenly
// spaced, and padding must be zeros somewhere in memory. That asks for a copy of the input, a part at a time, in one of
// these forms:
//
// - in_place: 1x1 kernels of stride 1. No copy: a strip is any 16 pixels.
// - rows: maps at least 16 pixels wide. A strip is 16 pixels of an output row; the copy has a border of zeros. There is
//   none where nothing is padded, and of wide maps only what the first and the last strip of a row read. Kernel rows
//   that fall on padding are left out.
// - shifted: narrower maps. A copy for each column of the kernel holds the input of each output row without a gap, so a
//   strip runs over the ends of rows.
// - across: narrow maps in large batches. A strip is 16 images at one position and has only the taps that fall on the
//   map; the copy holds the images of a position one after the other.
//
// Where a pixel has so few channels that a tap would fill little of a tile's row, rows take a row of the kernel as one
// tap: its columns follow each other in memory, and neighbouring pixels' rows of a tile overlap.
#pragma once

#include <cstdint>

#include "cpu_kernels/own/qconv2d_direct.h"
#include "ops/qconv2d.h"

namespace mininn::cpu::own {

inline constexpr int kStrip = 16;

// The values that a convolution sums up for one output, in the order of the packed weights. What has no weight is
// multiplied by zero.
struct StripDepth {
  bool merged;       // the columns of the kernel are one tap
  int64_t taps;      // per row of the kernel
  int64_t channels;  // of a tap: values, that is bytes
  int64_t column;    // merged: from a column of the kernel to the next
  int64_t step;      // values of one row of a tile, at most 64; divides channels
  int64_t size;

  explicit StripDepth(const Conv2dGeometry& g);
  // The value that the weight of input channel c and tap (kh, kw) meets.
  int64_t value(int64_t kh, int64_t kw, int64_t c) const {
    return merged ? kh * channels + kw * column + c : (kh * taps + kw) * channels + c;
  }
};

struct Strip {
  uintptr_t origin = 0;                    // + an element of StripInput::taps(): the input of row 0
  int kh0 = 0, kh1 = 0, kw0 = 0, kw1 = 0;  // the taps
  int64_t pixel = 0;                       // the output pixel of row 0, counted through the batch
  int first = 0, last = 0;  // the rows that count; others repeat pixels of another strip, or mean nothing
};

// The strips of one call. Units are shared out among threads; a unit's strips have their input in one copy.
class StripInput {
 public:
  explicit StripInput(const QConv2d& a);

  int64_t units() const { return units_; }
  int64_t strips_per_unit() const { return strips_; }
  int64_t pitch() const { return pitch_; }            // bytes from a row of a strip to the next
  int64_t pixel_step() const { return pixel_step_; }  // output pixels from a row of a strip to the next
  // Bytes from a strip's origin to its input at a tap: taps()[kh * depth().taps + kw].
  const int64_t* taps() const { return tap_; }
  const StripDepth& depth() const { return depth_; }

  bool copies() const { return copies_; }
  // The end of the units from `unit` on, before `end`, whose input and output together take about `bytes`.
  int64_t part(int64_t unit, int64_t end, int64_t bytes) const;
  // Bytes that load() writes for units of one part.
  int64_t copy_bytes(int64_t unit, int64_t end) const;
  void load(int64_t unit, int64_t end, uint8_t* copy) const;
  // Strip `i` of the part that begins with `unit` and has been loaded into `copy`.
  Strip strip(int64_t unit, int64_t i, const uint8_t* copy) const;
  // Makes one's taps those of both, so that they can be multiplied together. False if that would read what is not
  // there.
  bool join(Strip& a, Strip& b) const;

 private:
  enum class Form { in_place, rows, shifted, across };
  Form form_of() const;
  bool has_whole_rows() const;
  int64_t map_pixels() const { return g_.oh * g_.ow; }
  int64_t last_end() const { return (g_.iw - end_pixels_) * pixel_; }  // where in a row the last strip's input is
  void copy_pixels(uint8_t* to, int64_t n, int64_t h, int64_t w, int64_t count, int64_t step) const;
  void load_row(uint8_t* to, int64_t n, int64_t h, int64_t w, int64_t count, int64_t step) const;

  const QConv2d& a_;
  const Conv2dGeometry& g_;
  const StripDepth depth_;
  const Form form_;
  const int64_t pixel_;  // bytes in a copy
  const bool copies_;
  int64_t units_ = 0, strips_ = 0, pitch_ = 0, pixel_step_ = 1;
  int64_t unit_bytes_ = 0;               // of a copy
  bool ends_ = false;                    // rows: copies have the ends of the input's rows, in their places
  int64_t end_pixels_ = 0;               // what a strip reads of a row
  int64_t row_bytes_ = 0;                // rows, shifted: of an input row of the copy
  int64_t plane_rows_ = 0, planes_ = 1;  // shifted: rows of a copy, and the phases of the stride it is sorted by
  int64_t groups_ = 1;                   // across: groups of 16 images in a copy
  int64_t tap_[kMaxTaps];
};

}  // namespace mininn::cpu::own
