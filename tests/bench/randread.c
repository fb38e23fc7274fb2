// Random 4 KB reads of a file that is not in the page cache, by many threads, beside one that must
// not stall: it sleeps for a millisecond again and again and notes by how much each sleep was
// longer than that.
//
//   bench_randread FILE [threads] [megabytes] [milliseconds]
//
// Each block is read at most once in a run, and the file is driven out of the page cache before it:
// so it needs not be larger than the memory. The threads share the blocks in one random order. FILE
// is made when it isn't there in that size, and stays for the next run.
// reads_per_s and cpu_us (the process's cpu time for a read) are over the whole time; gap_ms is the
// longest and gap_p99_us the 99th percentile of what the ticking thread lost.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "histogram.h"

enum { BLOCK = 4096, TICK_NS = 1000000 };

static int file;
static unsigned long blocks;
static uint32_t *order;
static atomic_ulong next_block, reads_done;
static atomic_int stop;
static struct histogram gaps;

static void *read_blocks(void *arg) {
  char *buffer = malloc(BLOCK);
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    const unsigned long mine = atomic_fetch_add(&next_block, 1);
    if (mine >= blocks) {
      break;
    }
    const ssize_t got = pread(file, buffer, BLOCK, (off_t)order[mine] * BLOCK);
    uint32_t found;
    memcpy(&found, buffer, sizeof(found));
    if (got != BLOCK || found != order[mine]) {
      bench_fail("pread", got < 0 ? errno : EIO);
    }
    atomic_fetch_add(&reads_done, 1);
  }
  free(buffer);
  return arg;
}

static void *tick(void *arg) {
  while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
    const struct timespec pause = {0, TICK_NS};
    const uint64_t start = bench_now_ns();
    nanosleep(&pause, NULL);
    histogram_add(&gaps, bench_now_ns() - start - TICK_NS);
  }
  return arg;
}

// Every block begins with its number.
static void make_file(const char *path) {
  struct stat status;
  if (stat(path, &status) == 0 && (unsigned long)status.st_size == blocks * BLOCK) {
    return;
  }
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  static uint32_t block[BLOCK / sizeof(uint32_t)];
  for (unsigned long i = 0; i < blocks; i++) {
    block[0] = (uint32_t)i;
    if (write(fd, block, BLOCK) != BLOCK) {
      bench_fail(path, errno);
    }
  }
  fsync(fd);
  close(fd);
}

static void shuffle(void) {
  uint64_t state = bench_now_ns() | 1;
  order = malloc(blocks * sizeof(*order));
  if (order == NULL) {
    bench_fail("malloc", ENOMEM);
  }
  for (unsigned long i = 0; i < blocks; i++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const unsigned long other = state % (i + 1);
    order[i] = order[other];
    order[other] = (uint32_t)i;
  }
}

static uint64_t cpu_ns(void) {
  struct timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: bench_randread FILE [threads] [megabytes] [milliseconds]\n");
    return 1;
  }
  const unsigned long count = bench_count(argc, argv, 2, 64, 1);
  blocks = bench_count(argc, argv, 3, 512, 1) * (1024 * 1024 / BLOCK);
  const uint64_t duration = bench_count(argc, argv, 4, 2000, 1) * 1000000u;
  make_file(argv[1]);
  shuffle();
  file = open(argv[1], O_RDONLY);
  if (file < 0) {
    bench_fail(argv[1], errno);
  }
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);  // no reading ahead

  pthread_t ticker, *threads = malloc(count * sizeof(*threads));
  const uint64_t start = bench_now_ns(), cpu_start = cpu_ns();
  bench_check("pthread_create", pthread_create(&ticker, NULL, tick, NULL));
  for (unsigned long i = 0; i < count; i++) {
    bench_check("pthread_create", pthread_create(&threads[i], NULL, read_blocks, NULL));
  }
  const struct timespec pause = {0, 10 * TICK_NS};
  while (bench_now_ns() < start + duration && atomic_load(&next_block) < blocks) {
    nanosleep(&pause, NULL);
  }
  atomic_store(&stop, 1);
  for (unsigned long i = 0; i < count; i++) {
    bench_check("pthread_join", pthread_join(threads[i], NULL));
  }
  const uint64_t cpu = cpu_ns() - cpu_start, wall = bench_now_ns() - start;
  bench_check("pthread_join", pthread_join(ticker, NULL));
  const double done = (double)atomic_load(&reads_done);
  printf(
      "{\"bench\":\"randread\",\"threads\":%lu,\"reads\":%.0f,\"reads_per_s\":%.0f,"
      "\"cpu_us\":%.3f,\"gap_ms\":%.3f,\"gap_p99_us\":%.1f}\n",
      count, done, done * 1e9 / (double)wall, (double)cpu / 1e3 / done, (double)gaps.largest / 1e6,
      (double)histogram_at(&gaps, 0.99) / 1e3);
  return 0;
}
