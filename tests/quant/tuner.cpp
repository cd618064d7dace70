#include "quant/tuner.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
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
using quant::Reading;
using quant::Stopwatch;
using quant::Tuner;

namespace {

// A 3x3 convolution of 32 channels.
struct Conv {
  Tensor x, y, w, bias, multiplier;
  op::QConv2d a;

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

size_t accepting(const op::QConv2d& a) {
  size_t n = 0;
  for (const auto& k : kernels<op::QConv2d>().candidates(DeviceType::cpu)) n += !k.refusal(a);
  return n;
}

std::vector<std::string> fields(const std::string& text, char separator) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string field; std::getline(in, field, separator);) out.push_back(field);
  return out;
}
size_t lines(const std::filesystem::path& file) { return fields(read_file(file), '\n').size(); }

// All calls take 1 ms, whatever they do and whatever else the machine does.
Reading steady(const std::function<void()>& call) {
  call();
  return {1, false};
}

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
    CHECK(c.trials[i].kernel != kernels<op::QConv2d>().candidates(DeviceType::cpu).back().name);
  }
}

TEST_CASE("no single slow call decides, however slow and whenever it comes") {
  using Kernels = std::vector<Kernel<op::QConv2d>>;
  static bool faster_ran;
  const Kernels all = kernels<op::QConv2d>().candidates(DeviceType::cpu);
  const auto check = [](const op::QConv2d&) { return Refusal{}; };
  const auto pack = [](const op::QConv2d&) { return Tensor::zeros({1}, DType::u8); };
  const Kernels three = {
      {"own.slower", kOwn, check, [](const op::QConv2d&, const ExecContext&) { faster_ran = false; }, pack},
      {"own.faster", kOwn, check, [](const op::QConv2d&, const ExecContext&) { faster_ran = true; }, pack},
      all.back()};
  struct Restore {
    const Kernels& list;
    ~Restore() { kernels<op::QConv2d>().set(DeviceType::cpu, list); }
  } const restore{all};
  kernels<op::QConv2d>().set(DeviceType::cpu, three);
  for (const double hiccup : {3.0, 28.7, 1000.0})
    for (int slow = 0; slow < 8; ++slow) {
      INFO(hiccup << " ms in call " << slow);
      TempFolder folder;
      int calls = 0;
      Tuner tuner(folder / "tuning.tsv", [&](const auto& call) {
        call();
        return faster_ran ? Reading{calls++ == slow ? hiccup : 0.29, false} : Reading{0.6, false};
      });
      const KernelChoice c = tuner.choose(Conv().a);
      CHECK(c.kernel->name == "own.faster");
      CHECK(c.trials[0].ms == 0.29);
      tuner.save();
      CHECK(lines(folder / "tuning.tsv") == 1);
    }
}

TEST_CASE("what was measured under load is used and not kept") {
  const Conv conv;
  if (accepting(conv.a) < 3) return;
  TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const auto saved = [&](const Stopwatch& stopwatch) {
    Tuner tuner(file, stopwatch);
    const KernelChoice c = tuner.choose(conv.a);
    CHECK(c.kernel->name == c.trials.at(0).kernel);
    tuner.save();
    return std::filesystem::exists(file);
  };
  CHECK_FALSE(saved([](const auto&) { return Reading{5, true}; }));
  double ms = 1;  // no two calls agree
  CHECK_FALSE(saved([&](const auto&) { return Reading{ms *= 0.7, false}; }));
  int calls = 0;  // load for a while
  CHECK(saved([&](const auto&) { return Reading{5, ++calls < 10}; }));
}

TEST_CASE("a stopwatch takes the time of the call") {
  bool called = false;
  const Reading r = quant::time_call([&] {
    called = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  });
  CHECK(called);
  CHECK(r.ms >= 2);
}

