#include "ops/qconv2d.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "core/tuner.h"
#include "ops/prepared.h"
#include "ops/qlayout.h"
#include "ops/quantize.h"
#include "tests/support/catch.h"
#include "tests/support/files.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

struct ValidCall {
  const Tensor x, w, bias, multiplier, residual;
  Tensor y;
  op::QConv2d q;

  explicit ValidCall(const Shape& image = {1, 8, 4, 4}, int64_t channels = 5)
      : x(empty_codes(image)),
        w(Tensor::full({channels, image[1], 3, 3}, -127, DType::i8)),
        bias(Tensor::zeros({1, channels}, DType::i32)),
        multiplier(Tensor::full({channels}, 0.01)),
        residual(empty_codes({image[0], channels, image[2], image[3]})),
        y(empty_codes(residual.shape())) {
    q.g = Conv2dGeometry::make("test", x.shape(), w.shape(), {.padding = 1});
    q.x = x.view();
    q.w = w.view();
    q.bias = bias.view();
    q.multiplier = multiplier.view();
    q.residual = residual.view();
    q.residual_scale = 1;
    q.y = y.mutable_view();
    REQUIRE_NOTHROW(check_qconv2d(q));
  }
};

}  // namespace

TEST_CASE_METHOD(ValidCall, "check_qconv2d refuses types and shapes that its comment does not allow") {
  SECTION("types") {
    q.w.dtype = DType::u8;
    CHECK_THROWS_AS(check_qconv2d(q), DTypeError);
  }
  SECTION("the type of y") {
    q.y.dtype = DType::i32;
    CHECK_THROWS_AS(check_qconv2d(q), DTypeError);
  }
  SECTION("f32 results are channels-last") {
    Tensor planar = Tensor::empty({1, 5, 4, 4});
    Tensor last = Tensor::empty({1, 5, 4, 4}, DType::f32, Device::cpu(), MemoryFormat::channels_last);
    q.y = last.mutable_view();
    CHECK_NOTHROW(check_qconv2d(q));
    q.y = planar.mutable_view();
    CHECK_THROWS_AS(check_qconv2d(q), ShapeError);
  }
  SECTION("a geometry of other operands") {
    q.g.stride_h = 2;
    CHECK_THROWS_AS(check_qconv2d(q), ShapeError);
  }
  SECTION("the shape of the residual") {
    const Tensor other = empty_codes({1, 5, 4, 3});
    q.residual = other.view();
    CHECK_THROWS_AS(check_qconv2d(q), ShapeError);
  }
  SECTION("one i32 bias class for each row and column") {
    const Tensor four = Tensor::zeros({4}, DType::i32), five = Tensor::zeros({5}, DType::i32);
    const Tensor real = Tensor::zeros({4});
    q.row_class = four.view();
    q.col_class = five.view();
    CHECK_THROWS_AS(check_qconv2d(q), ShapeError);
    q.col_class = real.view();
    CHECK_THROWS_AS(check_qconv2d(q), DTypeError);
    q.col_class = CView(five.view().data, {4}, {0}, DType::i32);
    CHECK_THROWS_AS(check_qconv2d(q), ShapeError);
    q.col_class = four.view();
    CHECK_NOTHROW(check_qconv2d(q));
  }
  SECTION("one bias row at least, each with all channels") {
    const Tensor other = Tensor::zeros({5}, DType::i32);
    q.bias = other.view();
    CHECK_THROWS_AS(check_qconv2d(q), ShapeError);
  }
}

TEST_CASE_METHOD(ValidCall, "check_qconv2d refuses values that its comment does not allow") {
  SECTION("bias classes come by row and column") {
    const Tensor row = Tensor::zeros({4}, DType::i32), col = Tensor::zeros({4}, DType::i32);
    q.row_class = row.view();
    CHECK_THROWS_AS(check_qconv2d(q), ValueError);
    q.col_class = col.view();
    CHECK_NOTHROW(check_qconv2d(q));
  }
  SECTION("codes, bounds and scales") {
    q.x_zero = 256;
    CHECK_THROWS_AS(check_qconv2d(q), ValueError);
    q.x_zero = 255;
    q.residual_scale = 0;
    CHECK_THROWS_AS(check_qconv2d(q), ValueError);
  }
}

