#include "core/kernel.h"

#include <thread>

#include "tests/support/catch.h"

using namespace mininn;
using Catch::Contains;

namespace {

struct Toy {
  static constexpr std::string_view op = "toy";
  int size;
  const char** ran;
};

struct OtherToy {
  static constexpr std::string_view op = "other_toy";
  int size;
  const char** ran;
};

template <int kMin, class Args>
Refusal at_least(const Args& t) {
  return t.size < kMin ? Refusal{"too small"} : Refusal{};
}
template <char kName, class Args>
void note(const Args& t, const ExecContext&) {
  static constexpr char name[] = {kName, 0};
  *t.ran = name;
}

template <class Args = Toy>
KernelTable<Args> make_table() {
  KernelTable<Args> table;
  table.set(DeviceType::cpu, {{"onednn.auto", {.family = Family::vendor}, at_least<100, Args>, note<'v', Args>},
                              {"own.fast", kOwn, at_least<10, Args>, note<'o', Args>},
                              {"ref", kReference, at_least<1, Args>, note<'r', Args>}});
  return table;
}

template <class Args>
std::string run(const KernelTable<Args>& table, int size) {
  const char* ran = "";
  table.run(Args{size, &ran}, Device::cpu());
  return ran;
}

}  // namespace

struct Costly {
  static constexpr std::string_view op = "costly";
  int size;
  const char** ran;
};

TEST_CASE("a kernel that accepts and does not pay is passed over, unless it is forced") {
  const PreferenceGuard scope(Preference::automatic);
  const auto accept = [](const Costly&) { return Refusal{}; };
  KernelTable<Costly> table;
  table.set(DeviceType::cpu,
            {{.name = "own.big",
              .traits = kOwn,
              .check = accept,
              .run = [](const Costly& c, const ExecContext&) { *c.ran = "big"; },
              .pays = [](const Costly& c) { return c.size > 10; }},
             {"own.small", kOwn, accept, [](const Costly& c, const ExecContext&) { *c.ran = "small"; }}});
  CHECK(run(table, 100) == "big");
  CHECK(run(table, 1) == "small");
  const ForceKernel force("costly", "own.big");
  CHECK(run(table, 1) == "big");
}

TEST_CASE("a kernel that does not admit the constants is passed over, and says why even when forced") {
  const PreferenceGuard scope(Preference::automatic);
  static int asked;
  asked = 0;
  KernelTable<Costly> table;
  table.set(DeviceType::cpu,
            {{.name = "own.picky",
              .traits = kOwn,
              .check = [](const Costly& c) { return c.size < 5 ? Refusal{"too small"} : Refusal{}; },
              .run = [](const Costly& c, const ExecContext&) { *c.ran = "picky"; },
              .admits =
                  [](const Costly& c) {
                    ++asked;
                    return c.size % 2 ? Refusal{"the weights are odd"} : Refusal{};
                  }},
             {"ref", kReference, [](const Costly& c) { return c.size < 3 ? Refusal{"tiny"} : Refusal{}; },
              [](const Costly& c, const ExecContext&) { *c.ran = "ref"; }}});
  CHECK(run(table, 4) == "ref");
  CHECK(asked == 0);  // check() came first
  CHECK(run(table, 6) == "picky");
  CHECK(run(table, 7) == "ref");
  const ForceKernel force("costly", "own.picky");
  CHECK(run(table, 6) == "picky");
  CHECK_THROWS_WITH(run(table, 7), Contains("own.picky: the weights are odd"));
}

TEST_CASE("the first kernel that accepts runs") {
  const PreferenceGuard scope(Preference::automatic);
  const auto table = make_table();
  CHECK(run(table, 1000) == "v");
  CHECK(run(table, 50) == "o");
  CHECK(run(table, 5) == "r");
}

TEST_CASE("a call nobody takes lists every refusal") {
  const auto table = make_table();
  CHECK_THROWS_AS(run(table, 0), KernelError);
  CHECK_THROWS_WITH(run(table, 0), Contains("own.fast: too small") && Contains("ref: too small"));
  const char* ran = "";
  CHECK_THROWS_WITH(table.run({5, &ran}, Device::cuda()), Contains("toy on cuda") && Contains("; there is none"));
}

TEST_CASE("a preferred family goes first, the rest stays behind it") {
  const auto table = make_table();
  {
    const PreferenceGuard own(Preference::own);
    CHECK(run(table, 1000) == "o");
    CHECK(run(table, 5) == "r");
  }
  const PreferenceGuard vendor(Preference::vendor);
  CHECK(run(table, 1000) == "v");
  CHECK(run(table, 50) == "o");
}

TEST_CASE("a forced kernel is the only candidate, in this thread alone") {
  const PreferenceGuard scope(Preference::automatic);
  const auto table = make_table();
  const auto other_table = make_table<OtherToy>();
  const ForceKernel force("toy", "ref");
  CHECK(run(table, 1000) == "r");
  {
    const ForceKernel inner("toy", "own.fast");
    CHECK(run(table, 1000) == "o");
    CHECK_THROWS_WITH(run(table, 5), Contains("own.fast"));
    const ForceKernel other("other_toy", "ref");
    CHECK(run(table, 1000) == "o");
    CHECK(run(other_table, 1000) == "r");
  }
  CHECK(run(table, 1000) == "r");
  CHECK(run(other_table, 1000) == "v");
  std::string elsewhere;
  std::thread([&] {
    const PreferenceGuard automatic(Preference::automatic);
    elsewhere = run(table, 1000);
  }).join();
  CHECK(elsewhere == "v");
}

TEST_CASE("forcing an op or a kernel that does not exist is an error that names what does") {
  const auto table = make_table();
  CHECK_THROWS_AS(ForceKernel("toi", "ref"), KernelError);
  CHECK_THROWS_WITH(ForceKernel("toi", "ref"), Contains("'toi'") && Contains("toy"));
  CHECK_THROWS_WITH(ForceKernel("qconv2", "ref"), Contains("qconv2d"));
  for (const char* wrong : {"own.fats", "", "own.fast,own.fats", ",ref", "own.fast, ref"})
    CHECK_THROWS_WITH(ForceKernel("toy", wrong), Contains("onednn.auto, own.fast, ref"));
  CHECK(run(table, 50) == "o");  // what could not be forced is not
}

TEST_CASE("a preference guard is for its thread alone") {
  const auto table = make_table();
  const Preference process = preference();
  {
    const PreferenceGuard own(Preference::own);
    CHECK(run(table, 1000) == "o");
    {
      const PreferenceGuard inner(Preference::vendor);
      CHECK(run(table, 1000) == "v");
    }
    CHECK(preference() == Preference::own);
    Preference elsewhere = Preference::own;
    std::thread([&] { elsewhere = preference(); }).join();
    CHECK(elsewhere == process);
  }
  CHECK(preference() == process);
}

TEST_CASE("of several forced kernels the first that accepts runs") {
  const PreferenceGuard scope(Preference::automatic);
  const auto table = make_table();
  const ForceKernel force("toy", "own.fast,ref");
  CHECK(run(table, 1000) == "o");
  CHECK(run(table, 5) == "r");
  CHECK_THROWS_AS(run(table, 0), KernelError);
}

TEST_CASE("a number that is no preference is refused") {
  const Preference before = preference();
  CHECK_THROWS_AS(set_preference(Preference(7)), ValueError);
  CHECK_THROWS_AS(PreferenceGuard(Preference(-1)), ValueError);
  CHECK(preference() == before);
}
