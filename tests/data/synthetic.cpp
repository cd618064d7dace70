#include "data/synthetic.h"

#include <algorithm>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "data/augment.h"
#include "tests/support/catch.h"

using namespace mininn;
using namespace mininn::data;

namespace {

std::vector<uint8_t> bytes(const Dataset& d) {
  const auto b = d.images.data<uint8_t>();
  return {b.begin(), b.end()};
}

}  // namespace

TEST_CASE("synthetic images have CIFAR-10's form and balanced labels") {
  const Dataset d = synthetic(25, Split::train);
  CHECK(d.images.shape() == Shape{25, 3, 32, 32});
  CHECK(d.images.dtype() == DType::u8);
  CHECK(d.classes.size() == 10);
  for (size_t i = 0; i < 25; ++i) CHECK(d.labels.data<int64_t>()[i] == int64_t(i % 10));
  CHECK(d.source == "synthetic, seed 1");
  CHECK_THROWS_AS(synthetic(0, Split::train), ValueError);
}

TEST_CASE("a synthetic image depends on seed, split and number alone") {
  const auto all = bytes(synthetic(300, Split::train, 7));
  auto first = bytes(synthetic(90, Split::train, 7));
  CHECK(std::equal(first.begin(), first.end(), all.begin()));
  const int threads = num_threads();
  set_num_threads(1);
  CHECK(bytes(synthetic(300, Split::train, 7)) == all);
  set_num_threads(threads);
  CHECK(bytes(synthetic(300, Split::train, 8)) != all);
  const auto test = bytes(synthetic(300, Split::test, 7));
  std::set<std::vector<uint8_t>> images;
  for (const auto* set : {&all, &test})
    for (size_t i = 0; i < 300; ++i)
      images.insert(std::vector<uint8_t>(set->begin() + long(i * 3072), set->begin() + long((i + 1) * 3072)));
  CHECK(images.size() == 600);  // no image twice, within a split or across
}

TEST_CASE("a number of synthetic images that one split does not have is refused") {
  for (const int64_t n : {int64_t{0}, int64_t{-1}, (int64_t{1} << 32) + 1, INT64_MAX})
    CHECK_THROWS_AS(synthetic(n, Split::train), ValueError);
}

TEST_CASE("the synthetic task is neither trivial nor impossible") {
  // A nearest-neighbour classifier on pixels must beat chance and stay far from solving it.
  const Dataset train = synthetic(1000, Split::train), test = synthetic(200, Split::test);
  const Tensor a = normalize(train.images), b = normalize(test.images);
  const auto x = a.data<float>(), q = b.data<float>();
  int right = 0;
  for (size_t i = 0; i < 200; ++i) {
    size_t best = 0;
    double least = 1e30;
    for (size_t j = 0; j < 1000; ++j) {
      double sum = 0;
      for (size_t k = 0; k < 3072; ++k)
        sum += double(x[j * 3072 + k] - q[i * 3072 + k]) * (x[j * 3072 + k] - q[i * 3072 + k]);
      if (sum < least) least = sum, best = j;
    }
    right += best % 10 == i % 10;
  }
  INFO("right: " << right << " of 200");
  CHECK(right > 26);  // chance is 20
  CHECK(right < 120);
}

TEST_CASE("a number that is no split is refused") { CHECK_THROWS_AS(synthetic(4, Split(9), 1), ValueError); }
