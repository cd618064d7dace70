#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <thread>

#include "core/error.h"
#include "tests/data/tiny_images.h"
#include "tests/support/catch.h"
#include "tests/support/fork.h"
#include "tests/support/run_kernel.h"

using namespace mininn;
using namespace mininn::data;
using mininn::testing::in_forked_child;

namespace {

const ImageNormalization kIdentity{{0, 0, 0}, {1.0f / 255, 1.0f / 255, 1.0f / 255}};

// The image numbers of one epoch in the order they come, and the sizes of its batches.
struct Seen {
  std::vector<int> images;
  std::vector<int64_t> sizes;
};
Seen walk(const Loader& loader, int64_t epoch, int64_t first_batch = 0) {
  Seen s;
  for (const auto& [x, y] : loader.epoch(epoch, first_batch)) {
    REQUIRE(x.is_channels_last());
    REQUIRE(x.size(0) == y.size(0));
    s.sizes.push_back(x.size(0));
    const int64_t image = x.numel() / x.size(0);
    for (int64_t i = 0; i < x.size(0); ++i) {
      s.images.push_back(int(std::lround(x.data<float>()[size_t(i * image)])));
      CHECK(y.data<int64_t>()[size_t(i)] == s.images.back() % 3);
    }
  }
  return s;
}

std::vector<double> all_values(const Loader& loader, int64_t epoch, int64_t first_batch = 0) {
  std::vector<double> values;
  for (const auto& [x, y] : loader.epoch(epoch, first_batch)) {
    const auto v = x.to_vector();
    values.insert(values.end(), v.begin(), v.end());
  }
  return values;
}

}  // namespace

TEST_CASE("every image comes exactly once per epoch, with its label") {
  const Dataset d = tiny_images(23);
  const int64_t batch = GENERATE(1, 5, 23, 100);
  const bool shuffle = GENERATE(true, false);
  const Loader loader(d, {.batch_size = batch, .shuffle = shuffle, .normalization = kIdentity});
  const Seen s = walk(loader, 0);
  CHECK(int64_t(s.sizes.size()) == loader.batches());
  CHECK(loader.images() == 23);
  CHECK(std::set<int>(s.images.begin(), s.images.end()).size() == 23);
  CHECK(s.images.size() == 23);
  CHECK(std::is_sorted(s.images.begin(), s.images.end()) == !shuffle);
}

TEST_CASE("drop_last leaves out the incomplete batch only") {
  const Dataset d = tiny_images(23);
  const Loader loader(d, {.batch_size = 5, .drop_last = true, .normalization = kIdentity});
  CHECK(walk(loader, 0).sizes == std::vector<int64_t>{5, 5, 5, 5});
  CHECK(loader.batches() == 4);
  CHECK(loader.images() == 20);
  CHECK(Loader(d, {.batch_size = 24, .drop_last = true}).batches() == 0);
  CHECK(walk(Loader(d, {.batch_size = 24, .drop_last = true}), 0).images.empty());
  CHECK(Loader(d, {.batch_size = 23, .drop_last = true}).batches() == 1);
}

TEST_CASE("a batch may be larger than any dataset") {
  const Dataset d = tiny_images(23);
  for (const int64_t size : {int64_t{24}, INT64_MAX}) {
    const Loader loader(d, {.batch_size = size, .normalization = kIdentity});
    CHECK(loader.batches() == 1);
    CHECK(loader.images() == 23);
    CHECK(walk(loader, 0).sizes == std::vector<int64_t>{23});
    CHECK(Loader(d, {.batch_size = size, .drop_last = true}).images() == 0);
  }
}

TEST_CASE("the order depends on seed and epoch alone") {
  const Dataset d = tiny_images(60);
  const auto order = [&](uint64_t seed, int64_t epoch, int64_t batch, int prefetch) {
    return walk(Loader(d, {.batch_size = batch, .normalization = kIdentity, .seed = seed, .prefetch = prefetch}), epoch)
        .images;
  };
  const auto first = order(1, 0, 7, 2);
  CHECK(order(1, 0, 7, 2) == first);
  CHECK(order(1, 0, 13, 1) == first);
  CHECK(order(1, 1, 7, 2) != first);
  CHECK(order(2, 0, 7, 2) != first);
}

TEST_CASE("an epoch that is resumed in the middle continues exactly") {
  const Dataset d = tiny_images(50, 12, 12);
  const Loader loader(d,
                      {.batch_size = 8, .augment = {.crop_padding = 4, .flip = Flip::random, .cutout = 4}, .seed = 9});
  const auto whole = all_values(loader, 3), rest = all_values(loader, 3, 4);
  const size_t image = 3 * 12 * 12;
  REQUIRE(whole.size() == 50 * image);
  REQUIRE(rest.size() == 18 * image);
  CHECK(std::equal(rest.begin(), rest.end(), whole.begin() + long(32 * image)));
  CHECK(all_values(loader, 3, 7).empty());
  CHECK(all_values(loader, 3, 1000).empty());
}

