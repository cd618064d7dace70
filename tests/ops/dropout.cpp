#include "ops/dropout.h"

#include <cmath>

#include "core/autograd.h"
#include "core/parallel.h"
#include "ops/create.h"
#include "ops/layout.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("dropout keeps the elements that the generator's words say, whatever the layout and the threads") {
  const double p = 0.3;
  const int threads = num_threads();
  for (const DType t : {DType::f32, DType::f64, DType::bf16})
    for (const bool channels_last : {false, true})
      for (const int n : {1, 3}) {
        set_num_threads(n);
        Tensor x = ones({4, 30, 25, 16}, t);
        if (channels_last) x = contiguous(x, MemoryFormat::channels_last);
        Generator g(5, 2), words(5, 2);
        g.set_position(6);
        words.set_position(6);
        const Tensor y = dropout(x, p, true, g);
        const double kept = full({}, 1 / (1 - std::floor(p * 0x1p32) * 0x1p-32), t).item();
        bool equal = true;
        for (const double v : y.to_vector()) equal = equal && v == (words.next_u32() < p * 0x1p32 ? 0 : kept);
        CHECK(equal);
        CHECK(g.position() == words.position());
        CHECK(y.is_channels_last() == channels_last);
      }
  set_num_threads(threads);
}

TEST_CASE("dropout drops a fraction p and keeps the mean") {
  Generator g(1);
  const double p = 0.25;
  const int64_t n = 100000;
  double dropped = 0, mean = 0;
  for (const double v : dropout(ones({n}, DType::f64), p, true, g).to_vector()) {
    dropped += v == 0;
    mean += v / double(n);
  }
  CHECK(std::abs(dropped / double(n) - p) < 5 * std::sqrt(p * (1 - p) / double(n)));
  CHECK(std::abs(mean - 1) < 5 * std::sqrt(p / (1 - p) / double(n)));
}

TEST_CASE("dropout passes the gradient through the same mask") {
  Generator g(2);
  Tensor x = ones({50}).set_requires_grad(true);
  const Tensor y = dropout(x, 0.5, true, g);
  y.backward(ones({50}));
  CHECK(x.grad().to_vector() == y.to_vector());
}

TEST_CASE("dropout in evaluation, with p = 0 and out of range") {
  const Tensor x = ones({3});
  Generator g(3);
  CHECK(dropout(x, 0.5, false, g).id() == x.id());
  CHECK(dropout(x, 0, true, g).id() == x.id());
  CHECK(g.position() == 0);
  CHECK_THROWS_AS(dropout(x, 1, true, g), ValueError);
  CHECK_THROWS_AS(dropout(x, -0.1, true, g), ValueError);
  CHECK_THROWS_AS(dropout(ones({2}, DType::i32), 0.5, true, g), DTypeError);
}

TEST_CASE("dropout scales by the probability that its words can give") {
  Generator g(4);
  const Tensor x = ones({50}, DType::f64);
  CHECK(dropout(x, 1e-10, true, g).to_vector() == x.to_vector());  // below 2^-32 nothing is dropped
}
