// Many threads asleep, each until deadlines of its own: how much cpu time a wake costs and how late
// it comes.
//
//   bench_sleepers [threads] [mean milliseconds] [measured milliseconds]
//
// Each thread sleeps for random times between half and one and a half of the mean (to the
// nanosecond, from a seed of its own, the same in every run), so that with the defaults some
// 100,000 deadlines fall into a second. After a warm-up of three means: cpu_us is the process's
// cpu time for a wake, late_* how much later than the deadline a thread reads the clock, in
// microseconds.
#include <pthread.h>
#include <stdatomic.h>

#include "bench.h"
#include "histogram.h"

static uint64_t mean_ns;
static pthread_barrier_t together;
static atomic_int measuring, stop;
static struct histogram lateness;

static uint64_t random_sleep(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return mean_ns / 2 + *state % mean_ns;
}

static struct timespec timespec_of(uint64_t ns) {
  return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

static void *doze(void *arg) {
  uint64_t state = ((uint64_t)(uintptr_t)arg + 1) * 0x9e3779b97f4a7c15u;
  pthread_barrier_wait(&together);
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    const uint64_t duration = random_sleep(&state), deadline = bench_now_ns() + duration;
    const struct timespec pause = timespec_of(duration);
    if (nanosleep(&pause, NULL) != 0) {
      bench_fail("nanosleep", errno);
    }
    const uint64_t now = bench_now_ns();
    if (now < deadline) {
      bench_fail("a sleep ended early", EINVAL);
    }
    if (atomic_load_explicit(&measuring, memory_order_relaxed)) {
      histogram_add_shared(&lateness, now - deadline);
    }
  }
  return NULL;
}

static uint64_t cpu_ns(void) {
  struct timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static void sleep_ns(uint64_t ns) {
  const struct timespec pause = timespec_of(ns);
  nanosleep(&pause, NULL);
}

static double late_us(double part) { return (double)histogram_at(&lateness, part) / 1e3; }

int main(int argc, char **argv) {
  const unsigned long count = bench_count(argc, argv, 1, 10000, 1);
  mean_ns = bench_count(argc, argv, 2, 100, 1) * 1000000u;
  const uint64_t measured = bench_count(argc, argv, 3, 2000, 1) * 1000000u;
  pthread_t *threads = malloc(count * sizeof(*threads));
  pthread_attr_t attributes;
  bench_check("pthread_attr_init", pthread_attr_init(&attributes));
  bench_check("stack size", pthread_attr_setstacksize(&attributes, 64 * 1024));
  bench_check("barrier", pthread_barrier_init(&together, NULL, (unsigned)count + 1));
  for (uintptr_t i = 0; i < count; i++) {
    bench_check("pthread_create", pthread_create(&threads[i], &attributes, doze, (void *)i));
  }
  pthread_barrier_wait(&together);
  sleep_ns(3 * mean_ns);
  const uint64_t cpu_start = cpu_ns();
  atomic_store(&measuring, 1);
  sleep_ns(measured);
  atomic_store(&measuring, 0);
  const uint64_t cpu = cpu_ns() - cpu_start;
  atomic_store(&stop, 1);
  for (unsigned long i = 0; i < count; i++) {
    bench_check("pthread_join", pthread_join(threads[i], NULL));
  }
  const double wakes = (double)lateness.total;
  printf(
      "{\"bench\":\"sleepers\",\"threads\":%lu,\"wakes\":%.0f,\"cpu_us\":%.3f,"
      "\"late_p50_us\":%.1f,\"late_p99_us\":%.1f,\"late_max_us\":%.1f}\n",
      count, wakes, (double)cpu / 1e3 / wakes, late_us(0.5), late_us(0.99), late_us(1));
  return 0;
}
