// Every int8 convolution kernel against a plain loop over the definition in ops/qconv2d.h: equal bytes, no tolerance.
#include "ops/qconv2d.h"
#include "core/integers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "tests/cpu_kernels/qconv2d_case.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

using Case = QConv2dCase;

Conv2dGeometry random_geometry(Rng& rng) {
  if (chance(rng, 0.2)) {  // what Winograd takes
    const int64_t ic = uniform(rng, 1, 70);
    return Conv2dGeometry::make("test", {uniform(rng, 0, 7), ic, uniform(rng, 3, 14), uniform(rng, 3, 14)},
                                {uniform(rng, 1, 70), ic, 3, 3}, {.padding = {uniform(rng, 0, 3), uniform(rng, 0, 3)}});
  }
  for (;;) {
    const bool depthwise = chance(rng, 0.15);
    const int64_t groups = depthwise ? uniform(rng, 1, 80) : chance(rng, 0.3) ? uniform(rng, 2, 3) : 1;
    int64_t icg = depthwise ? 1 : chance(rng, 0.4) ? 4 * uniform(rng, 1, 20) : uniform(rng, 1, 21);
    if (!depthwise && chance(rng, 0.15)) icg = 64 * uniform(rng, 1, 2);
    const int64_t ocg = depthwise ? 1 : uniform(rng, 1, 70);
    const int64_t n = chance(rng, 0.2) ? uniform(rng, 7, 36) : uniform(rng, 0, 3);
    const int64_t ih = uniform(rng, 1, 12), iw = uniform(rng, 1, 20), kh = uniform(rng, 1, 5), kw = uniform(rng, 1, 5);
    const Conv2dParams o{.stride = {uniform(rng, 1, 3), uniform(rng, 1, 3)},
                         .padding = {uniform(rng, 0, 3), uniform(rng, 0, 3)},
                         .dilation = {uniform(rng, 1, 2), uniform(rng, 1, 2)},
                         .groups = groups};
    if (ih + 2 * o.padding.h < o.dilation.h * (kh - 1) + 1 || iw + 2 * o.padding.w < o.dilation.w * (kw - 1) + 1)
      continue;
    const auto g = Conv2dGeometry::make("test", {n, icg * groups, ih, iw}, {ocg * groups, icg, kh, kw}, o);
    if (g.macs() < 3000000) return g;
  }
}

// A copy of some codes behind which memory cannot be read.
class AtPageEnd {
 public:
  explicit AtPageEnd(const CView& x) {
    const auto page = size_t(sysconf(_SC_PAGESIZE)), bytes = size_t(x.shape[0] * x.strides[0]);
    const size_t readable = round_up(bytes, page);
    size_ = readable + page;
    map_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(map_ != MAP_FAILED);
    auto* base = static_cast<std::byte*>(map_);
    REQUIRE(mprotect(base + readable, page, PROT_NONE) == 0);
    data_ = base + readable - bytes;
    std::memcpy(data_, x.data, bytes);
  }
  ~AtPageEnd() { munmap(map_, size_); }
  AtPageEnd(const AtPageEnd&) = delete;
  AtPageEnd& operator=(const AtPageEnd&) = delete;
  const std::byte* data() const { return data_; }

 private:
  size_t size_ = 0;
  void* map_ = nullptr;
  std::byte* data_ = nullptr;
};

}  // namespace

TEST_CASE("qconv2d kernels equal the definition on random geometry") {
  const uint64_t seed = test_seed();
  Rng rng(seed);
  INFO("MININN_TEST_SEED=" << seed);
  std::map<std::string, int> accepted;
  for (int i = 0; i < 400; ++i) {
    const Conv2dGeometry g = random_geometry(rng);
    Case c(g, Codes::random(rng, {g.n, g.ic, g.ih, g.iw}));
    fill(c, rng, chance(rng, 0.3), chance(rng, 0.5));
    check_kernels(rng, c, &accepted);
  }
  CHECK(accepted["cpu ref"] == 400);
  for (const auto& [kernel, calls] : accepted) {
    INFO(kernel);
    CHECK(calls >= 20);
  }
}

TEST_CASE("qconv2d kernels equal the definition on every layer shape of ResNet-18") {
  Rng rng(2);
  for (const int64_t n : {1, 9}) {
    for (const auto& g :
         {geometry(n, 3, 8, 64, 3, 1, 1), geometry(n, 64, 9, 64, 3, 1, 1), geometry(n, 64, 8, 128, 3, 2, 1),
          geometry(n, 64, 8, 128, 1, 2, 0), geometry(n, 256, 4, 48, 3, 1, 1)}) {
      Case c(g, Codes::random(rng, {g.n, g.ic, g.ih, g.iw}));
      fill(c, rng, false, true);
      check_kernels(rng, c);
    }
  }
}

