// Which cpu runs whom another LWKT wakes, or lets run: beside one that goes on computing an idle one, and of two that only
// hand over to each other the same.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "case.h"

static bool several_cpus(void) {
  const char* cpus = getenv("LIBCR_CPUS");
  cpu_set_t set;
  CHECK(sched_getaffinity(0, sizeof(set), &set) == 0);
  return CPU_COUNT(&set) > 1 && (cpus == NULL || atoi(cpus) > 1);
}

static double clock_s(clockid_t clock) {
  struct timespec t;
  CHECK(clock_gettime(clock, &t) == 0);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

enum { ROUNDS = 200 };

// A third of a millisecond, or so.
static void compute(void) {
  volatile unsigned long work = 0;
  for (double end = clock_s(CLOCK_MONOTONIC) + 1.0 / 3000; clock_s(CLOCK_MONOTONIC) < end;) work++;
}

static sem_t given, done;

static void* helper(void* arg) {
  for (;;) {
    CHECK(sem_wait(&given) == 0);
    compute();
    CHECK(sem_post(&done) == 0);
  }
  return arg;
}

// Each gives half of the work to the other one, and does half itself.
static void share_work(void) {
  for (int i = 0; i < ROUNDS; i++) {
    CHECK(sem_post(&given) == 0);
    compute();
    CHECK(sem_wait(&done) == 0);
  }
}

static void one_woken_by_one_that_computes_runs_beside_it(void) {
  pthread_t t;
  CHECK(sem_init(&given, 0, 0) == 0 && sem_init(&done, 0, 0) == 0);
  CHECK(pthread_create(&t, NULL, helper, NULL) == 0);
  int64_t enough = several_cpus() ? ROUNDS / 3 * 3 / 2 : ROUNDS * 3;
  int64_t best = best_batch(share_work, enough);
  if (best > enough) printf("took %lld ms\n", (long long)best);
  puts("ok");
}

static atomic_bool stop;

static void* yield_on(void* arg) {
  volatile unsigned long work = 0;
  while (!atomic_load(&stop)) {
    for (int i = 0; i < 100; i++) work++;
    sched_yield();
  }
  return arg;
}

static sem_t turns[2];

static void* hand_over(void* arg) {
  int mine = arg != NULL;
  while (!atomic_load(&stop)) CHECK(sem_wait(&turns[mine]) == 0 && sem_post(&turns[!mine]) == 0);
  CHECK(sem_post(&turns[!mine]) == 0);
  return arg;
}

// How many processors two threads keep busy.
static double processors_used(void* (*body)(void*)) {
  pthread_t t[2];
  atomic_store(&stop, false);
  CHECK(sem_init(&turns[0], 0, 1) == 0 && sem_init(&turns[1], 0, 0) == 0);
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&t[i], NULL, body, i == 0 ? NULL : &turns[1]) == 0);
  sleep_ms(20);
  double used = clock_s(CLOCK_PROCESS_CPUTIME_ID), since = clock_s(CLOCK_MONOTONIC);
  sleep_ms(100);
  used = (clock_s(CLOCK_PROCESS_CPUTIME_ID) - used) / (clock_s(CLOCK_MONOTONIC) - since);
  atomic_store(&stop, true);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(t[i], NULL) == 0);
  return used;
}

static void two_that_yield_run_side_by_side(void) {
  double most = 0;
  for (int i = 0; i < 20 && most < 1.6; i++) {
    double used = processors_used(yield_on);
    if (used > most) most = used;
    if (!several_cpus()) break;
  }
  if (several_cpus() && most < 1.6) printf("used %.2f processors\n", most);
  puts("ok");
}

static void nobody_is_busy_beside_two_that_hand_over(void) {
  double least = 100;
  for (int i = 0; i < 20 && least > 1.3; i++) {
    double used = processors_used(hand_over);
    if (used < least) least = used;
  }
  if (least > 1.3) printf("used %.2f processors\n", least);
  puts("ok");
}

static const struct test_case cases[] = {
    CASE(one_woken_by_one_that_computes_runs_beside_it),
    CASE(two_that_yield_run_side_by_side),
    CASE(nobody_is_busy_beside_two_that_hand_over),
};
CASE_MAIN(cases)
