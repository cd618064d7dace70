// Copies between any strides.
#pragma once

#include "core/kernel.h"
#include "core/memory_ops.h"

namespace mininn::cpu::own {

extern const Kernel<op::Copy> copy;  // "own.tiled"

}  // namespace mininn::cpu::own
