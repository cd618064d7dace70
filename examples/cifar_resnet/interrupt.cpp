#include "examples/cifar_resnet/interrupt.h"

#include <atomic>
#include <cstdint>
#include <ctime>
#include <iterator>

namespace cifar_resnet {
namespace {

constexpr int64_t kSecondAfter = 100;  // milliseconds

std::atomic<int> interrupted = 0;         // the signal
std::atomic<int64_t> interrupted_at = 0;  // in milliseconds

int64_t now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t{t.tv_sec} * 1000 + t.tv_nsec / 1'000'000;
}

// timeout(1) and terminals may send one request as two signals, to the process and to its group: only one that comes
// later is a second request.
void on_signal(int signal) {
  if (!interrupted) {
    interrupted_at = now();
    interrupted = signal;
  } else if (now() - interrupted_at > kSecondAfter) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);  // delivered when this function returns
  }
}
static_assert(std::atomic<int>::is_always_lock_free &&
              std::atomic<int64_t>::is_always_lock_free);  // as a handler needs

}  // namespace

InterruptScope::InterruptScope() {
  interrupted = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : kSignals) sigaddset(&action.sa_mask, signal);
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    sigaction(kSignals[i], nullptr, &before_[i]);
    if (before_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
  }
}

InterruptScope::~InterruptScope() {
  for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  interrupted = 0;
}

void throw_if_interrupted() {
  if (interrupted) throw Interrupted(interrupted, "interrupted");
}

}  // namespace cifar_resnet
