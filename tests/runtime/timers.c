// Sleeping threads, and what a program may ask about them.
#include "case.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { SLEEPERS = 300 };

static void run_threads(int n, void* (*body)(void*)) {
  static pthread_t t[SLEEPERS];
  for (intptr_t i = 0; i < n; i++) CHECK(pthread_create(&t[i], NULL, body, (void*)i) == 0);
  for (int i = 0; i < n; i++) CHECK(pthread_join(t[i], NULL) == 0);
}

static int64_t now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

// Random durations, so many that deadlines crowd and wakes are shared.
static void* doze(void* arg) {
  uint64_t state = (uint64_t)(intptr_t)arg * 0x9e3779b97f4a7c15u + 1;
  prctl(PR_SET_TIMERSLACK, state % 3 == 0 ? 1ul : state % 3 == 1 ? 50000ul : 2000000ul);
  for (int i = 0; i < 60; i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    int64_t ns = (int64_t)(state % 8000000);
    int64_t before = now_ns();
    struct timespec ts = {0, ns};
    CHECK(nanosleep(&ts, NULL) == 0);
    CHECK(now_ns() - before >= ns);
  }
  return arg;
}

static void no_sleep_ends_early(void) {
  run_threads(SLEEPERS, doze);
  puts("ok");
}

// Each sleeper's own deadline decides, whatever the order they came in.
static atomic_int order;
static int place[8];
static void* sleep_in_turn(void* arg) {
  int i = (int)(intptr_t)arg;
  sleep_ms(100 + 150 * (7 - i));
  place[i] = atomic_fetch_add(&order, 1);
  return arg;
}

static void sleepers_wake_in_the_order_of_their_deadlines(void) {
  run_threads(8, sleep_in_turn);
  for (int i = 0; i < 8; i++) printf("%d ", place[i]);
  puts("");
}

static void* long_slack(void* arg) {
  prctl(PR_SET_TIMERSLACK, 3000000000ul);
  int64_t before = now_ms();
  sleep_ms(200);
  CHECK(now_ms() - before < 3900);
  return arg;
}
static void* short_slack(void* arg) {
  for (int i = 0; i < 50; i++) sleep_ms(10);
  return arg;
}

// A sleeper that can wait holds nobody up who can't.
static void a_long_slack_is_its_thread_s_alone(void) {
  pthread_t slow, quick;
  CHECK(pthread_create(&slow, NULL, long_slack, NULL) == 0);
  int64_t before = now_ms();
  CHECK(pthread_create(&quick, NULL, short_slack, NULL) == 0);
  CHECK(pthread_join(quick, NULL) == 0);
  CHECK(now_ms() - before < 2500);
  CHECK(pthread_join(slow, NULL) == 0);
  puts("ok");
}

static void* show_slack(void* arg) {
  printf("%s inherits %d\n", (const char*)arg, prctl(PR_GET_TIMERSLACK));
  CHECK(prctl(PR_SET_TIMERSLACK, 123456ul) == 0);
  printf("sets %d\n", prctl(PR_GET_TIMERSLACK));
  CHECK(prctl(PR_SET_TIMERSLACK, 0ul) == 0);
  printf("goes back to %d\n", prctl(PR_GET_TIMERSLACK));
  return arg;
}

static void in_a_thread(const char* who) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, show_slack, (void*)who) == 0);
  CHECK(pthread_join(t, NULL) == 0);
  fflush(stdout);
}

static void slack_is_each_thread_s_and_inherited(void) {
  printf("first %d\n", prctl(PR_GET_TIMERSLACK));
  in_a_thread("a thread");
  CHECK(prctl(PR_SET_TIMERSLACK, 70000ul) == 0);
  in_a_thread("another");
  printf("still %d\n", prctl(PR_GET_TIMERSLACK));
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    printf("child %d\n", prctl(PR_GET_TIMERSLACK));
    in_a_thread("the child's thread");
    fflush(stdout);
    _exit(0);
  }
  CHECK(waitpid(child, NULL, 0) == child);
}

// A new image begins with its caller's slack, not with libcr's.
static void slack_survives_an_exec(void) {
  in_a_thread("a thread");
  CHECK(prctl(PR_SET_TIMERSLACK, 80000ul) == 0);
  pid_t child = vfork();
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", "cat /proc/$$/timerslack_ns", NULL);
    _exit(1);
  }
  CHECK(waitpid(child, NULL, 0) == child);
  execl("/bin/sh", "sh", "-c", "cat /proc/$$/timerslack_ns", NULL);
  CHECK(!"exec");
}

static atomic_int spinner_leaves;
static void* spin(void* arg) {
  while (!atomic_load(&spinner_leaves)) {
  }
  return arg;
}

