// An uncontended mutex: lock and unlock pairs, first in a process with a single thread, then with a
// second thread that sleeps. glibc uses no atomic instruction as long as the process never made a
// thread, so the two are different code.
//
//   bench_mutex_uncontended [pairs a round] [rounds]
//
// single_ns and parked_ns are the minima over the rounds. No call leaves the program in the loop:
// a difference under a preload would be a cost of the threads' environment itself.
#include <pthread.h>
#include <semaphore.h>

#include "bench.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sem_t release;

static double best_pair_ns(unsigned long pairs, unsigned long rounds) {
  double best = 1e18;
  for (unsigned long round = 0; round < rounds; round++) {
    const uint64_t start = bench_now_ns();
    for (unsigned long i = 0; i < pairs; i++) {
      pthread_mutex_lock(&lock);
      pthread_mutex_unlock(&lock);
    }
    const double ns = (double)(bench_now_ns() - start) / (double)pairs;
    best = ns < best ? ns : best;
  }
  return best;
}

static void *sleep_on_semaphore(void *unused) {
  while (sem_wait(&release) != 0) {
  }
  return unused;
}

int main(int argc, char **argv) {
  const unsigned long pairs = bench_count(argc, argv, 1, 1000000, 1);
  const unsigned long rounds = bench_count(argc, argv, 2, 10, 1);

  const double single_ns = best_pair_ns(pairs, rounds);

  if (sem_init(&release, 0, 0) != 0) {
    bench_fail("sem_init", errno);
  }
  pthread_t sleeper;
  bench_check("pthread_create", pthread_create(&sleeper, NULL, sleep_on_semaphore, NULL));
  const double parked_ns = best_pair_ns(pairs, rounds);
  sem_post(&release);
  bench_check("pthread_join", pthread_join(sleeper, NULL));

  printf("{\"bench\":\"mutex_uncontended\",\"single_ns\":%.3f,\"parked_ns\":%.3f,\"ops\":%lu}\n",
         single_ns, parked_ns, pairs * rounds);
  return 0;
}
