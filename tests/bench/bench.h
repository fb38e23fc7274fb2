// What the benchmark programs share: the clock, the arguments, the way to fail.
//
// The programs are ordinary POSIX threads programs that know nothing of libcr: the same binary
// runs natively and under the preload. Each takes its counts as positional arguments (all
// optional), measures one thing once, prints one JSON object on one line of stdout and returns 0.
// On any error it says what failed on stderr and returns 1. Repetition, pinning and comparison
// are the driver's (tools/cr/bench.cc): a program must not choose its own cpu.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Nanoseconds of CLOCK_MONOTONIC: through the vdso, so no message on either side.
static inline uint64_t bench_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void bench_fail(const char *what, int error) {
  fprintf(stderr, "%s: %s (errno %d)\n", what, strerror(error), error);
  exit(1);
}

// For the pthread functions, which return the error number.
static inline void bench_check(const char *what, int error) {
  if (error != 0) {
    bench_fail(what, error);
  }
}

// The positional argument `index` (from 1) as a count of at least `least`, or `fallback` when
// absent.
static inline unsigned long bench_count(int argc, char **argv, int index, unsigned long fallback,
                                        unsigned long least) {
  if (index >= argc) {
    return fallback;
  }
  char *end;
  errno = 0;
  const unsigned long value = strtoul(argv[index], &end, 10);
  if (errno != 0 || end == argv[index] || *end != '\0' || value < least) {
    fprintf(stderr, "%s: argument %d must be a number of at least %lu, not '%s'\n", argv[0], index,
            least, argv[index]);
    exit(1);
  }
  return value;
}
