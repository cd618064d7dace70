#include "ops/layout.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/autograd.h"
#include "tests/support/catch.h"
#include "tests/support/kernel_operands.h"
#include "tests/support/random_tensors.h"
#include "tests/support/run_kernel.h"

using namespace mininn;
using namespace mininn::testing;

namespace {

Tensor counting(const Shape& shape) {
  std::vector<double> v(size_t(numel(shape)));
  std::iota(v.begin(), v.end(), 0.0);
  return Tensor::from(v, shape);
}

// The element of x at a row-major index list, from its strides alone.
std::vector<int64_t> index_of(const Shape& shape, int64_t i) {
  std::vector<int64_t> index(size_t(shape.rank()));
  for (int d = shape.rank() - 1; d >= 0; --d) {
    index[size_t(d)] = i % shape[d];
    i /= shape[d];
  }
  return index;
}
int64_t number_of(const Shape& shape, const std::vector<int64_t>& index) {
  int64_t i = 0;
  for (int d = 0; d < shape.rank(); ++d) i = i * shape[d] + index[size_t(d)];
  return i;
}

constexpr DType kAll[] = {DType::f32, DType::f64, DType::bf16, DType::i8, DType::u8, DType::i32, DType::i64};

}  // namespace

TEST_CASE("reshape keeps the row-major order and is a view where it can be") {
  const uint64_t s = test_seed();
  INFO("seed " << s);
  RandomTensors random(s);
  for (int trial = 0; trial < 300; ++trial) {
    const Tensor x = random.tensor(random.shape(4, 4), kAll[random.between(0, 6)]);
    // Another shape with as many elements: neighbours merged, sizes split off.
    Shape to;
    int64_t size = 1;
    for (int d = 0; d < x.rank(); ++d) {
      size *= x.shape()[d];
      if (random.chance(0.5)) {
        if (size % 2 == 0 && size > 0 && random.chance(0.5) && to.rank() + x.rank() - d < kMaxRank - 1) {
          to.push_back(2);
          size /= 2;
        }
        to.push_back(size);
        size = 1;
      }
    }
    to.push_back(size);
    INFO(x.shape() << x.strides() << " to " << to);
    const Tensor y = reshape(x, to);
    CHECK(y.shape() == to);
    CHECK(y.to_vector() == x.to_vector());
    CHECK(reshape(y, x.shape()).to_vector() == x.to_vector());
    if (x.is_contiguous()) CHECK(y.storage() == x.storage());
  }
  const Tensor x = counting({2, 3, 4});
  CHECK(reshape(x, {6, -1}).shape() == Shape{6, 4});
  CHECK(reshape(x, {-1}).storage() == x.storage());
  // Splitting a dimension of a transposed tensor needs no copy, merging its dimensions does.
  const Tensor t = transpose(x, 0, 2);
  CHECK(reshape(t, {2, 2, 3, 2}).storage() == t.storage());
  CHECK(reshape(t, {12, 2}).storage() != t.storage());
  CHECK(reshape(expand(counting({1, 3}), {4, 3}), {2, 2, 3}).to_vector() ==
        std::vector<double>{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2});
  CHECK_THROWS_AS(reshape(x, {5, -1}), ShapeError);
  CHECK_THROWS_AS(reshape(x, {-1, -1}), ShapeError);
  CHECK_THROWS_AS(reshape(x, {25}), ShapeError);
}

TEST_CASE("flatten") {
  const Tensor x = counting({2, 3, 4});
  CHECK(flatten(x).shape() == Shape{2, 12});
  CHECK(flatten(x, 0).shape() == Shape{24});
  CHECK(flatten(x, -1).shape() == Shape{2, 3, 4});
  const Tensor nhwc = contiguous(counting({2, 3, 2, 2}), MemoryFormat::channels_last);
  CHECK(flatten(nhwc).to_vector() == counting({24}).to_vector());
}

TEST_CASE("permute and transpose are views that invert") {
  const Tensor x = counting({2, 3, 4});
  const Tensor y = permute(x, {2, 0, -2});
  CHECK(y.shape() == Shape{4, 2, 3});
  CHECK(y.storage() == x.storage());
  CHECK(permute(y, {1, 2, 0}).to_vector() == x.to_vector());
  CHECK(transpose(counting({2, 3}), 0, 1).to_vector() == std::vector<double>{0, 3, 1, 4, 2, 5});
  CHECK_THROWS_AS(permute(x, {0, 1}), ShapeError);
  CHECK_THROWS_AS(permute(x, {0, 1, 1}), ShapeError);
}

