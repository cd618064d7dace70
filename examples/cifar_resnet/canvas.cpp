#include "examples/cifar_resnet/canvas.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <numbers>

#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

#include "core/error.h"
#include "core/file.h"
#include "core/utf8.h"

namespace cifar_resnet {
namespace {

constexpr double kPixelsPerPoint = 2;
constexpr double kLongestSide = 16000;    // points
constexpr double kLargestArea = 1 << 23;  // square points: 128 MiB of memory
bool fits(double width, double height) {
  return width <= kLongestSide && height <= kLongestSide && width * height <= kLargestArea;
}
constexpr size_t kLongest = 200;  // bytes of a text that can be seen at all

// A range that can be divided by: finite, and not empty.
Range drawable(Range r) {
  r = {std::clamp(r.lo, -1e300, 1e300), std::clamp(r.hi, -1e300, 1e300)};
  if (!(r.lo < r.hi)) r.hi = r.lo + std::max(1.0, std::abs(r.lo) * 1e-9);
  return r;
}

}  // namespace

std::string from_byte(const std::string& text, size_t begin) {
  while (begin < text.size() && mininn::inside_character(text[begin])) ++begin;
  return text.substr(std::min(begin, text.size()));
}

Color mix(const Color& from, const Color& to, double t) {
  t = std::clamp(t, 0.0, 1.0);
  return {from.r + (to.r - from.r) * t, from.g + (to.g - from.g) * t, from.b + (to.b - from.b) * t,
          from.a + (to.a - from.a) * t};
}

Canvas::Canvas(double width, double height)
    : width_(width),
      height_(height),
      surface_(cairo_image_surface_create(CAIRO_FORMAT_RGB24, fits(width, height) ? int(width * kPixelsPerPoint) : 1,
                                          fits(width, height) ? int(height * kPixelsPerPoint) : 1),
               &cairo_surface_destroy),
      cr_(cairo_create(surface_.get()), &cairo_destroy) {
  if (!fits(width, height))
    throw mininn::ValueError(mininn::message("a picture of ", width, " x ", height, " points is too large"));
  if (cairo_status(cr_.get()) != CAIRO_STATUS_SUCCESS)
    throw mininn::Error(mininn::message("cairo: a picture of ", width, " x ", height,
                                        " points: ", cairo_status_to_string(cairo_status(cr_.get()))));
  cairo_scale(cr_.get(), kPixelsPerPoint, kPixelsPerPoint);
  fill({0, 0, width, height}, kPaper);
}

void Canvas::use(const Color& c) { cairo_set_source_rgba(cr_.get(), c.r, c.g, c.b, c.a); }

void Canvas::use(const TextStyle& style) {
  cairo_select_font_face(cr_.get(), "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                         style.bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(cr_.get(), style.size);
}

void Canvas::fill(const Box& b, const Color& c, double corner) {
  use(c);
  if (corner > 0) {
    const double r = std::min({corner, b.w / 2, b.h / 2}), quarter = std::numbers::pi / 2;
    cairo_new_sub_path(cr_.get());
    cairo_arc(cr_.get(), b.right() - r, b.y + r, r, -quarter, 0);
    cairo_arc(cr_.get(), b.right() - r, b.bottom() - r, r, 0, quarter);
    cairo_arc(cr_.get(), b.x + r, b.bottom() - r, r, quarter, 2 * quarter);
    cairo_arc(cr_.get(), b.x + r, b.y + r, r, 2 * quarter, 3 * quarter);
    cairo_close_path(cr_.get());
  } else {
    cairo_rectangle(cr_.get(), b.x, b.y, b.w, b.h);
  }
  cairo_fill(cr_.get());
}

void Canvas::outline(const Box& b, const Color& c, double line_width) {
  use(c);
  cairo_set_line_width(cr_.get(), line_width);
  cairo_rectangle(cr_.get(), b.x, b.y, b.w, b.h);
  cairo_stroke(cr_.get());
}

void Canvas::line(Point from, Point to, const Color& c, double line_width, bool dashed) {
  use(c);
  const double dashes[] = {4, 3};
  cairo_set_dash(cr_.get(), dashes, dashed ? 2 : 0, 0);
  cairo_set_line_width(cr_.get(), line_width);
  cairo_move_to(cr_.get(), from.x, from.y);
  cairo_line_to(cr_.get(), to.x, to.y);
  cairo_stroke(cr_.get());
  cairo_set_dash(cr_.get(), nullptr, 0, 0);
}

void Canvas::polyline(std::span<const Point> points, const Color& c, double line_width) {
  use(c);
  cairo_set_line_width(cr_.get(), line_width);
  cairo_set_line_join(cr_.get(), CAIRO_LINE_JOIN_ROUND);
  for (const Point& p : points) cairo_line_to(cr_.get(), p.x, p.y);
  cairo_stroke(cr_.get());
}

void Canvas::polygon(std::span<const Point> points, const Color& c) {
  use(c);
  for (const Point& p : points) cairo_line_to(cr_.get(), p.x, p.y);
  cairo_close_path(cr_.get());
  cairo_fill(cr_.get());
}

void Canvas::dot(Point center, double radius, const Color& c) {
  use(c);
  cairo_new_sub_path(cr_.get());
  cairo_arc(cr_.get(), center.x, center.y, radius, 0, 2 * std::numbers::pi);
  cairo_fill(cr_.get());
}

void Canvas::text(Point at, const std::string& s, const TextStyle& style) {
  if (s.size() > kLongest) return text(at, "…" + from_byte(s, s.size() - kLongest / 2), style);
  const double shift = style.align == Align::left ? 0 : text_width(s, style) * (style.align == Align::right ? 1 : 0.5);
  use(style);
  use(style.color);
  cairo_save(cr_.get());
  cairo_translate(cr_.get(), at.x, at.y);
  cairo_rotate(cr_.get(), style.angle * std::numbers::pi / 180);
  cairo_move_to(cr_.get(), -shift, 0);
  cairo_show_text(cr_.get(), s.c_str());
  cairo_restore(cr_.get());
  cairo_new_path(cr_.get());  // show_text leaves a current point behind
}

double Canvas::text_width(const std::string& s, const TextStyle& style) {
  use(style);
  cairo_text_extents_t e;
  cairo_text_extents(cr_.get(), s.c_str(), &e);
  return e.x_advance;
}

void Canvas::image(const Box& b, int64_t w, int64_t h, const std::function<Color(int64_t, int64_t)>& color) {
  cairo_set_antialias(cr_.get(), CAIRO_ANTIALIAS_NONE);  // no light seams between the pixels
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x) {
      const double x0 = b.x + b.w * double(x) / double(w), y0 = b.y + b.h * double(y) / double(h);
      fill({x0, y0, b.x + b.w * double(x + 1) / double(w) - x0, b.y + b.h * double(y + 1) / double(h) - y0},
           color(x, y));
    }
  cairo_set_antialias(cr_.get(), CAIRO_ANTIALIAS_DEFAULT);
}

void Canvas::save_png(const std::filesystem::path& file) const {
  cairo_surface_t* s = surface_.get();
  cairo_surface_flush(s);
  const int w = cairo_image_surface_get_width(s), h = cairo_image_surface_get_height(s);
  std::vector<uint8_t> rgb(size_t(w) * size_t(h) * 3);
  for (int y = 0; y < h; ++y) {
    const auto* row = reinterpret_cast<const uint32_t*>(cairo_image_surface_get_data(s) +
                                                        ptrdiff_t{y} * cairo_image_surface_get_stride(s));
    uint8_t* out = rgb.data() + size_t(y) * size_t(w) * 3;
    for (int x = 0; x < w; ++x)
      for (const int shift : {16, 8, 0}) *out++ = uint8_t(row[x] >> shift);
  }
  std::string png;
  stbi_write_png_to_func(
      [](void* to, void* bytes, int n) { static_cast<std::string*>(to)->append(static_cast<char*>(bytes), size_t(n)); },
      &png, w, h, 3, rgb.data(), w * 3);
  mininn::AtomicFile out(file);
  out.write(png.data(), png.size());
  out.commit();
}

Axes::Axes(Canvas& c, const Box& box, Range x, Range y, Scale y_scale)
    : canvas_(c), box_(box), x_(drawable(x)), y_(drawable(y)), y_scale_(y_scale) {
  canvas_.fill(box_, kPanel);
}

double Axes::x(double value) const { return box_.x + box_.w * std::clamp((value - x_.lo) / (x_.hi - x_.lo), 0.0, 1.0); }

double Axes::y(double value) const {
  const auto f = [&](double v) { return y_scale_ == Scale::linear ? v : std::log10(std::max(v, 1e-300)); };
  return box_.bottom() - box_.h * std::clamp((f(value) - f(y_.lo)) / (f(y_.hi) - f(y_.lo)), 0.0, 1.0);
}

void Axes::title(const std::string& text) { canvas_.text({box_.x, box_.y - 10}, text, {.size = 13, .bold = true}); }

void Axes::grid_y(const std::function<std::string(double)>& label, int about) {
  std::vector<double> values = round_numbers(y_, about);
  if (y_scale_ == Scale::log10) {
    values.clear();
    for (double p = std::ceil(std::log10(y_.lo) - 1e-9); p <= std::log10(y_.hi) + 1e-9; ++p)
      values.push_back(std::pow(10, p));
  }
  for (const double v : values) {
    canvas_.line({box_.x, y(v)}, {box_.right(), y(v)}, kGrid);
    canvas_.text({box_.x - 7, y(v) + 3.5}, label(v), {.size = 10, .color = kMuted, .align = Align::right});
  }
}

void Axes::ticks_x(const std::function<std::string(double)>& label, int about) {
  canvas_.line({box_.x, box_.bottom()}, {box_.right(), box_.bottom()}, kMuted);
  for (const double v : round_numbers(x_, about)) {
    const std::string text = label(v);
    if (text.empty()) continue;
    canvas_.line({x(v), box_.bottom()}, {x(v), box_.bottom() + 4}, kMuted);
    canvas_.text({x(v), box_.bottom() + 16}, text, {.size = 10, .color = kMuted, .align = Align::center});
  }
}

void Axes::label_x(const std::string& text) {
  canvas_.text({box_.x + box_.w / 2, box_.bottom() + 32}, text, {.size = 11, .color = kMuted, .align = Align::center});
}

std::vector<double> round_numbers(Range r, int count) {
  const double raw = (r.hi - r.lo) / count, power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double m : {5.0, 2.0, 1.0})
    if (m * power >= raw * 0.999) step = m * power;
  std::vector<double> values;
  // Round numbers that doubles can tell apart: neither of an empty or endless range, nor of a tiny one far from 0.
  if (!(step > 0 && step < INFINITY && std::max(std::abs(r.lo), std::abs(r.hi)) / step < 1e12)) return values;
  for (double k = std::ceil(r.lo / step - 1e-6); k * step <= r.hi + 1e-6 * step; ++k)
    values.push_back(k * step + 0.0);  // + 0: no "-0"
  return values;
}

void draw_legend(Canvas& c, Point at, std::span<const LegendEntry> entries) {
  for (const LegendEntry& e : entries) {
    c.fill({at.x, at.y - 9, 16, 10}, e.color, 2);
    c.text({at.x + 22, at.y}, e.name, {.size = 11});
    at.x += 22 + c.text_width(e.name, {.size = 11}) + 20;
  }
}

std::string format(const char* pattern, ...) {
  char buffer[256];
  va_list args;
  va_start(args, pattern);
  std::vsnprintf(buffer, sizeof buffer, pattern, args);
  va_end(args);
  return buffer;
}

}  // namespace cifar_resnet
