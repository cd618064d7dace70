#include "examples/cifar_resnet/figures.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/integers.h"
#include "examples/cifar_resnet/canvas.h"
#include "examples/cifar_resnet/thinned.h"

namespace cifar_resnet {
namespace {

constexpr double kMargin = 28;
constexpr int64_t kMostImages = int64_t{1} << 40;  // in a cell of a confusion matrix: their sum fits

void draw_title(Canvas& c, const std::string& title, const std::string& subtitle = "") {
  c.text({kMargin, 36}, title, {.size = 19, .bold = true});
  if (!subtitle.empty()) c.text({kMargin, 57}, subtitle, {.size = 12, .color = kMuted});
}

// Shortens a layer name from the front until it fits.
std::string fit(Canvas& c, std::string s, const TextStyle& style, double width) {
  constexpr size_t kMost = 200;  // bytes, more than fit anywhere
  if (s.size() <= kMost && c.text_width(s, style) <= width) return s;
  s = from_byte(s, s.size() - std::min(s.size(), kMost));
  while (s.size() > 1 && c.text_width("…" + s, style) > width) s = from_byte(s, 1);
  return "…" + s;
}

std::string percent(double v) { return format("%.0f%%", 100 * v); }

std::string kib(double bytes) {
  if (bytes >= 1024 * 1024) return format("%.2f MiB", bytes / (1024 * 1024));
  return format(bytes >= 10 * 1024 ? "%.0f KiB" : "%.1f KiB", bytes / 1024);
}

// 32 x 32 pixels in three planes.
void draw_photo(Canvas& c, const Box& b, std::span<const uint8_t> pixels) {
  if (pixels.size() != 3 * 32 * 32)
    throw mininn::ValueError(mininn::message("figures: an image has ", pixels.size(), " bytes, expected 3072"));
  c.image(b, 32, 32, [&](int64_t x, int64_t y) {
    const auto i = size_t(y * 32 + x);
    return Color{pixels[i] / 255.0, pixels[1024 + i] / 255.0, pixels[2048 + i] / 255.0};
  });
}

// The colours of matplotlib's viridis (Smith and van der Walt 2015), at nine places. NaN looks like 0.
Color viridis(double t) {
  static constexpr uint32_t kStops[] = {0x440154, 0x472d7b, 0x3b528b, 0x2c728e, 0x21918c,
                                        0x28ae80, 0x5ec962, 0xaddc30, 0xfde725};
  const double at = (t > 0 ? std::min(t, 1.0) : 0.0) * 8;
  const auto i = std::min(size_t(at), size_t{7});
  return mix(Color::hex(kStops[i]), Color::hex(kStops[i + 1]), at - double(i));
}

}  // namespace

void draw_confusion_matrix(const Path& file, const std::string& title, std::span<const int64_t> counts,
                           std::span<const std::string> classes) {
  const size_t n = classes.size();
  if (n == 0 || counts.size() != n * n)
    throw mininn::ValueError(mininn::message("confusion matrix: ", counts.size(), " counts for ", n, " classes"));
  if (std::any_of(counts.begin(), counts.end(), [](int64_t k) { return k < 0 || k > kMostImages; }))
    throw mininn::ValueError(mininn::message("confusion matrix: a count is not from 0 to ", kMostImages));
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  int64_t right = 0;
  for (size_t i = 0; i < n; ++i) right += counts[i * n + i];

  constexpr double kCell = 50, kLeft = 130, kTop = 156, kRecall = 74;
  const double side = kCell * double(n);
  Canvas c(kLeft + side + kRecall + kMargin, kTop + side + 92);
  draw_title(c, title,
             format("%lld of %lld images right (%.2f%%)", static_cast<long long>(right), static_cast<long long>(total),
                    total ? 100.0 * double(right) / double(total) : 0.0));
  c.text({kLeft + side / 2, 88}, "predicted class", {.size = 12, .color = kMuted, .align = Align::center});
  c.text({kMargin, kTop + side / 2}, "true class", {.size = 12, .color = kMuted, .align = Align::center, .angle = -90});
  c.text({kLeft + side + kRecall / 2 + 4, kTop - 8}, "recall", {.size = 11, .color = kMuted, .align = Align::center});

  for (size_t t = 0; t < n; ++t) {
    const double y = kTop + kCell * double(t);
    const auto row = counts.subspan(t * n, n);
    const auto images = double(std::max<int64_t>(std::accumulate(row.begin(), row.end(), int64_t{0}), 1));
    c.text({kLeft - 10, y + kCell / 2 + 4}, classes[t], {.align = Align::right});
    c.text({kLeft + kCell * (double(t) + 0.5) - 6, kTop - 10}, classes[t], {.angle = -38});
    for (size_t p = 0; p < n; ++p) {
      const double share = double(row[p]) / images;
      // Mistakes are rare: their colour grows with the square root of the share, so that they can be seen.
      const double strength = t == p ? 0.25 + 0.75 * share * share : 1.6 * std::sqrt(share);
      const Color color =
          row[p] == 0 ? kPanel : mix(Color::hex(t == p ? 0xdbeafe : 0xfff1ee), t == p ? kFp32 : kBad, strength);
      const double x = kLeft + kCell * double(p);
      c.fill({x + 1, y + 1, kCell - 2, kCell - 2}, color, 3);
      const bool dark = strength > 0.5;
      c.text({x + kCell / 2, y + kCell / 2 + 4.5}, std::to_string(row[p]),
             {.size = t == p ? 13.0 : 11.5,
              .color = row[p] == 0 ? Color::hex(0xc0c7d1)
                       : dark      ? kPaper
                                   : kInk,
              .bold = t == p,
              .align = Align::center});
    }
    c.text({kLeft + side + kRecall / 2 + 4, y + kCell / 2 + 4}, format("%.1f%%", 100 * double(row[t]) / images),
           {.align = Align::center});
  }
  c.text({kLeft - 10, kTop + side + 24}, "precision", {.size = 11, .color = kMuted, .align = Align::right});
  for (size_t p = 0; p < n; ++p) {
    int64_t column = 0;
    for (size_t t = 0; t < n; ++t) column += counts[t * n + p];
    c.text({kLeft + kCell * (double(p) + 0.5), kTop + side + 24},
           column ? format("%.1f%%", 100 * double(counts[p * n + p]) / double(column)) : "–",
           {.size = 11, .align = Align::center});
  }
  draw_legend(c, {kLeft, kTop + side + 62},
              std::vector<LegendEntry>{{"right", kFp32},
                                       {"wrong (deeper: a larger share of the row)", mix(kPaper, kBad, 0.6)}});
  c.save_png(file);
}

namespace {

struct Curve {
  Color color;
  double EpochFigures::*epoch;
  double StepFigures::*step;  // null: only known of epochs
};
struct History {
  std::span<const EpochFigures> epochs;
  std::span<const StepFigures> steps;
};

Range extent(const History& h, std::initializer_list<Curve> curves) {
  Range r{1e300, -1e300};
  const auto add = [&](double v) {
    if (std::isfinite(v)) r = {std::min(r.lo, v), std::max(r.hi, v)};
  };
  for (const Curve& curve : curves) {
    for (const EpochFigures& e : h.epochs) add(e.*curve.epoch);
    for (const StepFigures& s : h.steps)
      if (curve.step) add(s.*curve.step);
  }
  return r.lo <= r.hi ? r : Range{};
}

void draw_curves(Canvas& c, const Axes& a, const History& h, std::initializer_list<Curve> curves) {
  constexpr size_t kMostPoints = 2000, kMostDots = 60;
  for (const Curve& curve : curves) {
    std::vector<Point> line, dots;
    thinned(h.steps.size(), kMostPoints, [&](size_t i) {
      if (curve.step) line.push_back(a.at(h.steps[i].epoch, h.steps[i].*curve.step));
    });
    thinned(h.epochs.size(), kMostPoints, [&](size_t i) {
      const EpochFigures& e = h.epochs[i];
      if (std::isfinite(e.*curve.epoch)) dots.push_back(a.at(double(e.epoch), e.*curve.epoch));
    });
    c.polyline(line, curve.color.with_alpha(0.45), 1);
    c.polyline(dots, curve.color, 2);
    for (const Point& p : std::span(dots).last(dots.size() <= kMostDots ? dots.size() : 1)) c.dot(p, 2.8, curve.color);
  }
}

}  // namespace

void draw_training_history(const Path& file, std::span<const EpochFigures> epochs, std::span<const StepFigures> steps) {
  if (epochs.empty()) throw mininn::ValueError("training history: there are no epochs to draw");
  const History history{epochs, steps};
  Canvas c(1120, 580);
  const EpochFigures& last = epochs.back();
  double best = -1, newest = -1;
  int64_t best_epoch = 0;
  for (const EpochFigures& e : epochs) {
    if (std::isfinite(e.test_accuracy)) newest = e.test_accuracy;
    if (e.test_accuracy > best) best = e.test_accuracy, best_epoch = e.epoch;
  }
  std::string subtitle = format("%lld epoch%s", static_cast<long long>(last.epoch), last.epoch == 1 ? "" : "s");
  if (best >= 0)
    subtitle += format(", held-out accuracy %.2f%% at the end, %.2f%% at best (epoch %lld)", 100 * newest, 100 * best,
                       static_cast<long long>(best_epoch));
  draw_title(c, "Training history", subtitle);
  draw_legend(c, {kMargin, 84},
              std::vector<LegendEntry>{{steps.empty() ? "training" : "training (thin: inside the epochs)", kFp32},
                                       {"held out", kInt8},
                                       {"learning rate", kGood}});

  const auto [first, furthest] = std::minmax_element(
      epochs.begin(), epochs.end(), [](const EpochFigures& a, const EpochFigures& b) { return a.epoch < b.epoch; });
  const Range x{steps.empty() ? double(first->epoch) : std::min(double(first->epoch), std::floor(steps[0].epoch)),
                std::max({double(furthest->epoch), double(first->epoch) + 1, steps.empty() ? 0 : steps.back().epoch})};
  const auto whole = [](double v) { return v == std::floor(v) ? format("%.0f", v) : std::string(); };
  const std::initializer_list<Curve> losses{{kFp32, &EpochFigures::train_loss, &StepFigures::loss},
                                            {kInt8, &EpochFigures::test_loss, nullptr}},
      accuracies{{kFp32, &EpochFigures::train_accuracy, &StepFigures::accuracy},
                 {kInt8, &EpochFigures::test_accuracy, nullptr}},
      rates{{kGood, &EpochFigures::lr, &StepFigures::lr}};
  Range loss = extent(history, losses);
  loss = {0, loss.hi > 0 ? loss.hi * 1.05 : 1};
  Axes left(c, {80, 130, 450, 260}, x, loss);
  left.title("Loss (cross entropy)");
  left.grid_y([](double v) { return format("%.3g", v); });
  left.ticks_x(whole);
  draw_curves(c, left, history, losses);

  Range accuracy = extent(history, accuracies);
  accuracy = {std::clamp(std::floor(accuracy.lo * 10) / 10, 0.0, 0.9), 1};
  Axes right(c, {620, 130, 450, 260}, x, accuracy);
  right.title("Accuracy");
  right.grid_y(percent);
  right.ticks_x(whole);
  if (best >= 0)
    c.line({right.box().x, right.y(best)}, {right.box().right(), right.y(best)}, kInt8.with_alpha(0.5), 1, true);
  draw_curves(c, right, history, accuracies);

  const Range lr = extent(history, rates);
  Axes bottom(c, {80, 444, 990, 80}, x, {0, lr.hi > 0 ? lr.hi * 1.1 : 1});
  bottom.title("Learning rate");
  bottom.grid_y([](double v) { return format("%.3g", v); }, 2);
  bottom.ticks_x(whole, 12);
  bottom.label_x("epoch");
  draw_curves(c, bottom, history, rates);
  c.save_png(file);
}

void draw_misclassified(const Path& file, std::span<const Misclassified> examples,
                        std::span<const std::string> classes) {
  constexpr size_t kColumns = 6, kMost = 24;
  constexpr double kWide = 160, kHigh = 206, kPhoto = 128, kTop = 104;
  const auto shown = examples.first(std::min(examples.size(), kMost));
  const size_t rows = std::max<size_t>(mininn::ceil_div(shown.size(), kColumns), 1);
  Canvas c(2 * kMargin + kWide * kColumns, kTop + kHigh * double(rows) + 8);
  draw_title(c, "Misclassified test images",
             "What the two networks said, and how sure they were; a frame marks images on which they disagree.");
  draw_legend(c, {kMargin, 84},
              std::vector<LegendEntry>{{"right", kGood}, {"wrong", kBad}, {"the networks disagree", kInt8}});
  const auto class_name = [&](int k) {
    if (k < 0 || size_t(k) >= classes.size())
      throw mininn::ValueError(mininn::message("misclassified examples: class ", k, " of ", classes.size()));
    return classes[size_t(k)];
  };
  for (size_t i = 0; i < shown.size(); ++i) {
    const Misclassified& m = shown[i];
    const double x = kMargin + kWide * double(i % kColumns), y = kTop + kHigh * double(i / kColumns);
    const Box photo{x + (kWide - kPhoto) / 2 - 8, y, kPhoto, kPhoto};
    if (m.disagree()) c.fill({photo.x - 3, photo.y - 3, kPhoto + 6, kPhoto + 6}, kInt8, 3);
    draw_photo(c, photo, m.pixels);
    c.text({photo.x, y + kPhoto + 19}, class_name(m.truth), {.size = 12, .bold = true});
    c.text({photo.x + kPhoto, y + kPhoto + 19}, format("#%lld", static_cast<long long>(m.index)),
           {.size = 9, .color = kMuted, .align = Align::right});
    const auto verdict = [&](double line, const char* net, const Guess& guess) {
      const int said = guess.label;
      const TextStyle style{.size = 10.5, .color = said == m.truth ? kGood : kBad};
      c.text({photo.x, y + kPhoto + line}, net, {.size = 10.5, .color = kMuted});
      c.text({photo.x + 32, y + kPhoto + line}, class_name(said), style);
      c.text({photo.x + kPhoto, y + kPhoto + line}, percent(guess.probability),
             {.size = 10.5, .color = kMuted, .align = Align::right});
    };
    verdict(36, "fp32", m.fp32.at(0));
    verdict(51, "int8", m.int8.at(0));
  }
  if (shown.empty()) c.text({kMargin, kTop + 40}, "There are none: every image was classified correctly.");
  c.save_png(file);
}

void draw_layer_compression(const Path& file, std::span<const LayerBytes> layers) {
  if (layers.empty()) throw mininn::ValueError("layer compression: there are no layers to draw");
  constexpr double kRow = 30, kLeft = 190, kWide = 620, kTop = 132;
  double largest = 1, fp32 = 0, int8 = 0;
  for (const LayerBytes& l : layers) {
    largest = std::max({largest, double(l.fp32_bytes), double(l.int8_bytes)});
    fp32 += double(l.fp32_bytes), int8 += double(l.int8_bytes);
  }
  Canvas c(kLeft + kWide + 170, kTop + kRow * double(layers.size()) + 50);
  draw_title(c, "Bytes per layer, before and after quantization",
             format("%s in fp32, %s in int8: %.2f times smaller", kib(fp32).c_str(), kib(int8).c_str(),
                    int8 > 0 ? fp32 / int8 : 0.0));
  draw_legend(c, {kMargin, 86}, std::vector<LegendEntry>{{"fp32", kFp32}, {"int8", kInt8}});
  c.text({kLeft + kWide + 142, kTop - 12}, "int8 / fp32", {.size = 10, .color = kMuted, .align = Align::right});

  Axes a(c, {kLeft, kTop, kWide, kRow * double(layers.size())}, {0, largest * 1.02}, {0, 1});
  const auto size = [](double v) {
    return v == 0            ? std::string("0")
           : v < 1024 * 1024 ? format("%.0f KiB", v / 1024)
                             : format("%.0f MiB", v / (1024 * 1024));
  };
  // Ticks on whole powers of two, as the sizes are.
  double step = 1024;
  while (largest / step > 7) step *= 2;
  for (double v = 0; v <= largest * 1.02; v += step) {
    c.line({a.x(v), kTop}, {a.x(v), a.box().bottom()}, kGrid);
    c.text({a.x(v), a.box().bottom() + 16}, size(v), {.size = 10, .color = kMuted, .align = Align::center});
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerBytes& l = layers[i];
    const double y = kTop + kRow * double(i);
    const TextStyle label{.size = 11, .align = Align::right};
    c.text({kLeft - 10, y + kRow / 2 + 4}, fit(c, l.name, label, kLeft - kMargin), label);
    c.fill({kLeft, y + 4, std::max(a.x(double(l.fp32_bytes)) - kLeft, 1.0), 10.5}, kFp32, 2);
    c.fill({kLeft, y + 15.5, std::max(a.x(double(l.int8_bytes)) - kLeft, 1.0), 10.5}, kInt8, 2);
    c.text({a.x(double(l.fp32_bytes)) + 6, y + 13}, kib(double(l.fp32_bytes)), {.size = 9, .color = kMuted});
    c.text({a.x(double(l.int8_bytes)) + 6, y + 24.5}, kib(double(l.int8_bytes)), {.size = 9, .color = kMuted});
    if (l.fp32_bytes > 0)
      c.text({kLeft + kWide + 142, y + kRow / 2 + 4},
             format("%.1f%%", 100 * double(l.int8_bytes) / double(l.fp32_bytes)), {.size = 11, .align = Align::right});
  }
  c.save_png(file);
}

namespace {

// Two densities over each other: a filled one before, a line after.
void draw_histograms(Canvas& c, const Box& box, const BeforeAfter& h, Color before, Color after) {
  const Range x{std::min(h.before.lo, h.after.lo), std::max(h.before.hi, h.after.hi)};
  if (!(x.lo < x.hi) || h.before.counts.empty() || h.after.counts.empty())
    throw mininn::ValueError(mininn::message("histogram of ", h.name, ": no bins between ", x.lo, " and ", x.hi));
  // Share of all values per unit: comparable though the bins differ.
  const auto densities = [](const Histogram& g) {
    const double total = std::max(std::accumulate(g.counts.begin(), g.counts.end(), 0.0), 1.0);
    std::vector<double> d(g.counts.size());
    for (size_t i = 0; i < d.size(); ++i) d[i] = g.counts[i] / total / ((g.hi - g.lo) / double(d.size()));
    return d;
  };
  const auto a = densities(h.before), b = densities(h.after);
  const double top = std::max({*std::max_element(a.begin(), a.end()), *std::max_element(b.begin(), b.end()), 1e-12});
  const double bottom = top * 1e-5;  // tails matter to quantization, so the scale is logarithmic
  Axes axes(c, box, x, {bottom, top * 1.6}, Axes::Scale::log10);
  c.text({box.x, box.y - 6}, fit(c, h.name, {.size = 10.5, .bold = true}, box.w), {.size = 10.5, .bold = true});
  const auto outline = [&](const Histogram& g, const std::vector<double>& d) {
    std::vector<Point> p{{axes.x(g.lo), box.bottom()}};
    const double width = (g.hi - g.lo) / double(d.size());
    for (size_t i = 0; i < d.size(); ++i)
      for (const size_t edge : {i, i + 1}) p.push_back(axes.at(g.lo + width * double(edge), std::max(d[i], bottom)));
    p.push_back({axes.x(g.hi), box.bottom()});
    return p;
  };
  c.polygon(outline(h.before, a), before.with_alpha(0.35));
  c.polyline(outline(h.after, b), after, 1.1);
  axes.ticks_x([](double v) { return format("%.3g", v); }, 4);
}

}  // namespace

void draw_quantization_effects(const Path& file, std::span<const BeforeAfter> weights,
                               std::span<const BeforeAfter> activations, std::span<const LayerError> errors) {
  constexpr size_t kColumns = 4;
  constexpr double kWide = 250, kHigh = 168, kPlot = 106;
  const auto rows = [](size_t n) { return double(mininn::ceil_div(n, kColumns)); };
  const double errors_height = errors.empty() ? 0 : 330;
  const double section = 40;
  Canvas c(2 * kMargin + kWide * kColumns,
           112 + (rows(weights.size()) + rows(activations.size())) * kHigh + 2 * section + errors_height);
  draw_title(c, "What quantization changes",
             "Share of values on a logarithmic scale: fp32 filled, the same values after int8 as a line.");
  draw_legend(c, {kMargin, 84}, std::vector<LegendEntry>{{"fp32", kFp32.with_alpha(0.45)}, {"int8", kInt8}});

  double y = 112;
  const auto grid = [&](const std::string& title, std::span<const BeforeAfter> plots) {
    if (plots.empty()) return;
    c.text({kMargin, y + 14}, title, {.size = 14, .bold = true});
    y += section;
    for (size_t i = 0; i < plots.size(); ++i)
      draw_histograms(c,
                      {kMargin + kWide * double(i % kColumns), y + kHigh * double(i / kColumns) + 8, kWide - 26, kPlot},
                      plots[i], kFp32, kInt8);
    y += kHigh * rows(plots.size());
  };
  grid("Weights", weights);
  grid("Activations", activations);

  if (!errors.empty()) {
    double top = 10, least = 1e300;
    for (const LayerError& e : errors)
      if (std::isfinite(e.sqnr_db)) top = std::max(top, e.sqnr_db), least = std::min(least, e.sqnr_db);
    Axes a(c, {kMargin + 34, y + 44, c.width() - 2 * kMargin - 34, 170}, {0, double(errors.size())}, {0, top * 1.12});
    c.text({kMargin, y + 14}, "Signal to quantization noise of each layer's output (dB, higher is better)",
           {.size = 14, .bold = true});
    a.grid_y([](double v) { return format("%.0f", v); });
    const double slot = a.box().w / double(errors.size()), bar = std::min(slot * 0.66, 46.0);
    for (size_t i = 0; i < errors.size(); ++i) {
      const LayerError& e = errors[i];
      const double center = a.box().x + slot * (double(i) + 0.5);
      const double peak = a.y(std::isfinite(e.sqnr_db) ? e.sqnr_db : top);
      c.fill({center - bar / 2, peak, bar, a.box().bottom() - peak}, e.sqnr_db <= least ? kBad : kFp32, 2);
      if (slot > 22)
        c.text({center, peak - 4}, std::isfinite(e.sqnr_db) ? format("%.1f", e.sqnr_db) : "∞",
               {.size = 9, .align = Align::center});
      const TextStyle label{.size = 9.5, .color = kMuted, .align = Align::right, .angle = -45};
      c.text({center + 4, a.box().bottom() + 13}, fit(c, e.name, label, 112), label);
    }
    c.line({a.box().x, a.box().bottom()}, {a.box().right(), a.box().bottom()}, kMuted);
  }
  c.save_png(file);
}

void draw_feature_maps(const Path& file, std::span<const uint8_t> pixels, const std::string& caption,
                       std::span<const FeatureMaps> layers) {
  constexpr size_t kMost = 16, kPerRow = 8;
  constexpr double kMap = 72, kGap = 6, kLeft = 230, kTop = 86;
  const auto rows_of = [&](const FeatureMaps& l) {
    return double(mininn::ceil_div(std::min(l.channels.size(), kMost), kPerRow));
  };
  double height = kTop;
  for (const FeatureMaps& l : layers) height += rows_of(l) * (kMap + kGap) + 38;
  Canvas c(kLeft + kPerRow * (kMap + kGap) + kMargin, std::max(height + 8, kTop + 250));
  draw_title(c, "Feature maps",
             "What the first channels of some layers make of one image; bright is a strong response.");
  draw_photo(c, {kMargin, kTop + 22, 160, 160}, pixels);
  c.text({kMargin + 80, kTop + 202}, caption, {.size = 12, .bold = true, .align = Align::center});

  double y = kTop;
  for (const FeatureMaps& l : layers) {
    const size_t shown = std::min(l.channels.size(), kMost);
    c.text({kLeft, y + 12}, l.name, {.size = 12, .bold = true});
    c.text({kLeft + c.text_width(l.name, {.size = 12, .bold = true}) + 12, y + 12},
           format("%zu of %lld channels, %lld × %lld", shown, static_cast<long long>(l.all),
                  static_cast<long long>(l.height), static_cast<long long>(l.width)),
           {.size = 10.5, .color = kMuted});
    y += 22;
    for (size_t k = 0; k < shown; ++k) {
      const std::vector<uint8_t>& map = l.channels[k];
      if (map.empty() || int64_t(map.size()) != l.height * l.width)
        throw mininn::ValueError(mininn::message("feature maps: channel ", k, " of ", l.name, " has ", map.size(),
                                                 " values for ", l.height, " x ", l.width));
      c.image({kLeft + (kMap + kGap) * double(k % kPerRow), y + (kMap + kGap) * double(k / kPerRow), kMap, kMap},
              l.width, l.height, [&](int64_t u, int64_t v) { return viridis(map[size_t(v * l.width + u)] / 255.0); });
    }
    y += rows_of(l) * (kMap + kGap) + 16;
  }
  c.save_png(file);
}

}  // namespace cifar_resnet
