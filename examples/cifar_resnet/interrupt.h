// Ending a long run between two steps, with everything saved, when the user or the system asks for it.
#pragma once

#include <csignal>

#include "core/error.h"

namespace cifar_resnet {

struct Interrupted : mininn::Error {
  Interrupted(int signal_number, const std::string& what) : Error(what), signal(signal_number) {}
  int signal;
};

// While it lives, the first Ctrl-C (SIGINT), request to end (SIGTERM, of docker stop or Slurm) or closed terminal
// (SIGHUP) makes throw_if_interrupted() throw, and a second one ends the program at once. (What comes within a tenth of
// a second belongs to the first.) A signal that the program was started to ignore (nohup, a job in the background)
// stays ignored. One at a time.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction before_[3];
};

// Throws Interrupted if a signal has come since an InterruptScope began.
void throw_if_interrupted();

}  // namespace cifar_resnet
