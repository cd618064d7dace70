#include "core/tuner.h"

#include <sys/stat.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
#include <set>
#include <sstream>
#include <thread>

#include "core/parallel.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

// Which kernel made the last call, and of what.
struct {
  std::string kernel;
  const std::byte *x, *y, *packed;
} last_call;

// Calls of two ops that differ in nothing but their names.
template <char kOp>
struct Toy {
  static constexpr char kName[] = {'t', 'o', 'y', '_', kOp, 0};
  static constexpr std::string_view op = kName;
  CView x;
  View y;
  const std::byte* packed = nullptr;

  std::string key() const { return x.size() ? message("n", x.size()) : ""; }
  Rehearsal<Toy> rehearse() const {
    Rehearsal<Toy> r{*this, Tensor::full(x.shape, 1), {Tensor::zeros(y.shape)}};
    r.args.x.data = r.input.view().data;
    r.args.y.data = r.others[0].mutable_view().data;
    return r;
  }
};
using ToyA = Toy<'a'>;
using ToyB = Toy<'b'>;
static_assert(Tunable<ToyA> && !Tunable<Device>);

constexpr std::string_view kFirst = "own.first", kSecond = "own.second", kThird = "vendor.third",
                           kRefuses = "own.refuses", kRef = "ref";

template <class Args>
Refusal takes_all(const Args&) {
  return {};
}
template <const std::string_view& kName, class Args>
Kernel<Args> toy_kernel(Traits traits) {
  return {kName, traits, takes_all<Args>, [](const Args& a, const ExecContext&) {
            last_call = {std::string(kName), a.x.data, a.y.data, a.packed};
          }};
}
template <class Args>
std::vector<Kernel<Args>> toy_kernels() {
  const Traits vendor{.family = Family::vendor};
  auto third = toy_kernel<kThird, Args>(vendor);
  third.pack = [](const Args&) { return Tensor::zeros({3}, DType::u8); };
  auto refuses = toy_kernel<kRefuses, Args>(kOwn);
  refuses.check = [](const Args&) { return Refusal{"takes nothing"}; };
  return {toy_kernel<kFirst, Args>(kOwn), toy_kernel<kSecond, Args>(kOwn), refuses, third,
          toy_kernel<kRef, Args>(kReference)};
}

// A call of op A or B on so many elements.
template <class Args = ToyA>
struct Call {
  Tensor x, y;
  Args args;

  explicit Call(int64_t size = 8) : x(Tensor::zeros({size})), y(Tensor::zeros({size})) {
    [[maybe_unused]] static const bool once = (kernels<Args>().set(DeviceType::cpu, toy_kernels<Args>()), true);
    args = {x.view(), y.mutable_view()};
  }
};

const Device kCpu = Device::cpu();

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
// The second kernel takes 2 ms, the third 1 ms, and others 3 ms.
Reading third_wins(const std::function<void()>& call) {
  call();
  return {last_call.kernel == kThird ? 1.0 : last_call.kernel == kSecond ? 2.0 : 3.0, false};
}

}  // namespace

TEST_CASE("the tuner measures every candidate but the reference and takes the fastest") {
  TempFolder folder;
  Tuner tuner(folder / "tuning.tsv", third_wins);
  const Call call;
  const auto c = tuner.choose(call.args, kCpu);
  CHECK(c.kernel->name == kThird);
  REQUIRE(c.trials.size() == 3);
  const std::pair<std::string_view, double> want[] = {{kThird, 1}, {kSecond, 2}, {kFirst, 3}};
  for (size_t i = 0; i < 3; ++i) {
    CHECK(c.trials[i].kernel == want[i].first);
    CHECK(c.trials[i].ms == want[i].second);
  }
}

TEST_CASE("the tuner measures calls with memory of their own and the constants that each kernel packs") {
  TempFolder folder;
  const Call call;
  std::set<std::string> packed;
  Tuner tuner(folder / "tuning.tsv", [&](const auto& run) {
    run();
    CHECK(last_call.x != call.args.x.data);
    CHECK(last_call.y != call.args.y.data);
    if (last_call.packed) packed.insert(last_call.kernel);
    return Reading{1, false};
  });
  tuner.choose(call.args, kCpu, 1 << 10);
  CHECK(packed == std::set<std::string>{std::string(kThird)});
}

TEST_CASE("ops of equal geometry do not share what was measured") {
  TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const Call<ToyA> a;
  const Call<ToyB> b;
  Tuner tuner(file, third_wins);
  CHECK(tuner.choose(a.args, kCpu).key != tuner.choose(b.args, kCpu).key);
  tuner.save();
  CHECK(lines(file) == 2);
}

