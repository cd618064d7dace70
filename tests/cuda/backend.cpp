// The CUDA backend: streams, events, memory, copies and refusals, on the emulator.
#include "core/backend.h"

#include <cmath>
#include <csignal>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/backend.h"
#include "ops/conv2d.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/qconv2d.h"
#include "ops/quantize.h"
#include "ops/reduce.h"
#include "tests/cuda/emulate/emulate.h"
#include "tests/support/catch.h"
#include "tests/support/fork.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

const Device kFirst = Device::cuda(0), kSecond = Device::cuda(1);

Tensor counted(int64_t n) {
  std::vector<double> v(static_cast<size_t>(n));
  for (size_t i = 0; i < v.size(); ++i) v[i] = double(i) + 1;
  return Tensor::from(v, {n});
}

// What the child says of --device cuda, where the driver is as told.
std::string refusal(cudaError_t state, int version, int capability = 80) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  in_forked_child([&] {
    emulate::set_driver(state, version);
    emulate::set_capability(capability);
    try {
      (void)Device::parse("cuda");
    } catch (const DeviceError& e) {
      const std::string text = e.what();
      return ::write(ends[1], text.data(), text.size()) == ssize_t(text.size()) ? 0 : 1;
    }
    return 2;
  });
  ::close(ends[1]);
  char text[400];
  const ssize_t n = ::read(ends[0], text, sizeof text);
  ::close(ends[0]);
  return {text, size_t(n > 0 ? n : 0)};
}

}  // namespace

// First, before anything has asked for the backend: each child finds another driver.
TEST_CASE("why there is no CUDA device is one sentence for each reason") {
  CHECK(refusal(cudaErrorInsufficientDriver, 0) == "device 'cuda': this machine has no NVIDIA driver");
  CHECK(refusal(cudaErrorInsufficientDriver, 12040) ==
        "device 'cuda': the NVIDIA driver is for CUDA 12.4 and older, this program needs 13.0");
  CHECK(refusal(cudaErrorNoDevice, 13000) == "device 'cuda': the NVIDIA driver finds no GPU");
  CHECK(refusal(cudaSuccess, 13000, 75) ==
        "device 'cuda': the GPU is of compute capability 7.5, or without memory pools; this program needs 8.0 with "
        "them (CUDA_VISIBLE_DEVICES can hide it from programs)");
  CHECK(refusal(cudaErrorInvalidValue, 13000) == "device 'cuda': the NVIDIA driver does not answer: invalid argument");
}

TEST_CASE("CUDA devices are counted, and others refused") {
  CHECK(device_count(DeviceType::cuda) == 2);
  CHECK(Device::best() == kFirst);
  CHECK(Device::parse("cuda:1") == kSecond);
  CHECK_THROWS_AS(Device::parse("cuda:2"), DeviceError);
  CHECK_THROWS_AS(Tensor::zeros({2}, DType::f32, Device::cuda(2)), DeviceError);
  CHECK_THROWS_AS(synchronize(Stream{Device::cuda(7), nullptr}), DeviceError);
}

TEST_CASE("memory that CUDA devices do not have is refused with both numbers, and what there is still serves") {
  const size_t before = allocator(kFirst).stats().live_bytes;
  try {
    (void)Tensor::empty({int64_t{1} << 31}, DType::u8, kFirst);
    FAIL("it was not refused");
  } catch (const Error& e) {
    CHECK(e.what() == message("out of memory on cuda:0: 2147483648 bytes wanted, ", before, " in use"));
  }
  CHECK(allocator(kFirst).stats().live_bytes == before);
  CHECK((counted(3).to(kFirst) + 1).to_vector() == std::vector<double>{2, 3, 4});
}

TEST_CASE("memory of CUDA devices is counted and comes back") {
  Allocator& memory = allocator(kSecond);
  const MemoryStats before = memory.stats();
  {
    const Tensor t = Tensor::zeros({1000}, DType::f32, kSecond);
    CHECK(memory.stats().live_bytes == before.live_bytes + 4000);
    CHECK(memory.stats().peak_bytes >= before.live_bytes + 4000);
  }
  CHECK(memory.stats().live_bytes == before.live_bytes);
  memory.release_cached();
}

TEST_CASE("CUDA streams wait for what they are told to wait for") {
  const Stream other = new_stream(kFirst);
  const Tensor x = counted(4).to(kFirst);
  Tensor y;
  Event done;
  {
    const StreamGuard guard(other);
    wait(other, record({kFirst, nullptr}));  // x was made on the default stream
    y = x + 1;
    done = record(other);
  }
  wait(current_stream(kFirst), done);
  CHECK(y.to_vector() == std::vector<double>{2, 3, 4, 5});
  synchronize(other);
}

TEST_CASE("a forgotten wait between CUDA streams shows in the result") {
  const Stream other = new_stream(kFirst);
  Tensor y;
  {
    const StreamGuard guard(other);
    y = counted(2).to(kFirst) + 1;
  }
  CHECK(y.to_vector()[0] != 2);  // read on a stream that did not wait
  synchronize(other);
  CHECK(y.to_vector()[0] == 2);
}

