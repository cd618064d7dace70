#include "ops/augment.h"

#include <algorithm>
#include <vector>

#include "cpu_kernels/ref/kernels.h"

namespace mininn::cpu::ref {
namespace {

constexpr int kBytes = 256;

// One image: planes [C,H,W] of bytes to pixels [H,W,C] of floats. kChannels: their number where the compiler is to know
// it, which halves the time; else 0.
template <int kChannels>
void augment_image(const op::Augment& q, const uint8_t* in, const Augmentation& a, float* out) {
  const int channels = kChannels > 0 ? kChannels : int(q.y.shape[1]);
  const int height = int(q.y.shape[2]), width = int(q.y.shape[3]);
  const auto* const table = q.table.as<float>();
  std::vector<int> columns(static_cast<size_t>(width));
  for (int x = 0; x < width; ++x)
    columns[size_t(a.flip ? width - 1 - x : x)] = augment_source(x, a.dx, width, q.border);
  const int64_t plane = int64_t(height) * width;
  for (int y = 0; y < height; ++y) {
    const int sy = augment_source(y, a.dy, height, q.border);
    const uint8_t* const row = in + int64_t(std::max(sy, 0)) * width;
    const bool cut_row = y >= a.cut_y0 && y < a.cut_y1;
    for (int x = 0; x < width; ++x, out += channels) {
      const int sx = columns[size_t(x)];
      if (cut_row && x >= a.cut_x0 && x < a.cut_x1)
        std::fill_n(out, channels, 0.0f);
      else if (sy < 0 || sx < 0)
        for (int c = 0; c < channels; ++c) out[c] = table[c * kBytes];
      else
        for (int c = 0; c < channels; ++c) out[c] = table[c * kBytes + row[sx + c * plane]];
    }
  }
}

// In the calling thread alone: a loader makes batches beside the threads that train.
void run(const op::Augment& q, const ExecContext&) {
  const auto* const index = q.index.as<int64_t>();
  const auto* m = q.moves.as<int32_t>();
  const int64_t image = q.y.shape[1] * q.y.shape[2] * q.y.shape[3];
  const auto one = q.y.shape[1] == 3 ? augment_image<3> : augment_image<0>;
  for (int64_t b = 0; b < q.y.shape[0]; ++b, m += op::Augment::kMembers)
    one(q, q.images.as<uint8_t>() + index[b] * image, augmentation_at(m), q.y.as<float>() + b * image);
}

}  // namespace

const Kernel<op::Augment> augment{"ref", kReference, takes_all<op::Augment>, run};

}  // namespace mininn::cpu::ref
