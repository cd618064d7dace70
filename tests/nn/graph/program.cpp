#include "nn/graph/program.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "core/allocator.h"
#include "core/capture.h"
#include "core/parallel.h"
#include "nn/graph/executor.h"
#include "nn/graph/passes.h"
#include "nn/graph/trace.h"
#include "ops/cast.h"
#include "ops/conv2d.h"
#include "ops/cross_entropy.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/pool2d.h"
#include "ops/qconv2d.h"
#include "ops/qpool.h"
#include "ops/quantize.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "tests/nn/graph/nets.h"
#include "tests/support/allocations.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"
#include "tests/support/random_tensors.h"

using namespace mininn;
using namespace mininn::nn::graph;
using namespace mininn::testing;
using Catch::Contains;

namespace {

using Tensors = std::vector<Tensor>;

// Two inputs, and outputs that are: a sum, a view of it, an input, an op's view of an input, of that, the sum again.
Tensors many(std::span<const Tensor> in) {
  const Tensor sum = in[0] + in[1], maps = reshape(in[1], {in[1].size(0), 3, 2, 2});
  return {sum, slice(sum, 1, 2, 7), in[0], permute(maps, {0, 2, 3, 1}), relu(maps), sum};
}

}  // namespace

TEST_CASE("a network with f32 parameters answers bf16 in bf16, as a program and op by op") {
  Layers layers(test_seed());
  const auto conv = layers.conv("conv", 3, 16, 3, {.padding = 1}), down = layers.conv("down", 16, 20, 1, {.stride = 2});
  const auto norm = layers.batch_norm("norm", 16);
  const auto net = [&](const Tensor& x) { return down(relu(norm(conv(x)))); };
  const Graph traced = nn::trace(net, Tensor::zeros({1, 3, 8, 8}, DType::bf16));
  const Tensor x = cast(layers.input({4, 3, 8, 8}), DType::bf16);
  const Tensor expected = net(cast(x, DType::f32));
  for (const Graph& g : {traced, optimize(traced)}) {
    const Tensor y = Program(g)(x);
    CHECK(y.dtype() == DType::bf16);
    CHECK(max_difference(y, run(g, x)) == 0);
    CHECK(max_difference(y, expected) < 0.05);
  }
}

TEST_CASE("a program gives the bits of run() for any batch") {
  const uint64_t seed = test_seed();
  INFO("seed " << seed);
  for (const DType dtype : {DType::f32, DType::f64})
    for (const TestNet& net : test_nets(seed, dtype)) {
      INFO(net.name << ' ' << name(dtype));
      const Graph traced = nn::trace(net.fn, Tensor::zeros(net.input, dtype));
      for (const Graph& g : {traced, optimize(traced)})
        for (const int64_t made_for : {1, 3}) {
          const Program program(g, made_for);
          for (const int64_t n : {1, 2, 3, 8}) {
            const Tensor x = Layers(seed + 1, dtype).input(with_batch(net.input, n));
            CHECK(max_difference(program(x), run(g, x)) == 0);
          }
        }
    }
}

namespace {

// Fills the result with a number and takes its time for it.
template <int kResult, int kMs>
Kernel<op::Conv2dFwd> filling_kernel(std::string_view name) {
  return {name, kOwn, [](const op::Conv2dFwd&) { return Refusal{}; },
          [](const op::Conv2dFwd& a, const ExecContext&) {
            std::this_thread::sleep_for(std::chrono::milliseconds(kMs));
            std::fill_n(a.y.as<float>(), a.y.size(), float(kResult));
          }};
}

}  // namespace

