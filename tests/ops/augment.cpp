#include "ops/augment.h"

#include <climits>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "tests/support/catch.h"
#include "tests/support/run_kernel.h"

using namespace mininn;
using testing::for_each_kernel;
using testing::run_kernel;

namespace {

const ImageNormalization kBytes{{0, 0, 0}, {1.0f / 255, 1.0f / 255, 1.0f / 255}};  // they come out as they are

Tensor bytes(const Shape& shape, uint64_t seed) {
  Tensor t = Tensor::empty(shape, DType::u8);
  Generator g(seed);
  for (uint8_t& v : t.mutable_data<uint8_t>()) v = uint8_t(g.below(256));
  return t;
}

// Element (n, c, y, x) of a result by the definition.
float wanted(const op::Augment& q, const std::vector<Augmentation>& moves, int64_t n, int64_t c, int64_t y, int64_t x) {
  const Augmentation& a = moves[size_t(n)];
  const int64_t height = q.y.shape[2], width = q.y.shape[3];
  if (y >= a.cut_y0 && y < a.cut_y1 && x >= a.cut_x0 && x < a.cut_x1) return 0;
  int64_t sy = y + a.dy, sx = (a.flip ? width - 1 - x : x) + a.dx;
  const bool outside = sy < 0 || sy >= height || sx < 0 || sx >= width;
  const auto mirrored = [](int64_t i, int64_t size) { return i < 0 ? -i : i >= size ? 2 * size - 2 - i : i; };
  const int64_t image = q.index.as<int64_t>()[n];
  const int64_t at = ((image * q.y.shape[1] + c) * height + mirrored(sy, height)) * width + mirrored(sx, width);
  const uint8_t byte = outside && q.border == Border::black ? 0 : q.images.as<uint8_t>()[at];
  return q.table.as<float>()[c * 256 + byte];
}

}  // namespace

TEST_CASE("augment: every kernel equals the written definition to the bit") {
  const std::vector<Augmentation> moves{{},
                                        {.dy = -6, .dx = 8, .flip = true},
                                        {.dy = 3, .dx = -2, .cut_y0 = 2, .cut_y1 = 5, .cut_x0 = 0, .cut_x1 = 9},
                                        {.dy = 1, .dx = 1, .flip = true, .cut_y1 = 7, .cut_x0 = 8, .cut_x1 = 9}};
  std::vector<int32_t> rows;
  for (const Augmentation& a : moves)
    rows.insert(rows.end(), {a.dy, a.dx, a.flip, a.cut_y0, a.cut_y1, a.cut_x0, a.cut_x1});
  const Tensor index = Tensor::from<int64_t>({4, 0, 2, 2}, {4}), members = Tensor::from(rows, {4, 7});
  for (const int64_t channels : {1, 3, 5})
    for (const Border border : {Border::black, Border::reflect}) {
      const Tensor images = bytes({5, channels, 7, 9}, uint64_t(channels));
      Tensor table = Tensor::empty({channels, 256});
      Generator g(7);
      for (float& v : table.mutable_data<float>()) v = float(g.normal());
      for_each_kernel<op::Augment>([&](Device device, const auto& kernel) {
        INFO(to_string(device) << ' ' << kernel.name << ", " << channels << " channels, border " << int(border));
        Tensor y = Tensor::empty({4, channels, 7, 9}, DType::f32, Device::cpu(), MemoryFormat::channels_last);
        y.fill(-1);
        const op::Augment q{images.view(), index.view(), members.view(), table.view(), border, y.mutable_view()};
        REQUIRE(run_kernel(device, kernel, q));
        const std::vector<double> got = y.to_vector();
        size_t i = 0;
        for (int64_t n = 0; n < 4; ++n)
          for (int64_t c = 0; c < channels; ++c)
            for (int64_t row = 0; row < 7; ++row)
              for (int64_t x = 0; x < 9; ++x) REQUIRE(float(got[i++]) == wanted(q, moves, n, c, row, x));
      });
    }
}

TEST_CASE("moves that leave the image are refused") {
  const Tensor images = bytes({2, 3, 8, 6}, 1);
  const std::vector<int64_t> one{0};
  const auto run = [&](const Augmentation& a, Border border = Border::black) {
    return augment(images, one, std::vector{a}, border, kBytes);
  };
  CHECK_NOTHROW(run({.dy = -7, .dx = 5, .cut_y0 = 8, .cut_y1 = 8, .cut_x1 = 6}));
  CHECK_THROWS_AS(run({.dy = 8}), ValueError);
  CHECK_THROWS_AS(run({.dx = -6}), ValueError);
  CHECK_THROWS_AS(run({.dx = INT_MIN}), ValueError);
  CHECK_THROWS_AS(run({.cut_y1 = 9}), ValueError);
  CHECK_THROWS_AS(run({.cut_x0 = 3, .cut_x1 = 2}), ValueError);
  CHECK_THROWS_AS(run({.cut_x0 = -1}), ValueError);
  CHECK_THROWS_AS(run({}, Border(9)), ValueError);
  CHECK_THROWS_AS(augment(images, one, std::vector<Augmentation>(2), Border::black, kBytes), ValueError);
}
