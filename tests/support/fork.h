// Code that runs in a child process.
#pragma once

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

namespace mininn::testing {

constexpr unsigned kNobody = 65534;  // a user and a group

// What `body` returns, 0 to 253, in a child process that is a copy of this one; 254 if it throws; -1 if it never ends.
template <class Body>
int in_forked_child(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    try {
      ::_exit(body());
    } catch (...) {
      ::_exit(254);
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// As above, in a child process that permissions count for, even if this one is root's; no value if it stays root.
template <class Body>
std::optional<int> as_nobody(const Body& body) {
  constexpr int kStaysRoot = 255;
  const int result = in_forked_child([&] {
    if (::geteuid() == 0 &&
        (::syscall(SYS_setgroups, 0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0))
      return kStaysRoot;
    return body();
  });
  return result == kStaysRoot ? std::nullopt : std::optional(result);
}

}  // namespace mininn::testing
