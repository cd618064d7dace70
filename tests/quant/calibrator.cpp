#include "quant/calibrator.h"

#include <atomic>
#include <sstream>
#include <thread>

#include "core/kernel.h"
#include "core/parallel.h"
#include "quant/grid/affine.h"
#include "tests/quant/compiled_nets.h"
#include "tests/support/catch.h"
#include "tests/support/comma_locale.h"
#include "tests/support/files.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::quant;
using namespace mininn::testing;
using Catch::Contains;

namespace {

std::string file_bytes(const Int8Net& net) {
  const TempFolder folder;
  net.save(folder / "net.safetensors");
  return read_file(folder / "net.safetensors");
}

Tensor rows(const Tensor& x, int64_t begin, int64_t end) {
  return x.as_strided(with_batch(x.shape(), end - begin), x.strides(), begin * x.strides()[0]);
}

}  // namespace

TEST_CASE("the compiled file does not depend on batches, order or threads") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  const int threads = num_threads();
  for (const TestNet& net : {residual(seed), vgg(seed)})
    for (const auto& [o, corrected] : {std::pair{minmax(), false}, {histogram_mse(), false}, {minmax(), true}}) {
      INFO(net.name << " " << to_string(o) << (corrected ? ", biases corrected" : ""));
      const Tensor x = random_input(net, 37, false, seed);
      const auto compile = [&](const std::vector<std::pair<int64_t, int64_t>>& batches) {
        Calibrator calib(nn::trace(net.fn, Tensor::zeros(net.input)), {.activations = o, .bias_correction = corrected});
        for (const auto& [begin, end] : batches) calib.observe(rows(x, begin, end));
        CHECK(calib.images() == 37);
        return file_bytes(calib.compile());
      };
      const std::string whole = compile({{0, 37}});
      CHECK(compile({{30, 37}, {0, 1}, {20, 30}, {1, 20}}) == whole);
      set_num_threads(1);
      CHECK(compile({{0, 37}}) == whole);
      set_num_threads(3);
      CHECK(compile({{36, 37}, {0, 36}}) == whole);
      set_num_threads(threads);
    }
}

TEST_CASE("raw images and their normalised form calibrate alike") {
  const TestNet net = residual(1);
  const auto graph = nn::trace(net.fn, Tensor::zeros(net.input));
  const Tensor bytes = random_images(with_batch(net.input, 20), 5);
  Calibrator a(graph, {.input = kImages}), b(graph, {.input = kImages});
  a.observe(bytes);
  b.observe(normalize_images(bytes, kImages));
  CHECK(file_bytes(a.compile()) == file_bytes(b.compile()));
  CHECK(denormalize_images(normalize_images(bytes, kImages), kImages).to_vector() == bytes.to_vector());
}

TEST_CASE("how it was calibrated is recorded") {
  Calibrator calib(nn::trace(mlp(1).fn, Tensor::zeros({2, 20})),
                   {.activations = percentile(99.9), .notes = {{"seed", "7"}}});
  calib.observe(Layers(1).input({3, 20}));
  calib.observe(Layers(2).input({4, 20}));
  const auto info = calib.compile().model().calibration;
  CHECK(info.at("images") == "7");
  CHECK(info.at("observer") == "percentile:99.9");
  CHECK(info.at("seed") == "7");
}

TEST_CASE("calibrating leaves other threads' preference for kernels alone") {
  const Preference before = preference();
  Calibrator calib(nn::trace(mlp(1).fn, Tensor::zeros({2, 20})));
  calib.observe(Layers(1).input({4, 20}));
  std::atomic<int> compiling{2};
  const auto compile = [&] {
    calib.compile();
    --compiling;
  };
  std::thread a(compile), b(compile);
  int changes = 0;
  while (compiling > 0) changes += preference() != before;
  a.join();
  b.join();
  CHECK(changes == 0);
  CHECK(preference() == before);
}

