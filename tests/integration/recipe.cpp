#include "examples/cifar_resnet/recipe.h"

#include "tests/support/catch.h"

using namespace mininn;
using cifar_resnet::Recipe;
using cifar_resnet::TrainOptions;

namespace {

TrainOptions options(const char* recipe, int64_t epochs) {
  TrainOptions o;
  o.recipe = recipe;
  o.epochs = epochs;
  return o;
}

}  // namespace

TEST_CASE("the classic recipe shifts and flips at random") {
  const Recipe r(options("classic", 50));
  CHECK(r.augment.crop_padding == 4);
  CHECK(r.augment.border == Border::black);
  CHECK(r.augment.flip == data::Flip::random);
  CHECK_FALSE(r.sgd.nesterov);
  CHECK(r.label_smoothing == 0);
}

TEST_CASE("the fast recipe flips in turn, looks ahead and smooths labels") {
  const Recipe r(options("fast", 20));
  CHECK(r.augment.crop_padding == 4);
  CHECK(r.augment.border == Border::reflect);
  CHECK(r.augment.flip == data::Flip::alternating);
  CHECK(r.sgd.nesterov);
  CHECK(r.label_smoothing == 0.1);
}

TEST_CASE("either recipe cuts out what it is told to") {
  for (const char* recipe : {"classic", "fast"}) {
    TrainOptions o = options(recipe, 10);
    CHECK(Recipe(o).augment.cutout == 0);
    o.cutout = 8;
    CHECK(Recipe(o).augment.cutout == 8);
  }
}

TEST_CASE("the fast recipe's learning rate is that of one cycle, the classic one's a warm-up and a cosine") {
  const Recipe fast(options("fast", 10)), classic(options("classic", 10));
  CHECK(fast.learning_rate(0, 1000) == Approx(0.2 / 25));
  CHECK(fast.learning_rate(299, 1000) == Approx(0.2).margin(1e-4));
  CHECK(fast.learning_rate(999, 1000) < 1e-5);
  TrainOptions slower = options("fast", 10);
  slower.lr = 0.05;
  CHECK(Recipe(slower).learning_rate(299, 1000) == Approx(0.05).margin(1e-4));
  CHECK(classic.learning_rate(99, 1000) == Approx(0.1));
  CHECK(classic.learning_rate(49, 1000) == Approx(0.05));
  CHECK(classic.learning_rate(550, 1000) == Approx(0.05).margin(1e-3));
}
