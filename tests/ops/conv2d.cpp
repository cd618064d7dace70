#include "ops/conv2d.h"

#include <array>
#include <limits>

#include "core/autograd.h"
#include "core/tuner.h"
#include "ops/cast.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "tests/support/kernel_operands.h"

using namespace mininn;
using namespace mininn::testing;
using Catch::Contains;

namespace {

// The op calls that a traced run makes.
struct Recorder : Tracer {
  struct Call {
    std::string op;
    std::vector<bool> defined;
    Attrs attrs;
  };
  std::vector<Call> calls;
  void record(std::string_view op, std::span<const Tensor> inputs, const Attrs& attrs, const Tensor&) override {
    calls.push_back({std::string(op), {}, attrs});
    for (const Tensor& t : inputs) calls.back().defined.push_back(bool(t));
  }
};

}  // namespace

TEST_CASE("conv2d agrees with plain loops in every dtype and any layout of its operands") {
  INFO("MININN_TEST_SEED=" << test_seed());
  RandomTensors random(test_seed());
  for (int i = 0; i < 60; ++i) {
    const DType dtype = i % 3 == 0 ? DType::f64 : i % 3 == 1 ? DType::f32 : DType::bf16;
    const Conv2dParams o{.stride = {random.between(1, 3), random.between(1, 3)},
                         .padding = {random.between(0, 2), random.between(0, 2)},
                         .dilation = {random.between(1, 2), random.between(1, 2)},
                         .groups = random.between(1, 3)};
    const Shape sw{o.groups * random.between(1, 4), random.between(1, 5), random.between(1, 3), random.between(1, 3)};
    const Shape sx{random.between(0, 2), o.groups * sw[1], random.between(5, 9), random.between(5, 9)};
    Tensor x = random.tensor(sx, dtype), w = random.tensor(sw, dtype), bias = random.tensor({sw[0]}, dtype);
    const auto g = Conv2dGeometry::make("test", sx, sw, o);
    INFO("x " << sx << ", w " << sw << ", groups " << o.groups << ", dtype " << name(dtype));
    const bool with_bias = random.chance(0.5);
    const auto xv = x.to_vector(), wv = w.to_vector();
    const auto bv = with_bias ? bias.to_vector() : std::vector<double>();

    x.set_requires_grad(true);
    w.set_requires_grad(true);
    const Tensor y = conv2d(x, w, with_bias ? bias : Tensor(), o);
    CHECK(y.shape() == Shape{g.n, g.oc, g.oh, g.ow});
    CHECK(y.is_channels_last());
    check_close(y.to_vector(), reference::conv2d(g, xv, wv, bv), dtype);
    const Tensor gy = random.tensor(y.shape(), dtype);
    y.backward(gy);
    check_close(x.grad().to_vector(), reference::conv2d_input_gradient(g, gy.to_vector(), wv), dtype);
    check_close(w.grad().to_vector(), reference::conv2d_weight_gradient(g, xv, gy.to_vector()), dtype);
  }
}

TEST_CASE("a 1x1 convolution is a matrix product") {
  RandomTensors random(test_seed());
  const Tensor x = random.away_from_zero({2, 5, 3, 4}, 0, 1), w = random.away_from_zero({7, 5, 1, 1}, 0, 1);
  const Tensor rows = reshape(permute(x, {0, 2, 3, 1}), {24, 5});
  const Tensor product = linear(rows, reshape(w, {7, 5}), {});
  const auto expected = permute(reshape(product, {2, 3, 4, 7}), {0, 3, 1, 2}).to_vector();
  const auto got = conv2d(x, w, {}).to_vector();
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(expected[i]));
}

TEST_CASE("conv2d_fused adds the residual, then cuts off below zero") {
  RandomTensors random(test_seed());
  const Tensor x = random.tensor({2, 3, 6, 5}), w = random.tensor({4, 3, 3, 3}), bias = random.tensor({4});
  const Conv2dParams o{.stride = 2, .padding = 1};
  const Tensor plain = conv2d(x, w, bias, o);
  const Tensor residual = random.tensor(plain.shape());
  const auto a = plain.to_vector(), r = residual.to_vector();
  for (const bool with_relu : {false, true})
    for (const bool with_residual : {false, true}) {
      const auto y = conv2d_fused(x, w, bias, with_residual ? residual : Tensor(), with_relu, o).to_vector();
      for (size_t i = 0; i < y.size(); ++i) {
        const double sum = a[i] + (with_residual ? r[i] : 0);
        CHECK(y[i] == Approx(with_relu ? std::max(sum, 0.0) : sum).margin(1e-4));
      }
    }
}

