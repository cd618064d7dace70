#include "bench/machine.h"

#include <cstdio>
#include <fstream>

#include "bench/cuda_peaks.h"
#include "bench/peaks.h"
#include "core/device.h"
#include "core/file.h"
#include "core/parallel.h"

namespace mininn::bench {
namespace {

// Of the last minute; 0 where unknown.
double load_average() {
  double load = 0;
  std::ifstream("/proc/loadavg") >> load;
  return load;
}

}  // namespace

nlohmann::json describe_machine(const std::vector<int>& threads) {
  const std::string cpu = cpu_name();
  const double load = load_average();
  nlohmann::json report{{"machine", {{"cpu", cpu}, {"load_average", load}}}};
  if (load > 0.5)
    std::printf(
        "WARNING: the load average is %.1f: something else is running here, and no number below is a fair one\n", load);
  for (const int n : threads) {
    set_num_threads(n);
    const double fma = peak_fma_gflops(), dot = peak_dot_gmacs(), copy = copy_gb_per_s();
    std::printf("%s, %d thread%s: fp32 FMA %.0f GFLOP/s, int8 (%s) %.0f GMAC/s, copy %.0f GB/s\n", cpu.c_str(), n,
                n == 1 ? "" : "s", fma, peak_dot_instructions(), dot, copy);
    report["peaks"].push_back({{"threads", n},
                               {"fma_gflop_per_s", fma},
                               {"dot_gmac_per_s", dot},
                               {"dot_instructions", peak_dot_instructions()},
                               {"copy_gb_per_s", copy}});
  }
  std::fflush(stdout);
  return report;
}

nlohmann::json describe_device(Device d) {
  const double fma = cuda_fma_gflops(d), bf16 = cuda_bf16_gflops(d), int8 = cuda_int8_gmacs(d);
  const double copy = cuda_copy_gb_per_s(d);
  std::printf("%s: fp32 FMA %.0f GFLOP/s, bf16 (mma.sync) %.0f GFLOP/s, int8 (mma.sync) %.0f GMAC/s, copy %.0f GB/s\n",
              to_string(d).c_str(), fma, bf16, int8, copy);
  return {{"device", to_string(d)},
          {"fma_gflop_per_s", fma},
          {"bf16_gflop_per_s", bf16},
          {"int8_gmac_per_s", int8},
          {"copy_gb_per_s", copy}};
}

void write_report(const std::string& path, const nlohmann::json& report) {
  const std::string text = report.dump(1) + '\n';
  AtomicFile out(path);
  out.write(text.data(), text.size());
  out.commit();
}

}  // namespace mininn::bench
