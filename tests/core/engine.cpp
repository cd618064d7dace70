#include <atomic>
#include <thread>

#include "core/allocator.h"
#include "core/autograd.h"
#include "tests/core/toy_ops.h"
#include "tests/support/catch.h"
#include "tests/support/deferred_device.h"

using namespace mininn;

namespace {
struct ElsewhereBackward {
  static constexpr const char* op = "elsewhere";
  Grads backward(const Tensor& gy, const Wants&) const { return {gy.to(Device::cpu())}; }
};
}  // namespace

TEST_CASE("a gradient on another device than the op's is refused, and the op named") {
  testing::install_deferred_device();
  Tensor x = Tensor::full({2}, 1, DType::f64, Device::custom()).set_requires_grad(true);
  const Tensor one = Tensor::full({2}, 1, DType::f64, Device::custom());
  CHECK_THROWS_WITH(attach<ElsewhereBackward>(x.clone(), {x}, {}).backward(one),
                    Catch::Contains("elsewhere") && Catch::Contains("custom:0") && Catch::Contains("cpu"));
}

TEST_CASE("gradients add up over every path") {
  Tensor x = scalar(3).set_requires_grad(true);
  const Tensor square = toy_mul(x, x);
  const Tensor y = toy_add(toy_mul(square, x), square);  // x^3 + x^2
  y.backward();
  CHECK(x.grad().item() == 3 * 9 + 2 * 3);
}

TEST_CASE("backward adds to an existing gradient") {
  Tensor x = scalar(3).set_requires_grad(true);
  toy_mul(x, scalar(2)).backward();
  toy_mul(x, scalar(5)).backward();
  CHECK(x.grad().item() == 7);
  x.set_grad({});
  CHECK_FALSE(x.grad());
}

TEST_CASE("a gradient passed on twice is not added into itself") {
  Tensor a = scalar(1).set_requires_grad(true), b = scalar(1).set_requires_grad(true);
  const Tensor s = toy_add(a, b);
  toy_add(s, toy_add(s, a)).backward();  // 3a + 2b
  CHECK(a.grad().item() == 3);
  CHECK(b.grad().item() == 2);
  a.grad().fill(0);
  CHECK(b.grad().item() == 2);  // leaves do not share their gradients
}

TEST_CASE("backward starts from the gradient that is passed") {
  Tensor x = scalar(3).set_requires_grad(true);
  toy_mul(x, x).backward(scalar(10));
  CHECK(x.grad().item() == 60);
  CHECK_THROWS_AS(toy_mul(x, x).backward(Tensor::zeros({2}, DType::f64)), AutogradError);
}

TEST_CASE("misuse of backward is named") {
  Tensor x = scalar(3).set_requires_grad(true);
  CHECK_THROWS_AS(scalar(1).backward(), AutogradError);
  const Tensor y = toy_mul(x, x);
  y.backward();
  CHECK_THROWS_WITH(y.backward(), Catch::Contains("already"));
  Tensor v = Tensor::zeros({2}, DType::f64).set_requires_grad(true);
  CHECK_THROWS_WITH(v.backward(), Catch::Contains("scalar"));
}

namespace {
struct WrongShapeBackward {
  static constexpr const char* op = "wrong_shape";
  Grads backward(const Tensor&, const Wants&) const { return {Tensor::zeros({2}, DType::f64)}; }
};
struct ToySumBackward {
  static constexpr const char* op = "toy_sum";
  Grads backward(const Tensor& gy, const Wants&) const { return {gy.as_strided({2, 3}, {0, 0})}; }
};
struct WrongCountBackward {
  static constexpr const char* op = "wrong_count";
  Grads backward(const Tensor&, const Wants&) const { return {}; }
};
}  // namespace