TEST_CASE("a program's convolutions run the kernel that the tuner finds, the table's without it") {
  auto& table = kernels<op::Conv2dFwd>();
  struct Restore {
    std::vector<Kernel<op::Conv2dFwd>> list;
    ~Restore() {
      kernels<op::Conv2dFwd>().set(DeviceType::cpu, list);
      ::setenv("MININN_TUNE", "off", 1);
      ::unsetenv("MININN_CACHE_DIR");
    }
  } const restore{table.candidates(DeviceType::cpu)};
  table.set(DeviceType::cpu, {filling_kernel<1, 3>("own.slow"), filling_kernel<2, 0>("own.fast"), restore.list.back()});
  const TempFolder folder;
  ::setenv("MININN_CACHE_DIR", folder.path.c_str(), 1);
  const Tensor x = Tensor::zeros({2, 3, 6, 6}), w = Tensor::zeros({4, 3, 3, 3});
  const Graph g = nn::trace([&](const Tensor& t) { return conv2d(t, w, {}); }, x);
  const auto kernel_of = [&](const Program& program, const Tensor& input) { return program(input).to_vector()[0]; };
  for (const bool known : {false, true}) {  // to the tuner
    INFO("known: " << known);
    ::setenv("MININN_TUNE", "on", 1);
    const Program tuned(g, 2);
    ::setenv("MININN_TUNE", "off", 1);
    CHECK(kernel_of(tuned, x) == 2);
    CHECK(kernel_of(tuned, Tensor::zeros({5, 3, 6, 6})) == 2);
    CHECK(run(g, x).to_vector()[0] == 1);  // only what is program is tuned
    const ForceKernel reference("conv2d_fwd", "ref");
    CHECK(kernel_of(tuned, x) == 0);
  }
  CHECK(kernel_of(Program(g, 2), x) == 1);
  ::setenv("MININN_TUNE", "on", 1);
  const ForceKernel slow("conv2d_fwd", "own.slow");
  CHECK(kernel_of(Program(g, 2), x) == 1);
  ::setenv("MININN_TUNE", "sometimes", 1);
  CHECK_THROWS_AS(Program(g), ValueError);
}

TEST_CASE("a program keeps the constant weights it was given and reads computed ones") {
  const Tensor x = Tensor::full({2, 3, 6, 6}, 1.0);
  const auto first = [](const Tensor& y) { return y.to_vector()[0]; };
  const Tensor ones = Tensor::full({4, 3, 3, 3}, 1.0), bias = Tensor::full({4}, 1.0);
  const Graph g = nn::trace([&](const Tensor& t) { return conv2d(t, ones, bias) * bias.as_strided({1}, {1}); }, x);
  const Program constant(g, 2);
  CHECK(first(constant(x)) == 28);
  for (const auto& value : g.values)
    if (value.constant) Tensor(value.constant).fill(2.0);
  CHECK(first(constant(x)) == 28);
  CHECK(first(run(g, x)) == 2 * (54 + 2));

  const Program computed(nn::trace(
      [](const Tensor& t) {
        return conv2d(t, reshape(slice(t, 0, 0, 1), {4, 3, 3, 3}), {});
      },
      x));
  CHECK(first(computed(x)) == 27);
  CHECK(first(computed(x * 2.0)) == 4 * 27);
}

TEST_CASE("a program refuses what cannot run") {
  const TestNet net = vgg(1);
  const Graph g = nn::trace(net.fn, Tensor::zeros(net.input));
  CHECK_THROWS_AS(Program(g, 0), ValueError);
  Graph unknown = g;
  unknown.nodes[2].op = nullptr;
  CHECK_THROWS_WITH(Program(unknown), Contains(g.nodes[2].name));
  Graph broken = g;
  broken.nodes[1].inputs[0] = 1000;
  CHECK_THROWS_AS(Program(broken), ValueError);
  CHECK_THROWS_AS(Program(g)(Tensor::zeros({2, 3, 12, 13})), ShapeError);
}

TEST_CASE("a program has any number of inputs and outputs, whatever they share") {
  const auto input = [](uint64_t seed, int64_t n) { return Layers(seed).input({n, 12}); };
  const Graph g = nn::trace(many, Tensors{input(1, 2), input(2, 2)});
  const Program program(g);
  for (const int64_t n : {2, 1, 7, 64, 0, 2}) {
    INFO(n << " rows");
    const Tensors x{input(4, n), input(5, n)}, expected = many(x), y = program.run(x);
    REQUIRE(y.size() == expected.size());
    for (size_t i = 0; i < y.size(); ++i) {
      INFO("output " << i);
      CHECK(y[i].shape() == expected[i].shape());
      CHECK(max_difference(y[i], expected[i]) == 0);
      for (size_t j = 0; j < i; ++j) CHECK_FALSE(may_overlap(y[i].view(), y[j].view()));
      for (const Tensor& in : x) CHECK_FALSE(may_overlap(y[i].view(), in.view()));
    }
  }
  const Tensor same = input(6, 3);
  CHECK(max_difference(program.run(Tensors{same, same})[0], same + same) == 0);
  CHECK_THROWS_AS(program(same), ShapeError);
  CHECK_THROWS_AS(program.run(Tensors{same}), ShapeError);
  CHECK_THROWS_AS(program.run(Tensors{same, Tensor()}), ShapeError);
  CHECK_THROWS_AS(program.run(Tensors{same, input(7, 2)}), ShapeError);
}

