#include "ops/augment.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "ops/operand.h"

namespace mininn {
namespace {

void check_move(const Augmentation& a, int64_t height, int64_t width) {
  const auto inside = [](int begin, int end, int64_t size) { return 0 <= begin && begin <= end && end <= size; };
  if (std::abs(int64_t{a.dy}) >= height || std::abs(int64_t{a.dx}) >= width || !inside(a.cut_y0, a.cut_y1, height) ||
      !inside(a.cut_x0, a.cut_x1, width))
    throw ValueError(message("augment: a shift by (", a.dy, ", ", a.dx, ") and a cut of rows ", a.cut_y0, " to ",
                             a.cut_y1, ", columns ", a.cut_x0, " to ", a.cut_x1, " do not fit images of ", height,
                             " x ", width));
}

Tensor table_of(const ImageNormalization& norm, int64_t channels) {
  Tensor t = Tensor::empty({channels, 256});
  float* to = t.mutable_data<float>().data();
  for (size_t c = 0; c < size_t(channels); ++c)
    for (int v = 0; v < 256; ++v) *to++ = norm(uint8_t(v), c);
  return t;
}

Tensor moves_of(std::span<const Augmentation> moves) {
  std::vector<int32_t> rows;
  for (const Augmentation& a : moves)
    rows.insert(rows.end(), {a.dy, a.dx, a.flip, a.cut_y0, a.cut_y1, a.cut_x0, a.cut_x1});
  return Tensor::from(rows, {int64_t(moves.size()), op::Augment::kMembers});
}

}  // namespace

Tensor augment(const Tensor& images, std::span<const int64_t> index, std::span<const Augmentation> moves, Border border,
               const ImageNormalization& norm) {
  const detail::Operand in = detail::Operand("augment", "images", images).is(DType::u8);
  if (images.rank() != 4) throw ShapeError(message("augment: images are ", images.shape(), ", expected [N,C,H,W]"));
  in.contiguous();
  if (border != Border::black && border != Border::reflect)
    throw ValueError(message("augment: there is no border ", int(border)));
  const int64_t channels = images.size(1), height = images.size(2), width = images.size(3);
  if (std::max({channels, height, width}) > kLargestEdge)
    throw ShapeError(message("augment: images ", images.shape(), " are too large"));
  norm.check(channels);
  if (moves.size() != index.size())
    throw ValueError(message("augment: ", moves.size(), " moves for ", index.size(), " images"));
  for (const Augmentation& a : moves) check_move(a, height, width);
  for (const int64_t i : index)
    if (i < 0 || i >= images.size(0))
      throw ValueError(message("augment: index ", i, " is outside images ", images.shape()));
  const Device device = images.device();
  const auto count = int64_t(index.size());
  Tensor y = Tensor::empty({count, channels, height, width}, DType::f32, device, MemoryFormat::channels_last);
  const Tensor index_there = Tensor::from(index, {count}).to(device), moves_there = moves_of(moves).to(device);
  const Tensor table = table_of(norm, channels).to(device);
  kernels<op::Augment>().run(
      {images.view(), index_there.view(), moves_there.view(), table.view(), border, y.mutable_view()}, device);
  return y;
}

}  // namespace mininn
