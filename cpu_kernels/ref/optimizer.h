// Reference parameter updates: f32 and f64, any size.
#pragma once

#include "ops/optimizer.h"

namespace mininn::cpu::ref {

extern const Kernel<SgdUpdate> sgd_update;
extern const Kernel<AdamUpdate> adam_update;

}  // namespace mininn::cpu::ref
