// lwkt_switch: two LWKTs that hand the cpu to each other, linked with libcr.
//
//   bench_lwkt_switch [yields]
//
// no_tls_ns: two LWKTs of lwkt_create, which have no thread control block: the switch leaves the
// TLS register alone. tls_ns: two POSIX threads, so that each switch loads it. Both are the cpu
// time over the yields of both threads; nothing else is runnable, so each yield is one switch
// (lwkt_yield: pick the next, queue oneself, switch). no_tls_switches and tls_switches count the
// yields after which the other had run. Needs one cpu; on two the pairs never meet.
#include <libcr/thread.h>
#include <pthread.h>

#include "bench.h"

// The process's own time: nothing waits here, and a neighbour on the cpu is not to count.
static uint64_t bench_cpu_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static unsigned long yields;
static volatile int last_runner;
static unsigned long switches[2];

static void run(int me) {
  unsigned long n = 0;
  for (unsigned long i = 0; i < yields; i++) {
    last_runner = me;
    lwkt_yield();
    n += last_runner != me;
  }
  switches[me] = n;
}

static void lwkt_main(void *arg) { run(arg != NULL); }

static void *pthread_main(void *arg) {
  run(arg != NULL);
  return NULL;
}

static double lwkt_pair(void) {
  thread_t td[2];
  const uint64_t start = bench_cpu_ns();
  for (int i = 0; i < 2; i++) {
    bench_check("lwkt_create", lwkt_create(lwkt_main, i != 0 ? &yields : NULL, &td[i], 0, 0, "switch"));
  }
  for (int i = 0; i < 2; i++) {
    lwkt_join(td[i]);
  }
  return (double)(bench_cpu_ns() - start) / (2.0 * (double)yields);
}

static double pthread_pair(void) {
  pthread_t thread[2];
  const uint64_t start = bench_cpu_ns();
  for (int i = 0; i < 2; i++) {
    bench_check("pthread_create",
                pthread_create(&thread[i], NULL, pthread_main, i != 0 ? &yields : NULL));
  }
  for (int i = 0; i < 2; i++) {
    bench_check("pthread_join", pthread_join(thread[i], NULL));
  }
  return (double)(bench_cpu_ns() - start) / (2.0 * (double)yields);
}

int main(int argc, char **argv) {
  yields = bench_count(argc, argv, 1, 10000000, 1);
  bench_check("cr_init", cr_init());
  const double no_tls = lwkt_pair();
  const unsigned long no_tls_switches = switches[0] + switches[1];
  const double tls = pthread_pair();
  printf("{\"bench\":\"lwkt_switch\",\"no_tls_ns\":%.2f,\"tls_ns\":%.2f,\"ops\":%lu,"
         "\"no_tls_switches\":%lu,\"tls_switches\":%lu}\n",
         no_tls, tls, 2 * yields, no_tls_switches, switches[0] + switches[1]);
  return 0;
}
