// Times what an op costs before its kernel begins and after it ends: ops on eight numbers, on one thread.
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bench/harness.h"
#include "bench/machine.h"
#include "bench/program.h"
#include "core/autograd.h"
#include "core/file.h"
#include "core/parallel.h"
#include "examples/cifar_resnet/command_line.h"
#include "ops/create.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/matmul.h"

using namespace mininn;
using namespace mininn::bench;
using nlohmann::json;

namespace {

constexpr int kCalls = 1000;  // of a turn

struct Case {
  std::string name;
  std::function<void()> call;
};

std::vector<Case> cases() {
  const Tensor a = ones({8}), b = ones({8}), square = ones({2, 2});
  Tensor with_gradient = ones({8}), square_with_gradient = ones({2, 2});
  with_gradient.set_requires_grad(true);
  square_with_gradient.set_requires_grad(true);
  const Tensor& g = with_gradient;
  return {{"add", [=] { (void)add(a, b); }},
          {"relu", [=] { (void)relu(a); }},
          {"reshape",
           [=] {
             (void)reshape(a, {2, 4});
           }},
          {"matmul", [=] { (void)matmul(square, square); }},
          {"add, recording a gradient", [=] { (void)add(g, b); }},
          {"relu, recording a gradient", [=] { (void)relu(g); }},
          {"matmul, recording a gradient", [=] { (void)matmul(square_with_gradient, square); }},
          {"add and backward()", [=] { add(g, b).backward(a); }}};
}

int run(int argc, char** argv) {
  double seconds = 1;
  std::string json_path;
  CLI::App app("Times ops on eight numbers: what a call costs besides its kernel.");
  app.add_option("--seconds", seconds, "per op")->check(cifar_resnet::between(1e-9, 1e6))->capture_default_str();
  app.add_option("--json", json_path, "also write the rows to this file")->check(cifar_resnet::path());
  if (const auto status = cifar_resnet::parse(app, "bench_dispatch", argc, argv)) return *status;
  if (!json_path.empty()) require_writable(json_path);

  json report = describe_machine({1}), rows = json::array();
  set_num_threads(1);
  std::vector<std::function<void()>> turns;
  const std::vector<Case> all = cases();
  for (const Case& c : all)
    turns.push_back([&c] {
      for (int i = 0; i < kCalls; ++i) c.call();
    });
  const std::vector<Timing> times = interleave(turns, seconds);
  std::printf("\n%-30s %10s %10s %10s\n", "op", "ns/call", "least", "p90");
  for (size_t i = 0; i < all.size(); ++i) {
    const double ns = 1e9 / kCalls;
    const Timing& t = times[i];
    std::printf("%-30s %10.1f %10.1f %10.1f\n", all[i].name.c_str(), t.median * ns, t.least * ns, t.p90 * ns);
    rows.push_back({{"op", all[i].name}, {"ns", t.median * ns}, {"ns_min", t.least * ns}, {"ns_p90", t.p90 * ns}});
  }
  report["rows"] = rows;
  if (!json_path.empty()) write_report(json_path, report);
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return run_program("bench_dispatch", run, argc, argv); }