TEST_CASE("qconv2d kernels equal the definition where Winograd's weights leave the L2 cache, with few tiles and more") {
  Rng rng(11);
  for (const int64_t n : {4, 28, 70}) {
    const Conv2dGeometry g = geometry(n, 256, 1, 128, 3, 1, 1);
    Case c(g, Codes::random(rng, {g.n, g.ic, g.ih, g.iw}));
    fill(c, rng, false, true);
    check_kernels(rng, c);
  }
}

TEST_CASE("qconv2d kernels equal the definition around strips of 16 pixels, of a row or of a batch") {
  Rng rng(10);
  const auto check = [&](const Conv2dGeometry& g) {
    Case c(g, Codes::random(rng, {g.n, g.ic, g.ih, g.iw}));
    fill(c, rng, chance(rng, 0.3), chance(rng, 0.5));
    check_kernels(rng, c);
  };
  const auto wide = [](int64_t n, int64_t ic, int64_t h, int64_t w, int64_t oc, int64_t kernel, int64_t stride,
                       int64_t pad) {
    return Conv2dGeometry::make("test", {n, ic, h, w}, {oc, ic, kernel, kernel}, {.stride = stride, .padding = pad});
  };
  for (const int64_t ic : {3, 16, 24, 64, 100})
    for (const int64_t w : {15, 16, 17, 33, 47}) {
      check(wide(2, ic, 5, w, 33, 3, 1, 1));
      check(wide(1, ic, 6, 2 * w, 16, 3, 2, chance(rng, 0.5)));
      check(wide(1, ic, 3, w, 70, 1, 1, 0));
      check(wide(3, ic, 4, w, 64, 1, 2, 0));
    }
  // Rows of so many bytes that only their ends are copied; with a border of several pixels, and of few channels.
  for (int i = 0; i < 2; ++i)
    for (const auto& g : {wide(1, 64, 5, 96, 33, 3, 1, 1), wide(1, 8, 7, 400, 20, 5, 2, 2),
                          wide(1, 4, 5, 1000, 16, 3, 1, 3), wide(2, 32, 5, 200, 40, 3, 2, 1)}) {
      Case c(g, Codes::random(rng, {g.n, g.ic, g.ih, g.iw}, 0));
      fill(c, rng, i > 0, i > 0);
      check_kernels(rng, c);
    }
  for (const int64_t w : {64, 71, 130}) {
    check(wide(2, 16, 4, w, 40, 3, 1, 1));
    check(wide(1, 64, 5, w, 33, 3, 1, 1));
    check(wide(1, 8, 5, 2 * w, 16, 5, 2, 2));
    check(wide(1, 4, 5, w, 16, 3, 1, 3));
  }
  for (const int64_t n : {15, 16, 17, 31, 32, 33, 48}) {
    check(geometry(n, 64, 4, 48, 3, 1, 1));
    check(geometry(n, 20, 5, 33, 3, 2, 1));
  }
  // Maps whose size the input's does not divide: images of one position do not take whole numbers of bytes.
  check(geometry(16, 64, 19, 16, 3, 2, 1));
  check(geometry(16, 16, 29, 16, 3, 2, 1));
  check(geometry(48, 64, 13, 16, 3, 2, 1));
  check(geometry(32, 4, 9, 16, 5, 1, 3));
  check(geometry(16, 4, 1, 16, 1, 1, 4));
  // Several bias rows, and no padding.
  for (int i = 0; i < 8; ++i) {
    const auto g = Conv2dGeometry::make("test", {2, 64, 8, 16}, {40, 64, 3, 1}, {});
    Case c(g, Codes::random(rng, {g.n, g.ic, g.ih, g.iw}, 0));
    fill(c, rng, true, false);
    check_kernels(rng, c);
  }
  check(geometry(1, 64, 44, 40, 3, 1, 1));   // more rows than are copied at a time
  check(geometry(40, 128, 4, 32, 3, 1, 1));  // more images, too
}

