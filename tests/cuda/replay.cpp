// Copies that the host does not wait for, and calls that are taken down once and launched as CUDA graphs: on the
// emulator.
#include <algorithm>
#include <numeric>
#include <vector>

#include "core/backend.h"
#include "nn/graph/executor.h"
#include "nn/graph/passes.h"
#include "nn/graph/program.h"
#include "nn/graph/trace.h"
#include "ops/cast.h"
#include "tests/cuda/emulate/emulate.h"
#include "tests/nn/graph/nets.h"
#include "tests/support/catch.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

const Device kDevice = Device::cuda(0);

// How often fn() launches a graph.
template <class Fn>
uint64_t launches(const Fn& fn) {
  const uint64_t before = emulate::graph_launches();
  fn();
  return emulate::graph_launches() - before;
}

}  // namespace

TEST_CASE("bytes of the host have been read when a copy to a CUDA device returns") {
  Tensor from = Tensor::empty({50000}, DType::i32);
  const auto bytes = from.mutable_data<int32_t>();
  std::vector<Tensor> there;
  for (int i = 0; i < 40; ++i) {  // more than are on their way at once
    std::ranges::fill(bytes, i);
    there.push_back(from.to(kDevice));
  }
  for (int i = 0; i < 40; ++i) {
    const Tensor back = there[size_t(i)].to(Device::cpu());
    CHECK(std::ranges::all_of(back.data<int32_t>(), [&](int32_t v) { return v == i; }));
  }

  Tensor large = Tensor::empty({5'000'000}, DType::i32);  // more than there is room for at once
  const auto numbers = large.mutable_data<int32_t>();
  std::iota(numbers.begin(), numbers.end(), 0);
  const Tensor copy = large.to(kDevice);
  std::ranges::fill(numbers, -1);
  const Tensor back = copy.to(Device::cpu());
  std::iota(numbers.begin(), numbers.end(), 0);
  CHECK(std::ranges::equal(back.data<int32_t>(), large.data<int32_t>()));
}

TEST_CASE("a program that gets the same tensors again is launched as a graph, until it gets others") {
  const DType dtype =
      GENERATE(DType::f32, DType::bf16);  // own.gemm; own.mma, which packs weights into memory of its own
  Layers layers(test_seed());
  const auto conv = layers.conv("conv", 3, 16, 3, {.padding = 1}), down = layers.conv("down", 16, 20, 1, {.stride = 2});
  const auto norm = layers.batch_norm("norm", 16);
  const auto net = [&](const Tensor& x) { return down(relu(norm(conv(x)))); };
  nn::graph::Graph g = nn::graph::optimize(nn::trace(net, Tensor::zeros({1, 3, 8, 8}, dtype)));
  g.to(kDevice);
  const Tensor first = cast(layers.input({2, 3, 8, 8}), dtype).to(kDevice);
  const Tensor second = cast(layers.input({2, 3, 8, 8}), dtype).to(kDevice);
  const auto wanted_first = nn::graph::run(g, first).to_vector(), wanted_second = nn::graph::run(g, second).to_vector();

  const nn::graph::Program program(g);
  Tensor x = first.clone(), y;
  const auto again = [&](const Tensor& in) { program.run_into({&in, 1}, {&y, 1}); };
  CHECK(launches([&] { y = program(x); }) == 0);
  CHECK(y.to_vector() == wanted_first);
  const size_t live = allocator(kDevice).stats().live_bytes;
  CHECK(launches([&] { again(x); }) == 1);
  CHECK(y.to_vector() == wanted_first);
  x.copy_from(second);
  CHECK(launches([&] { again(x); }) == 1);
  CHECK(y.to_vector() == wanted_second);
  CHECK(launches([&] { again(first); }) == 0);
  CHECK(y.to_vector() == wanted_first);
  CHECK(launches([&] { again(first); }) == 1);
  CHECK(y.to_vector() == wanted_first);
  CHECK(allocator(kDevice).stats().live_bytes == live);
}

TEST_CASE("what cannot be repeated is not taken down, and its CUDA stream serves as before") {
  const Stream stream = current_stream(kDevice);
  const Tensor x = Tensor::from<double>({1, 2, 3}, {3});
  CHECK(!backend(kDevice).take_down(stream, [&] { (void)x.to(kDevice); }));
  const Tensor there = x.to(kDevice);
  CHECK(!backend(kDevice).take_down(stream, [&] { (void)there.to_vector(); }));
  CHECK((there + 1).to_vector() == std::vector<double>{2, 3, 4});

  Tensor y = Tensor::zeros({3}, DType::f64, kDevice);
  const auto taken = backend(kDevice).take_down(stream, [&] { y.copy_from(there); });
  REQUIRE(taken);
  CHECK(y.to_vector() == std::vector<double>{0, 0, 0});
  backend(kDevice).replay(stream, taken);
  CHECK(y.to_vector() == std::vector<double>{1, 2, 3});
}