TEST_CASE("expand repeats without copying") {
  const Tensor x = counting({3, 1});
  const Tensor y = expand(x, {2, 3, 2});
  CHECK(y.storage() == x.storage());
  CHECK(y.to_vector() == std::vector<double>{0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2});
  CHECK_THROWS_AS(expand(x, {2, 2}), ShapeError);
  CHECK_THROWS_AS(expand(x, {3}), ShapeError);
}

TEST_CASE("slice is a view of every step-th index") {
  const Tensor x = counting({2, 7});
  const Tensor y = slice(x, 1, 1, -1, 2);
  CHECK(y.storage() == x.storage());
  CHECK(y.to_vector() == std::vector<double>{1, 3, 5, 8, 10, 12});
  CHECK(slice(y, 0, 1, 2).to_vector() == std::vector<double>{8, 10, 12});
  CHECK(slice(x, 0, 2, 2).numel() == 0);
  Tensor z = slice(x, 1, 0, 1);
  z.fill(-1);  // views alias
  CHECK(x.to_vector()[7] == -1);
  CHECK_THROWS_AS(slice(x, 1, 0, 8), ShapeError);
  CHECK_THROWS_AS(slice(x, 1, 3, 2), ShapeError);
  CHECK_THROWS_AS(slice(x, 1, 0, 2, 0), ShapeError);
}

TEST_CASE("cat joins what slice takes apart") {
  const uint64_t s = test_seed();
  INFO("seed " << s);
  RandomTensors random(s);
  for (int trial = 0; trial < 100; ++trial) {
    Shape shape = random.shape();
    if (shape.rank() == 0) shape.push_back(3);
    const Tensor x = random.tensor(shape, kAll[random.between(0, 6)]);
    const int dim = int(random.between(0, shape.rank() - 1));
    std::vector<Tensor> parts;
    for (int64_t begin = 0; begin < shape[dim] || parts.empty();) {
      const int64_t end = random.between(begin, shape[dim]);
      parts.push_back(slice(x, dim, begin, end));
      begin = end;
    }
    INFO(x.shape() << x.strides() << " dim " << dim << ", " << parts.size() << " parts");
    const Tensor y = cat(parts, dim);
    CHECK(y.shape() == shape);
    CHECK(y.to_vector() == x.to_vector());
  }
  const Tensor nhwc = contiguous(counting({1, 2, 3, 3}), MemoryFormat::channels_last);
  CHECK(cat({nhwc, nhwc}, 1).is_channels_last());
  CHECK_THROWS_AS(cat({}, 0), ShapeError);
  CHECK_THROWS_AS(cat({counting({2, 3}), counting({2, 4})}, 0), ShapeError);
  CHECK_THROWS_AS(cat({counting({2}), Tensor::zeros({2})}, 0), DTypeError);
}

TEST_CASE("pad") {
  CHECK(pad(counting({1, 2}), {{1, 0}, {1, 2}}, -1).to_vector() ==
        std::vector<double>{-1, -1, -1, -1, -1, -1, 0, 1, -1, -1});
  CHECK(pad(contiguous(counting({1, 2, 3, 3}), MemoryFormat::channels_last), {{0, 0}, {0, 2}, {1, 1}, {1, 1}})
            .is_channels_last());
  CHECK(pad(Tensor::zeros({0, 2}), {{1, 0}, {0, 0}}, 3).to_vector() == std::vector<double>{3, 3});
  CHECK_THROWS_AS(pad(counting({2}), {{-1, 0}}), ShapeError);
  CHECK_THROWS_AS(pad(counting({2}), {}), ShapeError);
}

TEST_CASE("contiguous changes the memory order, not the elements") {
  for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{1, 64, 33, 31}, Shape{3, 1, 4, 4}, Shape{2, 40, 1, 1}})
    for (const DType t : {DType::f32, DType::f64, DType::u8}) {
      Tensor x = Tensor::empty(shape, t);
      x.copy_from(counting(shape));
      const Tensor y = contiguous(x, MemoryFormat::channels_last);
      INFO(shape);
      CHECK(y.is_channels_last());
      CHECK(y.to_vector() == x.to_vector());
      const Tensor z = contiguous(y);
      CHECK(z.is_contiguous());
      CHECK(z.to_vector() == x.to_vector());
      CHECK(contiguous(y, MemoryFormat::channels_last).id() == y.id());
    }
  CHECK_THROWS_AS(contiguous(counting({2, 3}), MemoryFormat::channels_last), ShapeError);
}

