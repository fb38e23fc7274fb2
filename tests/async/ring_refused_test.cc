// Where io_uring is forbidden ring_open must say why, leave nothing open and be usable again.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "../../src/async/ring.h"

namespace {

// From now on io_uring_setup fails with `error`, as a container's filter has it.
bool forbid(int error) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program = {sizeof filter / sizeof filter[0], filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// The exit status of a child that runs f.
template <typename F>
int in_child(F f) {
  pid_t child = fork();
  if (child == 0) _exit(f());
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int refused_with(int error) {
  return in_child([error] {
    if (!forbid(error)) return 200;
    cr::Ring r;
    int said = cr::ring_open(r, 8);
    return cr::ring_is_open(r) ? 201 : said;
  });
}

TEST_CASE("a seccomp filter's errno is what ring_open answers") {
  CHECK(refused_with(EPERM) == EPERM);
  CHECK(refused_with(ENOSYS) == ENOSYS);
}

TEST_CASE("a set-up that is refused at every step ends with EINVAL") {
  CHECK(refused_with(EINVAL) == EINVAL);
}

TEST_CASE("without a free descriptor there is no ring, and with one again there is") {
  int status = in_child([] {
    cr::Ring probe;
    if (cr::ring_open(probe, 8) != 0) return 0;  // not on this machine
    cr::ring_close(probe);
    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    int lowest = dup(0);
    close(lowest);
    rlimit none = {static_cast<rlim_t>(lowest), before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    cr::Ring r;
    if (cr::ring_open(r, 8) != EMFILE || cr::ring_is_open(r)) return 1;
    setrlimit(RLIMIT_NOFILE, &before);
    if (cr::ring_open(r, 8) != 0) return 2;
    cr::ring_close(r);
    return dup(0) == lowest ? 0 : 3;  // nothing was left open
  });
  CHECK(status == 0);
}

}  // namespace