TEST_CASE("a program takes inputs in any layout") {
  const TestNet net = residual(1);
  const Graph g = optimize(nn::trace(net.fn, Tensor::zeros(net.input)));
  const Program program(g);
  const Tensor x = Layers(2).input(with_batch(net.input, 3));
  const Tensor wide = Layers(3).input(with_batch(net.input, 6));
  for (const Tensor& in :
       {x, contiguous(x, MemoryFormat::channels_last), slice(wide, 0, 0, 6, 2), slice(wide, 0, 1, 6, 2),
        permute(permute(x, {3, 1, 2, 0}).clone(), {3, 1, 2, 0}), expand(slice(x, 0, 1, 2), x.shape())})
    CHECK(max_difference(program(in), run(g, in)) == 0);
}

TEST_CASE("a program allocates nothing but its results, and with memory for these nothing at all") {
  const PreferenceGuard own(Preference::own);  // what a vendor's kernel does inside is its business
  std::vector<TestNet> nets = test_nets(1);
  nets.push_back({"sums", {1, 3, 12, 12}, [](const Tensor& x) { return sum(mean(x, {2, 3}) * 2.0, {1}, true); }});
  for (const TestNet& net : nets) {
    INFO(net.name);
    const Program program(optimize(nn::trace(net.fn, Tensor::zeros(net.input))));
    const Tensors x{Layers(2).input(with_batch(net.input, 3))}, small{Layers(3).input(net.input)};
    const Tensor expected = program(x[0]), expected_small = program(small[0]);
    Tensors y{Tensor::empty_like(expected)}, y_small{Tensor::empty_like(expected_small)};
    program.run_into(x, y);
    const size_t before = allocation_count(), live = allocator(Device::cpu()).stats().live_bytes;
    for (int i = 0; i < 5; ++i) {
      program.run_into(x, y);
      program.run_into(small, y_small);
    }
    CHECK(allocation_count() == before);
    CHECK(allocator(Device::cpu()).stats().live_bytes == live);
    CHECK(max_difference(y[0], expected) == 0);
    CHECK(max_difference(y_small[0], expected_small) == 0);
  }
}

TEST_CASE("the input that alone keeps the traced batch is named") {
  const auto sum = [](std::span<const Tensor> in) { return Tensors{in[0] * 2.0 + in[1]}; };
  const Tensors traced{Layers(1).input({2, 3}), Layers(2).input({2, 3})};
  const Program program(nn::trace(sum, traced));
  CHECK_THROWS_WITH(program.run(Tensors{traced[0], Layers(3).input({1, 3})}),
                    Catch::Contains("input 0") && Catch::Contains("has 2 rows, as then"));
}

TEST_CASE("a program's intermediate values share memory") {
  const Tensor x = Tensor::full({1, 1000}, 1);
  const Program chain(nn::trace(
      [](Tensor t) {
        for (int i = 0; i < 50; ++i) t = t + 1.0;
        return t;
      },
      x));
  CHECK(chain(x).to_vector()[0] == 51);
  CHECK(chain.arena_bytes(1) == 2 * 4032);
  CHECK(chain.arena_bytes(2) == 2 * 8000);
  CHECK_THROWS_AS(chain.arena_bytes(std::numeric_limits<int64_t>::max()), ShapeError);
  CHECK_THROWS_AS(chain.arena_bytes(int64_t{1} << 50), Error);
  CHECK_THROWS_AS(chain.arena_bytes(-1), ShapeError);
}

