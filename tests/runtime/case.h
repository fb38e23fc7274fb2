/* The frame of the runtime's test programs.
 *
 * A program is a table of named cases. `prog --list` prints the names, `prog NAME` runs one.
 * What a case prints and how it ends must not depend on timing: the driver (compare.py) runs
 * it natively and under libcr and compares stdout and the exit status, so the native run is the
 * expectation. CHECK is for what a case knows by itself.
 */
#ifndef CR_TESTS_CASE_H
#define CR_TESTS_CASE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(cond)                                                                \
  do {                                                                             \
    if (!(cond)) {                                                                 \
      printf("CHECK failed: %s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, errno); \
      fflush(stdout);                                                              \
      _exit(99);                                                                   \
    }                                                                              \
  } while (0)

struct test_case {
  const char* name;
  void (*run)(void);
};
#define CASE(fn) {#fn, fn}

static inline int64_t now_ms(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static inline struct timespec in_ms(clockid_t clock, int64_t ms) {
  struct timespec ts;
  clock_gettime(clock, &ts);
  ts.tv_sec += ms / 1000;
  ts.tv_nsec += ms % 1000 * 1000000;
  if (ts.tv_nsec >= 1000000000) ts.tv_sec++, ts.tv_nsec -= 1000000000;
  return ts;
}

static inline void sleep_ms(int64_t ms) {
  struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&ts, &ts) != 0 && errno == EINTR) {
  }
}

// The least of what a batch takes, ms: others use the machine, too. Once it is at most `enough` there are no more.
static inline int64_t best_batch(void (*batch)(void), int64_t enough) {
  int64_t best = 1000000;
  for (int i = 0; i < 20 && best > enough; i++) {
    int64_t before = now_ms();
    batch();
    int64_t took = now_ms() - before;
    if (took < best) best = took;
  }
  return best;
}

static inline int case_main(int argc, char** argv, const struct test_case* cases, int n) {
  if (argc == 2 && strcmp(argv[1], "--list") == 0) {
    for (int i = 0; i < n; i++) puts(cases[i].name);
    return 0;
  }
  for (int i = 0; argc >= 2 && i < n; i++) {
    if (strcmp(argv[1], cases[i].name) == 0) {
      cases[i].run();
      return 0;
    }
  }
  fprintf(stderr, "usage: %s --list | CASE\n", argv[0]);
  return 2;
}
#define CASE_MAIN(cases)                                                        \
  int main(int argc, char** argv) {                                             \
    return case_main(argc, argv, cases, (int)(sizeof(cases) / sizeof(cases[0]))); \
  }

#endif
