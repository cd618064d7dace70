#include "quant/tuner.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <sstream>
#include <thread>

#include "core/parallel.h"
#include "ops/qlayout.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::testing;
using quant::KernelChoice;
using quant::Tuner;

namespace {

// A 3x3 convolution of 32 channels.
struct Conv {
  Tensor x, y, w, bias, multiplier;
  QConv2d a;

  explicit Conv(int64_t size = 8) : x(empty_codes({2, 32, size, size})), y(empty_codes({2, 32, size, size})) {
    w = Tensor::zeros({32, 32, 3, 3}, DType::i8);
    bias = Tensor::zeros({1, 32}, DType::i32);
    multiplier = Tensor::full({32}, 0.01);
    a.g = Conv2dGeometry::make("test", x.shape(), w.shape(), {.padding = 1});
    a.x = x.view();
    a.w = w.view();
    a.bias = bias.view();
    a.multiplier = multiplier.view();
    a.y = y.mutable_view();
  }
};

size_t accepting(const QConv2d& a) {
  size_t n = 0;
  for (const auto& k : qconv2d_kernels().kernels(DeviceType::cpu)) n += !k.check(a);
  return n;
}

std::vector<std::string> fields(const std::string& text, char separator) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string field; std::getline(in, field, separator);) out.push_back(field);
  return out;
}
size_t lines(const std::filesystem::path& file) { return fields(read_file(file), '\n').size(); }

}  // namespace

TEST_CASE("the tuner measures every candidate but the reference and takes the fastest") {
  TempFolder folder;
  Tuner tuner(folder / "tuning.tsv");
  const Conv conv;
  if (accepting(conv.a) < 3) return;  // a processor with one fast kernel leaves nothing to choose
  const KernelChoice c = tuner.choose(conv.a);
  CHECK(c.trials.size() == accepting(conv.a) - 1);
  CHECK(c.kernel->name == c.trials[0].kernel);
  for (size_t i = 0; i < c.trials.size(); ++i) {
    CHECK(c.trials[i].ms > 0);
    if (i) CHECK(c.trials[i].ms >= c.trials[i - 1].ms);
    CHECK(c.trials[i].kernel != qconv2d_kernels().kernels(DeviceType::cpu).back().name);
  }
}

TEST_CASE("the tuner does not drop a kernel that another program interrupts") {
  using Kernels = std::vector<Kernel<QConv2d>>;
  static int calls;
  calls = 0;
  static const auto wait = [](int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); };
  const Kernels all = qconv2d_kernels().kernels(DeviceType::cpu);
  const auto check = [](const QConv2d&) { return Refusal{}; };
  const auto pack = [](const QConv2d&) { return Tensor::zeros({1}, DType::u8); };
  const Kernels three = {{"own.steady", check, [](const QConv2d&, const ExecContext&) { wait(4); }, pack},
                         // one call to warm up, two that take longer than they should
                         {"own.interrupted", check,
                          [](const QConv2d&, const ExecContext&) { wait(++calls == 2 || calls == 3 ? 10 : 1); }, pack},
                         all.back()};
  struct Restore {
    const Kernels& kernels;
    ~Restore() { qconv2d_kernels().set(DeviceType::cpu, kernels); }
  } const restore{all};
  qconv2d_kernels().set(DeviceType::cpu, three);
  TempFolder folder;
  CHECK(Tuner(folder / "tuning.tsv").choose(Conv().a).kernel->name == "own.interrupted");
}

TEST_CASE("a tuner's file decides for the next process, per shape and number of threads") {
  TempFolder folder;
  const auto file = folder / "cache/tuning.tsv";
  const Conv conv;
  if (accepting(conv.a) < 3) return;
  {
    Tuner tuner(file);
    tuner.choose(conv.a);
    CHECK_FALSE(std::filesystem::exists(file));
    tuner.save();
  }
  REQUIRE(lines(file) == 1);
  // The loser is made the winner: who reads the file takes it, who measures does not.
  const std::string text = read_file(file);
  const auto trials = fields(text.substr(0, text.size() - 1), '\t');  // [0] is the key
  REQUIRE(trials.size() >= 3);
  write_file(file, trials[0] + '\t' + trials.back() + '\t' + trials[1] + '\n');
  const std::string loser = fields(trials.back(), ' ')[0];
  Tuner next(file);
  CHECK(next.choose(conv.a).kernel->name == loser);
  next.choose(Conv(12).a);
  const int threads = num_threads();
  set_num_threads(threads == 1 ? 2 : 1);
  next.choose(conv.a);
  set_num_threads(threads);
  next.save();
  CHECK(lines(file) == 3);
}

TEST_CASE("tuners that save to one file keep each other's entries") {
  TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const Conv small, large(12);
  if (accepting(small.a) < 3) return;
  Tuner a(file), b(file);
  a.choose(small.a);
  b.choose(large.a);
  a.save();
  b.save();
  CHECK(lines(file) == 2);
}

