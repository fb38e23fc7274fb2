// lwkt_create + lwkt_exit + lwkt_join: the whole life of an LWKT that does nothing, linked with
// libcr.
//
//   bench_lwkt_create [times]
//
// One after the other, as create_join does it with POSIX threads: the joiner goes to sleep, the
// LWKT runs, ends and wakes it: two switches are in the number, which is cpu time.
#include <libcr/thread.h>

#include "bench.h"

// The process's own time: nothing waits here, and a neighbour on the cpu is not to count.
static uint64_t bench_cpu_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static unsigned long ran;

static void lwkt_main(void *unused) {
  (void)unused;
  ran++;
}

int main(int argc, char **argv) {
  const unsigned long times = bench_count(argc, argv, 1, 1000000, 1);
  bench_check("cr_init", cr_init());
  const uint64_t start = bench_cpu_ns();
  for (unsigned long i = 0; i < times; i++) {
    thread_t td;
    bench_check("lwkt_create", lwkt_create(lwkt_main, NULL, &td, 0, 0, "create"));
    lwkt_join(td);
  }
  const uint64_t elapsed = bench_cpu_ns() - start;
  if (ran != times) {
    bench_fail("LWKTs that ran", EIO);
  }
  printf("{\"bench\":\"lwkt_create\",\"ns_per_op\":%.2f,\"ops\":%lu}\n",
         (double)elapsed / (double)times, times);
  return 0;
}
