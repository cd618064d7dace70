#include "quant/int8_net.h"
#include "core/integers.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "core/kernel.h"
#include "core/parallel.h"
#include "nn/graph/executor.h"
#include "ops/qconv2d.h"
#include "ops/quantize.h"
#include "ops/reduce.h"
#include "tests/quant/compiled_nets.h"
#include "tests/quant/simulator.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;
using Catch::Contains;

namespace {

bool same_bits(const Tensor& a, const Tensor& b) { return a.shape() == b.shape() && a.to_vector() == b.to_vector(); }

bool takes_images(const TestNet& net) { return net.input.rank() == 4; }

// A net whose every int8 op is in use, with zero points that are not zero.
TestNet mixed(uint64_t seed) {
  Layers l(seed);
  const auto c1 = l.conv("c1", 5, 9, 3, {.padding = 1}), c2 = l.conv("c2", 9, 9, 3, {.padding = 2, .dilation = 2});
  const auto c3 = l.conv("c3", 9, 9, 3, {.padding = 1, .groups = 3}), fc = l.linear("fc", 9, 4);
  return {"mixed", {2, 5, 10, 11}, [=](const Tensor& x) {
            const Tensor a = c1(x), b = tanh(a) + max_pool2d(a, {.kernel = 3, .stride = 1, .padding = 1});
            const Tensor c = c2(b) + b;
            const Tensor d = avg_pool2d(c3(c), {.kernel = 3, .stride = 2, .padding = 1}, false);
            return fc(flatten(global_avg_pool2d(d * 0.7 + 0.1)));
          }};
}

std::vector<TestNet> all_nets(uint64_t seed) {
  auto nets = test_nets(seed);
  nets.push_back(mixed(seed));
  // Ends that are not linear.
  Layers l(seed);
  const auto head = l.conv("head", 3, 5, 3, {.stride = 2, .padding = 1});
  nets.push_back({"conv_end", {2, 3, 7, 8}, head});
  const auto body = l.conv("body", 5, 5, 3, {.padding = 1});
  nets.push_back(
      {"curved", {2, 3, 7, 8}, [=](const Tensor& x) { return body(leaky_relu(body(hardswish(head(x))), 0.1)); }});
  nets.push_back({"relu_end", {2, 3, 7, 8}, [=](const Tensor& x) { return relu6(head(x)); }});
  nets.push_back({"average_end", {2, 3, 7, 8}, [=](const Tensor& x) { return flatten(global_avg_pool2d(head(x))); }});
  nets.push_back({"features", {2, 3, 7, 8}, [=](const Tensor& x) {
                    const Tensor y = max_pool2d(relu(head(x)), {.kernel = 3, .stride = 2, .padding = 1});
                    return avg_pool2d(sigmoid(y) + relu6(y) * 0.5, {.kernel = 2, .stride = 1, .padding = 1}, false);
                  }});
  const auto fc = l.linear("fc", 3, 6), add = l.conv("add", 3, 3, 3, {.padding = 1});
  nets.push_back({"linear_relu_end", {2, 3, 7, 8}, [=](const Tensor& x) {
                    return reshape(relu(fc(flatten(global_avg_pool2d(add(x))))), {x.size(0), 6, 1, 1});
                  }});
  nets.push_back({"read_twice_end", {2, 3, 7, 8}, [=](const Tensor& x) {
                    const Tensor y = fc(flatten(global_avg_pool2d(add(x))));
                    return y + relu(y) + y;
                  }});
  nets.push_back({"sum_end", {2, 3, 7, 8}, [=](const Tensor& x) {
                    const Tensor y = relu(add(x));
                    return relu(add(y) + y);
                  }});
  nets.push_back({"vectors", {2, 3, 7, 8}, [=](const Tensor& x) {
                    const Tensor y = add(x);
                    return fc(mean(reshape(relu(flatten(y) + flatten(tanh(y))) * 0.5, {x.size(0), 3, 7, 8}), {2, 3}));
                  }});
  return nets;
}

}  // namespace