TEST_CASE("every fill kernel sets all elements of any layout and nothing else") {
  INFO("seed " << test_seed());
  RandomTensors random(test_seed());
  for_each_kernel<op::Fill>([&](Device device, const auto& kernel) {
    for (int trial = 0; trial < 200; ++trial) {
      const DType t = kAll[random.between(0, 6)];
      const Tensor like = random.tensor(random.shape(), t);
      const Tensor all = Tensor::full({int64_t(like.storage()->bytes() / size_of(t)) + 200}, 7, t);
      if (may_overlap_itself(like.shape(), like.strides())) continue;
      Tensor part = all.as_strided(like.shape(), like.strides(), 100);
      INFO(to_string(device) << ' ' << kernel.name << ' ' << name(t) << part.shape() << part.strides());
      if (!run_kernel(device, kernel, {300.5, part.mutable_view()})) continue;
      const double value = Tensor::full({}, 300.5, t).item();  // -128..127, 0..255, a whole number
      CHECK(part.to_vector() == std::vector<double>(size_t(part.numel()), value));
      CHECK(std::ranges::count(all.to_vector(), 7) == all.numel() - part.numel());
    }
  });
  CHECK(Tensor::full({}, 300.5, DType::i8).item() == 127);
  CHECK(Tensor::full({}, 300.5, DType::i32).item() == 300);
}

TEST_CASE("every copy kernel moves any layout into any layout") {
  const uint64_t s = test_seed();
  INFO("seed " << s);
  RandomTensors random(s);
  for_each_kernel<op::Copy>([&](Device device, const auto& kernel) {
    for (int trial = 0; trial < 300; ++trial) {
      const DType t = kAll[random.between(0, 6)];
      const Tensor x = random.tensor(trial % 10 ? random.shape() : Shape{2, 70, 3, 67}, t);
      // Any dense order for the result: a permuted tensor.
      std::vector<int> order(size_t(x.rank()));
      std::iota(order.begin(), order.end(), 0);
      for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.generator().below(i)]);
      Shape stored;
      std::vector<int> inverse(order.size());
      for (size_t i = 0; i < order.size(); ++i) {
        stored.push_back(x.shape()[order[i]]);
        inverse[size_t(order[i])] = int(i);
      }
      Guarded out(stored, t);
      View y = out.view();
      const View row = y;
      for (int d = 0; d < x.rank(); ++d) {
        y.shape[d] = row.shape[inverse[size_t(d)]];
        y.strides[d] = row.strides[inverse[size_t(d)]];
      }
      INFO(to_string(device) << " " << kernel.name << " " << name(t) << x.shape() << x.strides() << " to "
                             << y.strides);
      if (!run_kernel(device, kernel, {x.view(), y})) continue;
      const std::vector<double> in = x.to_vector(), result = out.values();
      bool equal = true;
      for (int64_t i = 0; i < x.numel(); ++i) {
        const auto index = index_of(x.shape(), i);
        std::vector<int64_t> at(index.size());
        for (size_t d = 0; d < at.size(); ++d) at[d] = index[size_t(order[d])];
        equal = equal && result[size_t(number_of(stored, at))] == in[size_t(i)];
      }
      CHECK(equal);
    }
  });
}

TEST_CASE("layout ops refuse sizes that overflow") {
  constexpr int64_t big = int64_t{1} << 62;
  const Tensor x = counting({2, 3}), wide = expand(Tensor::zeros({1}), {big});
  CHECK_THROWS_AS(reshape(x, {big, big, -1}), ShapeError);
  CHECK_THROWS_AS(reshape(x, {big, 8}), ShapeError);
  CHECK_THROWS_AS(expand(Tensor::zeros({1}), {big, 4}), ShapeError);
  CHECK_THROWS_AS(cat({wide, wide}, 0), ShapeError);
  CHECK_THROWS_AS(pad(x, {{big, big}, {0, 0}}), ShapeError);
  CHECK_THROWS_AS(pad(x, {{std::numeric_limits<int64_t>::max(), 0}, {0, 0}}), ShapeError);
  CHECK_THROWS_AS(pad(x, {{big, 0}, {1, 1}}), ShapeError);
  CHECK_THROWS_AS(contiguous(expand(wide, {2, big})), ShapeError);
}

TEST_CASE("slice takes a step of any size") {
  const Tensor x = counting({3, 5});
  for (const int64_t step : {int64_t{5}, int64_t{1} << 62, std::numeric_limits<int64_t>::max()}) {
    CHECK(slice(x, 1, 1, 5, step).to_vector() == std::vector<double>{1, 6, 11});
    CHECK(slice(x, 1, 2, 2, step).numel() == 0);
  }
  CHECK(slice(x, 1, 0, 5, 4).to_vector() == std::vector<double>{0, 4, 5, 9, 10, 14});
}
