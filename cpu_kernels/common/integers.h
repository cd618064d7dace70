#pragma once

#include "core/integers.h"
