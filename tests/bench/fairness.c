// Threads that compute on one cpu: how evenly it is shared out, and how long one that wakes up among
// them waits for it.
//
//   bench_fairness [threads] [milliseconds]
//
// Each thread counts in a loop without calls. One more sleeps 50 ms at a time, as long as they do.
// share_off is the most that a counter's share is off an equal one, in percentage points of the whole;
// late_p50_ms and late_max_ms say how much later than its deadline the sleeper ran. Needs one cpu.
#include <pthread.h>
#include <stdatomic.h>

#include "bench.h"

enum { kMost = 64, kSleeps = 4096 };

static struct {
  _Alignas(64) atomic_ulong n;
} counters[kMost];
static atomic_int stop;
static double late_ms[kSleeps];
static int sleeps;

static void *spin(void *arg) {
  atomic_ulong *n = arg;
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
  }
  return NULL;
}

static void *doze(void *unused) {
  (void)unused;
  const struct timespec pause = {0, 50 * 1000000};
  while (!atomic_load_explicit(&stop, memory_order_relaxed) && sleeps < kSleeps) {
    const uint64_t deadline = bench_now_ns() + (uint64_t)pause.tv_nsec;
    nanosleep(&pause, NULL);
    late_ms[sleeps++] = (double)(bench_now_ns() - deadline) / 1e6;
  }
  return NULL;
}

static int by_size(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  const unsigned long threads = bench_count(argc, argv, 1, 8, 2);
  const unsigned long milliseconds = bench_count(argc, argv, 2, 10000, 10);
  if (threads > kMost) {
    bench_fail("threads", EINVAL);
  }
  pthread_t spinners[kMost], sleeper;
  for (unsigned long i = 0; i < threads; i++) {
    bench_check("pthread_create", pthread_create(&spinners[i], NULL, spin, &counters[i].n));
  }
  bench_check("pthread_create", pthread_create(&sleeper, NULL, doze, NULL));
  const struct timespec time = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000 * 1000000)};
  nanosleep(&time, NULL);
  atomic_store(&stop, 1);
  for (unsigned long i = 0; i < threads; i++) {
    bench_check("pthread_join", pthread_join(spinners[i], NULL));
  }
  bench_check("pthread_join", pthread_join(sleeper, NULL));
  double total = 0, off = 0;
  for (unsigned long i = 0; i < threads; i++) {
    total += (double)atomic_load(&counters[i].n);
  }
  for (unsigned long i = 0; i < threads; i++) {
    const double from = (double)atomic_load(&counters[i].n) / total * 100 - 100.0 / (double)threads;
    off = from > off ? from : -from > off ? -from : off;
  }
  qsort(late_ms, (size_t)sleeps, sizeof late_ms[0], by_size);
  printf("{\"bench\":\"fairness\",\"share_off\":%.3f,\"late_p50_ms\":%.3f,\"late_max_ms\":%.3f}\n", off,
         late_ms[sleeps / 2], late_ms[sleeps - 1]);
  return 0;
}