TEST_CASE("nothing is measured of a call that computes nothing, nor on a device other than the CPU") {
  TempFolder folder;
  Tuner tuner(folder / "tuning.tsv", third_wins);
  const auto choice = tuner.choose(Call(0).args, kCpu);
  CHECK(choice.trials.empty());
  CHECK(choice.kernel->name == kFirst);
  kernels<ToyA>().set(DeviceType::cuda, toy_kernels<ToyA>());
  const auto there = tuner.choose(Call().args, Device::cuda());
  CHECK(there.trials.empty());
  CHECK(there.kernel == &kernels<ToyA>().candidates(DeviceType::cuda)[0]);
}

TEST_CASE("no single slow call decides, however slow and whenever it comes") {
  for (const double hiccup : {3.0, 28.7, 1000.0})
    for (int slow = 0; slow < 8; ++slow) {
      INFO(hiccup << " ms in call " << slow);
      TempFolder folder;
      int calls = 0;
      Tuner tuner(folder / "tuning.tsv", [&](const auto& call) {
        call();
        return last_call.kernel == kSecond ? Reading{calls++ == slow ? hiccup : 0.29, false} : Reading{0.6, false};
      });
      const auto c = tuner.choose(Call().args, kCpu);
      CHECK(c.kernel->name == kSecond);
      CHECK(c.trials[0].ms == 0.29);
      tuner.save();
      CHECK(lines(folder / "tuning.tsv") == 1);
    }
}