TEST_CASE("qconv2d kernels equal the definition on maps of four columns") {
  Rng rng(12);
  for (const int64_t n : {1, 4, 7, 8, 9})
    for (const int64_t oc : {16, 48, 64, 100, 112})
      for (const auto& g : {geometry(n, 36, 4, oc, 3, 1, 1), geometry(n, 36, 8, oc, 3, 2, 1)}) {
        Case c(g, Codes::random(rng, {g.n, g.ic, g.ih, g.iw}));
        fill(c, rng, chance(rng, 0.3), chance(rng, 0.5));
        check_kernels(rng, c);
      }
}

TEST_CASE("qconv2d kernels equal the definition on maps of seven columns") {
  Rng rng(14);
  for (const int64_t size : {7, 14, 21})
    for (const int64_t n : {1, 3})
      for (const int64_t oc : {16, 40})
        for (const auto& g : {geometry(n, 24, size, oc, 3, 1, 1), geometry(n, 12, 2 * size, oc, 3, 2, 1),
                              geometry(n, 8, size, oc, 5, 1, 2)}) {
          Case c(g, Codes::random(rng, {g.n, g.ic, g.ih, g.iw}));
          fill(c, rng, chance(rng, 0.3), chance(rng, 0.5));
          check_kernels(rng, c);
        }
}

TEST_CASE("qconv2d kernels equal the definition on pixels of whole 16 bytes") {
  Rng rng(16);
  for (const int64_t ic : {13, 16, 48, 64, 80, 128})
    for (const int64_t oc : {1, 64, 100, 128}) {
      const int64_t kh = uniform(rng, 1, 4), kw = uniform(rng, 1, 4);
      const Conv2dParams o{.stride = {uniform(rng, 1, 3), uniform(rng, 1, 3)},
                           .padding = {uniform(rng, 0, 3), uniform(rng, 0, 3)},
                           .dilation = {uniform(rng, 1, 2), uniform(rng, 1, 2)}};
      const Shape x{uniform(rng, 1, 3), ic, o.dilation.h * (kh - 1) + uniform(rng, 1, 9),
                    o.dilation.w * (kw - 1) + uniform(rng, 1, 9)};
      Case c(Conv2dGeometry::make("test", x, {oc, ic, kh, kw}, o), Codes::random(rng, x, 0));
      fill(c, rng, chance(rng, 0.3), chance(rng, 0.5));
      check_kernels(rng, c);
    }
}

TEST_CASE("qconv2d weights that were packed for one batch serve every other") {
  Rng rng(11);
  const auto& on_cpu = kernels<op::QConv2d>().candidates(DeviceType::cpu);
  const Kernel<op::QConv2d>& reference = *std::find_if(
      on_cpu.begin(), on_cpu.end(), [](const auto& k) { return k.name == "own.direct.avx2" || k.name == "ref"; });
  for (const auto& g : {geometry(16, 64, 16, 64, 3, 1, 1), geometry(16, 256, 8, 512, 3, 2, 1)}) {
    Case many(g, Codes::random(rng, {g.n, g.ic, g.ih, g.iw}, 0));
    fill(many, rng, false, false);
    many.x_zero = 0;  // as behind a ReLU
    Case one = many;
    one.g.n = 1;
    one.x = Codes::random(rng, {1, g.ic, g.ih, g.iw}, 0);
    Codes want = Codes::output(rng, {g.n, g.oc, g.oh, g.ow}), got = want,
          single = Codes::output(rng, {1, g.oc, g.oh, g.ow});
    op::QConv2d a = many.args(want.view());
    REQUIRE(run_kernel(Device::cpu(), reference, a, reference.pack(a)));
    a.y = got.view();
    for_each_qconv2d([&](Device device, const Kernel<op::QConv2d>& k) {
      const op::QConv2d for_one = one.args(single.view());
      if (refuses(device, k, for_one) || refuses(device, k, a)) return;
      const Tensor packed = pack_kernel(device, k, for_one);
      for (const int threads : thread_counts(device)) {
        const Threads guard(threads);
        INFO(to_string(device) << ' ' << k.name << " on " << threads << " threads, " << g.ic << " channels");
        got.poison();
        REQUIRE(run_kernel(device, k, a, packed));
        CHECK(got == want);
      }
    });
  }
}

TEST_CASE("qconv2d kernels equal the definition on stems: few input channels, many taps") {
  Rng rng(7);
  for (const int64_t n : {1, 9})
    for (const int64_t ic : {1, 3, 4, 5, 8, 9})
      for (const auto& [kernel, stride, pad] : {std::array<int64_t, 3>{3, 1, 1}, {3, 2, 1}, {7, 2, 3}, {1, 1, 0}}) {
        const auto g = geometry(n, ic, 11, 40, kernel, stride, pad);
        Case c(g, Codes::random(rng, {n, ic, 11, 11}));
        fill(c, rng, chance(rng, 0.5), chance(rng, 0.5));
        check_kernels(rng, c);
      }
}

