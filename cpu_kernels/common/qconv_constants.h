// What the CPU's int8 convolutions rely on in their constants beyond types and shapes.
#pragma once

#include "ops/qconv2d.h"

namespace mininn::cpu {

// Every pack() asks it first, since it is the one to read them. Throws ValueError for a bias class without a row, for
// the code -128 (its negation would overflow), for an accumulator that can leave int32 and for a multiplier that is not
// finite.
void check_constants(const op::QConv2d& a);

}  // namespace mininn::cpu
