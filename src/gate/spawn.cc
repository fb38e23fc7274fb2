// vfork: the child borrows our stack until it execs, so it must be one function that does not
// return in the child. The parent's frame is untouched because the child only makes traps.

#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../../arch/rawcall.h"

namespace cr {

namespace {

// 0 or -errno, and the status.
long wait_for(long pid, int* status) {
  long r;
  do {
    r = raw4(SYS_wait4, pid, reinterpret_cast<long>(status), __WALL, 0);
  } while (r == -EINTR);
  return raw_failed(r) ? r : 0;
}

[[noreturn, gnu::noinline]] void program(const char* path, const char* const* argv, const char* const* envp,
                                         const uint64_t* mask) {
  long null = raw3(SYS_open, reinterpret_cast<long>("/dev/null"), O_RDWR, 0);
  raw2(SYS_dup2, null, 0);
  raw2(SYS_dup2, null, 1);
  // Nobody would set it going again if the terminal stopped it.
  uint64_t own = *mask | 1ull << (SIGTSTP - 1) | 1ull << (SIGTTIN - 1) | 1ull << (SIGTTOU - 1);
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&own), 0, 8);
  raw3(SYS_execve, reinterpret_cast<long>(path), reinterpret_cast<long>(argv),
       reinterpret_cast<long>(envp));
  for (;;) raw1(SYS_exit_group, 127);
}

// It has no exit signal, as the program must not see a SIGCHLD that it knows nothing of. But an exec would give it
// one: hence a child of its own for that, whose SIGCHLD it gets.
[[noreturn, gnu::noinline]] void child(const char* path, const char* const* argv, const char* const* envp,
                                       const uint64_t* mask) {
  // Where the program ignores it, there would be nothing to wait for.
  uint64_t by_default[4] = {};
  raw4(SYS_rt_sigaction, SIGCHLD, reinterpret_cast<long>(by_default), 0, 8);
  long pid = raw_vfork();
  if (pid == 0) program(path, argv, envp, mask);
  int status = -1;
  bool done = !raw_failed(pid) && wait_for(pid, &status) == 0 && status == 0;
  for (;;) raw1(SYS_exit_group, done ? 0 : 1);
}

}  // namespace

int spawn_and_wait(const char* path, const char* const* argv, const char* const* envp) {
  // Blocked meanwhile: a handler must not run in the child on our memory.
  uint64_t all = ~0ull, old = 0;
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&all), reinterpret_cast<long>(&old),
       8);
  long pid = raw_vfork();
  if (pid == 0) child(path, argv, envp, &old);
  int status = 0;
  long r = raw_failed(pid) ? pid : wait_for(pid, &status);
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&old), 0, 8);
  if (raw_failed(r)) return static_cast<int>(-r);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : EIO;
}

}  // namespace cr
