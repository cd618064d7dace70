// Every matrix product kernel against plain loops.
#include "ops/matmul.h"

#include "tests/support/kernel_operands.h"
#include "tests/support/run_kernel.h"

namespace mininn {
namespace {

using testing::for_each_kernel;
using testing::Guarded;
using testing::run_kernel;

struct Case {
  int64_t batch, m, n, k;
  bool a_transposed, b_transposed, c_transposed, repeat_b, bias;

  friend std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << "batch " << c.batch << ", m " << c.m << ", n " << c.n << ", k " << c.k
               << (c.a_transposed ? ", a^T" : "") << (c.b_transposed ? ", b^T" : "") << (c.c_transposed ? ", c^T" : "")
               << (c.repeat_b ? ", one b for all" : "") << (c.bias ? ", bias" : "");
  }
};

// A [batch, rows, columns] view of random elements, stored column by column if `transposed`.
Tensor matrices(int64_t batch, int64_t rows, int64_t columns, bool transposed, DType dtype, Generator& g) {
  if (!transposed) return testing::random_tensor({batch, rows, columns}, g, dtype);
  const Tensor t = testing::random_tensor({batch, columns, rows}, g, dtype);
  return t.as_strided({batch, rows, columns}, {rows * columns, 1, rows});
}

// Returns how many kernels took the case, on the device where they were fewest.
int check(const Case& c, DType dtype, Generator& g) {
  const Tensor a = matrices(c.batch, c.m, c.k, c.a_transposed, dtype, g);
  Tensor b = matrices(c.repeat_b ? 1 : c.batch, c.k, c.n, c.b_transposed, dtype, g);
  if (c.repeat_b) b = b.as_strided({c.batch, c.k, c.n}, {0, b.strides()[1], b.strides()[2]});
  const Tensor bias = testing::random_tensor({c.n}, g, dtype);
  const auto expected = reference::matmul(c.batch, c.m, c.n, c.k, a.to_vector(), b.to_vector(),
                                          c.bias ? bias.to_vector() : reference::Values());
  testing::Takers takers;
  for_each_kernel<op::Matmul>([&](Device device, const auto& kernel) {
    int& ran = takers[device.type];
    Guarded out(c.c_transposed ? Shape{c.batch, c.n, c.m} : Shape{c.batch, c.m, c.n}, dtype);
    View y = out.view();
    if (c.c_transposed) y = View(y.data, {c.batch, c.m, c.n}, {c.n * c.m, 1, c.m}, dtype);
    const op::Matmul args{c.batch, c.m, c.n, c.k, a.view(), b.view(), c.bias ? bias.view() : CView(), y};
    INFO(to_string(device) << ' ' << kernel.name << ' ' << name(dtype) << ": " << c);
    if (!run_kernel(device, kernel, args)) return;
    reference::Values got = out.values();
    if (c.c_transposed) {
      const reference::Values t = got;
      for (int64_t i = 0; i < c.batch; ++i)
        for (int64_t r = 0; r < c.m; ++r)
          for (int64_t j = 0; j < c.n; ++j) got[size_t((i * c.m + r) * c.n + j)] = t[size_t((i * c.n + j) * c.m + r)];
    }
    testing::check_close(got, expected, dtype);
    ++ran;
  });
  return testing::fewest(takers);
}

TEST_CASE("every matmul kernel agrees with plain loops") {
  const uint64_t seed = testing::test_seed();
  INFO("MININN_TEST_SEED=" << seed);
  Generator g(seed);
  const auto coin = [&] { return g.below(2) == 1; };
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    for (int i = 0; i < 40; ++i) {
      const auto size = [&] { return int64_t(1 + g.below(i < 20 ? 9 : 70)); };
      const Case c{size() % 4 + 1, size(), size(), size(), coin(), coin(), i % 8 == 0, coin(), coin()};
      CHECK(check(c, dtype, g) >= 1);
    }
    for (const int64_t m : {1, 7, 8, 15, 16, 17, 63, 64, 65})
      for (const int64_t n : {1, 10, 16, 31, 32, 33, 48})
        check({1, m, n, 65, false, (m + n) % 2 == 0, false, false, m % 2 == 0}, dtype, g);
  }
}

TEST_CASE("every matmul kernel takes empty and long sums") {
  Generator g(testing::test_seed());
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const bool bias : {false, true}) CHECK(check({2, 3, 5, 0, false, false, false, false, bias}, dtype, g) >= 1);
    CHECK(check({1, 0, 5, 3, false, false, false, false, false}, dtype, g) >= 1);
    CHECK(check({0, 2, 5, 3, false, false, false, false, true}, dtype, g) >= 1);
    CHECK(check({65537, 1, 1, 2, false, false, false, false, false}, dtype, g) >= 1);  // more than a grid's z
    CHECK(check({1, 9, 17, 5000, false, true, false, false, true}, dtype, g) >= 1);
    CHECK(check({1, 9, 17, 20000, false, false, false, false, true}, dtype, g) >= 1);  // more than a chain
  }
}

TEST_CASE("a sum of a million products keeps its digits in every matmul kernel") {
  constexpr int64_t kTerms = 1 << 20;
  const Tensor a = Tensor::full({1, 1, kTerms}, 0.1), b = Tensor::full({1, kTerms, 1}, 1);
  for_each_kernel<op::Matmul>([&](Device device, const auto& kernel) {
    Tensor c = Tensor::zeros({1, 1, 1});
    INFO(to_string(device) << ' ' << kernel.name);
    if (!run_kernel(device, kernel, {1, 1, 1, kTerms, a.view(), b.view(), {}, c.mutable_view()})) return;
    CHECK(c.item() == Approx(0.1 * kTerms).epsilon(2e-4));
  });
}

}  // namespace
}  // namespace mininn
