#include "quant/report.h"

#include <algorithm>
#include <sstream>

#include "tests/quant/compiled_nets.h"
#include "tests/support/catch.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;
using Catch::Contains;

TEST_CASE("a report adds up its layers' bytes and multiply-accumulates") {
  const Report r = calibrated(residual(1), 1, true).compile().report();
  REQUIRE(r.layers.size() == 9);
  CHECK(r.layers[0].op == "qpack");  // takes its time like the others
  const LayerReport& stem = r.layers[1];
  CHECK(stem.name == "conv1");
  CHECK(stem.shape == Shape{8, 9, 9});
  CHECK(stem.weight_bytes == 8 * 27);
  CHECK(stem.scale_bytes == 8 * 4);
  CHECK(stem.bias_bytes == 9 * 8 * 4);  // nine border classes
  CHECK(stem.fp32_bytes == (8 * 27 + 8) * 4);
  int64_t fp32 = 0, int8 = 0, all_macs = 0;
  for (const LayerReport& l : r.layers) {
    fp32 += l.fp32_bytes;
    int8 += l.int8_bytes();
    all_macs += l.macs;
    CHECK_FALSE(l.kernel.empty());
  }
  CHECK(r.fp32_bytes() == fp32);
  CHECK(r.int8_bytes() == int8);
  CHECK(r.int8_macs() == all_macs);
  CHECK(r.int8_mac_coverage() == 1);
  CHECK(r.layers.back().real);
}

TEST_CASE("the table has a line per layer and the totals") {
  std::ostringstream out;
  out << calibrated(mobile(1), 1, false).compile().report();
  CHECK_THAT(out.str(), Contains("conv2d+relu6") && Contains("silu") && Contains("SQNR dB") &&
                            Contains("100.00% of multiply-accumulates in int8"));
}

TEST_CASE("the table names each kernel, its time and the runner-up, if any were measured") {
  Report r = calibrated(residual(1), 1, true).compile().report();
  const auto text = [&] {
    std::ostringstream out;
    out << r;
    return out.str();
  };
  for (LayerReport& l : r.layers) l.trials.clear();
  CHECK_THAT(text(), Contains("from batch") && !Contains("x\n"));
  REQUIRE(r.batches == std::vector<int64_t>{1, 8, 32});
  r.layers[1].kernels = {"own.fast", "own.fast", "c"};
  r.layers[1].trials = {{{"own.fast", 0.25}, {"own.slow", 1.5}}, {}, {{"a", 1}, {"b", 2}, {"c", 4}}};
  CHECK_THAT(text(),
             Catch::Matches(R"([^]*\nconv1 +1  own.fast +0.250  own.slow +6.00x\n +32  c +4.000  a +0.25x\n[^]*)"));
}

TEST_CASE("no line of the table is longer than 100 characters, whatever layers are called") {
  Report r = calibrated(mobile(1), 1, false).compile().report();
  for (const std::string& name :
       {std::string("conv"), std::string(300, 'n') + "conv", std::string(300, '\xc3') + "conv", [] {
          std::string s;
          for (int i = 0; i < 90; ++i) s += "é";
          return s + " conv";
        }()}) {
    for (LayerReport& l : r.layers) {
      l.name = name;
      l.in_float = "because " + name + " is made of words that take more than one line, and this sentence goes on";
      l.kernels = {"own." + name, "own.b" + name, "own.c" + name};
      l.trials = {{{l.kernels[0], 1}, {"a" + name, 2}}, {}, {}};
      l.fp32_bytes = int64_t{1} << 40;
    }
    std::stringstream out;
    out << r;
    for (std::string line; std::getline(out, line);) {
      INFO(line);
      CHECK(std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; }) <= 100);
    }
    CHECK_THAT(out.str(), Contains("conv"));
  }
}
