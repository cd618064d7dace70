// The first version of int8 files: JSON of steps and of values between them, each a kind of its own.
#pragma once

#include "nn/serialize.h"
#include "quant/int8_model.h"

namespace mininn::quant {

// Throws Errors that say what is wrong with the content.
Int8Model read_version_1(const nn::SafeTensors& file);

}  // namespace mininn::quant
