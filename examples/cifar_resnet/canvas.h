// A small drawing surface over Cairo: what the figures need, in one style. Coordinates are points from the top left;
// the PNG has two pixels per point.
#pragma once

#include <cairo.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace cifar_resnet {

struct Color {
  double r = 0, g = 0, b = 0, a = 1;
  static constexpr Color hex(uint32_t rgb, double alpha = 1) {
    return {double(rgb >> 16 & 255) / 255, double(rgb >> 8 & 255) / 255, double(rgb & 255) / 255, alpha};
  }
  constexpr Color with_alpha(double alpha) const { return {r, g, b, alpha}; }
};
// A mixture: t = 0 is `from`, 1 is `to`.
Color mix(const Color& from, const Color& to, double t);

// One meaning, one colour, in every figure.
inline constexpr Color kInk = Color::hex(0x1f2937), kMuted = Color::hex(0x6b7280), kGrid = Color::hex(0xe5e7eb);
inline constexpr Color kPaper = Color::hex(0xffffff), kPanel = Color::hex(0xf8fafc);
inline constexpr Color kFp32 = Color::hex(0x2563eb), kInt8 = Color::hex(0xea580c);
inline constexpr Color kGood = Color::hex(0x059669), kBad = Color::hex(0xdc2626);

struct Point {
  double x = 0, y = 0;
};
struct Box {
  double x = 0, y = 0, w = 0, h = 0;
  double right() const { return x + w; }
  double bottom() const { return y + h; }
};

enum class Align { left, center, right };
struct TextStyle {
  double size = 12;
  Color color = kInk;
  bool bold = false;
  Align align = Align::left;
  double angle = 0;  // degrees, clockwise, around the anchor
};

class Canvas {
 public:
  Canvas(double width, double height);

  double width() const { return width_; }
  double height() const { return height_; }

  void fill(const Box& b, const Color& c, double corner = 0);
  void outline(const Box& b, const Color& c, double line_width = 1);
  void line(Point from, Point to, const Color& c, double line_width = 1, bool dashed = false);
  void polyline(std::span<const Point> points, const Color& c, double line_width = 1.8);
  void polygon(std::span<const Point> points, const Color& c);
  void dot(Point center, double radius, const Color& c);
  // `at` is on the baseline (left, middle or right end of the text, as aligned). Of a text far too long, the end.
  void text(Point at, const std::string& s, const TextStyle& style = {});
  double text_width(const std::string& s, const TextStyle& style = {});
  // Square pixels, without smoothing. color(x, y) gives the colour of a pixel of the w x h picture.
  void image(const Box& b, int64_t w, int64_t h, const std::function<Color(int64_t x, int64_t y)>& color);

  // Throws mininn::FileError if the file cannot be written whole.
  void save_png(const std::filesystem::path& file) const;

 private:
  void use(const Color& c);
  void use(const TextStyle& style);

  double width_, height_;
  std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)> surface_;
  std::unique_ptr<cairo_t, decltype(&cairo_destroy)> cr_;
};

// A rectangle of a figure with number scales: grid, ticks, labels; maps values to points.
struct Range {
  double lo = 0, hi = 1;
};
class Axes {
 public:
  enum class Scale { linear, log10 };
  Axes(Canvas& c, const Box& box, Range x, Range y, Scale y_scale = Scale::linear);

  double x(double value) const;  // both clamped to the box
  double y(double value) const;
  Point at(double vx, double vy) const { return {x(vx), y(vy)}; }
  const Box& box() const { return box_; }

  void title(const std::string& text);
  void grid_y(const std::function<std::string(double)>& label, int about = 5);  // horizontal lines
  // An empty label leaves out the tick.
  void ticks_x(const std::function<std::string(double)>& label, int about = 6);
  void label_x(const std::string& text);

 private:
  Canvas& canvas_;
  Box box_;
  Range x_, y_;
  Scale y_scale_;
};

// 1, 2 or 5 times a power of ten: about `count` round numbers inside the range, or none where there are no such.
std::vector<double> round_numbers(Range r, int count);

// What is left of an UTF-8 text from a byte on, or from the next character where that byte is inside of one.
std::string from_byte(const std::string& text, size_t begin);

// Marks with names, from `at` to the right.
struct LegendEntry {
  std::string name;
  Color color;
};
void draw_legend(Canvas& c, Point at, std::span<const LegendEntry> entries);

// printf for labels.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

}  // namespace cifar_resnet
