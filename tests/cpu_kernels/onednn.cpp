// What the parity tests of the tables do not see of the oneDNN backend: compiled primitives are reused, refusals say
// why, nothing stale is kept, and memory goes back.
#include "cpu_kernels/onednn/kernels.h"

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/allocator.h"
#include "core/parallel.h"
#include "tests/support/catch.h"

using namespace mininn;
namespace onednn = mininn::cpu::onednn;

namespace {

class Threads {
 public:
  explicit Threads(int n) : before_(num_threads()) { set_num_threads(n); }
  ~Threads() { set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

struct Conv {
  explicit Conv(int64_t channels, DType t = DType::f32)
      : g(Conv2dGeometry::make("test", {2, channels, 6, 6}, {8, channels, 3, 3}, {.padding = 1})),
        x(Tensor::empty({2, channels, 6, 6}, t, Device::cpu(), MemoryFormat::channels_last)),
        w(Tensor::full({8, channels, 3, 3}, 1.0, t)),
        y(Tensor::empty({2, 8, 6, 6}, t, Device::cpu(), MemoryFormat::channels_last)) {
    x.fill(1.0);
  }
  op::Conv2dFwd args() { return {g, x.view(), w.view(), {}, {}, false, y.mutable_view()}; }
  // An output pixel that no padding touches.
  double middle() const { return y.to_vector()[2 * 6 + 2]; }

  Conv2dGeometry g;
  Tensor x, w, y;
};

void run(Conv& c) {
  const op::Conv2dFwd a = c.args();
  REQUIRE(!onednn::conv2d_fwd.refusal(a));
  onednn::conv2d_fwd.run(a, {});
}

int64_t programs_for(Conv& c) {
  const int64_t before = onednn::programs_made();
  run(c);
  return onednn::programs_made() - before;
}

std::string why(Refusal r) { return r ? r.why : ""; }

}  // namespace

TEST_CASE("oneDNN primitives are compiled once per shape, dtype and number of threads") {
  Conv a(11), other_shape(12);
  {
    const Threads one(1);
    CHECK(programs_for(a) == 1);
    CHECK(programs_for(a) == 0);
    CHECK(programs_for(other_shape) == 1);
    CHECK(programs_for(a) == 0);
  }
  const Threads two(2);
  CHECK(programs_for(a) == 1);
  CHECK(programs_for(a) == 0);
}

TEST_CASE("a oneDNN refusal is remembered like a primitive") {
  Conv c(7, DType::bf16);
  (void)onednn::conv2d_fwd.refusal(c.args());  // accepted or not: that depends on the processor
  const int64_t before = onednn::programs_made();
  (void)onednn::conv2d_fwd.refusal(c.args());
  CHECK(onednn::programs_made() == before);
}

TEST_CASE("oneDNN kernels say why they refuse") {
  Conv f64(4, DType::f64);
  CHECK(why(onednn::conv2d_fwd.refusal(f64.args())) == "takes f32 and bf16 only");
  CHECK(why(onednn::conv2d_bwd_data.refusal({f64.g, f64.y.view(), f64.w.view(), f64.x.mutable_view()})) ==
        "takes f32 and bf16 only");
  CHECK(why(onednn::conv2d_bwd_weights.refusal({f64.g, f64.x.view(), f64.y.view(), f64.w.mutable_view()})) ==
        "takes f32 and bf16 only");

  Conv empty(4);
  empty.g.n = 0;
  CHECK(why(onednn::conv2d_fwd.refusal(empty.args())) == "takes no empty tensors");

  Tensor m = Tensor::zeros({1, 8, 8});
  const Tensor gaps = m.as_strided({1, 4, 4}, {64, 16, 2}), dense = m.as_strided({1, 4, 4}, {16, 4, 1});
  const auto product = [&](const Tensor& a, Tensor c) {
    return why(onednn::matmul.refusal({1, 4, 4, 4, a.view(), dense.view(), {}, c.mutable_view()}));
  };
  CHECK(product(gaps, Tensor::zeros({1, 4, 4})) ==
        "needs matrices whose rows or columns, and which themselves, lie one behind the other");
  CHECK(product(dense, gaps) == "needs a result whose rows have stride 1");
  CHECK(product(dense, Tensor::zeros({1, 4, 4})) == "");

  Tensor v = Tensor::zeros({4});
  CHECK(why(onednn::batch_norm_bwd.refusal({2,
                                            4,
                                            m.view(),
                                            m.view(),
                                            v.view(),
                                            v.view(),
                                            v.view(),
                                            {},
                                            true,
                                            {},
                                            {},
                                            v.mutable_view(),
                                            v.mutable_view()})) ==
        "always makes the gradient of x, which is not wanted here");
}

TEST_CASE("oneDNN's bf16 weight gradients are refused where weights meet padding only") {
  const auto refusal = [](int64_t pad, int64_t stride, DType t) {
    const auto g = Conv2dGeometry::make("test", {2, 33, 4, 1}, {56, 33, 4, 4}, {.stride = stride, .padding = {1, pad}});
    const Tensor x = Tensor::empty({2, 33, 4, 1}, t, {}, MemoryFormat::channels_last);
    const Tensor gy = Tensor::empty({2, 56, g.oh, g.ow}, t, {}, MemoryFormat::channels_last);
    Tensor gw = Tensor::empty({56, 33, 4, 4}, t);
    return why(onednn::conv2d_bwd_weights.check({g, x.view(), gy.view(), gw.mutable_view()}));
  };
  CHECK(refusal(2, 2, DType::bf16) == "in bf16 some weights meet padding only");
  CHECK(refusal(3, 1, DType::bf16) == "");
  CHECK(refusal(2, 2, DType::f32) == "");
}

TEST_CASE("oneDNN kernels see weights that changed in place") {
  Conv c(5);
  run(c);
  CHECK(c.middle() == 9 * 5);
  c.w.fill(2.0);
  run(c);
  CHECK(c.middle() == 2 * 9 * 5);
}

TEST_CASE("packed fp32 weights serve any number of threads and any batch") {
  Conv c(16);
  Tensor packed;
  {
    const Threads two(2);
    REQUIRE(!onednn::conv2d_fwd.refusal(c.args()));
    packed = onednn::conv2d_fwd.pack(c.args());
  }
  for (const int threads : {2, 1, 3})
    for (const int64_t n : {2, 1}) {
      const Threads guard(threads);
      c.y.fill(-1);
      op::Conv2dFwd a = c.args();
      a.packed = packed.view().data;
      a.g.n = a.x.shape[0] = a.y.shape[0] = n;
      onednn::conv2d_fwd.run(a, {});
      CHECK(c.middle() == 9 * 16);
    }
}

TEST_CASE("oneDNN kernels give their scratch memory back") {
  Conv c(16);
  run(c);
  const size_t before = allocator(Device::cpu()).stats().live_bytes;
  for (int i = 0; i < 5; ++i) run(c);
  CHECK(allocator(Device::cpu()).stats().live_bytes == before);
}

TEST_CASE("oneDNN kernels run in several threads of the host at once") {
  std::vector<double> results(4);
  std::vector<std::thread> hosts;
  for (size_t i = 0; i < results.size(); ++i)
    hosts.emplace_back([&results, i] {
      Conv c(3);
      for (int repeat = 0; repeat < 20; ++repeat) onednn::conv2d_fwd.run(c.args(), {});
      results[i] = c.middle();
    });
  for (auto& h : hosts) h.join();
  CHECK(results == std::vector<double>(4, 27.0));
}

TEST_CASE("packed int8 weights serve any number of threads") {
  constexpr int64_t kChannels = 64, kSize = 8;
  const auto g = Conv2dGeometry::make("test", {1, kChannels, kSize, kSize}, {kChannels, kChannels, 1, 1}, {});
  Tensor x = Tensor::full({1, kSize, kSize, kChannels}, 3, DType::u8);
  const Tensor w = Tensor::full({kChannels, kChannels, 1, 1}, 2, DType::i8);
  const Tensor bias = Tensor::full({1, kChannels}, 5, DType::i32), multiplier = Tensor::full({kChannels}, 0.25);
  Tensor y = Tensor::zeros({1, kChannels, kSize, kSize}, DType::u8);
  const Strides pixels{kSize * kSize * kChannels, 1, kSize * kChannels, kChannels};
  op::QConv2d a;
  a.g = g;
  a.x = CView(x.view().data, {1, kChannels, kSize, kSize}, pixels, DType::u8);
  a.w = w.view();
  a.bias = bias.view();
  a.multiplier = multiplier.view();
  a.y = View(y.mutable_view().data, {1, kChannels, kSize, kSize}, pixels, DType::u8);
  Tensor packed;
  {
    const Threads two(2);
    if (const Refusal r = onednn::qconv2d.refusal(a)) {
      WARN("not tested: " << r.why);
      return;
    }
    packed = onednn::qconv2d.pack(a);
    a.packed = packed.view().data;
  }
  for (const int threads : {2, 1, 3}) {
    const Threads guard(threads);
    std::memset(a.y.data, 0x7f, size_t(y.numel()));
    onednn::qconv2d.run(a, {});
    CHECK(y.to_vector() == std::vector<double>(size_t(y.numel()), 97));  // (3 * 2 * 64 + 5) / 4 = 97.25
  }
}

TEST_CASE("oneDNN is not asked for a weight gradient that makes it write outside of its memory") {
  const auto refusal = [](int64_t channels, int64_t stride) {
    const auto g = Conv2dGeometry::make("test", {5, channels, 8, 8}, {16, channels, 1, 1}, {.stride = stride});
    const auto last = MemoryFormat::channels_last;
    const Tensor x = Tensor::empty({5, channels, 8, 8}, DType::f32, Device::cpu(), last);
    const Tensor gy = Tensor::empty({5, 16, g.oh, g.ow}, DType::f32, Device::cpu(), last);
    Tensor gw = Tensor::empty({16, channels, 1, 1});
    return why(onednn::conv2d_bwd_weights.refusal({g, x.view(), gy.view(), gw.mutable_view()}));
  };
  CHECK(refusal(8, 2).find("outside of its memory") != std::string::npos);
  CHECK(refusal(8, 1) == "");
  CHECK(refusal(16, 2) == "");
}
