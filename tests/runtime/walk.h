/* What the random walks share: numbers by a seed, and walks as cases or by the command line.
 *
 *   prog CASE                 as the other tests
 *   prog FROM TO STEPS alone|beside   walks of these seeds, the process's only thread or beside another one
 *
 * Each walk is a process of its own, which `begin`s and then makes its steps. A step prints what it saw, without the
 * end of the line, so that the native run is the expectation of the other.
 */
#ifndef CR_TESTS_WALK_H
#define CR_TESTS_WALK_H

#include "case.h"

#include <sys/wait.h>

static int beside; /* another thread */

static uint64_t draw_state;
static inline uint32_t draw(uint32_t n) {
  draw_state = draw_state * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(draw_state >> 33) % n;
}

static void begin(void);
static void step(void);

static inline void walk(uint64_t seed, int steps) {
  fflush(stdout);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    draw_state = seed * 0x9e3779b97f4a7c15ull + 1;
    begin();
    for (int i = 0; i < steps; i++) {
      printf("%llu.%d ", (unsigned long long)seed, i);
      step();
      puts("");
    }
    fflush(stdout);
    _exit(0);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid);
  printf("%llu: %x\n", (unsigned long long)seed, (unsigned)status);
}
static inline void walks(int beside_another, uint64_t from, uint64_t to, int steps) {
  beside = beside_another;
  for (uint64_t seed = from; seed <= to; seed++) walk(seed, steps);
}

static inline int walk_main(int argc, char** argv, const struct test_case* cases, int n) {
  if (argc != 5) return case_main(argc, argv, cases, n);
  walks(strcmp(argv[4], "beside") == 0, strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10), atoi(argv[3]));
  return 0;
}
#define WALK_MAIN(cases)                                                        \
  int main(int argc, char** argv) {                                             \
    return walk_main(argc, argv, cases, (int)(sizeof(cases) / sizeof(cases[0]))); \
  }

#endif
