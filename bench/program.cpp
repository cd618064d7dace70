#include "bench/program.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>

#include "core/error.h"
#include "core/file.h"

namespace mininn::bench {

int run_program(const char* name, int (*run)(int, char**), int argc, char** argv) {
  occupy_standard_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows too large (ulimit -f) is an error to report
  try {
    const int status = run(argc, argv);
    flush_standard_output();
    return status;
  } catch (const std::exception& e) {
    std::fflush(stdout);
    std::cerr << name << ": " << e.what() << '\n';
    return 1;
  }
}

void serve_requests(const std::function<std::string(const std::string& request)>& answer) {
  for (std::string request; std::getline(std::cin, request);) try {
      std::cout << answer(request) << std::endl;
    } catch (const Error& e) {
      std::cout << "error: " << e.what() << std::endl;
    }
}

}  // namespace mininn::bench