TEST_CASE("what was measured under load is used and not kept") {
  const Call call;
  TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const auto saved = [&](const TimeCall& stopwatch) {
    Tuner tuner(file, stopwatch);
    const auto c = tuner.choose(call.args, kCpu);
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
  const Reading r = time_call([&] {
    called = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  });
  CHECK(called);
  CHECK(r.ms >= 2);
}

TEST_CASE("a tuner's file decides for the next process, per shape and number of threads") {
  TempFolder folder;
  const auto file = folder / "cache/tuning.tsv";
  const Call call;
  {
    Tuner tuner(file, steady);
    tuner.choose(call.args, kCpu);
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
  CHECK(next.choose(call.args, kCpu).kernel->name == loser);
  next.choose(Call(12).args, kCpu);
  const int threads = num_threads();
  set_num_threads(threads == 1 ? 2 : 1);
  next.choose(call.args, kCpu);
  set_num_threads(threads);
  next.save();
  CHECK(lines(file) == 3);
}

TEST_CASE("tuners that save to one file keep each other's entries") {
  TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const Call small, large(12);
  Tuner a(file, steady), b(file, steady);
  a.choose(small.args, kCpu);
  b.choose(large.args, kCpu);
  a.save();
  b.save();
  CHECK(lines(file) == 2);
}

TEST_CASE("a tuner takes a damaged file, or none that can be written, for an empty one") {
  TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const Call call;
  for (const char* text : {"", "\n", "key", "key\t", "key\tkernel", "key\tkernel fast", "\t\t\t", "key\tkernel -1"}) {
    write_file(file, text);
    CHECK(Tuner(file).choose(call.args, kCpu).kernel != nullptr);
  }
  {  // a kernel that does not exist, or does not take the call, in the place of a loser
    Tuner tuner(file, steady);
    tuner.choose(call.args, kCpu);
    tuner.save();
    const auto trials = fields(fields(read_file(file), '\n')[0], '\t');
    for (const std::string_view wrong : {std::string_view("nonsense"), kRefuses}) {
      write_file(file, trials[0] + '\t' + trials[1] + '\t' + std::string(wrong) + " 100\n");
      for (const auto& t : Tuner(file).choose(call.args, kCpu).trials) CHECK(t.kernel != wrong);
    }
  }
  {  // times that contradict each other or no machine needs, and kernels that are missing or twice there
    Tuner tuner(folder / "good.tsv", steady);
    tuner.choose(call.args, kCpu);
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
      const auto c = Tuner(file, steady).choose(call.args, kCpu);
      for (const auto& t : c.trials) CHECK(t.ms == 1);
    }
    write_file(file, with_times("7", "8") + '\n');
    CHECK(Tuner(file, steady).choose(call.args, kCpu).trials[0].ms == 7e-6);
  }
  write_file(folder / "a_file", "");
  Tuner nowhere(folder / "a_file/tuning.tsv");
  nowhere.choose(call.args, kCpu);
  CHECK_NOTHROW(nowhere.save());
}

TEST_CASE("a tuner takes a pipe, a folder and what never ends for an empty file, and leaves them as they are") {
  const TempFolder folder;
  const Call call;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  std::filesystem::create_directory(folder / "folder");
  std::filesystem::create_symlink("/dev/zero", folder / "device");
  write_file(folder / "large", std::string((16 << 20) + 1, 'x'));
  for (const char* name : {"pipe", "folder", "device", "large"}) {
    INFO(name);
    const auto type = std::filesystem::status(folder / name).type();
    Tuner tuner(folder / name, steady);
    CHECK(tuner.choose(call.args, kCpu).kernel != nullptr);
    tuner.save();
    CHECK(std::filesystem::status(folder / name).type() == type);
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 4);  // nothing is left beside them
}

TEST_CASE("a tuner stays within the preferred family, and a forced kernel needs none") {
  TempFolder folder;
  Tuner tuner(folder / "tuning.tsv");
  const Call call;
  {
    const PreferenceGuard own(Preference::own);
    for (const auto& t : tuner.choose(call.args, kCpu).trials) CHECK(t.kernel.starts_with("own."));
  }
  const ForceKernel force(ToyA::kName, "ref");
  const auto c = choose_kernel(call.args, kCpu, 0);
  CHECK(c.kernel->name == "ref");
  CHECK(c.trials.empty());
}

TEST_CASE("MININN_TUNE is on or off") {
  const Call call;
  ::setenv("MININN_TUNE", "off", 1);
  const auto c = choose_kernel(call.args, kCpu, 0);
  CHECK(c.trials.empty());
  CHECK(c.kernel->name == kernels<ToyA>().select(call.args, kCpu).name);
  ::setenv("MININN_TUNE", "sometimes", 1);
  CHECK_THROWS_AS(choose_kernel(call.args, kCpu, 0), ValueError);
  ::setenv("MININN_TUNE", "off", 1);
}

TEST_CASE("the tuner chooses the kernels of a network's layers by the time of the network") {
  TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const Call call;
  std::vector<const Kernel<ToyA>*> three;
  for (const auto& k : kernels<ToyA>().candidates(DeviceType::cpu))
    if (!k.refusal(call.args) && three.size() < 3) three.push_back(&k);
  const auto choice = [&](const std::string& key, double ms) {
    TunedLayer c{std::string(three[0]->name), {}, key};
    for (size_t i = 0; i < 3; ++i)
      c.trials.push_back({std::string(three[i]->name), ms * std::array{1.0, 1.25, 9.0}[i]});
    return c;
  };

  // Alone the first kernel is the fastest for all layers. Together, it makes layer 2 slow where layers 0 and 1 have it.
  // The last layer's kernels differ by a factor, but of nothing.
  for (const bool known : {false, true}) {
    std::vector<TunedLayer> layers{choice("a", 1), choice("a", 1), choice("b", 1), choice("c", 0.001), {}};
    std::vector<const Kernel<ToyA>*> used(4, three[0]);
    int runs = 0, hopeless = 0, small = 0;
    Tuner tuner(file, steady);
    tuner.choose_together(
        layers,
        [&](size_t i, const std::string& k) {
          used[i] = kernel_named<ToyA>(k);
          hopeless += used[i] == three[2];
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
    CHECK(hopeless == 0);
    CHECK(small == 0);
    CHECK((runs > 0) != known);
    tuner.save();
  }

  // What counts for one network says nothing about another.
  std::vector<TunedLayer> layers{choice("a", 1), choice("b", 1)};
  int runs = 0;
  Tuner(file, steady)
      .choose_together(
          layers, [](size_t, const auto&) {}, [&] { return ++runs, 1.0; });
  CHECK(runs > 0);
}

TEST_CASE("the times of a network under load are used and not kept") {
  const TempFolder folder;
  const auto file = folder / "tuning.tsv";
  const Call call;
  std::vector<TunedLayer> layers{{std::string(kernels<ToyA>().select(call.args, kCpu).name), {}, "a"}};
  for (const auto& k : kernels<ToyA>().candidates(DeviceType::cpu))
    if (!k.refusal(call.args) && layers[0].trials.size() < 2) layers[0].trials.push_back({std::string(k.name), 1});
  for (const bool loaded : {true, false}) {
    Tuner tuner(file, [&](const auto& run) {
      run();
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