static void* read_zeros(void* arg) {
  int fd = open("/dev/zero", O_RDONLY);
  char byte;
  while (!atomic_load(&spinner_leaves)) CHECK(read(fd, &byte, 1) == 1);
  close(fd);
  return arg;
}

static void sleep_beside(void* (*body)(void*)) {
  pthread_t t[3];
  sleep_ms(30);
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, body, NULL) == 0);
  int64_t before = now_ms();
  for (int i = 0; i < 20; i++) sleep_ms(5);
  int64_t took = now_ms() - before;
  atomic_store(&spinner_leaves, 1);
  for (int i = 0; i < 3; i++) CHECK(pthread_join(t[i], NULL) == 0);
  CHECK(took >= 100 && took < 5000);
  puts("ok");
}

// Nobody who computes, or does nothing but traps, keeps the timers from going off.
static void a_sleeper_wakes_beside_threads_that_compute(void) { sleep_beside(spin); }
static void a_sleeper_wakes_beside_threads_that_only_trap(void) { sleep_beside(read_zeros); }

static void* lock_in_time(void* arg) {
  pthread_mutex_t* m = arg;
  struct timespec ts = in_ms(CLOCK_REALTIME, 50);
  CHECK(pthread_mutex_timedlock(m, &ts) == ETIMEDOUT);
  return NULL;
}

static void timed_locks_give_up_together(void) {
  static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&m);
  pthread_t t[50];
  for (int i = 0; i < 50; i++) CHECK(pthread_create(&t[i], NULL, lock_in_time, &m) == 0);
  for (int i = 0; i < 50; i++) CHECK(pthread_join(t[i], NULL) == 0);
  puts("ok");
}

// Of a crowd of waiters some are due within the second, the others not for hours or for years: these are
// woken by hand before, in another order than they came, so that the queue loses what stands anywhere in it.
static sem_t woken_by_hand[SLEEPERS];
static void* wait_long_or_short(void* arg) {
  intptr_t i = (intptr_t)arg;
  if (i % 3 != 0) {
    int64_t years = sizeof(time_t) == 8 ? 100 : 5;  // 32 bits of seconds end in 2038
    int64_t ms = i % 3 == 1 ? 3600000ll * i : years * 365 * 86400000;
    struct timespec ts = in_ms(CLOCK_REALTIME, ms);
    CHECK(sem_timedwait(&woken_by_hand[i], &ts) == 0);
    ts = in_ms(CLOCK_REALTIME, 1 + i * 7 % 300);
    CHECK(sem_timedwait(&woken_by_hand[i], &ts) == -1 && errno == ETIMEDOUT);
    return NULL;
  }
  for (int64_t ms = i % 50; ms < 700; ms += 100 + i) {
    int64_t before = now_ns();
    sleep_ms(ms);
    CHECK(now_ns() - before >= ms * 1000000);
  }
  return NULL;
}

static void* wake_by_hand(void* arg) {
  sleep_ms(120);
  for (int i = 0; i < SLEEPERS; i++) CHECK(sem_post(&woken_by_hand[i * 7 % SLEEPERS]) == 0);
  return arg;
}

static void a_crowd_waits_for_near_and_far_deadlines(void) {
  pthread_t t;
  for (int i = 0; i < SLEEPERS; i++) CHECK(sem_init(&woken_by_hand[i], 0, 0) == 0);
  int64_t before = now_ms();
  CHECK(pthread_create(&t, NULL, wake_by_hand, NULL) == 0);
  run_threads(SLEEPERS, wait_long_or_short);
  CHECK(pthread_join(t, NULL) == 0);
  CHECK(now_ms() - before < 20000);  // the last is due after some three seconds
  puts("ok");
}

static void* sleep_a_second(void* arg) {
  sleep_ms(1000 + (intptr_t)arg);
  return NULL;
}

// While a crowd sleeps nothing computes.
static void a_crowd_that_sleeps_takes_no_cpu_time(void) {
  struct timespec used;
  run_threads(SLEEPERS, sleep_a_second);
  CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);
  CHECK(used.tv_sec == 0);
  puts("ok");
}

static void* sleep_a_while(void* arg) {
  sleep_ms(100 + 2 * (intptr_t)arg);
  return NULL;
}

// The timers of its parent's threads are not a child's, and its own crowd finds its queue empty.
static void a_child_of_a_crowd_sleeps_by_itself(void) {
  static pthread_t t[SLEEPERS];
  for (intptr_t i = 0; i < SLEEPERS; i++) CHECK(pthread_create(&t[i], NULL, sleep_a_while, (void*)i) == 0);
  sleep_ms(50);
  pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 2; i++) run_threads(SLEEPERS - 100 * i, sleep_a_while);
    _exit(7);
  }
  for (int i = 0; i < SLEEPERS; i++) CHECK(pthread_join(t[i], NULL) == 0);
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  printf("%d\n", WEXITSTATUS(status));
}