TEST_CASE("images on a device become the same batches there") {
  const Dataset d = tiny_images(10);
  const LoaderOptions o{.batch_size = 4, .augment = {.flip = Flip::random}, .seed = 3};
  const Loader here(d, o);
  for (const Device device : testing::other_devices()) {
    Dataset there = d;
    there.images = there.images.to(device);
    const Loader loader(there, o);
    Loader::Epoch expected = here.epoch(1, 1), epoch = loader.epoch(1, 1);
    auto found = epoch.begin();
    for (const auto& [x, y] : expected) {
      REQUIRE(found != epoch.end());
      const auto& [images, labels] = *found;
      CHECK(images.device() == device);
      CHECK(labels.device() == device);
      CHECK(images.to_vector() == x.to_vector());
      CHECK(labels.to_vector() == y.to_vector());
      ++found;
    }
    CHECK(found == epoch.end());
    CHECK(loader.epoch(0, loader.batches() + 1).begin() == std::default_sentinel);
  }
}

TEST_CASE("dropping an epoch early stops its thread") {
  const Dataset d = tiny_images(200);
  const Loader loader(d, {.batch_size = 2});
  for (int i = 0; i < 50; ++i)
    for ([[maybe_unused]] const Batch& b : loader.epoch(i)) {
      if (i % 2) std::this_thread::sleep_for(std::chrono::microseconds(200));  // let it fill the queue
      break;
    }
  { const auto never_started = loader.epoch(0); }
  auto moved = loader.epoch(0);
  moved = loader.epoch(1);
  CHECK(moved.begin() != moved.end());
}

TEST_CASE("an epoch outlives its loader, and two can be read at a time") {
  const Dataset d = tiny_images(20);
  auto loader = std::make_unique<Loader>(d, LoaderOptions{.batch_size = 3, .normalization = kIdentity});
  auto a = loader->epoch(0), b = loader->epoch(0);
  loader.reset();
  size_t n = 0;
  auto i = a.begin(), j = b.begin();
  for (; i != a.end(); ++i, ++j, ++n) {
    REQUIRE(j != b.end());
    CHECK((*i).images.to_vector() == (*j).images.to_vector());
  }
  CHECK(n == 7);
}

TEST_CASE("a batch may be kept after the loop has moved on") {
  const Dataset d = tiny_images(12);
  std::vector<Batch> kept;
  for (const Batch& b : Loader(d, {.batch_size = 4, .shuffle = false, .normalization = kIdentity}).epoch(0))
    kept.push_back(b);
  REQUIRE(kept.size() == 3);
  for (size_t i = 0; i < 3; ++i) CHECK(kept[i].images.data<float>()[0] == Approx(double(4 * i)).margin(1e-4));
}

TEST_CASE("what fails in the thread is thrown to the reader") {
  Dataset d = tiny_images(20);
  d.labels = Tensor::zeros({40}, DType::i64).as_strided({20}, {2});  // labels with gaps: reading them throws
  const Loader loader(d, {.batch_size = 4});
  auto epoch = loader.epoch(0);
  CHECK_THROWS_AS(epoch.begin(), ShapeError);
  { const auto never_read = loader.epoch(1); }
}

TEST_CASE("an epoch goes on in a forked child, with the same batches") {
  const Loader loader(tiny_images(200), {.batch_size = 8, .normalization = kIdentity});
  const auto whole = all_values(loader, 2);
  for (const size_t before : {1, 3, 24, 25}) {
    auto epoch = loader.epoch(2);
    auto i = epoch.begin();
    for (size_t b = 1; b < before; ++b) ++i;
    if (before > 1) std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the thread waits, or has ended
    const int result = in_forked_child([&] {
      size_t at = whole.size() / 25 * before;
      for (++i; i != epoch.end(); ++i)
        for (const double v : (*i).images.to_vector())
          if (at == whole.size() || whole[at++] != v) return 1;
      const auto dropped = std::move(epoch);
      return at == whole.size() ? 0 : 2;
    });
    CHECK(result == 0);
  }
}

TEST_CASE("a loader refuses options that make no sense") {
  const Dataset d = tiny_images(6);
  CHECK_THROWS_AS(Loader(d, {.batch_size = 0}), ValueError);
  CHECK_THROWS_AS(Loader(d, {.prefetch = 0}), ValueError);
  CHECK_THROWS_AS(Loader(d, {.augment = {.crop_padding = 8}}), ValueError);
  CHECK_THROWS_AS(Loader(Dataset{}, {}), ValueError);
  CHECK_THROWS_AS(Loader(d, {}).epoch(-1), ValueError);
  CHECK_THROWS_AS(Loader(d, {}).epoch(0, -1), ValueError);
  Dataset wrong = d;
  wrong.labels = Tensor::zeros({5}, DType::i64);
  CHECK_THROWS_AS(Loader(wrong), ShapeError);
  wrong.labels = Tensor::zeros({6});
  CHECK_THROWS_AS(Loader(wrong), DTypeError);
}
