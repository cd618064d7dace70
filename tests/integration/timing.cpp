#include "examples/cifar_resnet/timing.h"

#include "tests/support/catch.h"
#include "tests/support/files.h"

using namespace cifar_resnet;
using mininn::testing::TempFolder, mininn::testing::write_file;

namespace {

void set_counter(const std::filesystem::path& package, const char* microjoules) {
  std::filesystem::create_directories(package);
  write_file(package / "max_energy_range_uj", "5000000\n");
  write_file(package / "energy_uj", microjoules);
}

}  // namespace

TEST_CASE("quantiles of a timing are times that were measured") {
  const Timing t{{1, 2, 3, 4, 5, 6, 7, 8, 9, 100}};
  CHECK(t.median() == 6);
  CHECK(t.quantile(0.95) == 100);
  CHECK(t.quantile(0) == 1);
  CHECK(t.quantile(1) == 100);
}

TEST_CASE("the energy of all processors is added up, over the end of a counter too") {
  const TempFolder folder;
  set_counter(folder / "intel-rapl:0", "1000000\n");
  set_counter(folder / "intel-rapl:1", "4500000\n");
  set_counter(folder / "intel-rapl:0:0", "7\n");           // a part of the first
  set_counter(folder / "intel-rapl-mmio:0", "1000000\n");  // the first once more
  EnergyMeter meter(folder.path);
  set_counter(folder / "intel-rapl:0", "1500000\n");
  set_counter(folder / "intel-rapl:1", "250000\n");
  set_counter(folder / "intel-rapl:0:0", "400007\n");
  CHECK(meter.joules().value() == Approx(0.5 + 0.75));
  CHECK(meter.joules().value() == 0);
  write_file(folder / "intel-rapl:1" / "energy_uj", "");
  CHECK_FALSE(meter.joules());
}

TEST_CASE("no energy is told where there is no counter") {
  const TempFolder folder;
  CHECK_FALSE(EnergyMeter(folder.path).joules());
  CHECK_FALSE(EnergyMeter(folder / "nowhere").joules());
}
