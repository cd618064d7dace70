#include "ops/create.h"

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "ops/cast.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("constant tensors") {
  CHECK(zeros({2}).to_vector() == std::vector<double>{0, 0});
  CHECK(ones({2}, DType::u8).to_vector() == std::vector<double>{1, 1});
  CHECK(full({2}, 2.5, DType::f64).to_vector() == std::vector<double>{2.5, 2.5});
  CHECK(eye(2).to_vector() == std::vector<double>{1, 0, 0, 1});
  CHECK(eye(0).numel() == 0);
}

TEST_CASE("arange") {
  CHECK(arange(0, 3, 1, DType::i64).to_vector() == std::vector<double>{0, 1, 2});
  CHECK(arange(1, 0, -0.25).to_vector() == std::vector<double>{1, 0.75, 0.5, 0.25});
  CHECK(arange(0, 1, 0.4).numel() == 3);
  CHECK(arange(2, 1).numel() == 0);
  CHECK_THROWS_AS(arange(0, 1, 0), ValueError);
}

TEST_CASE("random tensors are the generator's numbers, row-major") {
  for (const DType t : {DType::f32, DType::f64, DType::bf16}) {
    Generator a(3), b(3);
    const Tensor u = rand({5, 2000}, a, t), n = randn({3}, a, t);
    bool equal = true;
    for (const double v : u.to_vector()) {
      const double rounded = Tensor::full({}, b.uniform(), t).item();
      equal = equal && (v == rounded || (rounded == 1 && v < 1));
    }
    CHECK(equal);
    for (const double v : n.to_vector()) CHECK(v == Tensor::full({}, b.normal(), t).item());
    CHECK(a.position() == b.position());
  }
  CHECK_THROWS_AS(rand({2}, DType::i32), DTypeError);
}

TEST_CASE("random tensors do not depend on the number of threads") {
  const int threads = num_threads();
  std::vector<double> first;
  for (const int n : {1, 2, 5}) {
    set_num_threads(n);
    Generator g(9);
    const std::vector<double> v = randn({30000}, g).to_vector();
    if (first.empty()) first = v;
    CHECK(v == first);
  }
  set_num_threads(threads);
}

TEST_CASE("random tensors have the moments they should have") {
  Generator g(1);
  const int64_t n = 100000;
  const auto moments = [&](const Tensor& x) {
    double mean = 0, square = 0;
    for (const double v : x.to_vector()) {
      mean += v / double(n);
      square += v * v / double(n);
    }
    return std::pair(mean, square - mean * mean);
  };
  // Five standard errors of each estimate.
  const auto [um, uv] = moments(rand({n}, g));
  CHECK(std::abs(um - 0.5) < 5 * std::sqrt(1.0 / 12 / double(n)));
  CHECK(std::abs(uv - 1.0 / 12) < 5 * std::sqrt(1.0 / 180 / double(n)));
  const auto [nm, nv] = moments(randn({n}, g));
  CHECK(std::abs(nm) < 5 * std::sqrt(1 / double(n)));
  CHECK(std::abs(nv - 1) < 5 * std::sqrt(2 / double(n)));
  manual_seed(4);
  const auto first = rand({4}).to_vector();
  CHECK(rand({4}).to_vector() != first);
  manual_seed(4);
  CHECK(rand({4}).to_vector() == first);
}

TEST_CASE("arange refuses numbers that are not finite and more elements than can be") {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const double bad : {nan, inf, -inf}) {
    CHECK_THROWS_AS(arange(0, bad), ValueError);
    CHECK_THROWS_AS(arange(bad, 1), ValueError);
    CHECK_THROWS_AS(arange(0, 1, bad), ValueError);
  }
  CHECK_THROWS_AS(arange(0, 1, 1e-30), ShapeError);
  CHECK_THROWS_AS(arange(-1e308, 1e308, 1e-3), ShapeError);
  CHECK(arange(0, 1, -1e-30).numel() == 0);
}

TEST_CASE("eye refuses sizes that make no matrix") {
  CHECK_THROWS_AS(eye(-1), ShapeError);
  CHECK_THROWS_AS(eye(int64_t{1} << 31), ShapeError);
  CHECK_THROWS_AS(eye(std::numeric_limits<int64_t>::max()), ShapeError);
}

TEST_CASE("arange spans more than the largest number, and refuses what its dtype cannot hold") {
  const auto v = arange(-1.7e308, 1.7e308, 1e308, DType::f64).to_vector();
  const std::vector<double> expected{-1.7e308, -7e307, 3e307, 1.3e308};
  REQUIRE(v.size() == expected.size());
  for (size_t i = 0; i < v.size(); ++i) CHECK(v[i] / 1e308 == Approx(expected[i] / 1e308));
  CHECK(arange(1.7e308, -1.7e308, -1e308, DType::f64).numel() == 4);
  CHECK_THROWS_WITH(arange(-1.7e308, 1.7e308, 1e308), Catch::Contains("beyond f32"));
  CHECK_THROWS_AS(arange(0, 1e300, 1e299), ValueError);
  CHECK_THROWS_AS(arange(-1e39, 1, 1e39, DType::bf16), ValueError);
  CHECK_THROWS_WITH(arange(250, 260, 1, DType::u8), Catch::Contains("259 is beyond u8"));
  CHECK_THROWS_AS(arange(-1, 1, 1, DType::u8), ValueError);
  CHECK_THROWS_AS(arange(127, -130, -1, DType::i8), ValueError);
  CHECK_THROWS_AS(arange(0, 0x1p32, 0x1p31, DType::i32), ValueError);
  CHECK(arange(127, -129, -1, DType::i8).to_vector().back() == -128);
  CHECK(arange(-0.5, 255.9, 0.5, DType::u8).to_vector().back() == 255);
}

TEST_CASE("tensors are divided by numbers beyond their dtype") {
  const Tensor x = full({2}, 1e38);
  CHECK((x / 1e300).to_vector() == std::vector<double>{0, 0});
  CHECK((x / 5e38).to_vector()[0] == Approx(0.2));
  CHECK_THROWS_AS(1e300 / x, ValueError);
}

TEST_CASE("a number that is no memory format is refused") {
  CHECK_THROWS_AS(contiguous(zeros({1, 2, 2, 2}), MemoryFormat(9)), ValueError);
  CHECK_THROWS_AS(cast(zeros({2}), DType(77)), DTypeError);
}

TEST_CASE("whole numbers beyond 2^53 are exact in arange") {
  const double big = 0x1p53;
  const Tensor t = arange(big, big + 4, 1, DType::i64);
  for (int64_t i = 0; i < 4; ++i) CHECK(t.data<int64_t>()[size_t(i)] == (int64_t{1} << 53) + i);
  CHECK(arange(3, -4, -3, DType::i64).to_vector() == std::vector<double>{3, 0, -3});
  CHECK_THROWS_AS(arange(0x1p63, 0x1p63 + 4096, 2048, DType::i64), ValueError);
}

TEST_CASE("uniform random numbers are below 1 in every dtype") {
  for (const DType t : {DType::bf16, DType::f32, DType::f64}) {
    Generator g(1);
    double most = 0;
    for (const double v : rand({100'000}, g, t).to_vector()) most = std::max(most, v);
    INFO(name(t) << ' ' << most);
    CHECK(most < 1);
    CHECK(most > 0.99);
  }
}