TEST_CASE("conv2d_fused refuses to lose a gradient") {
  Tensor x = Tensor::zeros({1, 1, 3, 3}), w = Tensor::zeros({1, 1, 3, 3});
  w.set_requires_grad(true);
  CHECK_THROWS_AS(conv2d_fused(x, w, {}, {}, true), AutogradError);
  const NoGradGuard no_grad;
  CHECK_NOTHROW(conv2d_fused(x, w, {}, {}, true));
}

TEST_CASE("PackedConv2d gives the bits of conv2d_fused, whatever the kernel and the batch") {
  INFO("MININN_TEST_SEED=" << test_seed());
  RandomTensors random(test_seed());
  const NoGradGuard no_grad;
  for (int i = 0; i < 60; ++i) {
    const DType dtype = std::array{DType::f64, DType::f32, DType::bf16, DType::bf16}[size_t(i) % 4];
    const DType weights = i % 4 == 3 ? DType::f32 : dtype;
    const Conv2dParams o{
        .stride = random.between(1, 2), .padding = random.between(0, 1), .groups = random.between(1, 2)};
    const Shape sw{o.groups * random.between(1, 20), random.between(1, 9), 3, 3};
    const Shape sx{random.between(1, 3), o.groups * sw[1], random.between(5, 9), random.between(5, 9)};
    const Tensor w = random.tensor(sw, weights);
    const Tensor bias = random.chance(0.5) ? random.tensor({sw[0]}, weights) : Tensor();
    const bool with_residual = random.chance(0.5), with_relu = random.chance(0.5);
    INFO("x " << sx << ", w " << sw << ", groups " << o.groups << ", dtype " << name(dtype));
    const PackedConv2d packed({sx, dtype}, w, bias, with_residual, with_relu, o);
    for (const int64_t n : {sx[0], int64_t{0}, int64_t{5}}) {
      const Tensor x = random.tensor({n, sx[1], sx[2], sx[3]}, dtype);
      const Shape sy = conv2d(x, w, bias, o).shape();
      const Tensor residual = with_residual ? random.tensor(sy, dtype) : Tensor();
      const auto same = [&] {
        CHECK(packed(x, residual).to_vector() == conv2d_fused(x, w, bias, residual, with_relu, o).to_vector());
      };
      same();
      const ForceKernel other("conv2d_fwd", "ref");
      same();
    }
  }
}

TEST_CASE("PackedConv2d packs once") {
  const NoGradGuard no_grad;
  const Tensor x = Tensor::full({1, 4, 5, 5}, 1.0);
  Tensor w = Tensor::full({8, 4, 3, 3}, 1.0);
  const PackedConv2d packed({x.shape()}, w, {}, false, false);
  const auto before = packed(x).to_vector();
  const Tensor y = Tensor::empty({1, 8, 3, 3}, DType::f32, Device::cpu(), MemoryFormat::channels_last);
  const auto g = Conv2dGeometry::make("test", x.shape(), w.shape(), {});
  Tensor out = y;
  const bool packs =
      kernels<op::Conv2dFwd>().select({g, x.view(), w.view(), {}, {}, false, out.mutable_view()}, x.device()).pack;
  w.fill(2.0);  // against the rules, and it shows who reads w again
  CHECK((packed(x).to_vector() == before) == packs);
}

TEST_CASE("PackedConv2d refuses what conv2d_fused refuses") {
  Tensor w = Tensor::zeros({6, 4, 3, 3});
  const Shape x{2, 4, 5, 5};
  CHECK_THROWS_AS(PackedConv2d({{2, 3, 5, 5}}, w, {}, false, false), ShapeError);
  CHECK_THROWS_AS(PackedConv2d({x}, w, Tensor::zeros({5}), false, false), ShapeError);
  CHECK_THROWS_AS(PackedConv2d({x}, Tensor::zeros({6, 4, 3, 3}, DType::i32), {}, false, false), DTypeError);
  const PackedConv2d packed({x}, w, {}, true, false);
  CHECK_THROWS_AS(packed(Tensor::zeros({2, 3, 5, 5})), ShapeError);
  CHECK_THROWS_AS(packed(Tensor::zeros(x, DType::f64)), DTypeError);
  CHECK_THROWS_AS(packed(Tensor::zeros(x), Tensor::zeros({2, 6, 5, 5})), ShapeError);
  CHECK_NOTHROW(packed(Tensor::zeros(x)));
  w.set_requires_grad(true);
  CHECK_THROWS_AS(packed(Tensor::zeros(x)), AutogradError);
}