TEST_CASE("every node of every net equals an independent simulation, byte for byte") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  for (const TestNet& net : all_nets(seed))
    for (const bool images : {false, true}) {
      if (images && (!takes_images(net) || net.input[1] != 3)) continue;
      INFO(net.name << (images ? " on images" : ""));
      const Int8Net compiled = calibrated(net, seed, images).compile();
      const Int8Model& m = compiled.model();
      const int64_t n = 3;
      const Tensor x = random_input(net, n, images, seed + 7);
      Int8Stepper stepper(compiled, n);
      Simulator simulator(m, n);
      stepper.set_input(x);
      simulator.set_input(x.to_vector());
      for (size_t i = 0; i < m.graph.nodes.size(); ++i) {
        const nn::graph::Node& node = m.graph.nodes[i];
        INFO(node.name << " " << node.op->name);
        stepper.run(i);
        simulator.run(node);
        CHECK(stepper.raw(node.output).to_vector() == simulator.value(node.output));
      }
      // The whole run with shared buffers gives what the nodes gave in buffers of their own.
      CHECK(compiled.forward(x).to_vector() == stepper.real(m.graph.outputs[0]).to_vector());
    }
}

TEST_CASE("results do not depend on batch, slicing, threads or layout") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  const int threads = num_threads();
  for (const TestNet& net : all_nets(seed)) {
    INFO(net.name);
    const Calibrator calib = calibrated(net, seed, false);
    const Int8Net whole = calib.compile(), sliced = calib.compile({.slice = 3}), halves = calib.compile({.slice = 12});
    const Tensor x = random_input(net, 11, false, seed + 1), y = whole(x);
    CHECK(same_bits(sliced(x), y));
    CHECK(same_bits(halves(x), y));  // in the last of its batch classes
    for (const int t : {1, 2, 3}) {
      set_num_threads(t);
      CHECK(same_bits(whole(x), y));
    }
    set_num_threads(threads);
    Tensor joined = Tensor::empty_like(y);
    for (int64_t i = 0; i < 11; ++i) {
      const auto row = [&](const Tensor& t) {
        return t.as_strided(with_batch(t.shape(), 1), t.strides(), i * t.strides()[0]);
      };
      row(joined).copy_from(whole(row(x)));
    }
    CHECK(same_bits(joined, y));
    if (x.rank() == 4) CHECK(same_bits(whole(contiguous(x, MemoryFormat::channels_last)), y));
    CHECK(whole(random_input(net, 0, false, 1)).size(0) == 0);
  }
}

TEST_CASE("every int8 kernel gives the same bits") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  for (const TestNet& net : all_nets(seed)) {
    const Int8Net best = calibrated(net, seed, false).compile();
    const Tensor x = random_input(net, 5, false, seed + 1), y = best(x);
    int tried = 0;
    for (const auto& kernel : kernels<op::QConv2d>().candidates(DeviceType::cpu)) {
      INFO(net.name << " " << kernel.name);
      Int8Net forced = best;
      try {
        const ForceKernel force("qconv2d", std::string(kernel.name));
        forced.repack();
      } catch (const KernelError&) {
        continue;  // not for this CPU, or not for one of the layers
      }
      ++tried;
      CHECK(same_bits(forced(x), y));
      for (const LayerReport& l : forced.report().layers)
        if (l.op.starts_with("conv2d")) CHECK(l.kernel == kernel.name);
    }
    CHECK(tried >= 1);
  }
}

TEST_CASE("host threads may share one net") {
  const TestNet net = residual(1);
  const Int8Net compiled = calibrated(net, 2, false).compile();
  const Tensor x = random_input(net, 9, false, 3), y = compiled(x);
  std::vector<std::thread> threads;
  std::vector<int> equal(4, 0);
  for (size_t t = 0; t < equal.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) equal[t] += same_bits(compiled(x), y);
    });
  for (std::thread& t : threads) t.join();
  CHECK(equal == std::vector<int>(4, 20));
}