// So many that deadlines crowd for as long as they live: 70,000 and more a second.
static atomic_int crowd_leaves;
static pthread_t crowd[SLEEPERS];

static void* doze_in_a_crowd(void* arg) {
  uint64_t state = ((uint64_t)(intptr_t)arg + 1) * 0x9e3779b97f4a7c15u;
  while (!atomic_load(&crowd_leaves)) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    int64_t ns = 2000000 + (int64_t)(state % 4000000);
    int64_t before = now_ns();
    struct timespec ts = {0, ns};
    CHECK(nanosleep(&ts, NULL) == 0);
    int64_t took = now_ns() - before;
    CHECK(took >= ns && took < 5000000000);
  }
  return arg;
}

static void crowd_comes(void) {
  for (intptr_t i = 0; i < SLEEPERS; i++) CHECK(pthread_create(&crowd[i], NULL, doze_in_a_crowd, (void*)i) == 0);
  sleep_ms(100);
}

static void crowd_goes(void) {
  sleep_ms(50);
  atomic_store(&crowd_leaves, 1);
  for (int i = 0; i < SLEEPERS; i++) CHECK(pthread_join(crowd[i], NULL) == 0);
}

static void* sleep_shortly(void* arg) {
  while (!atomic_load(&crowd_leaves)) CHECK(usleep(20) == 0);
  return arg;
}

static void sleep_100_times(void) {
  for (int i = 0; i < 100; i++) CHECK(usleep(20) == 0);
}

// So do threads that sleep shortly and often, to whom a shared wake-up would be a long time: 100 sleeps took 45 ms.
static void short_sleeps_in_a_crowd_are_not_late(void) {
  enum { SHORT = 16, ENOUGH = 25 };
  for (intptr_t i = 0; i < SHORT; i++) CHECK(pthread_create(&crowd[i], NULL, sleep_shortly, (void*)i) == 0);
  sleep_ms(50);
  int64_t best = best_batch(sleep_100_times, ENOUGH);
  atomic_store(&crowd_leaves, 1);
  for (int i = 0; i < SHORT; i++) CHECK(pthread_join(crowd[i], NULL) == 0);
  CHECK(best <= ENOUGH);
  puts("ok");
}

// What ends the sleeps of a crowd are descriptors of libcr's own, whose numbers the program may use.
static void a_crowd_sleeps_on_whatever_descriptors_are_used(void) {
  crowd_comes();
  for (int round = 0; round < 3; round++) {
    for (int fd = 1000; fd < 1016; fd++) CHECK(dup2(1, fd) == fd);
    sleep_ms(20);
    for (int fd = 1000; fd < 1016; fd++) CHECK(close(fd) == 0 && close(fd) == -1 && errno == EBADF);
    sleep_ms(20);
  }
  crowd_goes();
  puts("ok");
}

static void* read_one(void* arg) {
  char c;
  CHECK(read(*(int*)arg, &c, 1) == 1);
  return arg;
}

static void a_crowd_sleeps_on_where_no_descriptor_is_left(void) {
  int ends[2];
  pthread_t t;
  CHECK(pipe(ends) == 0 && pthread_create(&t, NULL, read_one, ends) == 0);
  sleep_ms(20);
  struct rlimit limit = {3, 3};
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  crowd_comes();
  CHECK(write(ends[1], "x", 1) == 1 && pthread_join(t, NULL) == 0);
  crowd_goes();
  puts("ok");
}

