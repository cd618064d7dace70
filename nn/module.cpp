#include "nn/module.h"

namespace mininn::nn {

Module::~Module() = default;

}  // namespace mininn::nn