TEST_CASE("a tuner's file decides for the next process, per shape and number of threads") {
  TempFolder folder;
  const auto file = folder / "cache/tuning.tsv";
  const Conv conv;
  if (accepting(conv.a) < 3) return;
  {
    Tuner tuner(file, steady);
    tuner.choose(conv.a);
    CHECK_FALSE(std::filesystem::exists(file));
    tuner.save();
  }
  REQUIRE(lines(file) == 1);
  // The loser is made the winner: who reads the file takes it, who measures does not.
  const std::string text = read_file(file);
  const auto trials = fields(text.substr(0, text.size() - 1), '\t');  // [0] is the key
  REQUIRE(trials.size() >= 3);
  std::string reversed = trials[0];
  for (size_t i = trials.size() - 1; i > 0; --i) reversed += '\t' + trials[i];
  write_file(file, reversed + '\n');
  const std::string loser = fields(trials.back(), ' ')[0];
  Tuner next(file, steady);
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
  Tuner a(file, steady), b(file, steady);
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
    Tuner tuner(file, steady);
    tuner.choose(conv.a);
    tuner.save();
    const auto trials = fields(fields(read_file(file), '\n')[0], '\t');
    for (const std::string wrong : {"nonsense", "own.depthwise.avx512vnni"}) {
      write_file(file, trials[0] + '\t' + trials[1] + '\t' + wrong + " 100\n");
      for (const auto& t : Tuner(file).choose(conv.a).trials) CHECK(t.kernel != wrong);
    }
  }
  // Times that contradict each other or no machine needs, and kernels that are missing or twice there.
  if (accepting(conv.a) > 2) {
    Tuner tuner(folder / "good.tsv", steady);
    tuner.choose(conv.a);
    tuner.save();
    const auto good = fields(fields(read_file(folder / "good.tsv"), '\n')[0], '\t');
    const auto with_times = [&](const std::string& first, const std::string& others) {
      std::string line = good[0];
      for (size_t i = 1; i < good.size(); ++i) line += '\t' + fields(good[i], ' ')[0] + ' ' + (i == 1 ? first : others);
      return line;
    };
    std::string twice = good[0];
    for (size_t i = 1; i < good.size(); ++i) twice += '\t' + good[1];
    for (const std::string& line : {with_times("9000000", "8"), with_times("7", "9999999999999999"),
                                    with_times("7", "8x"), with_times("7", "-8"), good[0] + '\t' + good[1], twice}) {
      INFO(line);
      write_file(file, line + '\n');
      const KernelChoice c = Tuner(file, steady).choose(conv.a);
      for (const auto& t : c.trials) CHECK(t.ms == 1);
    }
    write_file(file, with_times("7", "8") + '\n');
    CHECK(Tuner(file, steady).choose(conv.a).trials[0].ms == 7e-6);
  }
  write_file(folder / "a_file", "");
  Tuner nowhere(folder / "a_file/tuning.tsv");
  nowhere.choose(conv.a);
  CHECK_NOTHROW(nowhere.save());
}

TEST_CASE("a tuner takes a pipe, a folder and what never ends for an empty file, and leaves them as they are") {
  const TempFolder folder;
  const Conv conv;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  std::filesystem::create_directory(folder / "folder");
  std::filesystem::create_symlink("/dev/zero", folder / "device");
  write_file(folder / "large", std::string((16 << 20) + 1, 'x'));
  for (const char* name : {"pipe", "folder", "device", "large"}) {
    INFO(name);
    const auto type = std::filesystem::status(folder / name).type();
    Tuner tuner(folder / name, steady);
    CHECK(tuner.choose(conv.a).kernel != nullptr);
    tuner.save();
    CHECK(std::filesystem::status(folder / name).type() == type);
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 4);  // nothing is left beside them
}

TEST_CASE("a tuner stays within the preferred family, and a forced kernel needs none") {
  TempFolder folder;
  Tuner tuner(folder / "tuning.tsv");
  const Conv conv;
  {
    const PreferenceGuard own(Preference::own);
    for (const auto& t : tuner.choose(conv.a).trials) CHECK(t.kernel.starts_with("own."));
  }
  const ForceKernel force("qconv2d", "ref");
  const KernelChoice c = quant::choose_kernel(conv.a, 0);
  CHECK(c.kernel->name == "ref");
  CHECK(c.trials.empty());
}