TEST_CASE("a tuner takes a damaged file, or none that can be written, for an empty one") {
  TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const Conv conv;
  for (const char* text : {"", "\n", "key", "key\t", "key\tkernel", "key\tkernel fast", "\t\t\t", "key\tkernel -1"}) {
    write_file(file, text);
    CHECK(Tuner(file).choose(conv.a).kernel != nullptr);
  }
  // A kernel that does not exist, or does not take the call, in the place of a loser.
  if (accepting(conv.a) > 2) {
    Tuner tuner(file);
    tuner.choose(conv.a);
    tuner.save();
    const auto trials = fields(fields(read_file(file), '\n')[0], '\t');
    for (const std::string wrong : {"nonsense", "own.depthwise.avx512vnni"}) {
      write_file(file, trials[0] + '\t' + trials[1] + '\t' + wrong + " 100\n");
      for (const auto& t : Tuner(file).choose(conv.a).trials) CHECK(t.kernel != wrong);
    }
  }
  write_file(folder / "a_file", "");
  Tuner nowhere(folder / "a_file/tuning.tsv");
  nowhere.choose(conv.a);
  CHECK_NOTHROW(nowhere.save());
}

TEST_CASE("a tuner stays within the preferred family, and a forced kernel needs none") {
  TempFolder folder;
  Tuner tuner(folder / "tuning.tsv");
  const Conv conv;
  set_preference(Preference::own);
  for (const auto& t : tuner.choose(conv.a).trials) CHECK(t.kernel.starts_with("own."));
  set_preference(Preference::automatic);
  const ForceKernel force("qconv2d", "own.direct.scalar");
  const KernelChoice c = quant::choose_kernel(conv.a, 0);
  CHECK(c.kernel->name == "own.direct.scalar");
  CHECK(c.trials.empty());
}

TEST_CASE("MININN_TUNE is on or off") {
  const Conv conv;
  ::setenv("MININN_TUNE", "off", 1);
  const KernelChoice c = quant::choose_kernel(conv.a, 0);
  CHECK(c.trials.empty());
  CHECK(c.kernel->name == qconv2d_kernels().select(conv.a, Device::cpu()).name);
  ::setenv("MININN_TUNE", "sometimes", 1);
  CHECK_THROWS_AS(quant::choose_kernel(conv.a, 0), ValueError);
  ::setenv("MININN_TUNE", "off", 1);
}

TEST_CASE("the tuner chooses the kernels of a network's layers by the time of the network") {
  TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const Conv conv;
  if (accepting(conv.a) < 4) return;
  std::vector<const Kernel<QConv2d>*> kernels;
  for (const auto& k : qconv2d_kernels().kernels(DeviceType::cpu))
    if (!k.check(conv.a) && kernels.size() < 3) kernels.push_back(&k);
  const auto choice = [&](const std::string& key, double ms) {
    KernelChoice c{kernels[0], {}, key};
    for (size_t i = 0; i < 3; ++i)
      c.trials.push_back({std::string(kernels[i]->name), ms * std::array{1.0, 1.25, 9.0}[i]});
    return c;
  };

  // Alone the first kernel is the fastest for all layers. Together, it makes layer 2 slow where layers 0 and 1 have it.
  // The last layer's kernels differ by a factor, but of nothing.
  for (const bool known : {false, true}) {
    std::vector<KernelChoice> layers{choice("a", 1), choice("a", 1), choice("b", 1), choice("c", 0.001)};
    std::vector<const Kernel<QConv2d>*> used(4, kernels[0]);
    int runs = 0, hopeless = 0, small = 0;
    Tuner tuner(file);
    tuner.choose_together(
        layers,
        [&](size_t i, const Kernel<QConv2d>& k) {
          used[i] = &k;
          hopeless += &k == kernels[2];
          small += i == 3;
        },
        [&] {
          ++runs;
          double ms = 0;
          for (size_t i = 0; i < 3; ++i) ms += used[i] == kernels[0] ? 1 : 1.25;
          if (used[0] == kernels[0] || used[1] == kernels[0]) ms += 2;
          return ms;
        });
    CHECK(used == std::vector{kernels[1], kernels[1], kernels[0], kernels[0]});
    for (size_t i = 0; i < 4; ++i) CHECK(layers[i].kernel == used[i]);
    CHECK(hopeless == 0);
    CHECK(small == 0);
    CHECK((runs > 0) != known);
    tuner.save();
  }

  // What counts for one network says nothing about another.
  std::vector<KernelChoice> layers{choice("a", 1), choice("b", 1)};
  int runs = 0;
  Tuner(file).choose_together(
      layers, [](size_t, const auto&) {}, [&] { return ++runs, 1.0; });
  CHECK(runs > 0);
  CHECK(layers[0].kernel == kernels[0]);
}
