#pragma once

#include "core/autograd.h"

namespace mininn::cpu::ref {

extern const Kernel<Accumulate> accumulate;

}  // namespace mininn::cpu::ref