TEST_CASE("int8 convolutions are tuned: keys tell shapes apart, rehearsals have memory of their own") {
  const ValidCall call({2, 32, 8, 8}, 32);
  const op::QConv2d& q = call.q;
  Tensor real = Tensor::empty(call.y.shape(), DType::f32, {}, MemoryFormat::channels_last);
  CHECK(q.key() == "n2 c32 8x8 -> c32 8x8 k3x3 s1x1 p1x1 d1x1 g1");
  op::QConv2d other = q;
  other.y = real.mutable_view();
  CHECK(other.key() == q.key() + " f32");
  other.g.n = 0;
  CHECK(other.key().empty());

  const Rehearsal<op::QConv2d> r = q.rehearse();
  CHECK_NOTHROW(check_qconv2d(r.args));
  CHECK(r.args.x.data == r.input.view().data);
  CHECK(r.args.x.data != q.x.data);
  CHECK(r.args.residual.data != q.residual.data);
  CHECK(r.args.y.data != q.y.data);
  CHECK(r.args.w.data == q.w.data);

  size_t accepting = 0;
  for (const auto& k : kernels<op::QConv2d>().candidates(DeviceType::cpu)) accepting += !k.refusal(q);
  if (accepting < 3) return;  // a processor with one fast kernel leaves nothing to choose
  const TempFolder folder;
  const auto c = Tuner(folder / "tuning.tsv").choose(q, Device::cpu());
  CHECK(c.trials.size() == accepting - 1);
  CHECK(c.kernel->name == c.trials[0].kernel);
  for (const Trial& t : c.trials) CHECK(t.kernel != "ref");
}

TEST_CASE("border classes tell apart which taps fall on padding") {
  const Conv2dGeometry g = Conv2dGeometry::make("t", {1, 1, 5, 4}, {1, 1, 3, 3}, {.padding = 1});
  const BorderClasses b = border_classes(g);
  CHECK(b.count() == 9);
  CHECK(b.row == std::vector<int32_t>{0, 3, 3, 3, 6});
  CHECK(b.col == std::vector<int32_t>{0, 1, 1, 2});
  CHECK(b.row_taps[0] == BorderClasses::Taps{1, 3});
  CHECK(b.col_taps[2] == BorderClasses::Taps{0, 2});
}

TEST_CASE("border classes with stride, dilation and wide padding") {
  const Conv2dGeometry g =
      Conv2dGeometry::make("t", {1, 1, 9, 9}, {1, 1, 3, 3}, {.stride = {2, 1}, .padding = {1, 0}, .dilation = {2, 1}});
  const BorderClasses b = border_classes(g);
  CHECK(b.col_taps.size() == 1);
  for (int64_t oh = 0; oh < g.oh; ++oh)
    for (int64_t t = 0; t < 3; ++t) {
      const int64_t ih = oh * 2 - 1 + t * 2;
      CHECK(b.row_taps[size_t(b.row[size_t(oh)])].contain(t) == (ih >= 0 && ih < 9));
    }
  CHECK(border_classes(Conv2dGeometry::make("t", {1, 1, 4, 4}, {1, 1, 1, 1}, {})).count() == 1);
}

TEST_CASE("border classes are those of a comparison tap by tap, for any geometry") {
  for (const int64_t in : {1, 4, 9})
    for (const int64_t k : {1, 2, 5})
      for (const int64_t stride : {1, 2, 3})
        for (const int64_t pad : {0, 1, 4, 7})
          for (const int64_t dil : {1, 2, 3}) {
            if (in + 2 * pad < dil * (k - 1) + 1) continue;
            INFO(in << " k" << k << " s" << stride << " p" << pad << " d" << dil);
            const auto g = Conv2dGeometry::make("t", {1, 1, in, 1}, {1, 1, k, 1},
                                                {.stride = {stride, 1}, .padding = {pad, 0}, .dilation = {dil, 1}});
            const BorderClasses b = border_classes(g);
            std::vector<std::vector<bool>> seen;
            std::vector<int32_t> row;
            for (int64_t o = 0; o < g.oh; ++o) {
              std::vector<bool> taps;
              for (int64_t t = 0; t < k; ++t) {
                const int64_t i = o * stride - pad + t * dil;
                taps.push_back(i >= 0 && i < in);
                CHECK(b.row_taps[size_t(b.row[size_t(o)])].contain(t) == taps.back());
              }
              const auto at = std::find(seen.begin(), seen.end(), taps);
              row.push_back(int32_t(at - seen.begin()));
              if (at == seen.end()) seen.push_back(taps);
            }
            CHECK(b.row == row);
          }
}

TEST_CASE("huge kernels and paddings have their classes at once") {
  const int64_t side = 100'000;
  const BorderClasses b = border_classes(
      Conv2dGeometry::make("t", {1, 1, 1, 1}, {1, 1, 1, side}, {.padding = {0, side}, .dilation = {1, 1}}));
  CHECK(b.count() == side + 1);  // one tap or none
  CHECK_THROWS_AS(border_classes(Conv2dGeometry::make("t", {1, 1, 1, 1}, {1, 1, side, side}, {.padding = side})),
                  ValueError);
}

namespace {

// A layer with one bias row per class of borders, and a residual.
struct EagerLayer {
  Tensor x = quantize(Tensor::full({2, 3, 4, 4}, 1), {0.5f, 4}), w = Tensor::full({5, 3, 3, 3}, 2, DType::i8);
  Tensor scale = Tensor::full({5}, 0.25), bias = Tensor::full({9, 5}, 100, DType::i32);
  Tensor residual = quantize(Tensor::full({2, 5, 4, 4}, -1), {0.25f, 200});
  QConv2dOptions o{.conv = {.padding = 1}, .y = {0.5f, 20}};

