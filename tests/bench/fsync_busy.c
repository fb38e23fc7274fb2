// Threads that write to files and wait for the disk, beside threads that compute and never wait.
//
//   bench_fsync_busy DIRECTORY [threads] [rounds] [computing]
//
// Each thread writes 4 KB at the end of a file of its own and calls fsync, `rounds` times.
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "bench.h"

enum { BLOCK = 4096 };

static const char *directory;
static unsigned long rounds;
static atomic_int stop;

static int make_file(void) {
  char path[PATH_MAX];
  snprintf(path, sizeof(path), "%s/bench_fsync_busy.XXXXXX", directory);
  const int fd = mkstemp(path);
  if (fd < 0) {
    bench_fail(path, errno);
  }
  unlink(path);
  return fd;
}

static void *write_and_sync(void *arg) {
  static const char block[BLOCK] = {1};
  const int fd = make_file();
  for (unsigned long i = 0; i < rounds; i++) {
    if (pwrite(fd, block, BLOCK, (off_t)(i * BLOCK)) != BLOCK || fsync(fd) != 0) {
      bench_fail("write and fsync", errno);
    }
  }
  close(fd);
  return arg;
}

static void *compute(void *arg) {
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
  }
  return arg;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: bench_fsync_busy DIRECTORY [threads] [rounds] [computing]\n");
    return 1;
  }
  directory = argv[1];
  const unsigned long count = bench_count(argc, argv, 2, 8, 1);
  rounds = bench_count(argc, argv, 3, 100, 1);
  const unsigned long hogs = bench_count(argc, argv, 4, 1, 0);
  pthread_t *threads = malloc((count + hogs) * sizeof(*threads));
  if (threads == NULL) {
    bench_fail("malloc", ENOMEM);
  }
  for (unsigned long i = count; i < count + hogs; i++) {
    bench_check("pthread_create", pthread_create(&threads[i], NULL, compute, NULL));
  }
  const struct timespec a_while = {0, 100000000};  // they have computed for long by then
  nanosleep(&a_while, NULL);
  const uint64_t start = bench_now_ns();
  for (unsigned long i = 0; i < count; i++) {
    bench_check("pthread_create", pthread_create(&threads[i], NULL, write_and_sync, NULL));
  }
  for (unsigned long i = 0; i < count; i++) {
    bench_check("pthread_join", pthread_join(threads[i], NULL));
  }
  const uint64_t wall = bench_now_ns() - start;
  atomic_store(&stop, 1);
  for (unsigned long i = count; i < count + hogs; i++) {
    bench_check("pthread_join", pthread_join(threads[i], NULL));
  }
  printf("{\"bench\":\"fsync_busy\",\"threads\":%lu,\"computing\":%lu,\"syncs_per_s\":%.0f}\n", count, hogs,
         (double)(count * rounds) * 1e9 / (double)wall);
  return 0;
}
