// What became of each layer, for people and for machines.
#pragma once

#include <cstdint>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "core/qparams.h"
#include "core/shape.h"
#include "core/tuner.h"

namespace mininn::quant {

struct LayerReport {
  std::string name, op;
  std::string kernel;                      // "a / b" where larger batches have another one; empty for a view
  std::vector<std::string> kernels;        // for each of Report::batches
  std::vector<std::vector<Trial>> trials;  // the candidates' times alone, if measured, for each of Report::batches
  Shape shape;                             // of the output, for one image: [C,H,W], or [rows,...]
  QParams q;                               // of the output
  bool real = false;                       // the output is f32: q means nothing
  std::string in_float;                    // why it is a float op; empty if it has an int8 form
  int64_t macs = 0;
  bool in_int8 = false;    // they are products of codes
  int64_t fp32_bytes = 0;  // weights and bias of the float layer, batch norm folded
  int64_t weight_bytes = 0, scale_bytes = 0, bias_bytes = 0, table_bytes = 0, float_bytes = 0;  // in the file
  int64_t packed_bytes = 0;  // in memory: what the kernel made of the weights
  // See LayerNote. NaN where unknown.
  double sqnr_local = std::numeric_limits<double>::quiet_NaN(), sqnr_total = std::numeric_limits<double>::quiet_NaN();
  double ms = std::numeric_limits<double>::quiet_NaN();  // by Int8Net::profile()

  int64_t int8_bytes() const { return weight_bytes + scale_bytes + bias_bytes + table_bytes + float_bytes; }
};

struct Report {
  std::vector<LayerReport> layers;    // nodes of the graph in their order
  std::vector<int64_t> batches;       // the sizes that kernels are chosen for, ascending
  int64_t arena_bytes_per_image = 0;  // activations, buffers shared
  int64_t graph_macs = 0;             // of the float graph

  int64_t int8_macs() const;
  int64_t fp32_bytes() const;
  int64_t int8_bytes() const;
  // Share of the float graph's multiply-accumulates that run in int8.
  double int8_mac_coverage() const { return graph_macs ? double(int8_macs()) / double(graph_macs) : 1; }
};

// A table with one line per layer, one of kernels and the runners-up, the totals, and what stayed float ops. No line is
// longer than 100 characters.
std::ostream& operator<<(std::ostream& out, const Report& r);

}  // namespace mininn::quant