  Tensor operator()() const { return qconv2d(x, w, scale, bias, residual, o); }
};

}  // namespace

TEST_CASE("qconv2d of tensors: codes, their grids and the classes of borders") {
  EagerLayer layer;
  const Tensor y = layer();
  CHECK(y.qparams() == layer.o.y);
  CHECK(y.shape() == Shape{2, 5, 4, 4});
  // x stands 2 codes above its zero; w is 2; 4, 6 or 9 taps of 3 channels are inside.
  const auto expected = [&](int taps) {
    const double acc = 100 + taps * 3 * 2 * 2, real = acc * (0.5 * 0.25) - 1;  // and the residual
    return std::nearbyint(real / 0.5) + 20;
  };
  const auto codes = y.to_vector();
  CHECK(codes[0] == expected(4));
  CHECK(codes[1] == expected(6));
  CHECK(codes[5] == expected(9));
  layer.o.y = {0, 0};
  const Tensor real = layer();
  CHECK(real.dtype() == DType::f32);
  CHECK(real.is_channels_last());
  CHECK(real.to_vector()[0] == (100 + 4 * 12) * 0.125 - 1);
}

TEST_CASE("qconv2d of tensors refuses what makes no layer") {
  const auto refuses = [](const auto& spoil) {
    EagerLayer layer;
    spoil(layer);
    CHECK_THROWS_AS(layer(), Error);
  };
  CHECK_NOTHROW(EagerLayer()());
  refuses([](EagerLayer& l) { l.x = Tensor::zeros({2, 3, 4, 4}); });
  refuses([](EagerLayer& l) { l.x = Tensor(); });
  refuses([](EagerLayer& l) { l.w = Tensor::full({5, 4, 3, 3}, 2, DType::i8); });
  refuses([](EagerLayer& l) { l.w = Tensor::full({5, 3, 3, 3}, 2); });
  refuses([](EagerLayer& l) { l.scale = Tensor::full({4}, 0.25); });
  refuses([](EagerLayer& l) { l.bias = Tensor::full({4, 5}, 100, DType::i32); });
  refuses([](EagerLayer& l) { l.bias = Tensor::full({5}, 100, DType::i32); });
  refuses([](EagerLayer& l) { l.residual = quantize(Tensor::zeros({2, 5, 4, 3}), {0.25f, 200}); });
  refuses([](EagerLayer& l) { l.residual = Tensor::zeros({2, 5, 4, 4}); });
  refuses([](EagerLayer& l) { l.o.hi = 256; });
  refuses([](EagerLayer& l) { l.o.y.zero_point = -1; });
}

TEST_CASE("a prepared qconv2d shares its packed weights with other batches, and refuses other grids") {
  const EagerLayer layer;
  const Tensor none;
  const std::vector<Tensor> constants{none, layer.w, layer.scale, layer.bias, none};
  const std::vector<Tensor> in{layer.x, layer.w, layer.scale, layer.bias, layer.residual};
  const Attrs attrs = to_attrs(layer.o);
  std::vector<std::shared_ptr<const PreparedOp>> made;
  for (const int64_t n : {1, 32}) {
    std::vector<TensorInfo> infos;
    for (const Tensor& t : in) infos.push_back(info_of(t));
    infos[0].shape[0] = infos[4].shape[0] = n;
    made.push_back(opdef::qconv2d.prepare({infos, constants, attrs, 0, made}));
    REQUIRE(made.back());
    CHECK(made.back()->call(in).to_vector() == layer().to_vector());
  }
  const auto& kernel = *kernel_named<op::QConv2d>(made[0]->tuned().kernel);
  if (made[0]->tuned().kernel == made[1]->tuned().kernel && kernel.traits.packing_serves_any_batch)
    CHECK(made[0]->packed().id() == made[1]->packed().id());
  CHECK(made[0]->with_kernel("ref")->call(in).to_vector() == layer().to_vector());
  for (const char* forced : {"ref", "own.direct.avx2,ref"}) {
    const ForceKernel guard("qconv2d", forced);
    CHECK(made[0]->call(in).to_vector() == layer().to_vector());
  }
  std::vector<Tensor> other = in;
  other[0] = layer.x.with_qparams({0.25f, 4});
  CHECK_THROWS_AS(made[0]->call(other), ValueError);
  // Weights that another op computes cannot be prepared.
  std::vector<TensorInfo> infos;
  for (const Tensor& t : in) infos.push_back(info_of(t));
  CHECK_FALSE(opdef::qconv2d.prepare({infos, std::vector<Tensor>(5), attrs}));
}
