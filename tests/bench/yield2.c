// sched_yield between two threads that do nothing else.
//
//   bench_yield2 [yields of the first thread]
//
// The second thread yields until the first has done its count, so that the clock stops while both
// still run; ns_per_op is the wall time over the yields of both. switches counts the yields after
// which the other thread had run: a scheduler that lets a yield return to the caller shows up
// there, not as a good number. Needs one cpu; on two, the threads never meet.
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "bench.h"

static atomic_int last_runner;
static atomic_bool ready, stop;
static atomic_ulong partner_yields;

// Yields once as `me`. True if the other thread ran meanwhile.
static int yield_once(int me) {
  atomic_store_explicit(&last_runner, me, memory_order_relaxed);
  sched_yield();
  return atomic_load_explicit(&last_runner, memory_order_relaxed) != me;
}

static void *partner_main(void *unused) {
  (void)unused;
  atomic_store(&ready, 1);
  unsigned long yields = 0;
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    yield_once(2);
    atomic_store_explicit(&partner_yields, ++yields, memory_order_relaxed);
  }
  return NULL;
}

int main(int argc, char **argv) {
  const unsigned long yields = bench_count(argc, argv, 1, 300000, 1);
  pthread_t partner;
  bench_check("pthread_create", pthread_create(&partner, NULL, partner_main, NULL));
  while (!atomic_load(&ready)) {
    sched_yield();
  }

  unsigned long switches = 0;
  const unsigned long partner_before = atomic_load(&partner_yields);
  const uint64_t start = bench_now_ns();
  for (unsigned long i = 0; i < yields; i++) {
    switches += (unsigned long)yield_once(1);
  }
  const uint64_t elapsed = bench_now_ns() - start;
  const unsigned long ops = yields + atomic_load(&partner_yields) - partner_before;

  atomic_store(&stop, 1);
  bench_check("pthread_join", pthread_join(partner, NULL));
  printf("{\"bench\":\"yield2\",\"ns_per_op\":%.2f,\"ops\":%lu,\"switches\":%lu}\n",
         (double)elapsed / (double)ops, ops, switches);
  return 0;
}
