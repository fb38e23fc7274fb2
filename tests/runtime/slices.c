// Threads that compute for whole slices, and those that share a cpu with them.
#include "case.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { SPINNERS = 8 };

static atomic_int stop;
static struct {
  _Alignas(64) atomic_ulong n;
} turns[SPINNERS];
static pthread_t spinners[SPINNERS];

static void* spin(void* arg) {
  atomic_ulong* n = arg;
  while (!atomic_load(&stop)) atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
  return arg;
}

static void start_spinners(int n) {
  for (int i = 0; i < n; i++) CHECK(pthread_create(&spinners[i], NULL, spin, &turns[i].n) == 0);
}

static void stop_spinners(int n) {
  atomic_store(&stop, 1);
  for (int i = 0; i < n; i++) CHECK(pthread_join(spinners[i], NULL) == 0);
}

// A slice is 10 ms: behind all of them a sleeper would be 80 ms late and more, each time.
static void a_sleeper_does_not_wait_for_all_that_compute(void) {
  start_spinners(SPINNERS);
  sleep_ms(300);
  int64_t best = 1000000;
  for (int i = 0; i < 10 && best > 60; i++) {
    int64_t before = now_ms();
    sleep_ms(20);
    int64_t late = now_ms() - before - 20;
    if (late < best) best = late;
  }
  stop_spinners(SPINNERS);
  CHECK(best <= 60);
  puts("ok");
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn;
static atomic_ulong handovers;

static void* hand_over(void* arg) {
  int mine = (int)(intptr_t)arg;
  pthread_mutex_lock(&mutex);
  while (!atomic_load(&stop)) {
    while (turn != mine && !atomic_load(&stop)) pthread_cond_wait(&cond, &mutex);
    turn = !mine;
    atomic_fetch_add(&handovers, 1);
    pthread_cond_signal(&cond);
  }
  pthread_cond_broadcast(&cond);
  pthread_mutex_unlock(&mutex);
  return arg;
}

// All of them go on, however long: those that never use up a slice, and those that always do.
static void threads_that_compute_run_beside_those_that_hand_over(void) {
  pthread_t pair[2];
  start_spinners(3);
  for (intptr_t i = 0; i < 2; i++) CHECK(pthread_create(&pair[i], NULL, hand_over, (void*)i) == 0);
  sleep_ms(100);
  for (int round = 0; round < 4; round++) {
    unsigned long before[3], passed = atomic_load(&handovers);
    for (int i = 0; i < 3; i++) before[i] = atomic_load(&turns[i].n);
    int64_t give_up = now_ms() + 10000;
    for (int i = 0; i < 3; i++) {
      while (atomic_load(&turns[i].n) == before[i]) {
        CHECK(now_ms() < give_up);
        sleep_ms(5);
      }
    }
    while (atomic_load(&handovers) == passed) {
      CHECK(now_ms() < give_up);
      sleep_ms(5);
    }
  }
  stop_spinners(3);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(pair[i], NULL) == 0);
  puts("ok");
}

// Threads that wait for another one by yields alone: it has used up its slice, they never do.
static atomic_int computed;
static atomic_ulong yields;

static void* compute(void* arg) {
  volatile unsigned long work = 0;
  for (int64_t end = now_ms() + 100; now_ms() < end;) work++;
  atomic_store(&computed, 1);
  return arg;
}

static void* wait_by_yielding(void* arg) {
  while (!atomic_load(&computed)) {
    sched_yield();
    atomic_fetch_add(&yields, 1);
  }
  return arg;
}

static void threads_that_yield_let_the_one_go_on_that_they_wait_for(void) {
  pthread_t waiting[4], computing;
  CHECK(pthread_create(&computing, NULL, compute, NULL) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&waiting[i], NULL, wait_by_yielding, NULL) == 0);
  CHECK(pthread_join(computing, NULL) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(waiting[i], NULL) == 0);
  puts("ok");
}

static const struct test_case cases[] = {
    CASE(a_sleeper_does_not_wait_for_all_that_compute),
    CASE(threads_that_compute_run_beside_those_that_hand_over),
    CASE(threads_that_yield_let_the_one_go_on_that_they_wait_for),
};
CASE_MAIN(cases)
