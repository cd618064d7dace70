// The list of all ops.
#pragma once

#include <span>
#include <string_view>

#include "ops/op.h"

namespace mininn {

std::span<const OpDef* const> all_ops();
// Null if there is none of this name.
const OpDef* find_op(std::string_view name);

}  // namespace mininn
