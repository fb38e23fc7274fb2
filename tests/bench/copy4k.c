// Copies a file that is in the page cache, 4 KB at a time with read and write: calls that never
// sleep, so whatever a runtime does to those that may is pure cost here.
//
//   bench_copy4k DIRECTORY [megabytes] [passes]
//
// alone_ns is the process's cpu time for a read and a write in a single-threaded process, parked_ns
// the same while another thread waits; each the least of the passes. The files are made here and
// removed.
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include "bench.h"

enum { BLOCK = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t parked_cond = PTHREAD_COND_INITIALIZER;
static pthread_cond_t leave_cond = PTHREAD_COND_INITIALIZER;
static int parked, leave;

static void *park(void *arg) {
  pthread_mutex_lock(&lock);
  parked = 1;
  pthread_cond_signal(&parked_cond);
  while (!leave) {
    pthread_cond_wait(&leave_cond, &lock);
  }
  pthread_mutex_unlock(&lock);
  return arg;
}

static int make_file(const char *directory, const char *name, unsigned long blocks) {
  static char block[BLOCK];
  char path[PATH_MAX];
  snprintf(path, sizeof(path), "%s/bench_copy4k.%d.%s", directory, (int)getpid(), name);
  const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) {
    bench_fail(path, errno);
  }
  unlink(path);
  for (unsigned long i = 0; i < blocks; i++) {
    memset(block, (int)i, sizeof(block));
    if (write(fd, block, sizeof(block)) != sizeof(block)) {
      bench_fail("write", errno);
    }
  }
  return fd;
}

static uint64_t cpu_ns(void) {
  struct timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

// The nanoseconds for a block in the best pass.
static double copy(int from, int to, unsigned long passes) {
  static char block[BLOCK];
  double best = 0;
  for (unsigned long pass = 0; pass < passes; pass++) {
    lseek(from, 0, SEEK_SET);
    lseek(to, 0, SEEK_SET);
    unsigned long blocks = 0;
    const uint64_t start = cpu_ns();
    ssize_t got;
    while ((got = read(from, block, sizeof(block))) > 0) {
      if (write(to, block, (size_t)got) != got) {
        bench_fail("write", errno);
      }
      blocks++;
    }
    const double each = (double)(cpu_ns() - start) / (double)blocks;
    if (pass == 0 || each < best) {
      best = each;
    }
  }
  return best;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: bench_copy4k DIRECTORY [megabytes] [passes]\n");
    return 1;
  }
  const unsigned long blocks = bench_count(argc, argv, 2, 16, 1) * (1024 * 1024 / BLOCK);
  const unsigned long passes = bench_count(argc, argv, 3, 20, 1);
  const int from = make_file(argv[1], "from", blocks), to = make_file(argv[1], "to", blocks);
  const double alone = copy(from, to, passes);

  pthread_t thread;
  bench_check("pthread_create", pthread_create(&thread, NULL, park, NULL));
  pthread_mutex_lock(&lock);
  while (!parked) {
    pthread_cond_wait(&parked_cond, &lock);
  }
  pthread_mutex_unlock(&lock);
  const double beside = copy(from, to, passes);
  pthread_mutex_lock(&lock);
  leave = 1;
  pthread_cond_signal(&leave_cond);
  pthread_mutex_unlock(&lock);
  bench_check("pthread_join", pthread_join(thread, NULL));

  printf("{\"bench\":\"copy4k\",\"blocks\":%lu,\"alone_ns\":%.1f,\"parked_ns\":%.1f}\n", blocks,
         alone, beside);
  return 0;
}