TEST_CASE("int8 results are close to the float network's") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  for (const TestNet& net : all_nets(seed)) {
    INFO(net.name);
    const Calibrator calib = calibrated(net, seed, false);
    const Report r = calib.compile().report();
    for (const LayerReport& l : r.layers) {
      INFO(l.name << ": " << l.sqnr_local << " dB, " << l.sqnr_total << " dB in all");
      CHECK_FALSE(l.sqnr_local <= 20);  // NaN: a sum that the float network does not show
      CHECK_FALSE(l.sqnr_total <= 15);
    }
  }
}

TEST_CASE("the shared arena is smaller than all activations together and never overlaps what is alive") {
  const Int8Net compiled = calibrated(residual(1), 2, false).compile();
  int64_t all = 0;
  for (const TensorInfo& t : infos_of_one(compiled.model().graph))
    if (t.dtype == DType::u8 && t.qparams) all += t.shape[2] * t.shape[3] * round_up(t.shape[1], 4);
  CHECK(compiled.report().arena_bytes_per_image < all);
}

TEST_CASE("a net has kernels for the batches that its slices allow") {
  const Calibrator calib = calibrated(residual(1), 1, false);
  const auto batches = [&](int64_t slice) { return calib.compile({.slice = slice}).report().batches; };
  using Sizes = std::vector<int64_t>;
  CHECK(batches(1) == Sizes{1});
  CHECK(batches(4) == Sizes{1});
  CHECK(batches(8) == Sizes{1, 8});
  CHECK(batches(12) == Sizes{1, 5, 12});
  CHECK(batches(32) == Sizes{1, 8, 32});
}

TEST_CASE("wrong inputs are refused with what is wanted") {
  const TestNet net = residual(1);
  const Int8Net f32 = calibrated(net, 2, false).compile(), u8 = calibrated(net, 2, true).compile();
  CHECK_THROWS_AS(f32(Tensor::zeros({1, 3, 9, 8})), ShapeError);
  CHECK_THROWS_AS(f32(Tensor::zeros({3, 9, 9})), ShapeError);
  CHECK_THROWS_AS(f32(Tensor()), ShapeError);
  CHECK_THROWS_AS(f32(Tensor::zeros({1, 3, 9, 9}, DType::u8)), DTypeError);
  CHECK_THROWS_WITH(u8(Tensor::zeros({1, 3, 9, 9})), Contains("raw image bytes"));
  CHECK_THROWS_AS(Int8Net(f32.model(), {.slice = 0}), ValueError);
  CHECK_THROWS_AS(Int8Net(f32.model(), {.slice = INT64_MAX}), ValueError);
  CHECK_THROWS_AS(Int8Stepper(f32, int64_t(1) << 40), ValueError);
  Int8Stepper stepper(f32, 1);
  for (const int id : {-1, int(f32.model().graph.values.size())}) {
    CHECK_THROWS_AS(stepper.raw(id), ValueError);
    CHECK_THROWS_AS(stepper.real(id), ValueError);
    CHECK_THROWS_AS(stepper.set(id, Tensor::zeros({1, 3, 9, 9})), ValueError);
  }
  CHECK_THROWS_AS(stepper.set(0, Tensor::zeros({1, 3, 9, 9}, DType::f64)), DTypeError);
  Int8Stepper bytes(u8, 1);
  CHECK_THROWS_AS(bytes.set(u8.model().graph.inputs[0], Tensor::zeros({1, 3, 9, 9})), DTypeError);
  CHECK_THROWS_AS(stepper.run(f32.model().graph.nodes.size()), ValueError);
}

