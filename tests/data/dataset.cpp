#include "data/dataset.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"
#include "tests/data/tiny_images.h"
#include "tests/support/catch.h"

using namespace mininn;
using namespace mininn::data;

TEST_CASE("subset copies images and labels in the order asked for") {
  const Dataset d = tiny_images(10);
  const Dataset s = d.subset(std::vector<int64_t>{7, 2, 7});
  REQUIRE(s.size() == 3);
  CHECK(s.labels.to_vector() == std::vector<double>{7 % 3, 2 % 3, 7 % 3});
  CHECK(image_number(s.images, 0) == 7);
  CHECK(image_number(s.images, 1) == 2);
  CHECK(image_number(s.images, 2) == 7);
  CHECK(s.classes == d.classes);
  CHECK_THROWS_AS(d.subset(std::vector<int64_t>{10}), ValueError);
  CHECK_THROWS_AS(d.subset(std::vector<int64_t>{-1}), ValueError);
}

TEST_CASE("take shares memory and gives at most what is there") {
  const Dataset d = tiny_images(10);
  const Dataset t = d.take(4);
  CHECK(t.size() == 4);
  CHECK(t.labels.size(0) == 4);
  CHECK(t.images.storage() == d.images.storage());
  CHECK(d.take(99).size() == 10);
  CHECK_THROWS_AS(d.take(0), ValueError);
}

TEST_CASE("class-balanced indices are balanced, sorted, distinct and reproducible") {
  const Dataset d = tiny_images(60);  // labels 0, 1, 2, 0, 1, 2, ...
  const auto chosen = class_balanced_indices(d, 20, 5);
  REQUIRE(chosen.size() == 20);
  CHECK(std::is_sorted(chosen.begin(), chosen.end()));
  CHECK(std::set<int64_t>(chosen.begin(), chosen.end()).size() == 20);
  std::map<int64_t, int> count;
  for (const int64_t i : chosen) ++count[i % 3];
  CHECK(count == std::map<int64_t, int>{{0, 7}, {1, 7}, {2, 6}});
  CHECK(class_balanced_indices(d, 20, 5) == chosen);
  CHECK(class_balanced_indices(d, 20, 6) != chosen);
  CHECK(class_balanced_indices(d, 60, 1).size() == 60);
  CHECK_THROWS_AS(class_balanced_indices(d, 61, 1), ValueError);
  CHECK_THROWS_AS(class_balanced_indices(d, 0, 1), ValueError);
}

TEST_CASE("a label that is no class is reported") {
  Dataset d = tiny_images(6);
  d.labels.mutable_data<int64_t>()[4] = 3;
  CHECK_THROWS_WITH(class_balanced_indices(d, 3, 1), Catch::Contains("label 3 of image 4"));
}

TEST_CASE("a dataset that is not what its members say is refused") {
  const std::vector<int64_t> first{0};
  CHECK_THROWS_AS(Dataset{}.subset(first), ShapeError);
  CHECK_THROWS_AS(Dataset{}.take(1), ShapeError);
  CHECK_THROWS_AS(hold_out(Dataset{}, 1, 1), ShapeError);
  Dataset d = tiny_images(6);
  d.labels = Tensor::zeros({5}, DType::i64);
  CHECK_THROWS_AS(class_balanced_indices(d, 3, 1), ShapeError);
  CHECK_THROWS_AS(d.subset(first), ShapeError);
  d = tiny_images(6);
  d.classes.clear();
  CHECK_THROWS_AS(class_balanced_indices(d, 3, 1), ValueError);
  d = tiny_images(6);
  d.images = Tensor::empty({0, 3, 8, 8}, DType::u8);
  d.labels = Tensor::empty({0}, DType::i64);
  CHECK(d.subset({}).size() == 0);
  CHECK_THROWS_AS(d.subset(first), ValueError);
}

TEST_CASE("hold_out splits without overlap or loss") {
  const Dataset d = tiny_images(30);
  const auto [rest, held] = hold_out(d, 9, 3);
  CHECK(rest.size() == 21);
  CHECK(held.size() == 9);
  std::set<int> seen;
  for (const Dataset* part : {&rest, &held})
    for (int64_t i = 0; i < part->size(); ++i) seen.insert(image_number(part->images, i));
  CHECK(seen.size() == 30);
  CHECK_THROWS_AS(hold_out(d, 30, 3), ValueError);
  CHECK_THROWS_AS(hold_out(d, 0, 3), ValueError);
}
