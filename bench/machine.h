// What every benchmark says about the machine before its first row.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/device.h"

namespace mininn::bench {

// Prints the processor and its peaks for each number of threads, with a warning if something else is running, and gives
// the same back: {"machine": {...}, "peaks": [...]}. Leaves the last number of threads set.
nlohmann::json describe_machine(const std::vector<int>& threads);

// Prints the peaks of a CUDA device, and gives them back.
nlohmann::json describe_device(Device d);

// Throws FileError.
void write_report(const std::string& path, const nlohmann::json& report);

}  // namespace mininn::bench
