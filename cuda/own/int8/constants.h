// The constants of an int8 convolution, fetched from the device: what pack() reads.
#pragma once

#include <cstddef>
#include <vector>

#include "core/backend.h"
#include "cuda/backend.h"
#include "ops/qconv2d.h"

namespace mininn::cuda::own {

// A call whose constants lie in the host's memory, and are what kernels rely on.
struct HostConstants {
  op::QConv2d call;
  Device device;  // where the constants came from, and what is packed belongs

  // Throws what check_qconv2d_constants() throws.
  explicit HostConstants(const op::QConv2d& a) : call(a), device(device_of(a.w.data)) {
    const Stream stream = current_stream(device);
    for (CView* v : {&call.w, &call.bias, &call.row_class, &call.col_class, &call.multiplier}) {
      if (!*v) continue;
      auto& copy = memory_.emplace_back(size_t(v->size()) * size_of(v->dtype));
      backend(device).copy(copy.data(), Device::cpu(), v->data, device, copy.size(), stream);
      v->data = copy.data();
    }
    synchronize(stream);
    check_qconv2d_constants(call);
  }

 private:
  std::vector<std::vector<std::byte>> memory_;
};

}  // namespace mininn::cuda::own
