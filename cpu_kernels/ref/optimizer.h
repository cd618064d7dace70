// Reference parameter updates: f32 and f64, any size.
#pragma once

#include "ops/optimizer.h"

namespace mininn::cpu::ref {

extern const Kernel<op::SgdUpdate> sgd_update;
extern const Kernel<op::AdamUpdate> adam_update;

}  // namespace mininn::cpu::ref
