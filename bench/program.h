// What every benchmark's main() does around its work.
#pragma once

namespace mininn::bench {

// run(argc, argv)'s status; 1, and one sentence that begins with the program's name, for an exception.
int run_program(const char* name, int (*run)(int, char**), int argc, char** argv);

}  // namespace mininn::bench
