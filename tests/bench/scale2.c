// Two cpus: the same integer work by one thread (two units) and by two threads (a unit each).
//
//   bench_scale2 [million steps a unit] [rounds]
//
// ratio is the time of two threads over the time of one, from the minima of interleaved rounds: 0.5
// is perfect, 1.0 means that the threads shared one cpu. The work makes no call and touches no
// memory, so only the placement of the threads counts. Don't pin it.
#include <pthread.h>

#include "bench.h"

static unsigned long steps;

static void *work(void *units) {
  uint64_t state = 88172645463325252u;
  for (unsigned long i = steps * *(const unsigned long *)units; i > 0; i--) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    __asm__ volatile("" : "+r"(state));  // each step is done, in order
  }
  return NULL;
}

static double run_ns(int threads, unsigned long units_each) {
  pthread_t ids[2];
  const uint64_t start = bench_now_ns();
  for (int i = 0; i < threads; i++) {
    bench_check("pthread_create", pthread_create(&ids[i], NULL, work, &units_each));
  }
  for (int i = 0; i < threads; i++) {
    bench_check("pthread_join", pthread_join(ids[i], NULL));
  }
  return (double)(bench_now_ns() - start);
}

int main(int argc, char **argv) {
  steps = bench_count(argc, argv, 1, 100, 1) * 1000000;
  const unsigned long rounds = bench_count(argc, argv, 2, 3, 1);
  double one = 1e18, two = 1e18;
  for (unsigned long round = 0; round < rounds; round++) {
    const double one_now = run_ns(1, 2), two_now = run_ns(2, 1);
    one = one_now < one ? one_now : one;
    two = two_now < two ? two_now : two;
  }
  printf("{\"bench\":\"scale2\",\"ratio\":%.4f,\"one_thread_ms\":%.2f,\"two_threads_ms\":%.2f}\n",
         two / one, one / 1e6, two / 1e6);
  return 0;
}
