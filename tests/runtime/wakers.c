// Which cpu runs whom another LWKT wakes, or lets run: beside one that goes on computing an idle one, and of two that
// only hand over to each other the same. And that no affinity mask is other than before for that.
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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

// The bits of a mask as the kernel prints it: 0,ffffffff.
static int mask_bits(const char* hex) {
  int n = 0;
  for (; *hex != '\0'; hex++) {
    int digit = isxdigit((unsigned char)*hex) ? (*hex <= '9' ? *hex - '0' : (*hex | 32) - 'a' + 10) : 0;
    n += __builtin_popcount((unsigned)digit);
  }
  return n;
}

static void* check_masks(void* arg) {
  cpu_set_t all, now;
  CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
  for (;;) {
    CHECK(sem_wait(&given) == 0);
    // By a child, which has what the kernel thread has.
    static int n;
    if (n++ % 10 == 0) {
      pid_t child = fork();
      if (child == 0) _exit(sched_getaffinity(0, sizeof(now), &now) == 0 && CPU_EQUAL(&now, &all) ? 0 : 1);
      int status;
      CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    compute();
    CHECK(sem_post(&done) == 0);
  }
  return arg;
}

// Who does half of the work.
static pthread_t start(void* (*body)(void*)) {
  pthread_t t;
  CHECK(sem_init(&given, 0, 0) == 0 && sem_init(&done, 0, 0) == 0);
  CHECK(pthread_create(&t, NULL, body, NULL) == 0);
  return t;
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
  start(helper);
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

// How many processors the kernel says that a kernel thread may run on.
static int processors_of(const char* task) {
  char path[300], line[4096];
  int n = -1;
  snprintf(path, sizeof(path), "/proc/self/task/%s/status", task);
  FILE* status = fopen(path, "r");
  if (status == NULL) return n;
  while (fgets(line, sizeof(line), status) != NULL) {
    if (strncmp(line, "Cpus_allowed:", 13) == 0) n = mask_bits(line + 13);
  }
  fclose(status);
  return n;
}

static int most_processors(void) {
  char own[16];
  snprintf(own, sizeof(own), "%d", (int)getpid());
  return processors_of(own);
}

// Whether all kernel threads may run on n; one that is just being woken may lack one for a moment.
static bool all_may_use(int n) {
  for (int tries = 0; tries < 20; tries++) {
    int others = 0;
    DIR* tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent* e; (e = readdir(tasks)) != NULL;) {
      int may = e->d_name[0] == '.' ? -1 : processors_of(e->d_name);
      if (may != -1 && may != n) others++;
    }
    closedir(tasks);
    if (others == 0) return true;
    sleep_ms(50);
  }
  return false;
}

// Whoever is woken may run where it may natively, as soon as it runs, and so may its children.
static void a_thread_that_is_woken_keeps_its_affinity(void) {
  int n = most_processors();
  CHECK(n > 0);
  start(check_masks);
  share_work();
  CHECK(all_may_use(n));
  puts("ok");
}

// Nor does one that sets its own lose it.
static void masks_that_are_set_stay(void) {
  cpu_set_t all, one, now;
  CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
  pthread_t t = start(helper);
  share_work();
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
    if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
  }
  CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
  CHECK(pthread_setaffinity_np(t, sizeof(one), &one) == 0);
  share_work();
  CHECK(sched_getaffinity(0, sizeof(now), &now) == 0 && CPU_EQUAL(&now, &one));
  CHECK(all_may_use(1));
  puts("ok");
}

static const struct test_case cases[] = {
    CASE(a_thread_that_is_woken_keeps_its_affinity),
    CASE(masks_that_are_set_stay),
    CASE(one_woken_by_one_that_computes_runs_beside_it),
    CASE(two_that_yield_run_side_by_side),
    CASE(nobody_is_busy_beside_two_that_hand_over),
};
CASE_MAIN(cases)