TEST_CASE("the compiled file does not depend on the locale") {
  Calibrator calib(nn::trace(residual(1).fn, Tensor::zeros(residual(1).input)), {.activations = percentile(99.9)});
  calib.observe(Layers(1).input(with_batch(residual(1).input, 3)));
  const auto printed = [](const Int8Net& net) {
    std::ostringstream out;
    out << net.report();
    return out.str();
  };
  const Int8Net before = calib.compile();
  const std::string want = file_bytes(before), report = printed(before);
  const CommaLocale comma;
  if (!comma) return;
  const Int8Net net = calib.compile();
  CHECK(file_bytes(net) == want);
  const TempFolder folder;
  net.save(folder / "net");
  CHECK(file_bytes(Int8Net::load(folder / "net")) == want);
  CHECK(printed(net) == report);
}

TEST_CASE("bad calibration data is refused with a reason") {
  const auto graph = nn::trace(residual(1).fn, Tensor::zeros(residual(1).input));
  Calibrator calib(graph);
  CHECK_THROWS_WITH(calib.compile(), Contains("observe()"));
  CHECK_THROWS_AS(calib.observe(Tensor::zeros({1, 3, 9, 8})), ShapeError);
  CHECK_THROWS_AS(calib.observe(Tensor()), ShapeError);
  CHECK_THROWS_AS(calib.observe(Tensor::zeros({1, 3, 9, 9}, DType::u8)), DTypeError);
  Tensor bad = Tensor::zeros({1, 3, 9, 9});
  bad.mutable_data<float>()[7] = NAN;
  calib.observe(bad);
  CHECK_THROWS_WITH(calib.compile(), Contains("input") && Contains("NaN"));
  Calibrator images(graph, {.input = kImages});
  CHECK_THROWS_WITH(images.observe(Layers(1).input({1, 3, 9, 9})), Contains("no byte"));
  CHECK_THROWS_AS(images.observe(bad), ValueError);
}

TEST_CASE("an activation that overflows is named") {
  Layers l(1);
  const auto conv = l.conv("explodes", 3, 4, 1);
  Calibrator calib(nn::trace([&](const Tensor& x) { return exp(conv(x)); }, Tensor::zeros({1, 3, 2, 2})));
  calib.observe(Tensor::full({1, 3, 2, 2}, 1e4));
  CHECK_THROWS_WITH(calib.compile(), Contains("exp_1"));
}

TEST_CASE("a normalisation must fit the images") {
  const auto graph = nn::trace(residual(1).fn, Tensor::zeros(residual(1).input));
  const auto input = [](std::vector<float> mean, std::vector<float> std) {
    return CalibratorOptions{.input = ImageNormalization{std::move(mean), std::move(std)}};
  };
  CHECK_THROWS_WITH(Calibrator(graph, input({.5f}, {.5f})), Contains("3 channels need as many means and deviations"));
  CHECK_THROWS_AS(Calibrator(graph, input({.5f, .5f, .5f}, {.5f, .5f})), ValueError);
  for (const float bad : {0.0f, -1.0f, NAN, INFINITY})
    CHECK_THROWS_WITH(Calibrator(graph, input({.5f, .5f, .5f}, {.5f, bad, .5f})), Contains("channel 1"));
  CHECK_THROWS_AS(Calibrator(graph, input({.5f, NAN, .5f}, {.5f, .5f, .5f})), ValueError);
  CHECK_THROWS_WITH(Calibrator(nn::trace(mlp(1).fn, Tensor::zeros({1, 20})), {.input = kImages}), Contains("no image"));
  const Tensor images = random_images({1, 3, 2, 2}, 1);
  CHECK_THROWS_AS(normalize_images(images, {{0, 0, 0}, {1, 0, 1}}), ValueError);
  CHECK_THROWS_AS(normalize_images(images, {{0, 0, 0}, {1}}), ValueError);
  CHECK_THROWS_AS(denormalize_images(Tensor::zeros({1, 3, 2, 2}), {{0, 0, 0}, {1, NAN, 1}}), ValueError);
  CHECK_THROWS_AS(Calibrator(graph, {.activations = {ObserverKind::percentile, 200}}), ValueError);
}

