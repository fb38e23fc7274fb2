// What a process costs that is forked, exits and is waited for.
//
//   bench_fork [processes]
//
// ns_per_op  nanoseconds from one fork to the next
#define _GNU_SOURCE
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char **argv) {
  const unsigned long processes = bench_count(argc, argv, 1, 2000, 1);
  const uint64_t start = bench_now_ns();
  for (unsigned long i = 0; i < processes; i++) {
    const pid_t child = fork();
    if (child == 0) {
      _exit(7);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
      bench_fail("fork and wait", errno);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 7) {
      bench_fail("the child's exit", EINVAL);
    }
  }
  printf("{\"bench\":\"fork\",\"ns_per_op\":%.0f,\"ops\":%lu}\n",
         (double)(bench_now_ns() - start) / (double)processes, processes);
  return 0;
}
