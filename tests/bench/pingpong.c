// Condition-variable ping-pong: two threads hand a turn back and forth under one mutex.
//
//   bench_pingpong [hand-overs]
//
// ns_per_op is the wall time of one hand-over: set the turn, signal, unlock, sleep, and the other
// thread's way out of pthread_cond_wait. Only the other thread can be waiting when one signals,
// so a single condition variable serves both. Pin it to one cpu: across cpus it measures the
// machine's wake-up of an idle core instead.
#include <pthread.h>

#include "bench.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static int turn;
static unsigned long handovers_each;

static void *play(void *arg) {
  const int me = *(const int *)arg;
  pthread_mutex_lock(&lock);
  for (unsigned long i = 0; i < handovers_each; i++) {
    while (turn != me) {
      pthread_cond_wait(&turned, &lock);
    }
    turn = !me;
    pthread_cond_signal(&turned);
  }
  pthread_mutex_unlock(&lock);
  return NULL;
}

int main(int argc, char **argv) {
  const unsigned long ops = bench_count(argc, argv, 1, 200000, 2) / 2 * 2;
  static const int first = 0, second = 1;
  handovers_each = ops / 2;

  // The second player blocks on the turn until the clock runs.
  turn = first;
  pthread_t partner;
  bench_check("pthread_create", pthread_create(&partner, NULL, play, (void *)&second));
  const uint64_t start = bench_now_ns();
  play((void *)&first);
  bench_check("pthread_join", pthread_join(partner, NULL));
  const uint64_t elapsed = bench_now_ns() - start;

  printf("{\"bench\":\"pingpong\",\"ns_per_op\":%.2f,\"ops\":%lu}\n", (double)elapsed / (double)ops,
         ops);
  return 0;
}
