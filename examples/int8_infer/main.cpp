// int8_infer MODEL IMAGE: what an int8 network sees in a picture. One static program without the parts of the library
// that train, and without any other library.
#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "examples/int8_infer/image.h"
#include "quant/int8_net.h"

// libstdc++ calls this for an exception that nobody catches. Its own prints the name of the exception's type, which
// takes 45 KB of code to decipher; main() catches what the library throws.
namespace __gnu_cxx {
void __verbose_terminate_handler() { std::abort(); }
}  // namespace __gnu_cxx

namespace {

using namespace mininn;

constexpr int kShown = 5;
constexpr std::array kCifar10 = {"airplane", "automobile", "bird",  "cat",  "deer",
                                 "dog",      "frog",       "horse", "ship", "truck"};

// The file says how many classes there are and what it was calibrated with, not what they are called.
std::string class_name(const quant::Int8Model& model, size_t i, size_t classes) {
  const auto data = model.calibration.find("data");
  const bool synthetic = data != model.calibration.end() && data->second.starts_with("synthetic");
  return classes == kCifar10.size() && !synthetic ? kCifar10[i] : "class " + std::to_string(i);
}

void classify(const char* model_file, const char* image_file) {
  const quant::Int8Net net = quant::Int8Net::load(model_file, {.slice = 1});  // packs weights for single images only
  const quant::Int8Model& model = net.model();
  const Shape &input = model.input().shape, &output = model.output().shape;
  const bool vector = output.rank() > 1 && numel(output) == output[0] * output[1];
  if (!model.normalization || (input[1] != 1 && input[1] != 3) || !vector || model.output().dtype != DType::f32)
    throw FileError(message(model_file, ": is no classifier of grey or colour images"));
  const int8_infer::Image image = int8_infer::read_image(image_file, input[1]);
  const std::vector<double> logits = net(int8_infer::fit(image, input[2], input[3])).to_vector();

  if (!std::all_of(logits.begin(), logits.end(), [](double v) { return std::isfinite(v); }))
    throw ValueError(message(model_file, ": gives logits that are not finite"));

  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double v : logits) sum += std::exp(v - largest);
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  order.resize(std::min<size_t>(order.size(), kShown));
  for (const size_t i : order)
    std::printf("%-12s %6.2f%%  logit %.6g\n", class_name(model, i, logits.size()).c_str(),
                100 * std::exp(logits[i] - largest) / sum, logits[i]);
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows too large (ulimit -f) is an error to report
  if (argc != 3 || !*argv[1] || !*argv[2]) {
    std::fprintf(stderr, "usage: int8_infer MODEL.safetensors IMAGE.(png|ppm|pgm)\n");
    return 2;
  }
  try {
    classify(argv[1], argv[2]);
    flush_standard_output();
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "int8_infer: %s\n", e.what());
    return 1;
  }
}
