// The command line of the example: cifar_resnet train | eval | kernels | ptq | bench | report.
#include <CLI/CLI.hpp>
#include <cfloat>
#include <csignal>
#include <cstdio>

#include "core/error.h"
#include "core/file.h"
#include "examples/cifar_resnet/architecture.h"
#include "examples/cifar_resnet/command_line.h"
#include "examples/cifar_resnet/interrupt.h"
#include "examples/cifar_resnet/options.h"

namespace {

using namespace cifar_resnet;

void add_common(CLI::App& app, CommonOptions& o) {
  app.add_option("--data", o.data, "folder of the CIFAR-10 binary files, or 'synthetic'; else the usual places")
      ->check(path());
  app.add_option("--device", o.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--backend", o.backend, "which kernels go first")
      ->check(CLI::IsMember({"auto", "own", "vendor"}))
      ->capture_default_str();
  app.add_option("--threads", o.threads,
                 "CPU threads; 0 takes MININN_NUM_THREADS, or all cores that the process may use")
      ->check(whole(0, kMostThreads))
      ->capture_default_str();
  app.add_option("--seed", o.seed, "of everything random")->check(whole(0, UINT64_MAX))->capture_default_str();
  app.add_option("--limit-test", o.limit_test, "use the first N test images; 0 for all")
      ->check(whole(0, kMostImages))
      ->capture_default_str();
}

void add_train(CLI::App& app, TrainOptions& o) {
  add_common(app, o);
  std::vector<std::string> archs;
  for (const Architecture& a : architectures()) archs.push_back(a.name);
  app.add_option("--arch", o.arch, "the network")->check(CLI::IsMember(archs))->capture_default_str();
  CLI::Option* const epochs = app.add_option("--epochs", o.epochs)->check(whole(1, kMostEpochs))->capture_default_str();
  app.add_option("--batch-size", o.batch_size)->check(whole(1, kMostBatch))->capture_default_str();
  app.add_option("--lr", o.lr, "highest learning rate [0.1, or 0.2 with --recipe fast]")
      ->check(between(FLT_MIN, FLT_MAX));
  app.add_option("--momentum", o.momentum)->check(between(0, 1))->capture_default_str();
  app.add_option("--weight-decay", o.weight_decay)->check(between(0, FLT_MAX))->capture_default_str();
  app.add_option("--schedule", o.schedule, "of the classic recipe's learning rate [cosine]")
      ->check(CLI::IsMember({"cosine", "one-cycle", "step"}));
  app.add_option("--warmup", o.warmup,
                 "epochs in which the rate rises to --lr before the cosine [1, or a fifth of a short run]")
      ->check(between(0, kMostEpochs));
  app.add_option("--recipe", o.recipe, "classic, or fast: one-cycle, label smoothing, nesterov, alternating flip")
      ->check(CLI::IsMember({"classic", "fast"}))
      ->capture_default_str();
  app.add_option("--cutout", o.cutout, "edge of a square that is cut out of every training image, in pixels; 0: none")
      ->check(whole(0, 64))
      ->capture_default_str();
  app.add_option("--width", o.width, "factor on the number of channels")
      ->check(between(0.015625, 16))
      ->capture_default_str();
  app.add_flag("--amp", o.amp, "mixed precision: activations and their gradients are bf16, all else fp32");
  app.add_option("--save-dtype", o.save_dtype, "of the weights in the file that is written; bf16 takes half the bytes")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  app.add_option("--early-stop", o.early_stop, "stop after N epochs without a better validation loss; 0: never")
      ->check(whole(0, kMostEpochs))
      ->capture_default_str();
  app.add_option("--val-split", o.val_split, "training images held out for validation (5000 with --early-stop)")
      ->check(whole(0, kMostImages))
      ->capture_default_str();
  app.add_option("--checkpoint-every", o.checkpoint_every, "epochs")
      ->check(whole(1, kMostEpochs))
      ->capture_default_str();
  CLI::Option* const resume =
      app.add_flag("--resume", o.resume, "go on from OUT/checkpoint, with all other options as before");
  CLI::Option* const limit =
      app.add_option("--limit-train", o.limit_train, "use the first N training images; 0 for all")
          ->check(whole(0, kMostImages))
          ->capture_default_str();
  app.add_option("--minutes", o.minutes,
                 "train for about that time: the fewest epochs, all of as many images as fit; tests come on top")
      ->check(between(0.01, 1e5))
      ->excludes(epochs)
      ->excludes(resume)
      ->excludes(limit);
  app.add_option("--tensorboard", o.tensorboard, "write event files for TensorBoard into this folder")->check(path());
  app.add_option("--serve", o.serve, "show the training live at http://localhost:PORT; HOST:PORT lets others see it");
  app.add_option("--out", o.out, "folder for everything that is written")->check(path())->capture_default_str();
  app.add_option("--model", o.model, "where the network goes [OUT/ARCH.safetensors]")->check(path());
  app.add_option(
         "--init", o.init,
         "begin with the values of this file, fp32 or int8, of the same network and width, instead of random ones")
      ->check(path());
}

void add_eval(CLI::App& app, EvalOptions& o) {
  add_common(app, o);
  app.add_option("--model", o.model, "an fp32 or int8 file")->check(path())->required();
  app.add_option("--json", o.json, "write the figures there too")->check(path());
  app.add_option("--batch-size", o.batch_size)->check(whole(1, kMostBatch))->capture_default_str();
  app.add_option("--kernel", o.kernel,
                 "force one kernel, or the first of several that takes a layer, e.g. "
                 "qconv2d=own.winograd.avx2,own.direct.avx2; of "
                 "the CPU, if --device does not say otherwise");
}

void add_ptq(CLI::App& app, PtqOptions& o) {
  add_common(app, o);
  app.add_option("--model", o.model, "the fp32 network")->check(path())->capture_default_str();
  app.add_option("--calib", o.calib, "training images to calibrate with, class-balanced")
      ->check(whole(1, kMostImages))
      ->capture_default_str();
  app.add_option("--observer", o.observer, "mse, minmax, kl, percentile or percentile:P")->capture_default_str();
  app.add_flag("--per-tensor", o.per_tensor, "one weight scale per layer instead of one per channel");
  app.add_flag("--equalize", o.equalize, "even out weight ranges between layers first (helps with --per-tensor)");
  app.add_flag("--bias-correction", o.bias_correction, "take each layer's mean error out of its bias");
  app.add_option("--max-drop", o.max_drop, "fail if accuracy drops by more percentage points")
      ->check(between(-100, 100));
  app.add_option("--min-coverage", o.min_coverage, "fail if a smaller share of the MACs runs in int8")
      ->check(between(0, 1));
  app.add_option("--out", o.out, "folder for everything that is written")->check(path())->capture_default_str();
}

void add_bench(CLI::App& app, BenchOptions& o) {
  add_common(app, o);
  app.add_option("--model", o.model, "an fp32 file")->check(path());
  app.add_option("--int8", o.int8, "an int8 file")->check(path());
  add_list(app, "--batch", o.batch, "batch sizes", whole(1, kMostBatch));
  app.remove_option(app.get_option("--threads"));
  add_list(app, "--threads", o.bench_threads, "numbers of threads", whole(1, kMostThreads));
  app.add_option("--seconds", o.seconds, "that each batch size and number of threads is measured for")
      ->check(between(0.001, 3600))
      ->capture_default_str();
  app.add_option("--json", o.json, "write the figures there too")->check(path());
}

int run(int argc, char** argv) {
  CLI::App app("Small networks on CIFAR-10 with mininn: train, quantize to int8, measure.");
  app.require_subcommand(1);
  app.set_version_flag("--version", "cifar_resnet " MININN_VERSION);
  TrainOptions train_options;
  EvalOptions eval_options;
  PtqOptions ptq_options;
  BenchOptions bench_options;
  ReportOptions report_options;
  CLI::App* train_command = app.add_subcommand("train", "train a network");
  CLI::App* eval_command =
      app.add_subcommand("eval", "accuracy, loss and the hash of all logits of an fp32 or int8 file");
  CLI::App* kernels_command = app.add_subcommand("kernels", "list the int8 convolution kernels of this build");
  CLI::App* ptq_command = app.add_subcommand("ptq", "quantize a trained network to int8 and say what it cost");
  CLI::App* bench_command = app.add_subcommand("bench", "latency, throughput and memory, fp32 against int8");
  CLI::App* report_command = app.add_subcommand("report", "rebuild pictures and report.html from the logs");
  report_command->add_option("--out", report_options.out, "the folder of results")
      ->check(path())
      ->capture_default_str();
  add_train(*train_command, train_options);
  add_eval(*eval_command, eval_options);
  add_ptq(*ptq_command, ptq_options);
  add_bench(*bench_command, bench_options);
  if (const auto status = parse(app, "cifar_resnet", argc, argv)) return *status;

  if (*train_command) train(train_options);
  if (*eval_command) eval(eval_options);
  if (*kernels_command) list_int8_kernels();
  if (*ptq_command) ptq(ptq_options);
  if (*bench_command) bench(bench_options);
  if (*report_command) report(report_options);
  return 0;
}

int fail(const std::exception& e, int status) {
  std::fflush(stdout);
  std::fprintf(stderr, "cifar_resnet: %s\n", e.what());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  mininn::occupy_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);  // whoever reads the output may leave, the work goes on
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows too large (ulimit -f) is an error to report
  try {
    const int status = run(argc, argv);
    mininn::flush_standard_output();
    return status;
  } catch (const Interrupted& e) {
    return fail(e, 128 + e.signal);
  } catch (const std::exception& e) {
    return fail(e, 1);
  }
}