TEST_CASE("qconv2d kernels equal the definition on depthwise layers of every number of channels") {
  Rng rng(8);
  for (int64_t channels = 1; channels <= 50; ++channels)
    for (const auto& [kernel, stride, pad] : {std::array<int64_t, 3>{1, 1, 0}, {2, 1, 1}, {3, 1, 1}, {3, 2, 1}}) {
      const auto g = geometry(2, channels, 7, channels, kernel, stride, pad, channels);
      Case c(g, Codes::random(rng, {2, channels, 7, 7}));
      fill(c, rng, chance(rng, 0.3), chance(rng, 0.5));
      check_kernels(rng, c);
    }
}

TEST_CASE("qconv2d kernels equal the definition on depthwise layers of many channels") {
  Rng rng(13);
  for (const int64_t channels : {60, 64, 68, 96, 128, 132})
    for (const int64_t stride : {1, 2, 3})
      for (int i = 0; i < 6; ++i) {
        const auto g = geometry(2, channels, 7, channels, 3, stride, 1, channels);
        Case c(g, Codes::random(rng, {2, channels, 7, 7}, 0));
        fill(c, rng, false, chance(rng, 0.3));
        check_kernels(rng, c);
      }
}

TEST_CASE("qconv2d kernels equal the definition on depthwise layers of unequal strides, borders and sides") {
  Rng rng(15);
  for (const int64_t channels : {4, 32, 48, 64, 100})
    for (int i = 0; i < 40; ++i) {
      const Conv2dParams o{.stride = {uniform(rng, 1, 3), uniform(rng, 1, 3)},
                           .padding = {uniform(rng, 0, 3), uniform(rng, 0, 3)},
                           .groups = channels};
      const int64_t h = uniform(rng, 1, 9), w = uniform(rng, 1, 9);
      if (h + 2 * o.padding.h < 3 || w + 2 * o.padding.w < 3) continue;
      const auto g = Conv2dGeometry::make("test", {2, channels, h, w}, {channels, 1, 3, 3}, o);
      Case c(g, Codes::random(rng, {2, channels, h, w}, 0));
      fill(c, rng, false, chance(rng, 0.2));
      check_kernels(rng, c);
    }
}

TEST_CASE("depthwise qconv2d is exact at the extremes") {
  Rng rng(9);
  const auto g = geometry(1, 19, 12, 19, 11, 1, 5, 19);  // 121 taps
  for (const int code : {0, 128, 255})
    for (const int zero : {0, 128, 255})
      for (const int weight : {-127, 127}) {
        Case c(g, Codes::constant({1, 19, 12, 12}, uint8_t(code)));
        for (int64_t i = 0; i < c.w.size(); ++i) c.w[i] = int8_t(weight);
        for (int64_t i = 0; i < g.oc; ++i) c.bias[i] = int32_t(i * 1000);
        for (int64_t i = 0; i < g.oc; ++i) c.multiplier[i] = i % 2 ? 1e-5f : 1e-4f;
        c.x_zero = zero;
        c.y_zero = 128;
        check_kernels(rng, c);
      }
}

TEST_CASE("qconv2d kernels read nothing behind the last pixel") {
  Rng rng(10);
  for (const auto& g :
       {geometry(1, 3, 6, 20, 3, 1, 1), geometry(1, 3, 6, 20, 3, 1, 0), geometry(1, 6, 5, 9, 2, 1, 0),
        geometry(1, 21, 4, 7, 1, 1, 0), geometry(1, 3, 5, 3, 3, 1, 1, 3), geometry(1, 21, 5, 21, 3, 1, 0, 21),
        geometry(1, 37, 5, 37, 2, 2, 0, 37), geometry(1, 36, 5, 36, 3, 1, 1, 36), geometry(1, 36, 5, 36, 3, 2, 1, 36),
        geometry(1, 64, 9, 64, 3, 2, 0, 64), geometry(1, 64, 8, 64, 3, 2, 1, 64), geometry(1, 96, 9, 96, 3, 2, 0, 96),
        geometry(1, 96, 8, 96, 3, 2, 1, 96), geometry(1, 32, 7, 33, 3, 1, 1), geometry(1, 32, 4, 80, 3, 1, 1)})
    for (int i = 0; i < 6; ++i) {
      Case c(g, Codes::random(rng, {g.n, g.ic, g.ih, g.iw}, i % 3));
      const AtPageEnd copy(c.args({}).x);
      c.x_copy = copy.data();
      fill(c, rng, false, false);
      check_kernels(rng, c);
    }
}