static void a_child_of_a_crowd_has_a_crowd_of_its_own(void) {
  crowd_comes();
  for (int round = 0; round < 3; round++) {
    pid_t child = fork();
    if (child == 0) {
      crowd_comes();
      crowd_goes();
      _exit(7);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  }
  crowd_goes();
  puts("ok");
}

enum { SELDOM = 200 };
static sem_t asked, answered;

static void* answer(void* arg) {
  for (int i = 0; i < SELDOM; i++) CHECK(sem_wait(&asked) == 0 && sem_post(&answered) == 0);
  return arg;
}

static void* compute_a_while(void* arg) {
  for (int64_t end = now_ms() + 20; now_ms() < end;) {
  }
  return arg;
}

static void ask_now_and_then(void) {
  pthread_t t;
  run_threads(8, compute_a_while);  // on all cpus, which idle then
  CHECK(sem_init(&asked, 0, 0) == 0 && sem_init(&answered, 0, 0) == 0);
  CHECK(pthread_create(&t, NULL, answer, NULL) == 0);
  for (int i = 0; i < SELDOM; i++) {
    sleep_ms(8);
    CHECK(sem_post(&asked) == 0 && sem_wait(&answered) == 0);
  }
  CHECK(pthread_join(t, NULL) == 0);
}

// Nobody goes on looking whether there is something to do: how often a process of such threads sleeps in the kernel. 3
// or 4 times for each question are usual, they were 40 with several cpus.
static void threads_that_wake_each_other_now_and_then_cost_little(void) {
  long best = 1000000;
  for (int i = 0; i < 3 && best > SELDOM * 10; i++) {  // where others keep the cpu busy there are more
    pid_t child = fork();
    if (child == 0) {
      ask_now_and_then();
      _exit(7);
    }
    int status;
    struct rusage used;
    CHECK(wait4(child, &status, 0, &used) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    if (used.ru_nvcsw < best) best = used.ru_nvcsw;
  }
  if (best > SELDOM * 10) printf("slept %ld times\n", best);
  puts("ok");
}

// Who sleeps until the end of time has no timer that others' could stand behind.
static const struct timespec end_of_time = {
    .tv_sec = (time_t)(sizeof(time_t) == 8 ? INT64_MAX : INT32_MAX), .tv_nsec = 999999999};
static void* sleep_for_ever(void* arg) {
  struct timespec rest = {0, 0};
  int error = clock_nanosleep(CLOCK_MONOTONIC, 0, &end_of_time, &rest);
  int64_t years = rest.tv_sec / (365 * 86400);
  printf("%s, %d years left\n", strerror(error), (int)years);
  return arg;
}
static void* sleep_until_the_end(void* arg) {
  printf("%s\n", strerror(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &end_of_time, NULL)));
  return arg;
}
static void on_usr1(int sig) { (void)sig; }

static void a_sleep_for_ever_holds_nobody_up(void) {
  pthread_t long_one, longest;
  sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_usr1}, NULL);
  CHECK(pthread_create(&long_one, NULL, sleep_for_ever, NULL) == 0);
  CHECK(pthread_create(&longest, NULL, sleep_until_the_end, NULL) == 0);
  int64_t before = now_ms();
  for (int i = 0; i < 20; i++) sleep_ms(5);
  run_threads(20, sleep_a_while);
  CHECK(now_ms() - before < 5000);
  CHECK(pthread_kill(long_one, SIGUSR1) == 0);
  CHECK(pthread_join(long_one, NULL) == 0);
  CHECK(pthread_kill(longest, SIGUSR1) == 0);
  CHECK(pthread_join(longest, NULL) == 0);
}

// Nor does anybody look for it again and again: nothing else is due while the others wait for a child.
static void a_sleep_for_ever_takes_no_cpu_time(void) {
  int ends[2];
  char byte;
  struct timespec from, to;
  pthread_t t;
  sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_usr1}, NULL);
  CHECK(pipe(ends) == 0);
  pid_t child = fork();
  if (child == 0) {
    sleep_ms(800);
    _exit(write(ends[1], "x", 1) != 1);
  }
  CHECK(pthread_create(&t, NULL, sleep_for_ever, NULL) == 0);
  CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from) == 0 && read(ends[0], &byte, 1) == 1);
  CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to) == 0);
  CHECK((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 < 300);
  CHECK(pthread_kill(t, SIGUSR1) == 0 && pthread_join(t, NULL) == 0 && waitpid(child, NULL, 0) == child);
}

static const struct test_case cases[] = {
    CASE(no_sleep_ends_early),
    CASE(sleepers_wake_in_the_order_of_their_deadlines),
    CASE(a_long_slack_is_its_thread_s_alone),
    CASE(slack_is_each_thread_s_and_inherited),
    CASE(slack_survives_an_exec),
    CASE(a_sleeper_wakes_beside_threads_that_compute),
    CASE(a_sleeper_wakes_beside_threads_that_only_trap),
    CASE(timed_locks_give_up_together),
    CASE(a_crowd_waits_for_near_and_far_deadlines),
    CASE(a_crowd_that_sleeps_takes_no_cpu_time),
    CASE(a_child_of_a_crowd_sleeps_by_itself),
    CASE(short_sleeps_in_a_crowd_are_not_late),
    CASE(a_crowd_sleeps_on_whatever_descriptors_are_used),
    CASE(a_crowd_sleeps_on_where_no_descriptor_is_left),
    CASE(a_child_of_a_crowd_has_a_crowd_of_its_own),
    CASE(threads_that_wake_each_other_now_and_then_cost_little),
    CASE(a_sleep_for_ever_holds_nobody_up),
    CASE(a_sleep_for_ever_takes_no_cpu_time),
};
CASE_MAIN(cases)
