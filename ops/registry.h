// The lists of ops.
#pragma once

#include <span>
#include <string_view>

#include "ops/op.h"

namespace mininn {

// What the program is linked with: the library's, or int8_ops() alone.
std::span<const OpDef* const> all_ops();
// On codes, on what becomes of them behind the last layers, and reshape.
std::span<const OpDef* const> int8_ops();
// Null if there is none of this name.
const OpDef* find_op(std::string_view name);

}  // namespace mininn