TEST_CASE("qconv2d takes every zero point of its input") {
  Rng rng(3);
  const auto g = geometry(2, 8, 4, 20, 3, 1, 1);
  for (int zero = 0; zero < 256; ++zero) {
    Case c(g, Codes::random(rng, {g.n, g.ic, g.ih, g.iw}));
    fill(c, rng, false, true);
    c.x_zero = zero;
    c.residual_zero = 255 - zero;
    check_kernels(rng, c);
  }
}

TEST_CASE("qconv2d is exact at the extremes") {
  Rng rng(4);
  const auto g = geometry(1, 512, 3, 17, 3, 1, 1);  // K = 4608
  for (const int code : {0, 128, 255})
    for (const int zero : {0, 127, 128, 255})
      for (const int weight : {-127, 127}) {
        Case c(g, Codes::constant({1, 512, 3, 3}, uint8_t(code)));
        for (int64_t i = 0; i < c.w.size(); ++i) c.w[i] = int8_t(i % 17 == 0 ? -weight : weight);
        for (int64_t i = 0; i < g.oc; ++i) c.bias[i] = int32_t(i * 1000);
        for (int64_t i = 0; i < g.oc; ++i) c.multiplier[i] = i % 2 ? 1e-7f : 1e-6f;
        c.x_zero = zero;
        c.y_zero = 128;
        check_kernels(rng, c);
      }
}

// Sums of codes times weights right below 2^25, the most that Winograd can carry, and right above, where it must
// refuse.
TEST_CASE("qconv2d with Winograd is exact up to its limit and refuses beyond") {
  Rng rng(7);
  const auto g = geometry(1, 115, 6, 9, 3, 1, 1);  // 1035 weights of 127 make 255 * 131,445 < 2^25; 1037 do not
  const auto wide = geometry(1, 116, 6, 9, 3, 1, 1);
  const auto accepts = [](const Case& c) {
    Rng poison(1);
    Codes y = Codes::output(poison, {c.g.n, c.g.oc, c.g.oh, c.g.ow});
    const op::QConv2d a = c.args(y.view());
    for (const auto& k : kernels<op::QConv2d>().candidates(DeviceType::cpu))
      if (k.name.starts_with("own.winograd") && !k.refusal(a)) return true;
    return false;
  };
  for (const int sign : {1, -1}) {
    Case c(g, Codes::constant({1, 115, 6, 6}, 255)), beyond(wide, Codes::constant({1, 116, 6, 6}, 255));
    for (Case* each : {&c, &beyond}) {
      for (int64_t i = 0; i < each->w.size(); ++i) each->w[i] = int8_t(127 * sign);
      for (int64_t i = 0; i < 9; ++i) each->bias[i] = int32_t(i - 4);
      for (int64_t i = 0; i < 9; ++i) each->multiplier[i] = 3e-6f;
      each->y_zero = 128;
      check_kernels(rng, *each);
    }
    if (accepts(c)) CHECK_FALSE(accepts(beyond));
    // One weight of each channel turned round: the worst sum falls back below the limit.
    for (int64_t o = 0; o < 9; ++o)
      for (int64_t i = 0; i < 9; ++i) beyond.w[o * 116 * 9 + i] = int8_t(-127 * sign);
    CHECK(accepts(beyond) == accepts(c));
    check_kernels(rng, beyond);
    // The bias counts: here it takes the sum of one channel over the limit, or away from it.
    const bool accepted = accepts(c);
    c.bias[3] = sign * 40000;
    CHECK_FALSE(accepts(c));
    check_kernels(rng, c);
    c.bias[3] = -sign * 40000;
    CHECK(accepts(c) == accepted);
    check_kernels(rng, c);
    c.multiplier[5] = 0x1p-120f;  // the least whose 64th is no denormal number
    CHECK(accepts(c) == accepted);
    c.multiplier[5] = std::nextafter(0x1p-120f, 0.0f);
    CHECK_FALSE(accepts(c));
  }
}

