// How the input of an int8 convolution lies in memory when tile registers are loaded from it.
//
// A tile register takes 16 rows of up to 64 bytes at equal distances: here so many input channels (or values of a patch)
// of each of 16 output pixels, called a strip. So at every tap the input pixels of a strip must be evenly spaced, and padding must
// be zeros somewhere in memory. That asks for a copy of the input, a part at a time, in one of these forms:
//
//   in_place  1x1 kernels of stride 1. No copy: a strip is any 16 pixels.
//   rows      Maps at least 16 pixels wide. A strip is 16 pixels of an output row; the copy has a border of zeros. There
//             is none where nothing is padded. Kernel rows that fall on padding are left out.
//   shifted   Narrower maps. A copy for each column of the kernel holds the input of each output row without a gap, so a
//             strip runs over the ends of rows.
//   across    Narrow maps in large batches. A strip is 16 images at one position and has only the taps that fall on the
//             map; the copy holds the images of a position one after the other.
//   patches   Few input channels. The copy holds the whole window of each output pixel, as a single tap.
#pragma once

#include <cstdint>

#include "cpu_kernels/own/qconv2d_direct.h"
#include "ops/qconv2d.h"

namespace mininn::cpu::own {

inline constexpr int kStrip = 16;

// The values that a convolution sums up for one output: the weight of input channel c and tap (kh, kw) meets value
// (kh * KW + kw) * stride + c. Values without a weight are zero there, whatever the input has.
struct StripDepth {
  int64_t taps;      // 1 for patches
  int64_t channels;  // of a tap
  int64_t stride;    // from a tap of the kernel to the next
  int64_t step;      // values of one row of a tile, at most 64; divides channels

  explicit StripDepth(const Conv2dGeometry& g);
  int64_t size() const { return taps * channels; }
};

struct Strip {
  uintptr_t origin = 0;                // + an element of StripInput::taps(): the input of row 0
  int kh0 = 0, kh1 = 0, kw0 = 0, kw1 = 0;  // the taps
  int64_t pixel = 0;                   // the output pixel of row 0, counted through the batch
  int first = 0, last = 0;             // the rows that count; others repeat pixels of another strip, or mean nothing
};

// The strips of one call. Units are shared out among threads; a unit's strips have their input in one copy.
class StripInput {
 public:
  explicit StripInput(const QConv2d& a);

  int64_t units() const { return units_; }
  int64_t strips_per_unit() const { return strips_; }
  int64_t pitch() const { return pitch_; }            // bytes from a row of a strip to the next
  int64_t pixel_step() const { return pixel_step_; }  // output pixels from a row of a strip to the next
  // Bytes from a strip's origin to its input at a tap: taps()[kh * kernel_width() + kw].
  const int64_t* taps() const { return tap_; }
  int64_t kernel_width() const { return kernel_width_; }
  const StripDepth& depth() const { return depth_; }

  bool copies() const { return copies_; }
  // The end of the units from `unit` on, before `end`, whose input and output together take about `bytes`.
  int64_t part(int64_t unit, int64_t end, int64_t bytes) const;
  // Bytes that load() writes for units of one part.
  int64_t copy_bytes(int64_t unit, int64_t end) const;
  void load(int64_t unit, int64_t end, uint8_t* copy) const;
  // Strip `i` of the part that begins with `unit` and has been loaded into `copy`.
  Strip strip(int64_t unit, int64_t i, const uint8_t* copy) const;
  // Makes one's taps those of both, so that they can be multiplied together. False if that would read what is not there.
  bool join(Strip& a, Strip& b) const;

 private:
  enum class Form { in_place, rows, shifted, across, patches };
  Form form_of() const;
  int64_t map_pixels() const { return g_.oh * g_.ow; }
  void copy_pixels(uint8_t* to, int64_t n, int64_t h, int64_t w, int64_t count, int64_t step) const;
  void load_row(uint8_t* to, int64_t n, int64_t h, int64_t w, int64_t count, int64_t step) const;
  void load_patches(uint8_t* to, int64_t first, int64_t last) const;

  const QConv2d& a_;
  const Conv2dGeometry& g_;
  const StripDepth depth_;
  const Form form_;
  const bool copies_;
  const int64_t pixel_bytes_;  // of a pixel in a copied row
  int64_t units_ = 0, strips_ = 0, pitch_ = 0, pixel_step_ = 1, kernel_width_ = 1;
  int64_t unit_bytes_ = 0;               // of a copy
  int64_t row_bytes_ = 0;                // rows, shifted: of an input row of the copy
  int64_t plane_rows_ = 0, planes_ = 1;  // shifted: rows of a copy, and the phases of the stride it is sorted by
  int64_t groups_ = 1;                   // across: groups of 16 images in a copy
  int64_t tap_[kMaxTaps];
};

}  // namespace mininn::cpu::own
