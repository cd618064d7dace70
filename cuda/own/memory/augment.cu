// Augmentation where the images are: a thread for each pixel of the result.
#include "ops/augment.h"

#include "cuda/launch.h"
#include "cuda/own/memory/kernels.h"

namespace mininn::cuda::own {
namespace {

struct Images {
  int64_t pixels;  // of all results
  int channels, height, width;
  const uint8_t* from;
  const int64_t* index;
  const int32_t* moves;
  const float* table;
  Border border;
  float* to;
};

__global__ void augment_kernel(const __grid_constant__ Images q) {
  for (int64_t i = thread_index(); i < q.pixels; i += thread_count()) {
    const int64_t row = i / q.width, b = row / q.height, plane = int64_t(q.height) * q.width;
    const int x = int(i - row * q.width), y = int(row - b * q.height);
    const Augmentation a = augmentation_at(q.moves + b * op::Augment::kMembers);
    const int sy = augment_source(y, a.dy, q.height, q.border);
    const int sx = augment_source(a.flip ? q.width - 1 - x : x, a.dx, q.width, q.border);
    const bool cut = y >= a.cut_y0 && y < a.cut_y1 && x >= a.cut_x0 && x < a.cut_x1, beyond = sy < 0 || sx < 0;
    const uint8_t* const in = q.from + q.index[b] * q.channels * plane + (beyond ? 0 : int64_t(sy) * q.width + sx);
    for (int c = 0; c < q.channels; ++c)
      q.to[i * q.channels + c] = cut ? 0.0f : q.table[c * 256 + (beyond ? 0 : in[c * plane])];
  }
}

void run(const op::Augment& a, const ExecContext& at) {
  const Images q{.pixels = a.y.shape[0] * a.y.shape[2] * a.y.shape[3],
                 .channels = int(a.y.shape[1]),
                 .height = int(a.y.shape[2]),
                 .width = int(a.y.shape[3]),
                 .from = a.images.as<uint8_t>(),
                 .index = a.index.as<int64_t>(),
                 .moves = a.moves.as<int32_t>(),
                 .table = a.table.as<float>(),
                 .border = a.border,
                 .to = a.y.as<float>()};
  launch(augment_kernel, grid_of(q.pixels), at, q);
}

}  // namespace

constinit const Kernel<op::Augment> augment{"own", kOwn, takes_all, run};

}  // namespace mininn::cuda::own
