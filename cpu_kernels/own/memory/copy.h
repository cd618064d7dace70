// Copies between any strides, with the element type converted where it differs.
#pragma once

#include "ops/layout.h"

namespace mininn::cpu::own {

extern const Kernel<op::Copy> copy;  // "own.tiled", takes every call

}  // namespace mininn::cpu::own
