#include "data/synthetic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"

namespace mininn::data {
namespace {

constexpr int kSize = 32, kClasses = 10, kFirstTexture = 6;
constexpr int kSamples = 2;  // per pixel and direction, against jagged edges

using Rgb = std::array<double, 3>;

double fraction(double v) { return v - std::floor(v); }

// Whether the figure of a class covers (u, v): shapes fill about the unit disk, textures repeat with period 1.
bool covers(int label, double u, double v) {
  const double r2 = u * u + v * v;
  switch (label) {
    case 0: return r2 < 0.85;                                                                            // disk
    case 1: return r2 < 1 && r2 > 0.36;                                                                  // ring
    case 2: return std::max(std::abs(u), std::abs(v)) < 0.8;                                             // square
    case 3: return v < 0.55 && v > std::abs(u) * std::numbers::sqrt3 - 1.1;                              // triangle
    case 4: return std::min(std::abs(u), std::abs(v)) < 0.28 && std::max(std::abs(u), std::abs(v)) < 1;  // cross
    case 5: {  // star: its edges are straight lines between radius 0.45 and radius 1.1, five times around
      const double sector = 2 * std::numbers::pi / 5;
      const double a = std::abs(fraction(std::atan2(v, u) / sector) - 0.5) * sector;  // from a notch to a tip
      const double r = std::sqrt(r2), tip = 1.1, notch = 0.45, half = sector / 2;
      // Which side of the line from (notch, angle 0) to (tip, angle half) the point (r, a) is on.
      const double tx = tip * std::cos(half) - notch, ty = tip * std::sin(half);
      return tx * r * std::sin(a) - ty * (r * std::cos(a) - notch) > 0;
    }
    case 6: return fraction(u) < 0.5;                                          // stripes
    case 7: return (fraction(u / 2) < 0.5) != (fraction(v / 2) < 0.5);         // checkerboard
    case 8: return std::hypot(fraction(u) - 0.5, fraction(v) - 0.5) < 0.34;    // dots
    default: return fraction(u + 0.3 * std::sin(std::numbers::pi * v)) < 0.5;  // waves
  }
}

void draw(int label, Generator& g, uint8_t* planes) {
  const auto between = [&g](double lo, double hi) { return lo + (hi - lo) * g.uniform(); };
  // Two colours that differ enough for the figure to be seen, whichever is lighter.
  Rgb back, front;
  do {
    for (double& c : back) c = between(20, 235);
    for (double& c : front) c = between(20, 235);
  } while (std::abs(back[0] - front[0]) + std::abs(back[1] - front[1]) + std::abs(back[2] - front[2]) < 130);

  const bool texture = label >= kFirstTexture;
  const double angle = between(0, 2 * std::numbers::pi), scale = texture ? between(5, 10) : between(7, 13);
  const double cx = kSize / 2.0 + between(-5, 5), cy = kSize / 2.0 + between(-5, 5);
  const double squeeze = between(0.85, 1.15);  // a little wider or taller
  const double cosine = std::cos(angle) / scale, sine = std::sin(angle) / scale;
  // Light falls from one side, and a bar of a third colour hides a part.
  const double light_x = between(-1.5, 1.5), light_y = between(-1.5, 1.5);
  const int bar = int(g.below(kSize)), bar_width = int(g.below(4));
  const bool bar_upright = g.below(2) != 0;
  const double bar_grey = between(0, 255), noise = between(4, 24);

  for (int y = 0; y < kSize; ++y)
    for (int x = 0; x < kSize; ++x) {
      double cover = 0;
      for (int sy = 0; sy < kSamples; ++sy)
        for (int sx = 0; sx < kSamples; ++sx) {
          const double dx = (x + (sx + 0.5) / kSamples - cx) * squeeze, dy = (y + (sy + 0.5) / kSamples - cy) / squeeze;
          cover += covers(label, cosine * dx + sine * dy, cosine * dy - sine * dx);
        }
      cover /= kSamples * kSamples;
      const int across = (bar_upright ? x : y) - bar;
      const bool hidden = across >= 0 && across < bar_width;
      const double light = light_x * (x - kSize / 2) + light_y * (y - kSize / 2);
      for (size_t c = 0; c < 3; ++c) {
        const uint32_t bits = g.next_u32();  // the sum of its four bytes is close to normal, with deviation 148
        const int sum = int(bits & 255) + int(bits >> 8 & 255) + int(bits >> 16 & 255) + int(bits >> 24);
        const double colour = hidden ? bar_grey : back[c] + (front[c] - back[c]) * cover;
        const double v = colour + light + noise * (sum - 510) / 148.0;
        planes[c * kSize * kSize + size_t(y * kSize + x)] = uint8_t(std::clamp(std::lround(v), 0L, 255L));
      }
    }
}

}  // namespace

Dataset synthetic(int64_t n, Split split, uint64_t seed) {
  check_split(split);
  constexpr int64_t kMost = int64_t{1} << 32;  // more would be the other split's
  if (n < 1 || n > kMost) throw ValueError(message("synthetic: ", n, " images were asked for; there are 1 to ", kMost));
  Dataset d{Tensor::empty({n, 3, kSize, kSize}, DType::u8),
            Tensor::empty({n}, DType::i64),
            {"disk", "ring", "square", "triangle", "cross", "star", "stripes", "checkerboard", "dots", "waves"},
            message("synthetic, seed ", seed)};
  uint8_t* images = d.images.mutable_data<uint8_t>().data();
  int64_t* labels = d.labels.mutable_data<int64_t>().data();
  const uint64_t stream = split == Split::test ? uint64_t(kMost) : 0;
  parallel_for(n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Generator g(seed, stream + uint64_t(i));
      labels[i] = i % kClasses;
      draw(int(labels[i]), g, images + i * 3 * kSize * kSize);
    }
  });
  return d;
}

}  // namespace mininn::data
