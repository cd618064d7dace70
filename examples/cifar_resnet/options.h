// What the command line says. Defaults stand here; main.cpp binds the options to them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace cifar_resnet {

using Path = std::filesystem::path;

inline constexpr uint64_t kMostEpochs = 1'000'000;

// Options that every command has.
struct CommonOptions {
  std::string data;  // a folder, "synthetic", or empty: look in the usual places
  std::string device = "auto";
  std::string backend = "auto";
  int threads = 0;  // 0: MININN_NUM_THREADS or all cores
  uint64_t seed = 1;
  int64_t limit_test = 0;  // 0: all images
};

struct TrainOptions : CommonOptions {
  Path out = "results";
  Path model;  // empty: OUT/ARCH.safetensors
  Path init;   // an fp32 file whose values to begin with; empty: random ones
  std::string arch = "resnet18";
  int64_t epochs = 50, batch_size = 128;
  std::optional<double> minutes;  // epochs and limit_train follow from the speed of this machine
  std::optional<double> lr;       // the highest; the recipe's own
  double momentum = 0.9, weight_decay = 5e-4;
  std::optional<std::string> schedule;  // the recipe's own
  std::optional<double> warmup;  // epochs of linearly rising rate before the cosine; see default_warmup() in recipe.h
  std::string recipe = "classic";
  int64_t cutout = 0;  // edge of the square
  double width = 1.0;
  bool amp = false;                // activations of bf16
  std::string save_dtype = "f32";  // of the weights in the network's file
  int64_t early_stop = 0;          // epochs without a better validation loss; 0: never
  int64_t val_split = 0;           // images held out; early stopping needs some
  int64_t checkpoint_every = 1;
  bool resume = false;
  int64_t limit_train = 0;
  Path tensorboard;                  // a folder for event files; empty: none
  std::optional<std::string> serve;  // PORT or HOST:PORT of the live page
};

struct EvalOptions : CommonOptions {
  Path model;
  Path json;
  int64_t batch_size = 100;
  std::optional<std::string> kernel;  // "op=kernel": force one kernel
};

struct PtqOptions : CommonOptions {
  Path model = "results/resnet18.safetensors";
  Path out = "results";
  int64_t calib = 512;
  std::string observer = "mse";
  bool per_tensor = false, equalize = false, bias_correction = false;
  std::optional<double> max_drop;      // percentage points; more is an error after everything is written
  std::optional<double> min_coverage;  // of the MACs, 0..1
};

struct BenchOptions : CommonOptions {
  Path model, int8;
  std::vector<int64_t> batch{1, 8, 32, 128};
  std::vector<int> bench_threads{1, 2};
  double seconds = 2;
  Path json;
};

struct ReportOptions {
  Path out = "results";
};

void train(const TrainOptions& o);
void eval(const EvalOptions& o);
void list_int8_kernels();
void ptq(const PtqOptions& o);
void bench(const BenchOptions& o);
void report(const ReportOptions& o);

}  // namespace cifar_resnet