TEST_CASE("fp32 convolutions are tuned: keys tell calls apart, rehearsals have memory of their own") {
  const auto last = MemoryFormat::channels_last;
  const Tensor x = Tensor::empty({2, 4, 5, 5}, DType::f32, {}, last), w = Tensor::zeros({6, 4, 3, 3});
  const Tensor bias = Tensor::full({6}, 2.0), residual = Tensor::zeros({2, 6, 5, 5});
  Tensor y = Tensor::empty({2, 6, 5, 5}, DType::f32, {}, last);
  const auto g = Conv2dGeometry::make("test", x.shape(), w.shape(), {.padding = 1});
  const op::Conv2dFwd plain{g, x.view(), w.view(), {}, {}, false, y.mutable_view()};
  CHECK(plain.key() == "n2 c4 5x5 -> c6 5x5 k3x3 s1x1 p1x1 d1x1 g1 f32");
  op::Conv2dFwd all = plain;
  all.bias = bias.view();
  all.residual = residual.view();
  all.relu = true;
  CHECK(all.key() == plain.key() + " bias residual relu");
  op::Conv2dFwd none = plain;
  none.g.n = 0;
  CHECK(none.key().empty());

  const Rehearsal<op::Conv2dFwd> r = all.rehearse();
  CHECK(r.args.x.data == r.input.view().data);
  CHECK(r.args.x.data != all.x.data);
  CHECK(r.args.residual.data != all.residual.data);
  CHECK(r.args.y.data != all.y.data);
  CHECK(r.args.w.data == all.w.data);
  kernels<op::Conv2dFwd>().run(r.args, Device::cpu());
  const auto* const sum = r.args.residual.as<float>();
  for (int64_t i = 0; i < r.args.y.size(); ++i) CHECK(r.args.y.as<float>()[i] == 2 + sum[i]);
}

TEST_CASE("conv2d records its options, and no other op") {
  Recorder recorder;
  {
    const TracerGuard guard(recorder);
    conv2d(Tensor::zeros({1, 4, 7, 7}), Tensor::zeros({6, 2, 3, 3}), {},
           {.stride = {2, 1}, .padding = {1, 0}, .dilation = {1, 2}, .groups = 2});
  }
  REQUIRE(recorder.calls.size() == 1);
  CHECK(recorder.calls[0].op == "conv2d");
  CHECK(recorder.calls[0].defined == std::vector<bool>{true, true, false});
  using List = std::vector<int64_t>;
  CHECK(recorder.calls[0].attrs ==
        Attrs{{"stride", List{2, 1}}, {"padding", List{1, 0}}, {"dilation", List{1, 2}}, {"groups", int64_t(2)}});
}

TEST_CASE("beside bf16 a convolution's parameters may be f32, and so are their gradients") {
  Generator random(test_seed());
  Tensor x = random_tensor({2, 5, 6, 6}, random, DType::bf16).set_requires_grad(true);
  Tensor w = random_tensor({4, 5, 3, 3}, random).set_requires_grad(true);
  Tensor bias = random_tensor({4}, random).set_requires_grad(true);
  const Tensor y = conv2d(x, w, bias, {.padding = 1});
  CHECK(y.dtype() == DType::bf16);
  const Tensor gy = random_tensor(y.shape(), random, DType::bf16);
  y.backward(gy);
  const auto exactly = [](const Tensor& t) { return cast(t.detach(), DType::f64); };
  const auto got = y.to_vector(), wanted = conv2d(exactly(x), exactly(w), exactly(bias), {.padding = 1}).to_vector();
  for (size_t i = 0; i < got.size(); ++i) CHECK(std::abs(got[i] - wanted[i]) < 0.1);
  CHECK(x.grad().dtype() == DType::bf16);
  CHECK(w.grad().dtype() == DType::f32);
  CHECK(bias.grad().dtype() == DType::f32);
  const auto sums = sum(exactly(gy), {0, 2, 3}).to_vector(), bias_grad = bias.grad().to_vector();
  for (size_t i = 0; i < sums.size(); ++i) CHECK(bias_grad[i] == Approx(sums[i]).margin(1e-5));  // not of bf16

  CHECK_THROWS_AS(conv2d(x, w, cast(bias, DType::bf16)), DTypeError);
  CHECK_THROWS_WITH(conv2d(x, cast(w, DType::f64), {}), Contains("w must be bf16 or f32, not f64"));
  CHECK_THROWS_WITH(y.backward(cast(gy, DType::f32)), Contains("f32[2,4,6,6]") && Contains("bf16[2,4,6,6]"));
  CHECK_THROWS_AS(conv2d(cast(x, DType::f32), cast(w, DType::bf16), {}), DTypeError);
}