TEST_CASE("another thread may change the number of threads while a net runs") {
  const int threads = num_threads();
  const TestNet net = residual(1);
  const Tensor x = random_input(net, 11, false, 3);
  const Int8Net compiled = calibrated(net, 2, false).compile();
  const Tensor want = compiled(x);
  std::atomic<bool> done{false};
  std::thread other([&] {
    for (int t = 1; !done; t = t % 4 + 1) set_num_threads(t);
  });
  int wrong = 0;
  for (int i = 0; i < 100; ++i) wrong += !same_bits(compiled(x), want);
  done = true;
  other.join();
  set_num_threads(threads);
  CHECK(wrong == 0);
}

TEST_CASE("a result is never quantized, however the network ends") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  for (const TestNet& net : all_nets(seed)) {
    INFO(net.name);
    const Int8Net compiled = calibrated(net, seed, false).compile();
    const nn::graph::Graph& g = compiled.model().graph;
    const nn::graph::Node& last = g.nodes[size_t(producers(g)[size_t(g.outputs[0])])];
    CHECK(compiled.model().output().dtype == DType::f32);
    CHECK_FALSE(last.is(opdef::dequantize));
  }
}

TEST_CASE("a tuned net gives the same bits, the first time and with times from the file") {
  const TempFolder folder;
  const TestNet net = residual(1);
  const Tensor x = random_input(net, 9, false, 3);
  const Int8Net untuned = calibrated(net, 2, false).compile();
  const Tensor want = untuned(x);
  ::setenv("MININN_CACHE_DIR", folder.path.c_str(), 1);
  ::setenv("MININN_TUNE", "on", 1);
  const Int8Net first(untuned.model()), second(untuned.model());
  ::setenv("MININN_TUNE", "off", 1);
  ::unsetenv("MININN_CACHE_DIR");
  CHECK(same_bits(first(x), want));
  CHECK(same_bits(second(x), want));
  const Report a = first.report(), b = second.report();
  REQUIRE(a.layers.size() == b.layers.size());
  for (size_t i = 0; i < a.layers.size(); ++i) CHECK(a.layers[i].kernel == b.layers[i].kernel);
  CHECK(std::any_of(a.layers.begin(), a.layers.end(),
                    [](const LayerReport& l) { return !l.trials.empty() && !l.trials.back().empty(); }));
}

TEST_CASE("profiling fills in a time per layer and nothing else") {
  const Int8Net compiled = calibrated(residual(1), 2, false).compile();
  const Report r = compiled.profile(random_input(residual(1), 2, false, 1), 3);
  for (const LayerReport& l : r.layers) CHECK(l.ms >= 0);
  CHECK(r.int8_bytes() == compiled.report().int8_bytes());
  CHECK_THROWS_AS(compiled.profile(Tensor::zeros({0, 3, 9, 9})), ValueError);
}

TEST_CASE("slices go where the result lies, and a batch of nothing gives nothing, whatever the kernels") {
  Layers l(1);
  const auto head = l.conv("head", 3, 8, 3, {.padding = 1}), fc = l.linear("fc", 8, 6);
  const Layers::Fn fn = [&](const Tensor& t) {
    return reshape(fc(flatten(global_avg_pool2d(relu(head(t))))), {t.size(0), 6, 1, 1});
  };
  Calibrator calibrator(nn::trace(fn, l.input({1, 3, 8, 8})));
  calibrator.observe(l.input({8, 3, 8, 8}));
  const Tensor x = l.input({5, 3, 8, 8});
  const auto whole = calibrator.compile()(x).to_vector();
  CHECK(calibrator.compile({.slice = 2})(x).to_vector() == whole);
  for (const Preference p : {Preference::own, Preference::vendor}) {
    const PreferenceGuard prefer(p);
    const Int8Net net = calibrator.compile();
    CHECK(net(x).to_vector() == whole);
    CHECK(net(Tensor::zeros({0, 3, 8, 8})).shape() == Shape{0, 6, 1, 1});
  }
}
