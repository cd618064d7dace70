// The text of report.html.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace cifar_resnet {

struct Results;

// What the page says of a summary: the numbers that have a meaning of their own, and the others by name. Throws
// ValueError naming the field that makes no sense.
nlohmann::json page_head(const nlohmann::json& summary);

// The page of report_page/ with the data in it.
std::string page(const Results& r);

}  // namespace cifar_resnet