TEST_CASE("an arena's map says which nodes need which bytes") {
  const Tensor x = Tensor::full({1, 1000}, 1);
  const Program chain(nn::trace(
      [](const Tensor& t) {
        const Tensor a = t + 1.0, b = t + 2.0;
        return relu(a + (b + 3.0));
      },
      x));
  REQUIRE(chain.graph().nodes.size() == 5);
  const std::vector<ArenaPiece> map = chain.arena(1);
  std::vector<std::pair<size_t, size_t>> lives;
  int64_t most = 0;
  for (const ArenaPiece& p : map) {
    CHECK(p.is_value);
    CHECK(p.bytes == 4000);
    lives.emplace_back(p.first, p.last);
    most = std::max(most, p.offset + 4032);
    for (const ArenaPiece& q : map) {
      const bool together = &p != &q && p.first <= q.last && q.first <= p.last;
      CHECK_FALSE((together && p.offset < q.offset + q.bytes && q.offset < p.offset + p.bytes));
    }
  }
  CHECK(most == chain.arena_bytes(1));
  CHECK(lives == std::vector<std::pair<size_t, size_t>>{{0, 3}, {1, 2}, {2, 3}, {3, 4}});  // relu's is the result
}

TEST_CASE("results go where run_into() is told, if they fit there") {
  const Tensors x{Layers(1).input({2, 12}), Layers(2).input({2, 12})}, expected = many(x);
  const Program program(nn::trace(many, x));
  const auto places = [&] {
    Tensors y;
    for (const Tensor& t : program.run(x)) y.push_back(Tensor::empty_like(t));
    return y;
  };
  const auto refuses = [&]<class E>(const E*, size_t i, const Tensor& t) {
    Tensors y = places();
    y[i] = t;
    CHECK_THROWS_AS(program.run_into(x, y), E);
  };
  Tensors y = places();
  program.run_into(x, y);
  for (size_t i = 0; i < y.size(); ++i) CHECK(max_difference(y[i], expected[i]) == 0);
  const ShapeError* const shape = nullptr;
  const ValueError* const shared = nullptr;
  refuses(shape, 0, Tensor());
  refuses(shape, 0, Tensor::zeros({3, 12}));
  refuses(shape, 0, transpose(Tensor::zeros({12, 2}), 0, 1));
  refuses(static_cast<const DTypeError*>(nullptr), 0, Tensor::zeros({2, 12}, DType::f64));
  refuses(shared, 0, x[1]);
  y[5] = y[0];
  CHECK_THROWS_AS(program.run_into(x, y), ValueError);
  y.pop_back();
  CHECK_THROWS_AS(program.run_into(x, y), ShapeError);
  Tensors frozen = places();
  frozen[2] = frozen[2].frozen();
  CHECK_THROWS_AS(program.run_into(x, frozen), ValueError);
  CHECK(max_difference(program.run(x)[0], expected[0]) == 0);  // what failed has broken nothing
}

