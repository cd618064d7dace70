#include "core/parallel.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "core/error.h"

namespace mininn {
namespace {

int initial_threads() {
  if (const char* text = std::getenv("MININN_NUM_THREADS")) {
    int n = 0;
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), n);
    if (error != std::errc() || *end || n < 1 || n > 1024)
      throw ValueError(message("MININN_NUM_THREADS='", text, "' is not a number from 1 to 1024"));
    return n;
  }
  return omp_get_num_procs();
}

std::atomic<int>& threads() {
  static std::atomic<int> n{initial_threads()};
  return n;
}

}  // namespace

int num_threads() {
  const int n = threads().load(std::memory_order_relaxed);
  thread_local int told = 0;  // OpenMP keeps its number per host thread
  if (told != n && !omp_in_parallel()) {
    omp_set_num_threads(n);
    told = n;
  }
  return n;
}

void set_num_threads(int n) {
  if (n < 1 || n > 1024) throw ValueError(message("the number of threads must be 1 to 1024, not ", n));
  threads().store(n, std::memory_order_relaxed);
  num_threads();
}

void detail::parallel_for(int64_t n, int64_t grain, RangeFn fn, const void* body) {
  if (n <= 0) return;
  const int64_t chunks = std::min<int64_t>(num_threads(), (n + grain - 1) / std::max<int64_t>(grain, 1));
  if (chunks <= 1 || omp_in_parallel()) return fn(body, 0, n);
  std::exception_ptr failure;
#pragma omp parallel for num_threads(int(chunks)) schedule(static, 1)
  for (int64_t c = 0; c < chunks; ++c) {
    try {
      fn(body, n * c / chunks, n * (c + 1) / chunks);
    } catch (...) {
#pragma omp critical(mininn_parallel_failure)
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace mininn
