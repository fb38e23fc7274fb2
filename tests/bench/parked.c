// Many live threads: creates N threads that park on one condition variable, weighs them, lets
// them all go and joins every one.
//
//   bench_parked [threads] [stack KB]
//
// ns_per_op is creation until all are parked, over the threads; create_only_ns stops the clock when
// the last pthread_create returns. bytes_per_thread is resident memory (Rss of smaps_rollup) plus
// page tables (VmPTE), the growth since before the first thread. Kernel stacks and task
// structures are not in it: natively they come on top.
//
// When pthread_create fails, that is a result: "reached" holds the threads that live, "errno" the
// reason, and the run goes on with those. Every thread must come back from its wait and return its
// own index, or the program fails. The program's own memory for a thread is one pthread_t, touched
// before the first weighing.
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "bench.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;
static unsigned long parked, expected = -1ul, resumed;
static int go;

static void *park(void *arg) {
  pthread_mutex_lock(&lock);
  if (++parked == expected) {
    pthread_cond_signal(&progress);
  }
  while (!go) {
    pthread_cond_wait(&released, &lock);
  }
  resumed++;
  pthread_mutex_unlock(&lock);
  return arg;
}

// The value in KB of `key` in a /proc file, in bytes; 0 if it isn't there. Without stdio: where
// the threads have used up the process's mappings, a new buffer may not be had.
static unsigned long proc_bytes(const char *path, const char *key) {
  static char text[8192];
  const int fd = open(path, O_RDONLY);
  if (fd < 0) {
    return 0;
  }
  size_t length = 0;
  ssize_t got;
  while (length < sizeof(text) - 1 &&
         (got = read(fd, text + length, sizeof(text) - 1 - length)) > 0) {
    length += (size_t)got;
  }
  close(fd);
  text[length] = '\0';
  const char *found = strstr(text, key);
  return found != NULL ? strtoul(found + strlen(key), NULL, 10) * 1024 : 0;
}

struct weight {
  unsigned long resident, page_tables;
};

static struct weight weigh(void) {
  struct weight now = {proc_bytes("/proc/self/smaps_rollup", "\nRss:"),
                       proc_bytes("/proc/self/status", "\nVmPTE:")};
  if (now.resident == 0) {  // a kernel without smaps_rollup
    now.resident = proc_bytes("/proc/self/status", "\nVmRSS:");
  }
  return now;
}

int main(int argc, char **argv) {
  const unsigned long wanted = bench_count(argc, argv, 1, 10000, 1);
  const unsigned long stack_kb = bench_count(argc, argv, 2, 64, 16);
  pthread_t *threads = malloc(wanted * sizeof(*threads));
  if (threads == NULL) {
    bench_fail("malloc", ENOMEM);
  }
  memset(threads, 0xff, wanted * sizeof(*threads));
  pthread_attr_t attributes;
  bench_check("pthread_attr_init", pthread_attr_init(&attributes));
  bench_check("pthread_attr_setstacksize", pthread_attr_setstacksize(&attributes, stack_kb * 1024));

  const struct weight before = weigh();
  const uint64_t start = bench_now_ns();
  unsigned long live = 0;
  int error = 0;
  while (live < wanted) {
    error = pthread_create(&threads[live], &attributes, park, (void *)(uintptr_t)live);
    if (error != 0) {
      break;
    }
    live++;
  }
  const uint64_t created = bench_now_ns();
  if (live == 0) {
    bench_fail("the first pthread_create", error);
  }

  pthread_mutex_lock(&lock);
  expected = live;
  while (parked != live) {
    pthread_cond_wait(&progress, &lock);
  }
  pthread_mutex_unlock(&lock);
  const uint64_t all_parked = bench_now_ns();
  const struct weight after = weigh();

  const uint64_t release = bench_now_ns();
  pthread_mutex_lock(&lock);
  go = 1;
  pthread_cond_broadcast(&released);
  pthread_mutex_unlock(&lock);
  for (uintptr_t i = 0; i < live; i++) {
    void *result;
    bench_check("pthread_join", pthread_join(threads[i], &result));
    if (result != (void *)i) {
      bench_fail("a thread's result", EINVAL);
    }
  }
  const uint64_t joined = bench_now_ns();
  if (resumed != live) {
    fprintf(stderr, "%lu of %lu threads came back from their wait\n", resumed, live);
    return 1;
  }

  const double count = (double)live;
  const double resident = ((double)after.resident - (double)before.resident) / count;
  const double page_tables = ((double)after.page_tables - (double)before.page_tables) / count;
  printf(
      "{\"bench\":\"parked\",\"threads\":%lu,\"reached\":%lu,\"errno\":%d,\"error\":\"%s\","
      "\"ns_per_op\":%.1f,\"create_only_ns\":%.1f,\"release_join_ns\":%.1f,"
      "\"bytes_per_thread\":%.1f,\"resident_bytes\":%.1f,\"page_table_bytes\":%.1f}\n",
      wanted, live, error, error != 0 ? strerror(error) : "", (double)(all_parked - start) / count,
      (double)(created - start) / count, (double)(joined - release) / count, resident + page_tables,
      resident, page_tables);
  return 0;
}