TEST_CASE("MININN_TUNE is on or off") {
  const Conv conv;
  ::setenv("MININN_TUNE", "off", 1);
  const KernelChoice c = quant::choose_kernel(conv.a, 0);
  CHECK(c.trials.empty());
  CHECK(c.kernel->name == kernels<op::QConv2d>().select(conv.a, Device::cpu()).name);
  ::setenv("MININN_TUNE", "sometimes", 1);
  CHECK_THROWS_AS(quant::choose_kernel(conv.a, 0), ValueError);
  ::setenv("MININN_TUNE", "off", 1);
}

TEST_CASE("the tuner chooses the kernels of a network's layers by the time of the network") {
  TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const Conv conv;
  if (accepting(conv.a) < 4) return;
  std::vector<const Kernel<op::QConv2d>*> three;
  for (const auto& k : kernels<op::QConv2d>().candidates(DeviceType::cpu))
    if (!k.refusal(conv.a) && three.size() < 3) three.push_back(&k);
  const auto choice = [&](const std::string& key, double ms) {
    KernelChoice c{three[0], {}, key};
    for (size_t i = 0; i < 3; ++i)
      c.trials.push_back({std::string(three[i]->name), ms * std::array{1.0, 1.25, 9.0}[i]});
    return c;
  };

  // Alone the first kernel is the fastest for all layers. Together, it makes layer 2 slow where layers 0 and 1 have it.
  // The last layer's kernels differ by a factor, but of nothing.
  for (const bool known : {false, true}) {
    std::vector<KernelChoice> layers{choice("a", 1), choice("a", 1), choice("b", 1), choice("c", 0.001)};
    std::vector<const Kernel<op::QConv2d>*> used(4, three[0]);
    int runs = 0, hopeless = 0, small = 0;
    Tuner tuner(file, steady);
    tuner.choose_together(
        layers,
        [&](size_t i, const Kernel<op::QConv2d>& k) {
          used[i] = &k;
          hopeless += &k == three[2];
          small += i == 3;
        },
        [&] {
          ++runs;
          double ms = 0;
          for (size_t i = 0; i < 3; ++i) ms += used[i] == three[0] ? 1 : 1.25;
          if (used[0] == three[0] || used[1] == three[0]) ms += 2;
          return ms;
        });
    CHECK(used == std::vector{three[1], three[1], three[0], three[0]});
    for (size_t i = 0; i < 4; ++i) CHECK(layers[i].kernel == used[i]);
    CHECK(hopeless == 0);
    CHECK(small == 0);
    CHECK((runs > 0) != known);
    tuner.save();
  }

  // What counts for one network says nothing about another.
  std::vector<KernelChoice> layers{choice("a", 1), choice("b", 1)};
  int runs = 0;
  Tuner(file, steady)
      .choose_together(
          layers, [](size_t, const auto&) {}, [&] { return ++runs, 1.0; });
  CHECK(runs > 0);
  CHECK(layers[0].kernel == three[0]);
}

TEST_CASE("the times of a network under load are used and not kept") {
  const TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const Conv conv;
  if (accepting(conv.a) < 3) return;
  std::vector<KernelChoice> layers{{&kernels<op::QConv2d>().select(conv.a, Device::cpu()), {}, "a"}};
  for (const auto& k : kernels<op::QConv2d>().candidates(DeviceType::cpu))
    if (!k.refusal(conv.a) && layers[0].trials.size() < 2) layers[0].trials.push_back({std::string(k.name), 1});
  for (const bool loaded : {true, false}) {
    Tuner tuner(file, [&](const auto& call) {
      call();
      return Reading{1, loaded};
    });
    int runs = 0;
    tuner.choose_together(
        layers, [](size_t, const auto&) {}, [&] { return ++runs, 10.0; });
    CHECK(runs > 0);
    tuner.save();
    CHECK(std::filesystem::exists(file) == !loaded);
  }
}
