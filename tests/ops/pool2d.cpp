#include "ops/pool2d.h"

#include <limits>

#include "core/autograd.h"
#include "ops/layout.h"
#include "ops/reduce.h"
#include "tests/support/kernel_operands.h"

using namespace mininn;
using namespace mininn::testing;
using Catch::Contains;

TEST_CASE("pooling agrees with plain loops for any layout, window and dtype") {
  INFO("MININN_TEST_SEED=" << test_seed());
  RandomTensors random(test_seed());
  for (int i = 0; i < 60; ++i) {
    const DType dtype = i % 3 == 0 ? DType::f64 : i % 3 == 1 ? DType::f32 : DType::bf16;
    const Hw kernel(random.between(1, 4), random.between(1, 4));
    const Pool2dOptions o{.kernel = kernel,
                          .stride = {random.between(0, 3), random.between(0, 3)},
                          .padding = {random.between(0, kernel.h / 2), random.between(0, kernel.w / 2)}};
    const Tensor x =
        random.tensor({random.between(0, 2), random.between(1, 20), random.between(4, 9), random.between(4, 9)}, dtype);
    const auto g = Pool2dGeometry::make("test", x.shape(), o);
    INFO(x.shape() << ", kernel " << g.kh << ',' << g.kw << ", stride " << g.stride_h << ',' << g.stride_w
                   << ", padding " << g.pad_h << ',' << g.pad_w << ' ' << name(dtype));
    const Tensor y = max_pool2d(x, o);
    CHECK(y.shape() == Shape{g.n, g.c, g.oh, g.ow});
    CHECK(y.to_vector() == reference::max_pool2d(g, x.to_vector()).value);
    for (const bool count : {true, false})
      check_close(avg_pool2d(x, o, count).to_vector(), reference::avg_pool2d(g, count, x.to_vector()), dtype);
  }
}

TEST_CASE("max pooling of small maps by hand") {
  const Tensor x = Tensor::from<float>({1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 1, 3, 3});
  CHECK(max_pool2d(x, {.kernel = 2}).to_vector() == std::vector<double>{5});
  CHECK(max_pool2d(x, {.kernel = 2, .stride = 1}).to_vector() == std::vector<double>{5, 6, 8, 9});
  const Tensor negative = Tensor::from<float>({-1, -2, -3, -4}, {1, 1, 2, 2});
  const Pool2dOptions padded{.kernel = 2, .stride = 2, .padding = 1};
  CHECK(max_pool2d(negative, padded).to_vector() == std::vector<double>{-1, -2, -3, -4});  // padding never wins
  CHECK(avg_pool2d(negative, padded).to_vector() == std::vector<double>{-0.25, -0.5, -0.75, -1});
  CHECK(avg_pool2d(negative, padded, false).to_vector() == std::vector<double>{-1, -2, -3, -4});
}

TEST_CASE("overlapping windows add their gradients up where they share a maximum") {
  Tensor x = Tensor::from<float>({0, 0, 0, 0, 9, 0, 0, 0, 0}, {1, 1, 3, 3});
  x.set_requires_grad(true);
  max_pool2d(x, {.kernel = 2, .stride = 1}).backward(Tensor::from<float>({1, 2, 3, 4}, {1, 1, 2, 2}));
  CHECK(x.grad().to_vector() == std::vector<double>{0, 0, 0, 0, 10, 0, 0, 0, 0});
}

TEST_CASE("global average pooling is the mean over each map") {
  RandomTensors random(test_seed());
  const Tensor x = random.tensor({3, 19, 4, 5}, DType::f64);
  const Tensor y = global_avg_pool2d(x);
  CHECK(y.shape() == Shape{3, 19, 1, 1});
  const auto expected = mean(x, {2, 3}).to_vector(), got = y.to_vector();
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(expected[i]));
}

TEST_CASE("pooling names what does not fit") {
  const Tensor x = Tensor::zeros({1, 2, 4, 4});
  CHECK_THROWS_WITH(max_pool2d(x, {.kernel = 5}), Contains("max_pool2d") && Contains("[1,2,4,4]"));
  CHECK_THROWS_AS(max_pool2d(x, {.kernel = 3, .padding = 2}), ShapeError);
  CHECK_THROWS_AS(max_pool2d(x, {.kernel = 0}), ShapeError);
  CHECK_THROWS_AS(max_pool2d(x, {.kernel = 2, .stride = -1}), ShapeError);
  CHECK_THROWS_AS(avg_pool2d(Tensor::zeros({2, 4, 4}), {.kernel = 2}), ShapeError);
  CHECK_THROWS_AS(global_avg_pool2d(Tensor::zeros({2, 4, 4})), ShapeError);
  CHECK_THROWS_AS(max_pool2d(Tensor::zeros({1, 2, 4, 4}, DType::i32), {.kernel = 2}), DTypeError);
}

TEST_CASE("pooling refuses windows whose sizes overflow") {
  constexpr int64_t big = int64_t{1} << 62;
  const Tensor x = Tensor::zeros({1, 1, 4, 4});
  for (const Pool2dOptions& o :
       {Pool2dOptions{.kernel = 2, .padding = big}, Pool2dOptions{.kernel = big, .padding = big / 2},
        Pool2dOptions{.kernel = std::numeric_limits<int64_t>::max(),
        .padding = std::numeric_limits<int64_t>::max() / 2},
        Pool2dOptions{.kernel = int64_t{1} << 32, .padding = int64_t{1} << 31},
        Pool2dOptions{.kernel = 2, .stride = big}}) {
    CHECK_THROWS_AS(max_pool2d(x, o), ShapeError);
    CHECK_THROWS_AS(avg_pool2d(x, o), ShapeError);
  }
}
