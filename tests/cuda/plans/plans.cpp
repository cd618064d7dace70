// Which of cuDNN's engines run the convolutions of a ResNet-18 on a GPU that is not here: every plan is built for the
// properties of a device in a file, before a driver that runs nothing (driver.cpp), and compared with a table.
// usage: cuda_plans DEVICE.json            prints the table
//        cuda_plans DEVICE.json TABLE.txt  compares; 77: there is no cuDNN, or another version than the table's
#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "cuda/cudnn/plan.h"

using namespace mininn;
using namespace mininn::cuda::cudnn;

namespace {

constexpr int64_t kBatch = 128;

// The distinct convolutions of the network for images of 32 x 32.
struct Layer {
  int64_t in, out, size, kernel, stride;
};
constexpr Layer kLayers[] = {{3, 64, 32, 3, 1},    {64, 64, 32, 3, 1},   {64, 128, 32, 3, 2},  {64, 128, 32, 1, 2},
                             {128, 128, 16, 3, 1}, {128, 256, 16, 3, 2}, {128, 256, 16, 1, 2}, {256, 256, 8, 3, 1},
                             {256, 512, 8, 3, 2},  {256, 512, 8, 1, 2},  {512, 512, 4, 3, 1}};

std::string read(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw Error("cannot read " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string line(const Problem& p, const char* what, const std::string& device) {
  const Plan plan(p, device);
  const Conv2dGeometry& g = p.g;
  std::string s = message(what, ' ', name(DType(p.dtype)), ' ', g.ic, "->", g.oc, ' ', g.ih, 'x', g.iw, " k", g.kh,
                          " s", g.stride_h, ": ");
  if (const Refusal r = plan.refusal()) return s + r.why;
  if (plan.workspace() > kWorkspace) throw Error(s + "more working memory than was allowed");
  return message(s, plan.engine(), ", ", plan.workspace(), " bytes");
}

std::string heading() { return message("cuDNN ", version() / 10000, '.', version() / 100 % 100); }

std::vector<std::string> table(const std::string& device) {
  std::vector<std::string> lines{heading()};
  const auto add = [&](const Conv2dGeometry& g, Pass pass, DType t, bool bias, bool residual, const char* what) {
    lines.push_back(line({g, pass, int64_t(t), bias ? int64_t(t) : -1, residual}, what, device));
  };
  for (const DType t : {DType::bf16, DType::f32})
    for (const Layer& l : kLayers) {
      const auto g = Conv2dGeometry::make("plans", {kBatch, l.in, l.size, l.size}, {l.out, l.in, l.kernel, l.kernel},
                                          {.stride = l.stride, .padding = l.kernel / 2});
      add(g, Pass::forward, t, false, false, "forward");
      add(g, Pass::forward, t, true, false, "forward + bias");
      if (t == DType::bf16 && l.in == l.out) add(g, Pass::forward, t, true, true, "forward + bias + residual");
      add(g, Pass::data, t, false, false, "input gradient");
      add(g, Pass::weights, t, false, false, "weight gradient");
    }
  return lines;
}

int compare(const std::string& device, const std::string& path) {
  std::istringstream in(read(path));
  std::vector<std::string> want;
  for (std::string s; std::getline(in, s);) want.push_back(s);
  if (version() == 0) return std::cout << "SKIP: cuDNN was not found\n", 77;
  if (want.empty() || want[0] != heading())
    return std::cout << "SKIP: the table is one of another version, this is " << heading() << '\n', 77;
  const std::vector<std::string> got = table(device);
  int differences = 0;
  for (size_t i = 0; i < std::max(got.size(), want.size()); ++i) {
    const std::string g = i < got.size() ? got[i] : "nothing", w = i < want.size() ? want[i] : "nothing";
    if (g == w) continue;
    std::cout << "in the table:  " << w << "\nbuilt here:    " << g << '\n';
    ++differences;
  }
  return differences == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 2 || argc > 3) throw Error("usage: cuda_plans DEVICE.json [TABLE.txt]");
    const std::string device = read(argv[1]);
    if (argc == 3) return compare(device, argv[2]);
    for (const std::string& s : table(device)) std::cout << s << '\n';
    return 0;
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
}
