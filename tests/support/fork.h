// Code that runs in a child process.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

namespace mininn::testing {

// What `body` returns, 0 to 255, in a child process that is a copy of this one; -1 if it never does.
template <class Body>
int in_forked_child(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    ::_exit(body());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace mininn::testing