TEST_CASE("conv2d names what does not fit") {
  const auto x = Tensor::zeros({2, 4, 5, 5});
  const auto run = [&](const Shape& w, const Conv2dParams& o = {}) { return conv2d(x, Tensor::zeros(w), {}, o); };
  CHECK_THROWS_WITH(run({6, 3, 3, 3}), Contains("[2,4,5,5]") && Contains("[6,3,3,3]") && Contains("conv2d"));
  CHECK_THROWS_AS(run({6, 3, 3, 3}), ShapeError);
  CHECK_THROWS_AS(run({6, 4, 3}), ShapeError);
  CHECK_THROWS_AS(run({6, 4, 6, 3}), ShapeError);
  CHECK_THROWS_AS(run({6, 4, 3, 3}, {.dilation = 3}), ShapeError);
  CHECK_THROWS_AS(run({6, 4, 3, 3}, {.stride = 0}), ShapeError);
  CHECK_THROWS_AS(run({6, 4, 3, 3}, {.padding = {0, -1}}), ShapeError);
  CHECK_THROWS_AS(run({6, 2, 3, 3}, {.groups = 4}), ShapeError);
  CHECK_THROWS_AS(run({5, 2, 3, 3}, {.groups = 2}), ShapeError);
  CHECK_THROWS_AS(run({0, 4, 3, 3}), ShapeError);
  CHECK_THROWS_AS(conv2d(Tensor::zeros({4, 5, 5}), Tensor::zeros({1, 4, 3, 3}), {}), ShapeError);
  CHECK_THROWS_AS(conv2d(x, Tensor::zeros({6, 4, 3, 3}), Tensor::zeros({5})), ShapeError);
  CHECK_THROWS_AS(conv2d(x, Tensor::zeros({6, 4, 3, 3}, DType::f64), {}), DTypeError);
  CHECK_THROWS_AS(conv2d(x, Tensor::zeros({6, 4, 3, 3}), Tensor::zeros({6}, DType::f64)), DTypeError);
  CHECK_THROWS_AS(conv2d(Tensor::zeros({1, 1, 3, 3}, DType::i32), Tensor::zeros({1, 1, 3, 3}, DType::i32), {}),
                  DTypeError);
  CHECK_THROWS_AS(conv2d_fused(x, Tensor::zeros({6, 4, 3, 3}), {}, Tensor::zeros({2, 6, 5, 5}), false), ShapeError);
}

TEST_CASE("conv2d refuses geometry whose sizes overflow") {
  constexpr int64_t big = int64_t{1} << 62, most = std::numeric_limits<int64_t>::max();
  const Tensor x = Tensor::zeros({1, 1, 4, 4}), w = Tensor::zeros({1, 1, 3, 3});
  for (const Conv2dParams& o :
       {Conv2dParams{.padding = big}, Conv2dParams{.padding = most}, Conv2dParams{.padding = big, .dilation = big},
        Conv2dParams{.dilation = most}, Conv2dParams{.stride = most, .padding = 1}, Conv2dParams{.stride = big},
        Conv2dParams{.stride = int64_t{1} << 33, .padding = int64_t{1} << 32}, Conv2dParams{.groups = most}})
    CHECK_THROWS_AS(conv2d(x, w, {}, o), ShapeError);
  CHECK_THROWS_AS(Conv2dGeometry::make("conv2d", {1, 2, 4, 4}, {2, big + 1, 1, 1}, {.groups = 2}), ShapeError);
}
