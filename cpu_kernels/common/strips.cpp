#include "cpu_kernels/common/strips.h"

#include <algorithm>
#include <cstring>

#include "core/integers.h"
#include "cpu_kernels/common/short_runs.h"
#include "cpu_kernels/common/taps.h"

namespace mininn::cpu {
namespace {

constexpr int64_t kLongest = 64;  // step

// Bytes of a row: copying fewer takes less time than a strip of its own for each end of the row.
constexpr int64_t kSaving = 2048;

// Whether some tap falls outside of the input: behind its end too, where that is padded by more than the geometry says.
bool reads_padding(const Conv2dGeometry& g) {
  const auto outside = [](int64_t out, int64_t in, int64_t k, int64_t stride, int64_t pad, int64_t dil) {
    return pad > 0 || (out - 1) * stride + (k - 1) * dil - pad >= in;
  };
  return outside(g.oh, g.ih, g.kh, g.stride_h, g.pad_h, g.dil_h) ||
         outside(g.ow, g.iw, g.kw, g.stride_w, g.pad_w, g.dil_w);
}

}  // namespace

StripDepth::StripDepth(const Conv2dGeometry& g) {
  const auto steps = [](int64_t values) { return ceil_div(values, kLongest); };
  column = round_up(g.ic, 4);
  merged = is_wide(g) && g.dil_w == 1 && steps(g.kw * column) < g.kw * steps(column);
  taps = merged ? 1 : g.kw;
  const int64_t values = merged ? g.kw * column : column;
  step = round_up(ceil_div(values, steps(values)), 4);
  channels = step * steps(values);
  size = g.kh * taps * channels;
}

StripInput::Form StripInput::form_of() const {
  const bool whole = source_.pixel == depth_.channels && !depth_.merged;
  if (g_.kh * g_.kw == 1 && g_.stride_h == 1 && g_.stride_w == 1 && !reads_padding(g_) && whole &&
      g_.n * map_pixels() >= kStrip)
    return Form::in_place;
  if (is_wide(g_)) return Form::rows;
  if (g_.n >= kStrip && g_.n * 10 >= round_up(g_.n, kStrip) * 9 && padding_share(g_) > 0.05) return Form::across;
  return Form::shifted;
}

// Whether the input's rows are as those of a copy would be. Steps behind the last column of the kernel would read
// behind the input.
bool StripInput::has_whole_rows() const {
  return source_.pixel == pixel_ && (!depth_.merged || depth_.channels == g_.kw * pixel_);
}

StripInput::StripInput(const StripSource& source, Long long_strips)
    : source_(source),
      g_(source_.g),
      depth_(g_),
      form_(form_of()),
      pixel_(depth_.merged ? depth_.column : depth_.channels),
      copies_(form_ != Form::in_place && (form_ != Form::rows || reads_padding(g_) || !has_whole_rows())),
      long_((form_ == Form::rows && long_strips != Long::no) ||
            (form_ == Form::in_place && long_strips == Long::anywhere)) {
  strips_ = 1;
  pitch_ = pixel_;
  const auto set_taps = [&](auto offset) {
    for (int64_t kh = 0; kh < g_.kh; ++kh)
      for (int64_t kw = 0; kw < depth_.taps; ++kw) tap_[kh * depth_.taps + kw] = offset(kh, kw);
  };
  switch (form_) {
    case Form::in_place:
      units_ = ceil_div(g_.n * map_pixels(), kStrip);
      unit_bytes_ = kStrip * pixel_;
      tap_[0] = 0;
      break;
    case Form::rows:
      units_ = g_.n * g_.oh;
      strips_ = ceil_div(g_.ow, kStrip);
      pitch_ = g_.stride_w * pixel_;
      end_pixels_ = (kStrip - 1) * g_.stride_w + (g_.kw - 1) * g_.dil_w + 1;
      ends_ = copies_ && has_whole_rows() && strips_ > 2 && (g_.iw - 2 * end_pixels_) * pixel_ >= kSaving &&
              kStrip * g_.stride_w >= g_.pad_w &&
              kStrip * (strips_ - 2) * g_.stride_w - g_.pad_w + end_pixels_ <= g_.iw;
      row_bytes_ = copies_ && !ends_ ? ((g_.ow - 1) * g_.stride_w + (g_.kw - 1) * g_.dil_w + 1) * pixel_ : source_.row;
      unit_bytes_ = g_.stride_h * row_bytes_;
      set_taps([&](int64_t kh, int64_t kw) { return kh * g_.dil_h * row_bytes_ + kw * g_.dil_w * pixel_; });
      break;
    case Form::shifted:
      units_ = g_.n;
      strips_ = ceil_div(map_pixels(), kStrip);
      row_bytes_ = g_.ow * pixel_;
      plane_rows_ = g_.oh + (g_.kh - 1) * g_.dil_h / g_.stride_h;
      planes_ = std::min(g_.stride_h, (g_.kh - 1) * g_.dil_h + 1);
      unit_bytes_ = g_.kw * planes_ * plane_rows_ * row_bytes_;
      set_taps([&](int64_t kh, int64_t kw) {
        const int64_t row = kh * g_.dil_h;
        return ((kw * planes_ + row % g_.stride_h) * plane_rows_ + row / g_.stride_h) * row_bytes_;
      });
      break;
    case Form::across:
      units_ = ceil_div(g_.n, kStrip) * map_pixels();
      pixel_step_ = map_pixels();
      group_bytes_ = g_.ih * g_.iw * kStrip * pixel_;
      unit_bytes_ = group_bytes_ / map_pixels();  // a part of it
      set_taps([&](int64_t kh, int64_t kw) { return (kh * g_.dil_h * g_.iw + kw * g_.dil_w) * kStrip * pixel_; });
      break;
  }
}

int64_t StripInput::part(int64_t unit, int64_t end, int64_t bytes) const {
  int64_t units = std::max<int64_t>(1, bytes / (unit_bytes_ + strips_ * kStrip * source_.out_pixel));
  if (strips_ % 2 == 1) units = round_up(units, 2);  // strips are multiplied in pairs
  const int64_t most = unit + units;
  switch (form_) {
    case Form::rows: return std::min({end, most, (unit / g_.oh + 1) * g_.oh});  // of one image
    case Form::across: {  // whole groups of images are copied: none twice, if that can be
      const int64_t groups = std::max<int64_t>(1, bytes / group_bytes_);
      return std::min(end, (unit / map_pixels() + groups) * map_pixels());
    }
    default: return std::min(end, most);
  }
}

// Input rows of as many output rows.
int64_t StripInput::copied_rows(int64_t units) const { return (units - 1) * g_.stride_h + (g_.kh - 1) * g_.dil_h + 1; }

int64_t StripInput::copy_bytes(int64_t unit, int64_t end) const {
  if (!copies_) return 0;
  const int64_t units = end - unit;
  switch (form_) {
    case Form::rows: return copied_rows(units) * row_bytes_ + kLongest;
    case Form::shifted: return units * unit_bytes_ + kStrip * pitch_;  // a map may be smaller than a strip
    case Form::across: return ((end - 1) / map_pixels() - unit / map_pixels() + 1) * group_bytes_;
    default: return units * unit_bytes_;
  }
}

// Input pixels (h, w), (h, w + step), ... of image n, which are all on the map.
void StripInput::copy_pixels(uint8_t* to, int64_t n, int64_t h, int64_t w, int64_t count, int64_t step) const {
  const int64_t from_pixel = source_.pixel, to_pixel = pixel_;
  const uint8_t* from = source_.x + n * source_.image + h * source_.row + w * from_pixel;
  if (from_pixel == to_pixel && step == 1) {
    std::memcpy(to, from, size_t(count * to_pixel));
    return;
  }
  if (!source_.clean) {
    const int64_t bytes = round_up(g_.ic, 4);  // what is behind them in the copy meets weights of zero
    for (int64_t i = 0; i < count; ++i) copy_short(to + i * to_pixel, from + i * step * from_pixel, bytes);
    return;
  }
  const int64_t bytes = g_.ic / 4 * 4, rest = g_.ic - bytes, fill = to_pixel - g_.ic;
  for (int64_t i = 0; i < count; ++i, to += to_pixel, from += step * from_pixel) {
    copy_short(to, from, bytes);
    if (rest > 0) std::memcpy(to + bytes, from + bytes, size_t(rest));
    if (fill > 0) std::memset(to + g_.ic, 0, size_t(fill));
  }
}

// The same where any of them may be padding.
void StripInput::load_row(uint8_t* to, int64_t n, int64_t h, int64_t w, int64_t count, int64_t step) const {
  const int64_t pixel = pixel_;
  const bool outside = h < 0 || h >= g_.ih;
  const auto [first, last] = outside ? std::pair(count, count) : columns_inside(w, step, count, g_.iw);
  fill_short(to, 0, first * pixel);
  if (last > first) copy_pixels(to + first * pixel, n, h, w + first * step, last - first, step);
  fill_short(to + last * pixel, 0, (count - last) * pixel);
}

// A piece is, of its part: an input row (rows), the rows of all copies of an image that belong together (shifted), or
// an input row of 16 images (across).
void StripInput::load(int64_t unit, int64_t piece, uint8_t* copy) const {
  switch (form_) {
    case Form::in_place: break;
    case Form::rows: {
      const int64_t n = unit / g_.oh, h = unit % g_.oh * g_.stride_h - g_.pad_h + piece;
      uint8_t* const row = copy + piece * row_bytes_;
      if (ends_) {
        load_row(row, n, h, -g_.pad_w, end_pixels_, 1);
        load_row(row + last_end(), n, h, (g_.ow - kStrip) * g_.stride_w - g_.pad_w, end_pixels_, 1);
      } else {
        load_row(row, n, h, -g_.pad_w, row_bytes_ / pixel_, 1);
      }
      break;
    }
    case Form::shifted: {
      const int64_t image = piece / plane_rows_, r = piece % plane_rows_;
      uint8_t* row = copy + image * unit_bytes_ + r * row_bytes_;
      for (int64_t kw = 0; kw < g_.kw; ++kw)
        for (int64_t plane = 0; plane < planes_; ++plane, row += plane_rows_ * row_bytes_)
          load_row(row, unit + image, r * g_.stride_h + plane - g_.pad_h, kw * g_.dil_w - g_.pad_w, g_.ow, g_.stride_w);
      break;
    }
    case Form::across: {
      const int64_t group = unit / map_pixels() + piece / g_.ih, h = piece % g_.ih;
      const int64_t n0 = std::min(group * kStrip, g_.n - kStrip);
      uint8_t* to = copy + piece * g_.iw * kStrip * pixel_;
      for (int64_t w = 0; w < g_.iw; ++w)
        for (int64_t i = 0; i < kStrip; ++i, to += pixel_) copy_pixels(to, n0 + i, h, w, 1, 1);
      break;
    }
  }
}

int64_t StripInput::strips(int64_t part, int64_t end, const uint8_t* copy, Strip* const list) const {
  const auto in_copy = reinterpret_cast<uintptr_t>(copy), in_input = reinterpret_cast<uintptr_t>(source_.x);
  Strip s{.kh1 = int(g_.kh), .kw1 = int(depth_.taps)};
  Strip* next = list;
  // Strips [k, k_end) of `count` pixels, which begin with output pixel `pixel` and the input of which begins with
  // `from`.
  const auto add = [&](int64_t k, int64_t k_end, int64_t count, int64_t pixel, uintptr_t from) {
    for (int64_t k_next; k < k_end; k = k_next) {
      k_next = long_ ? std::max(k + 1, std::min(k_end, count / kStrip)) : k + 1;
      const int64_t begin = k * kStrip, size = (k_next - k) * kStrip;
      const int64_t first = std::max<int64_t>(0, std::min(begin, count - size));  // the last one begins early
      s.first = int(begin - first);
      s.last = int(std::min(size, count - first));
      s.pixel = pixel + first * pixel_step_;
      s.origin = from + uintptr_t(first * pitch_);
      *next++ = s;
    }
  };
  switch (form_) {
    case Form::in_place: add(part, end, g_.n * map_pixels(), 0, in_input); break;
    case Form::rows:
      for (int64_t unit = part; unit < end; ++unit) {
        const int64_t n = unit / g_.oh, oh = unit % g_.oh, pixel = unit * g_.ow;
        const auto [first, last] = valid_taps(oh, g_.ih, g_.kh, g_.stride_h, g_.pad_h, g_.dil_h);
        s.kh0 = int(first);
        s.kh1 = int(last);
        if (copies_) s.pieces = copied_rows(unit - part + 1);
        const uintptr_t row = in_copy + uintptr_t((unit - part) * unit_bytes_);
        const uintptr_t in_place = in_input + uintptr_t(n * source_.image + oh * unit_bytes_);
        if (ends_) {
          const int64_t last_strip = strips_ - 1, behind = last_end() - (g_.ow - kStrip) * pitch_;
          add(0, 1, g_.ow, pixel, row);
          add(1, last_strip, g_.ow, pixel, in_place - uintptr_t(g_.pad_h * row_bytes_ + g_.pad_w * pixel_));
          add(last_strip, strips_, g_.ow, pixel, row + uintptr_t(behind));
        } else {
          add(0, strips_, g_.ow, pixel, copies_ ? row : in_place);
        }
      }
      break;
    case Form::shifted:
      for (int64_t unit = part; unit < end; ++unit)
        for (int64_t k = 0; k < strips_; ++k) {
          const int64_t last_row = (std::min((k + 1) * kStrip, map_pixels()) - 1) / g_.ow;
          s.pieces = (unit - part) * plane_rows_ + last_row + plane_rows_ - g_.oh + 1;
          add(k, k + 1, map_pixels(), unit * map_pixels(), in_copy + uintptr_t((unit - part) * unit_bytes_));
        }
      break;
    case Form::across:
      for (int64_t unit = part; unit < end; ++unit) {
        const int64_t group = unit / map_pixels(), at = unit % map_pixels(), oh = at / g_.ow, ow = at % g_.ow;
        const auto [h_first, h_last] = valid_taps(oh, g_.ih, g_.kh, g_.stride_h, g_.pad_h, g_.dil_h);
        const auto [w_first, w_last] = valid_taps(ow, g_.iw, g_.kw, g_.stride_w, g_.pad_w, g_.dil_w);
        s.kh0 = int(h_first);
        s.kh1 = int(h_last);
        s.kw0 = int(w_first);
        s.kw1 = int(w_last);
        // Of strips below the map, which have no taps, all rows.
        const int64_t copied = group - part / map_pixels(), row = oh * g_.stride_h - g_.pad_h;
        s.pieces = copied * g_.ih + std::min(g_.ih, row + (s.kh1 - 1) * g_.dil_h + 1);
        const int64_t input = (row * g_.iw + ow * g_.stride_w - g_.pad_w) * kStrip * pitch_ + copied * group_bytes_;
        // Of the copy, which begins with the first of its images, wherever that is among all.
        const int64_t images = std::min(group * kStrip, g_.n - kStrip);
        add(group, group + 1, g_.n, at, in_copy + uintptr_t(input - images * pitch_));
      }
      break;
  }
  return next - list;
}

bool StripInput::join(Strip& a, Strip& b) const {
  if (form_ == Form::rows && !ends_) {  // the copy has zeros where one of them is on padding
    a.kh0 = b.kh0 = std::min(a.kh0, b.kh0);
    a.kh1 = b.kh1 = std::max(a.kh1, b.kh1);
    return true;
  }
  return same_taps(a, b);
}

int64_t StripInput::arrange(const Strip* strips, int64_t count, Strip* list) const {
  int64_t paired = 0, single = count;  // singles are kept at the end while they wait for a partner
  for (int64_t i = 0; i < count; ++i) {
    Strip strip = strips[i];
    int64_t partner = single;
    while (partner < count && !join(list[partner], strip)) ++partner;
    if (partner == count) {
      list[--single] = strip;
      continue;
    }
    const Strip first = list[partner];
    for (; partner > single; --partner) list[partner] = list[partner - 1];
    ++single;
    list[paired++] = first;
    list[paired++] = strip;
  }
  return paired;
}

// Bytes of input and output that are worked on together: both stay in the L1 cache where the input lies in place. A
// copy is read soon after it is made, and again for the next channels from L2; larger parts copy fewer rows twice.
int64_t StripWalk::part_bytes(int64_t weights) const {
  constexpr int64_t kInPlace = 28 << 10, kCopied = 144 << 10, kMost = 768 << 10;
  return std::clamp(weights / 2, input.copies() ? kCopied : kInPlace, kMost);
}

// Copying a little before each multiplication costs less than copying all of a part at once: the processor does both at
// the same time.
void StripWalk::load(const Strip& s) {
  for (; loaded_ < s.pieces; ++loaded_) input.load(part_, loaded_, copy_);
}

// Those of the strips before, most often.
void StripWalk::set_steps(const Strip& s) {
  if (same_taps(s, taps_)) return;
  taps_ = s;
  step_count = 0;
  const StripDepth& depth = input.depth();
  for (int64_t kh = s.kh0; kh < s.kh1; ++kh)
    for (int64_t kw = s.kw0; kw < s.kw1; ++kw) {
      const int64_t tap = kh * depth.taps + kw;
      for (int64_t c = 0; c < depth.channels; c += step_bytes_)
        steps[step_count++] = {input.taps()[tap] + c, (tap * depth.channels + c) * kStripLanes};
    }
}

}  // namespace mininn::cpu
