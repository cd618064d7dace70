// Parameter updates in f32 with AVX2. They are bound by memory, so wider vectors bring nothing.
#pragma once

#include "ops/optimizer.h"

namespace mininn::cpu::own {

extern const Kernel<op::SgdUpdate> sgd_update_avx2;
extern const Kernel<op::AdamUpdate> adam_update_avx2;

}  // namespace mininn::cpu::own