TEST_CASE("tensors travel between CUDA devices and to the host") {
  const Tensor x = counted(5), there = x.to(kFirst), farther = there.to(kSecond);
  CHECK(farther.device() == kSecond);
  CHECK((farther * 2).to_vector() == (x * 2).to_vector());
  CHECK(farther.to(kFirst).to_vector() == x.to_vector());
  CHECK(farther.to(Device::cpu()).to_vector() == x.to_vector());
}

TEST_CASE("int8 convolutions are packed on the device that their weights lie on") {
  RandomTensors random(4);
  const Tensor x = random.tensor({2, 5, 6, 6}), scale = Tensor::full({7}, 0.01);
  const QParams q{0.02f, 120};
  Tensor w = Tensor::zeros({7, 5, 3, 3}, DType::i8);
  w.copy_from(random.tensor(w.shape(), DType::i8));
  const Tensor bias = Tensor::full({1, 7}, -40, DType::i32);
  for (const int64_t groups : {1, 5}) {  // a kernel of its own for each
    const Tensor weights = groups == 1 ? w : Tensor::full({5, 1, 3, 3}, 3, DType::i8);
    const int64_t out = weights.size(0);
    const Tensor s = slice(scale, 0, 0, out), b = slice(bias, 1, 0, out);
    const QConv2dOptions o{.conv = {.padding = 1, .groups = groups}, .y = {0.1f, 100}};
    const Tensor want = qconv2d(quantize(x, q), weights, s, b, {}, o);
    for (const Device d : {kFirst, kSecond}) {
      const Tensor y = qconv2d(quantize(x.to(d), q), weights.to(d), s.to(d), b.to(d), {}, o);
      CHECK(y.device() == d);
      CHECK(y.to_vector() == want.to_vector());
    }
  }
}

TEST_CASE("an address says which CUDA device it lies on, and the host's are refused") {
  for (const Device d : {kFirst, kSecond}) {
    Tensor t = Tensor::zeros({4}, DType::u8, d);
    CHECK(cuda::device_of(t.mutable_view().data) == d);
  }
  const int on_host = 0;
  CHECK_THROWS_WITH(cuda::device_of(&on_host), "CUDA: an address that is no device's memory");
}

TEST_CASE("memory of a CUDA device cannot be touched by the host") {
  Tensor t = Tensor::zeros({4}, DType::u8, kFirst);
  synchronize(current_stream(kFirst));
  volatile std::byte* const p = t.mutable_view().data;
  CHECK(in_forked_child([&] {
          std::signal(SIGSEGV, [](int) { ::_exit(7); });
          *p = std::byte{1};
          return 0;
        }) == 7);
}

TEST_CASE("labels outside of their range make the loss and the gradient NaN on a CUDA device, which cannot throw") {
  Tensor logits = Tensor::zeros({3, 4}).to(kFirst);
  logits.set_requires_grad(true);
  for (const int64_t label : {int64_t{4}, int64_t{-1}}) {
    logits.set_grad({});
    const Tensor loss = cross_entropy(logits, Tensor::from<int64_t>({0, label, 1}, {3}).to(kFirst));
    loss.backward();
    CHECK(std::isnan(loss.item()));
    const std::vector<double> g = logits.grad().to_vector();
    CHECK(!std::isnan(g[0]));
    CHECK(std::isnan(g[4]));
  }
}

TEST_CASE("convolutions of bf16 without groups run on tensor cores, by warpgroups where a device has them") {
  const auto chosen = [](DType dtype, int64_t channels, int64_t groups) {
    const Device d = Device::cuda();
    const Tensor x = Tensor::empty({2, channels, 8, 8}, dtype, d, MemoryFormat::channels_last);
    Tensor gx = x.clone(), y = x.clone(), w = Tensor::empty({channels, channels / groups, 3, 3}, DType::f32, d);
    const auto g = Conv2dGeometry::make("test", x.shape(), w.shape(), {.padding = 1, .groups = groups});
    return std::set{kernels<op::Conv2dFwd>().select({g, x.view(), w.view(), {}, {}, false, y.mutable_view()}, d).name,
                    kernels<op::Conv2dBwdData>().select({g, y.view(), w.view(), gx.mutable_view()}, d).name,
                    kernels<op::Conv2dBwdWeights>().select({g, x.view(), y.view(), w.mutable_view()}, d).name};
  };
  using Names = std::set<std::string_view>;
  CHECK(chosen(DType::bf16, 32, 1) == Names{"own.mma", "own.wgmma"});
  CHECK(chosen(DType::bf16, 16, 1) == Names{"own.mma"});  // a pixel has half of what a step takes
  CHECK(chosen(DType::bf16, 36, 1) == Names{"own.mma"});  // no whole 16 bytes
  CHECK(chosen(DType::bf16, 32, 2) == Names{"own.gemm"});
  CHECK(chosen(DType::f32, 32, 1) == Names{"own.gemm"});
  emulate::set_capability(80);
  CHECK(chosen(DType::bf16, 32, 1) == Names{"own.mma"});
  emulate::set_capability(90);
}