TEST_CASE("qconv2d saturates at both ends, also beyond the range of int32") {
  Rng rng(5);
  const auto g = geometry(1, 16, 4, 33, 1, 1, 0);
  for (const bool all_codes : {false, true})
    for (const bool by_residual : {false, true}) {
      Case c(g, Codes::random(rng, {1, 16, 4, 4}));
      fill(c, rng, false, by_residual);
      if (all_codes) {
        c.y_zero = c.lo = 0;
        c.hi = 255;
      }
      if (by_residual)
        c.residual_scale = 1e8f;
      else
        for (int64_t i = 0; i < g.oc; ++i) c.multiplier[i] = 1e12f;
      check_kernels(rng, c);
    }
}

TEST_CASE("whatever kernel packs them, constants that would break it are refused") {
  Rng rng(12);
  std::set<std::string_view> asked;
  for (const Conv2dGeometry& g : {geometry(1, 8, 6, 32, 3, 1, 1), geometry(1, 32, 6, 32, 3, 1, 1, 32)}) {
    Case good(g, Codes::random(rng, {1, g.ic, 6, 6}, 0));
    fill(good, rng, false, false);
    const auto refused = [&](const Case& c, const char* why) {
      Codes y = Codes::output(rng, {1, 32, 6, 6});
      const op::QConv2d a = c.args(y.view());
      REQUIRE_NOTHROW(check_qconv2d(a));
      for (const auto& k : kernels<op::QConv2d>().candidates(DeviceType::cpu)) {
        if (k.check(a)) continue;
        INFO(k.name);
        asked.insert(k.name);
        CHECK_THROWS_WITH(k.pack(a), Catch::Contains(why));
        CHECK_THROWS_AS(k.pack(a), ValueError);
      }
    };
    const auto with = [&](const auto& change) {
      Case c = good;
      change(c);
      return c;
    };
    refused(with([](Case& c) { c.w[7] = -128; }), "weight 7 is -128");
    refused(with([](Case& c) { c.multiplier[3] = NAN; }), "multiplier 3 is not finite");
    refused(with([](Case& c) { c.bias[5] = std::numeric_limits<int32_t>::max(); }), "channel 5 can leave 32 bits");
    for (const int32_t column : {2, -1})
      refused(with([&](Case& c) {
                c.bias = Array<int32_t>({3, 32});
                for (int64_t i = 0; i < c.bias.size(); ++i) c.bias[i] = 0;
                auto &rows = c.row_class.emplace(Shape{6}), &columns = c.col_class.emplace(Shape{6});
                for (int64_t i = 0; i < 6; ++i) rows[i] = i > 0 && i < 5, columns[i] = i == 2 ? column : 0;
              }),
              "of 3");
  }
  for (const auto& k : kernels<op::QConv2d>().candidates(DeviceType::cpu)) {
    INFO(k.name);
    CHECK((asked.contains(k.name) || k.traits.family == Family::own));  // which the processor may not have
  }
}

TEST_CASE("accumulators may use all of 32 bits, and no more") {
  Rng rng(13);
  Case c(geometry(1, 8, 4, 5, 3, 1, 1), Codes::random(rng, {1, 8, 4, 4}));
  fill(c, rng, false, false);
  c.x_zero = 0;
  for (int64_t i = 0; i < c.w.size(); ++i) c.w[i] = -127;
  const int64_t most = (int64_t{1} << 31) - 1 - int64_t{8} * 9 * 127 * 255;
  Codes y = Codes::output(rng, {1, 5, 4, 4});
  for (const int64_t bias : {most, most + 1}) {
    for (int64_t o = 0; o < 5; ++o) c.bias[o] = int32_t(bias);
    if (bias == most)
      CHECK_NOTHROW(qconv2d(c.args(y.view())));
    else
      CHECK_THROWS_AS(qconv2d(c.args(y.view())), ValueError);
  }
}

TEST_CASE("qconv2d runs through its one-call form") {
  Rng rng(6);
  const auto g = geometry(1, 4, 5, 6, 3, 1, 1);
  Case c(g, Codes::random(rng, {1, 4, 5, 5}));
  fill(c, rng, false, false);
  Codes y = Codes::output(rng, {1, 6, 5, 5});
  qconv2d(c.args(y.view()));
  for (int64_t o = 0; o < 6; ++o)
    for (int64_t i = 0; i < 25; ++i)
      CHECK(y.at(0, o, i / 5, i % 5) == expected_code(c.real(0, o, i / 5, i % 5), c.y_zero, c.lo, c.hi));

  c.g.n = 0;
  c.x = Codes::random(rng, {0, 4, 5, 5});
  Codes nothing = Codes::output(rng, {0, 6, 5, 5});
  CHECK_NOTHROW(qconv2d(c.args(nothing.view())));
}
