#include "quant/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace mininn::quant {
namespace {

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

std::string number(double v, const char* pattern) { return std::isnan(v) ? "-" : format(pattern, v); }

// The first `text` columns are left-aligned, the others right-aligned.
void print_columns(std::ostream& out, const std::vector<std::vector<std::string>>& rows, size_t text) {
  std::vector<size_t> width(rows[0].size(), 0);
  for (const auto& row : rows)
    for (size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string fill(width[c] - row[c].size(), ' ');
      line += (c ? "  " : "") + (c < text ? row[c] + fill : fill + row[c]);
    }
    out << line.substr(0, line.find_last_not_of(' ') + 1) << '\n';
  }
}

// "own.winograd.avx2 0.118, own.direct.avx2 0.365, 5 slower"
std::string times(const std::vector<Trial>& trials) {
  constexpr size_t kShown = 3;
  std::string out;
  for (size_t i = 0; i < std::min(kShown, trials.size()); ++i)
    out += (i ? ", " : "") + trials[i].kernel + format(" %.3f", trials[i].ms);
  if (trials.size() > kShown) out += format(", %d slower", int(trials.size() - kShown));
  return out.empty() ? "-" : out;
}

}  // namespace

int64_t Report::fp32_bytes() const {
  int64_t sum = 0;
  for (const LayerReport& l : layers) sum += l.fp32_bytes;
  return sum;
}

int64_t Report::int8_bytes() const {
  int64_t sum = 0;
  for (const LayerReport& l : layers) sum += l.int8_bytes();
  return sum;
}

std::ostream& operator<<(std::ostream& out, const Report& r) {
  std::vector<std::vector<std::string>> rows{
      {"layer", "op", "output", "kernel", "scale", "zero", "fp32 B", "int8 B", "MMAC", "SQNR dB", "total dB", "ms"}};
  for (const LayerReport& l : r.layers)
    rows.push_back({l.name, l.op, message(l.shape), l.kernel, l.real ? "f32" : format("%.6g", double(l.q.scale)),
                    l.real ? "-" : format("%d", int(l.q.zero_point)), message(l.fp32_bytes), message(l.int8_bytes()),
                    format("%.2f", double(l.macs) / 1e6), number(l.sqnr_local, "%.1f"), number(l.sqnr_total, "%.1f"),
                    number(l.ms, "%.3f")});
  print_columns(out, rows, 4);
  rows = {{"layer"}};
  for (const int64_t n : r.batches)
    rows[0].push_back(message("kernels measured for ", n, n == 1 ? " image, ms" : " images, ms"));
  for (const LayerReport& l : r.layers) {
    if (std::all_of(l.trials.begin(), l.trials.end(), [](const auto& t) { return t.empty(); })) continue;
    rows.push_back({l.name});
    for (const auto& t : l.trials) rows.back().push_back(times(t));
  }
  if (rows.size() > 1) print_columns(out << '\n', rows, rows[0].size());
  out << "weights, scales, biases, tables: " << r.int8_bytes() << " B int8, " << r.fp32_bytes() << " B fp32 ("
      << format("%.2f", r.int8_bytes() ? double(r.fp32_bytes()) / double(r.int8_bytes()) : 0.0) << "x); activations "
      << r.arena_bytes_per_image << " B per image; " << format("%.2f", 100 * r.int8_mac_coverage())
      << "% of multiply-accumulates in int8\n";
  return out;
}

}  // namespace mininn::quant