TEST_CASE("threads may share a program") {
  const TestNet net = vgg(1);
  const Graph g = optimize(nn::trace(net.fn, Tensor::zeros(net.input)));
  const Program program(g);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 6; ++i) {
        const Tensor x = Layers(t * 10 + i).input(with_batch(net.input, int64_t(1 + (t + i) % 3)));
        wrong += max_difference(program(x), run(g, x)) != 0;
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("a program forgets the inputs that were not seen for long, and takes them again") {
  const Program program(nn::trace([](const Tensor& x) { return relu(x) + 1.0; }, Tensor::zeros({1, 3})));
  for (const int round : {0, 1}) {
    INFO("round " << round);
    for (int64_t n = 1; n < 40; ++n)
      CHECK(program(Tensor::full({n, 3}, 2)).to_vector() == std::vector(size_t(n) * 3, 3.0));
  }
}

TEST_CASE("classes of batches have kernels of their own") {
  const Tensor w = Tensor::full({4, 3, 3, 3}, 1.0);
  const Graph g = nn::trace([&](const Tensor& t) { return conv2d(t, w, {}); }, Tensor::zeros({1, 3, 6, 6}));
  const Program program(g, {{1, 4}, {8, 16}, {32, 32}});
  for (const int64_t n : {1, 4, 5, 16, 17, 32, 33})
    CHECK(program(Tensor::full({n, 3, 6, 6}, 1)).to_vector() == std::vector(size_t(n) * 64, 27.0));
  CHECK_THROWS_AS(Program(g, std::vector<BatchClass>()), ValueError);
  CHECK_THROWS_AS(Program(g, {{1, 4}, {2, 8}}), ValueError);
  CHECK_THROWS_AS(Program(g, {{8, 4}}), ValueError);
  CHECK_THROWS_AS(Program(g, {{1, 4}, {0, 8}}), ValueError);
}

namespace {

// Codes, real numbers, codes again: [N,3,8,8] -> two results.
Tensors mixed(std::span<const Tensor> in) {
  static const Tensor w = [] {
    Tensor t = Tensor::empty({6, 3, 3, 3}, DType::i8);
    Generator random(1);
    for (int8_t& v : t.mutable_data<int8_t>()) v = int8_t(int(random.below(255)) - 127);
    return t;
  }();
  static const Tensor scale = Tensor::full({6}, 0.01), bias = Tensor::full({1, 6}, 11, DType::i32);
  const QParams grid{0.03125f, 128};
  const Tensor codes = qconv2d(quantize(in[0], grid), w, scale, bias, {}, {.conv = {.padding = 1}, .y = grid});
  const Tensor real = dequantize(codes), gated = real * sigmoid(real), both = cat({gated, relu(real)}, 1);
  const Tensor again = qmax_pool2d(quantize(both, grid), {2, 2, 0});
  return {softmax(flatten(dequantize(again)), 1), again};
}

}  // namespace

TEST_CASE("codes and real numbers mix in a graph, with any batch") {
  const auto image = [](uint64_t seed, int64_t n) { return Layers(seed).input({n, 3, 8, 8}); };
  const Graph g = nn::trace(mixed, Tensors{image(1, 2)});
  const Program program(g, {{1, 4}, {32, 64}});
  for (const int64_t n : {1, 7, 64, 0}) {
    INFO(n << " rows");
    const Tensors x{image(2, n)}, expected = mixed(x);
    for (const Tensors& y : {run(g, x), program.run(x), program.run(x)}) {
      CHECK(max_difference(y[0], expected[0]) == 0);
      CHECK(y[1].to_vector() == expected[1].to_vector());
      CHECK(y[1].qparams() == expected[1].qparams());
      CHECK(qmax_pool2d(y[1], {1, 1, 0}).to_vector() == expected[1].to_vector());  // an operand like any other
    }
  }
}

TEST_CASE("kernels give a program the bits that they give alone, on any number of threads") {
  const uint64_t seed = test_seed();
  Layers l(seed);
  const Tensor matrix = l.input({8, 100000}), images = l.input({4, 64, 28, 28}), rows = l.input({64, 600});
  const Tensor w = l.normal("w", {100, 600}, 0, 1), kernel = l.input({96, 64, 3, 3});
  const std::pair<Layers::Fn, Tensor> cases[] = {
      {[](const Tensor& t) { return sum(t, {1}); }, matrix},
      {[](const Tensor& t) { return sum(t, {0}); }, matrix},
      {[](const Tensor& t) { return mean(t * 2.0); }, matrix},
      {[](const Tensor& t) {
         return mean(t, {2, 3});
       },
       images},
      {[](const Tensor& t) { return amax(t, {1}); }, images},
      {[](const Tensor& t) { return max_pool2d(relu(t), {.kernel = 3, .stride = 2, .padding = 1}); }, images},
      {[](const Tensor& t) { return avg_pool2d(relu(t), {.kernel = 3, .stride = 2, .padding = 1}); }, images},
      {[](const Tensor& t) {
         return permute(t, {1, 3, 0, 2}) * permute(t, {1, 3, 0, 2}).clone();
       },
       images},
      {[](const Tensor& t) { return softmax(t * 0.5, 1) + log_softmax(t, 0); }, rows},
      {[&](const Tensor& t) { return relu(linear(t, w, {})); }, rows},
      {[&](const Tensor& t) { return matmul(transpose(t, 0, 1), t + 1.0); }, rows},
      {[&](const Tensor& t) { return relu(conv2d(t, kernel + mean(t), {}, {.padding = 1})); }, images},
      {[&](const Tensor& t) {
         return cat({t, relu(t)}, 1) + pad(t, {{0, 0}, {0, 64}, {0, 0}, {0, 0}});
       },
       images},
      {l.batch_norm("bn", 64), images},
  };
  const int threads = num_threads();
  for (const Preference p : {Preference::automatic, Preference::own})
    for (const int n : {2, 3}) {
      set_num_threads(n);
      const PreferenceGuard prefer(p);
      for (const auto& c : cases) {
        const auto& [fn, x] = c;
        INFO("case " << &c - cases << ", preference " << int(p) << ", " << n << " threads");
        const Graph g = nn::trace(fn, x);
        const Program program(g);
        for (int again = 0; again < 3; ++again) CHECK(max_difference(program(x), run(g, x)) == 0);
      }
    }
  set_num_threads(threads);
}

TEST_CASE("a kernel that works alone is waited for before its memory is used again") {
  const auto fn = [](std::span<const Tensor> in) {
    return Tensors{cross_entropy(in[0] * 2.0, in[1]), in[0] * 3.0 + 1.0};
  };
  const Tensor labels = Tensor::full({64}, 3, DType::i64);
  const Tensors x{Layers(1).input({64, 1000}), labels};
  const Program program(nn::trace(fn, x));
  const Tensors expected = fn(x);
  const int threads = num_threads();
  set_num_threads(2);
  for (int i = 0; i < 50; ++i) {
    const Tensors y = program.run(x);
    CHECK(max_difference(y[0], expected[0]) == 0);
    CHECK(max_difference(y[1], expected[1]) == 0);
  }
  set_num_threads(threads);
}

TEST_CASE("a program in a function that is traced is traced through; it cannot be captured") {
  const Tensor ones = Tensor::full({1, 3}, 1);
  const Program twice(nn::trace([](const Tensor& x) { return x * 2.0; }, ones));
  const Graph g = nn::trace([&](const Tensor& x) { return x + twice(x); }, ones);
  CHECK(run(g, Tensor::full({1, 3}, 10)).to_vector() == std::vector<double>(3, 30));
  const TestNet net = residual(1);
  const Tensor x = Layers(2).input(net.input);
  const Program fused(optimize(nn::trace(net.fn, x)));
  CHECK(max_difference(run(nn::trace([&](const Tensor& t) { return fused(t); }, x), x), fused(x)) == 0);
  Tensors in{ones}, out{Tensor::zeros({1, 3})};
  CHECK_THROWS_WITH(nn::trace(
                        [&](const Tensor& t) {
                          twice.run_into(in, out);
                          return relu(t);
                        },
                        ones),
                    Contains("cannot be traced"));
  const Capture capture;
  CHECK_THROWS_WITH(twice(ones), Contains("cannot be captured"));
}

TEST_CASE("run_into() writes codes of the program's grid alone") {
  const QParams grid{0.125f, 3};
  const Tensor x = Layers(1).input({2, 4, 3, 3});
  const Program program(nn::trace([&](const Tensor& t) { return quantize(t, grid); }, x));
  const Tensors in{x};
  Tensors y{program(x)};
  CHECK_NOTHROW(program.run_into(in, y));
  y[0] = y[0].with_qparams({5, 200});
  CHECK_THROWS_AS(program.run_into(in, y), ValueError);
}

TEST_CASE("int8 weights that the graph computes are refused in one sentence") {
  const Tensor x = Layers(1).input({1, 4, 5, 5}), w = Tensor::full({3, 4, 3, 3}, 2, DType::i8);
  const Tensor scale = Tensor::full({3}, 0.5), bias = Tensor::zeros({1, 3}, DType::i32);
  const auto fn = [&](std::span<const Tensor> in) {
    return Tensors{qconv2d(quantize(in[0], {0.1f, 3}), in[1], scale, bias, {}, {})};
  };
  const Tensors in{x, w};
  const Graph g = nn::trace(fn, in);
  CHECK(run(g, in)[0].to_vector() == fn(in)[0].to_vector());
  CHECK_THROWS_WITH(Program(g).run(in), Contains("qconv2d") && Contains("do not exist yet"));
}

TEST_CASE("one node of a program may be called alone") {
  const Program program(nn::trace([](const Tensor& x) { return relu(x) + 1.0; }, Tensor::zeros({1, 3})));
  const Tensors x{Tensor::full({2, 3}, -4)};
  CHECK(program.call(0, x).to_vector() == std::vector<double>(6, 0));
  CHECK_THROWS_AS(program.call(2, x), ValueError);
  CHECK_THROWS_AS(program.call(0, Tensors()), ShapeError);
}