TEST_CASE("the engine checks what an op returns") {
  Tensor x = scalar(1).set_requires_grad(true);
  CHECK_THROWS_WITH(attach<WrongShapeBackward>(scalar(1), {x}, {}).backward(), Catch::Contains("wrong_shape"));
  CHECK_THROWS_WITH(attach<WrongCountBackward>(scalar(1), {x}, {}).backward(), Catch::Contains("wrong_count"));
}

TEST_CASE("a chain of 200,000 ops neither overflows the stack going backward nor when freed") {
  Tensor x = scalar(1).set_requires_grad(true);
  {
    Tensor y = x;
    for (int i = 0; i < 200'000; ++i) y = toy_add(y, scalar(1));
    y.backward();
    CHECK(x.grad().item() == 1);
  }
  Tensor y = x;
  for (int i = 0; i < 200'000; ++i) y = toy_mul(y, scalar(1));  // saves tensors; freed without a backward()
}

TEST_CASE("live memory returns to where it was after a step") {
  Tensor x = scalar(1).set_requires_grad(true);
  CHECK_THROWS_WITH(x.set_grad(Tensor::zeros({2})), Catch::Contains("[2] f32 on cpu for a tensor"));
  x.set_grad(scalar(0));
  const size_t live = allocator(Device::cpu()).stats().live_bytes;
  for (int step = 0; step < 3; ++step) {
    Tensor y = x;
    for (int i = 0; i < 50; ++i) y = toy_mul(y, x);
    y.backward();
  }
  CHECK(allocator(Device::cpu()).stats().live_bytes == live);
}

TEST_CASE("a leaf's gradient is laid out like the leaf") {
  Tensor x = Tensor::zeros({2, 3}, DType::f64).set_requires_grad(true);
  attach<ToySumBackward>(scalar(0), {x}, {}).backward();
  CHECK(x.grad().strides() == x.strides());
  CHECK(x.grad().to_vector() == std::vector<double>(6, 1.0));
}

TEST_CASE("gradients of several threads that meet in one leaf all arrive") {
  Tensor x = scalar(1);
  x.set_requires_grad(true);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&x] {
      for (int i = 0; i < 250; ++i) toy_mul(x, scalar(1)).backward();
    });
  for (auto& t : threads) t.join();
  CHECK(x.grad().item() == 1000);
}

TEST_CASE("several threads may take, set and name what belongs to one new tensor") {
  for (int repeat = 0; repeat < 50; ++repeat) {
    Tensor x = scalar(1);
    std::thread other([&x] { x.set_grad(scalar(2)); });
    x.set_requires_grad(true);
    (void)x.grad();
    other.join();
    CHECK(x.requires_grad());
    CHECK(x.grad().item() == 2);
  }
}

TEST_CASE("of two threads that walk one op, one is refused") {
  for (int repeat = 0; repeat < 50; ++repeat) {
    Tensor x = scalar(3);
    x.set_requires_grad(true);
    const Tensor shared = toy_mul(x, x);
    const Tensor y[] = {toy_add(shared, scalar(1)), toy_add(shared, scalar(2))};
    std::atomic<int> refused = 0;
    const auto walk = [&](const Tensor& root) {
      try {
        root.backward();
      } catch (const AutogradError&) {
        ++refused;
      }
    };
    std::thread other([&] { walk(y[1]); });
    walk(y[0]);
    other.join();
    CHECK(refused == 1);
    CHECK(x.grad().item() == 6);
  }
}

TEST_CASE("a gradient is added beside an expanded one, and one that is another look at the old") {
  Tensor x = Tensor::zeros({2, 2}, DType::f64);
  x.set_requires_grad(true);
  x.set_grad(scalar(1).as_strided({2, 2}, {0, 0}));
  const Tensor g = Tensor::from<double>({1, 2, 3, 4}, {2, 2});
  x.backward(g);
  CHECK(x.grad().to_vector() == std::vector<double>{2, 3, 4, 5});
  x.backward(x.grad().as_strided({2, 2}, {1, 2}));
  CHECK(x.grad().to_vector() == std::vector<double>{4, 7, 7, 10});
}
