#include "quant/report.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <sstream>

#include "core/utf8.h"

namespace mininn::quant {
namespace {

std::string fixed(double v, int places) {
  char text[400];  // the largest number has 309 digits before the point
  return {text, std::to_chars(text, text + sizeof text, v, std::chars_format::fixed, places).ptr};
}

std::string known(double v, int places) { return std::isnan(v) ? "-" : fixed(v, places); }

constexpr size_t kWidest = 100;  // characters of a line
using Row = std::vector<std::string>;

// The end of a text, which tells names apart.
std::string shortened(const std::string& s, size_t width) {
  size_t left = characters(s), begin = 0;
  if (left <= width) return s;
  for (; begin < s.size(); ++begin) {
    if (inside_character(s[begin])) continue;
    if (left + 2 <= width) break;
    --left;
  }
  return ".." + s.substr(begin);
}

// Columns whose title begins with '<' are left-aligned, and shortened where the lines become too long.
void print_columns(std::ostream& out, std::vector<Row> rows) {
  std::vector<bool> is_text;
  for (std::string& title : rows[0]) {
    is_text.push_back(title[0] == '<');
    if (is_text.back()) title.erase(0, 1);
  }
  std::vector<size_t> width(rows[0].size(), 0);
  for (const Row& row : rows)
    for (size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], characters(row[c]));
  const auto line_width = [&] { return std::accumulate(width.begin(), width.end(), 2 * (width.size() - 1)); };
  while (line_width() > kWidest) {
    size_t widest = 0;
    for (size_t c = 0; c < width.size(); ++c)
      if (is_text[c] && width[c] >= width[widest]) widest = c;
    if (width[widest] <= 4) break;
    --width[widest];
  }
  for (const Row& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string cell = shortened(row[c], width[c]), fill(width[c] - characters(cell), ' ');
      line += (c ? "  " : "") + (is_text[c] ? cell + fill : fill + cell);
    }
    out << line.substr(0, line.find_last_not_of(' ') + 1) << '\n';
  }
}

void print_wrapped(std::ostream& out, const std::string& text) {
  std::istringstream words(text);
  std::string line;
  for (std::string word; words >> word;) {
    word = shortened(word, kWidest - 2);
    if (!line.empty() && characters(line) + 1 + characters(word) > kWidest) {
      out << line << '\n';
      line.assign(1, ' ');
    }
    line += (line.empty() ? "" : " ") + word;
  }
  out << line << '\n';
}

// What runs a layer for the i-th size of batches, its time, and what would have been next.
Row kernel_row(const LayerReport& l, size_t i, int64_t images) {
  const std::string& kernel = l.kernels[i];
  Row row{l.name, message(images), kernel, "", "", ""};
  if (i >= l.trials.size()) return row;
  const auto chosen =
      std::find_if(l.trials[i].begin(), l.trials[i].end(), [&](const Trial& t) { return t.kernel == kernel; });
  if (chosen == l.trials[i].end()) return row;
  row[3] = fixed(chosen->ms, 3);
  const Trial* other = nullptr;
  for (const Trial& t : l.trials[i])
    if (t.kernel != kernel && (!other || t.ms < other->ms)) other = &t;
  if (!other) return row;
  row[4] = other->kernel;
  row[5] = fixed(other->ms / chosen->ms, 2) + 'x';
  return row;
}

void print_kernels(std::ostream& out, const Report& r) {
  std::vector<Row> rows{{"<layer", "from batch", "<kernel", "ms", "<next best", "ratio"}};
  for (const LayerReport& l : r.layers)
    for (size_t i = 0; i < l.kernels.size(); ++i) {
      if (l.kernels[i].empty() || (i > 0 && l.kernels[i] == l.kernels[i - 1])) continue;
      rows.push_back(kernel_row(l, i, r.batches[i]));
      if (i > 0) rows.back()[0].clear();
    }
  if (rows.size() > 1) print_columns(out << '\n', rows);
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
  std::vector<Row> rows{{"<layer", "<op", "<output", "fp32 B", "int8 B", "MMAC", "SQNR dB", "total dB", "ms"}};
  for (const LayerReport& l : r.layers) {
    if (l.kernel.empty()) continue;  // a view
    rows.push_back({l.name, l.op, message(l.shape), message(l.fp32_bytes), message(l.int8_bytes()),
                    fixed(double(l.macs) / 1e6, 2), known(l.sqnr_local, 1), known(l.sqnr_total, 1), known(l.ms, 3)});
  }
  print_columns(out, rows);
  print_kernels(out, r);
  out << '\n';
  for (const LayerReport& l : r.layers)
    if (!l.in_float.empty() && !l.kernel.empty())
      print_wrapped(out, message("in float: ", l.op, " at ", l.name, ": ", l.in_float));
  return out << message("weights, scales, biases, tables: ", r.int8_bytes(), " B int8, ", r.fp32_bytes(), " B fp32 (",
                        fixed(r.int8_bytes() ? double(r.fp32_bytes()) / double(r.int8_bytes()) : 0.0, 2), "x)\n",
                        "activations: ", r.arena_bytes_per_image, " B per image; ",
                        fixed(100 * r.int8_mac_coverage(), 2), "% of multiply-accumulates in int8\n");
}

}  // namespace mininn::quant