TEST_CASE("what is calibrated is the network that was traced") {
  const TestNet net = vgg(1);
  const Tensor w = Layers(3).normal("w", {5, 5}, 0, 1);
  const auto fn = [&](const Tensor& x) { return linear(relu(net.fn(x)), w, {}); };
  const Tensor x = random_input(net, 16, false, 1);
  const auto compile = [&](bool changed) {
    Calibrator calib(nn::trace(fn, Tensor::zeros(net.input)));
    const Tensor before = w.clone();
    if (changed) Tensor(w).fill(7);
    calib.observe(x);
    const Int8Net compiled = calib.compile();
    Tensor(w).copy_from(before);
    return file_bytes(compiled);
  };
  CHECK(compile(true) == compile(false));
}

TEST_CASE("what cannot be quantized is refused before any calibration") {
  CHECK_THROWS_AS(Calibrator(nn::trace([](const Tensor& x) { return x; }, Tensor::zeros({1, 3, 2, 2}))), KernelError);
}

TEST_CASE("a compiled net is the network that was traced, whatever is written to tensors that others hold") {
  for (const bool equalize : {false, true})
    for (const TestNet& net : {residual(1), vgg(1), mlp(1)}) {
      INFO(net.name);
      const Tensor x = random_input(net, 24, false, 1);
      nn::graph::Graph graph = nn::trace(net.fn, Tensor::zeros(net.input));
      // Writes to a tensor, or is refused.
      const auto write = [](Tensor t) {
        if (!t) return;
        try {
          t.fill(1);
        } catch (const ValueError&) {
        }
      };
      const auto write_graph = [&](const nn::graph::Graph& g) {
        for (const auto& v : g.values) write(v.constant);
      };
      const auto compiled = [&](bool written) {
        Calibrator calib(graph, {.equalize = equalize});
        if (written) write_graph(graph);
        calib.observe(x);
        if (written) write_graph(calib.graph());
        return calib.compile();
      };
      const std::string expected = file_bytes(compiled(false));
      const Int8Net int8 = compiled(true);
      CHECK(file_bytes(int8) == expected);

      const std::vector<double> y = int8(x).to_vector();
      write_graph(int8.model().graph);
      CHECK(int8(x).to_vector() == y);
      CHECK(file_bytes(int8) == expected);
    }
}

TEST_CASE("a net does not see what is written to the model that it was made of") {
  Int8Model model = calibrated(residual(1), 1, false).compile().model();
  Tensor& bias = constant(model, "conv1.bias");
  bias = bias.clone();
  const Int8Net net(model);
  const Tensor x = random_input(residual(1), 2, false, 1);
  const std::vector<double> y = net(x).to_vector();
  bias.fill(0);
  CHECK(net(x).to_vector() == y);
}

TEST_CASE("what could not be kept in a file is refused before calibration") {
  const auto graph = nn::trace(mlp(1).fn, Tensor::zeros({2, 20}));
  CHECK_THROWS_WITH(Calibrator(graph, {.notes = {{"source", "\xff"}}}), Contains("UTF-8"));
  CHECK_THROWS_AS(Calibrator(graph, {.notes = {{"\xc3", ""}}}), ValueError);
  CHECK_THROWS_AS(Calibrator(graph, {.activations = {ObserverKind(77)}}), ValueError);
}

TEST_CASE("a batch norm that no convolution takes in has an int8 form, exact like the rest") {
  Layers l(1);
  const auto norm = l.batch_norm("norm", 3), conv = l.conv("conv", 3, 8, 3, {.padding = 1}), fc = l.linear("fc", 8, 4);
  const auto middle = l.batch_norm("middle", 8);
  const Layers::Fn fn = [&](const Tensor& t) {
    const Tensor y = conv(relu(norm(t)));
    return fc(flatten(global_avg_pool2d(relu(middle(y)) + y)));
  };
  const Tensor x = l.input({32, 3, 8, 8});
  Calibrator calibrator(nn::trace(fn, l.input({1, 3, 8, 8})));
  calibrator.observe(x);
  const Int8Net net = calibrator.compile();
  CHECK(net.model().graph.nodes[1].name == "norm");
  CHECK(net.report().int8_macs() == net.report().graph_macs);
  SignalToNoise s;
  const std::vector<double> exact = fn(x).to_vector(), got = net(x).to_vector();
  for (size_t i = 0; i < exact.size(); ++i) s.add(exact[i], got[i]);
  CHECK(s.decibel() > 25);
}
