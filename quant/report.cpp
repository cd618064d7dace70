#include "quant/report.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace mininn::quant {
namespace {

std::string fixed(double v, int places) {
  char text[400];  // the largest number has 309 digits before the point
  return {text, std::to_chars(text, text + sizeof text, v, std::chars_format::fixed, places).ptr};
}

std::string known(double v, int places) { return std::isnan(v) ? "-" : fixed(v, places); }

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
    out += (i ? ", " : "") + trials[i].kernel + ' ' + fixed(trials[i].ms, 3);
  if (trials.size() > kShown) out += message(", ", trials.size() - kShown, " slower");
  return out.empty() ? "-" : out;
}

}  // namespace

int64_t Report::int8_macs() const {
  int64_t sum = 0;
  for (const LayerReport& l : layers) sum += l.in_int8 ? l.macs : 0;
  return sum;
}

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
  for (const LayerReport& l : r.layers) {
    if (l.kernel.empty()) continue;  // a view
    rows.push_back({l.name, l.op, message(l.shape), l.kernel, l.real ? "f32" : message(l.q.scale),
                    l.real ? "-" : message(l.q.zero_point), message(l.fp32_bytes), message(l.int8_bytes()),
                    fixed(double(l.macs) / 1e6, 2), known(l.sqnr_local, 1), known(l.sqnr_total, 1), known(l.ms, 3)});
  }
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
  for (const LayerReport& l : r.layers)
    if (!l.in_float.empty() && !l.kernel.empty())
      out << "in float: " << l.op << " at " << l.name << ": " << l.in_float << '\n';
  return out << message("weights, scales, biases, tables: ", r.int8_bytes(), " B int8, ", r.fp32_bytes(), " B fp32 (",
                        fixed(r.int8_bytes() ? double(r.fp32_bytes()) / double(r.int8_bytes()) : 0.0, 2),
                        "x); activations ", r.arena_bytes_per_image, " B per image; ",
                        fixed(100 * r.int8_mac_coverage(), 2), "% of multiply-accumulates in int8\n");
}

}  // namespace mininn::quant
