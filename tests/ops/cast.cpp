#include "ops/cast.h"

#include <cmath>
#include <limits>

#include "core/autograd.h"
#include "ops/layout.h"
#include "tests/support/catch.h"

using namespace mininn;

TEST_CASE("cast converts every dtype into every other") {
  constexpr DType all[] = {DType::f32, DType::f64, DType::bf16, DType::i8, DType::u8, DType::i32, DType::i64};
  const Tensor small = Tensor::from<double>({0, 1, 2, 100}, {2, 2});  // exact in all of them
  for (const DType from : all)
    for (const DType to : all) {
      INFO(name(from) << " to " << name(to));
      const Tensor y = cast(transpose(cast(small, from), 0, 1), to);
      CHECK(y.dtype() == to);
      CHECK(y.to_vector() == std::vector<double>{0, 2, 1, 100});
    }
}

TEST_CASE("cast from floating to integer drops the fraction and saturates") {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor x = Tensor::from<double>({-0.9, 2.9, -2.9, 1e30, -1e30, inf, -inf, nan, 127.5, 128, -128.9, -129}, {12});
  CHECK(cast(x, DType::i8).to_vector() == std::vector<double>{0, 2, -2, 127, -128, 127, -128, 0, 127, 127, -128, -128});
  CHECK(cast(x, DType::u8).to_vector() == std::vector<double>{0, 2, 0, 255, 0, 255, 0, 0, 127, 128, 0, 0});
  const Tensor edge = Tensor::from<float>({2147483520.0f, 2147483648.0f, -2147483648.0f}, {3});
  CHECK(cast(edge, DType::i32).to_vector() == std::vector<double>{2147483520.0, 2147483647.0, -2147483648.0});
  CHECK(cast(Tensor::from<double>({0x1p63, -0x1p63}, {2}), DType::i64).data<int64_t>()[0] ==
        std::numeric_limits<int64_t>::max());
}

TEST_CASE("cast between integers saturates") {
  CHECK(cast(Tensor::from<int32_t>({300, -1, 128}, {3}), DType::u8).to_vector() == std::vector<double>{255, 0, 128});
  CHECK(cast(Tensor::from<int32_t>({300, -1, 128}, {3}), DType::i8).to_vector() == std::vector<double>{127, -1, 127});
  CHECK(cast(Tensor::from<uint8_t>({200}, {1}), DType::i8).item() == 127);
}

TEST_CASE("cast to bf16 rounds to nearest even") {
  CHECK(cast(Tensor::from<float>({1 + 0x1p-8f, 1 + 0x3p-8f, 1 + 0x1.1p-8f}, {3}), DType::bf16).to_vector() ==
        std::vector<double>{1, 1 + 0x4p-8, 1 + 0x2p-8});
}

TEST_CASE("cast keeps channels-last, returns its operand where there is nothing to do, and passes gradients on") {
  const Tensor x = contiguous(Tensor::full({1, 2, 3, 3}, 1), MemoryFormat::channels_last);
  CHECK(cast(x, DType::bf16).is_channels_last());
  CHECK(cast(x, DType::f32).id() == x.id());
  Tensor leaf = Tensor::full({2}, 3).set_requires_grad(true);
  cast(leaf, DType::bf16).backward(Tensor::full({2}, 2, DType::bf16));
  CHECK(leaf.grad().dtype() == DType::f32);
  CHECK(leaf.grad().to_vector() == std::vector<double>{2, 2});
  CHECK(!cast(leaf, DType::i32).requires_grad());
}
