// own.strips.amx with loops for its tile instructions, so that its walk, its packing and its epilogue are tested on
// every processor with AVX-512.
#pragma once

#include "ops/qconv2d.h"

namespace mininn::testing {

// Refuses the calls that the real one takes here.
Kernel<op::QConv2d> emulated_amx();

}  // namespace mininn::testing
