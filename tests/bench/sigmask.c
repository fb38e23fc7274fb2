// The signal mask: a change of it and back again, each one call.
//
//   bench_sigmask [calls] [rounds]
//
// ns_per_op is a call's, the least of the rounds.
#include <pthread.h>
#include <signal.h>

#include "bench.h"

int main(int argc, char **argv) {
  const unsigned long calls = bench_count(argc, argv, 1, 100000, 2);
  const unsigned long rounds = bench_count(argc, argv, 2, 30, 1);
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  double best = 1e18;
  for (unsigned long round = 0; round < rounds; round++) {
    const uint64_t start = bench_now_ns();
    for (unsigned long i = 0; i < calls / 2; i++) {
      pthread_sigmask(SIG_BLOCK, &set, &before);
      pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    const double ns = (double)(bench_now_ns() - start) / (double)(calls / 2 * 2);
    best = ns < best ? ns : best;
  }
  printf("{\"bench\":\"sigmask\",\"ns_per_op\":%.2f,\"ops\":%lu}\n", best, calls * rounds);
  return 0;
}
