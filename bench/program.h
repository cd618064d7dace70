// What every benchmark's main() does around its work.
#pragma once

#include <functional>
#include <string>

namespace mininn::bench {

// run(argc, argv)'s status; 1, and one sentence that begins with the program's name, for an exception.
int run_program(const char* name, int (*run)(int, char**), int argc, char** argv);

// For a script that lets other programs take turns with this one: prints answer(request) for each line of standard
// input, and for an Error a line that begins with "error: ".
void serve_requests(const std::function<std::string(const std::string& request)>& answer);

}  // namespace mininn::bench
