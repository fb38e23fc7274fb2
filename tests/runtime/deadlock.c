/* Programs that stand still, and some that only look so: deadlock.py starts them. Each prints a line
 * when it is about to. */
#include "case.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/time.h>

static pthread_mutex_t lock_a = PTHREAD_MUTEX_INITIALIZER, lock_b = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t sem;
static volatile int have_b;

static void about_to(void) {
  puts("waiting");
  fflush(stdout);
}
__attribute__((noinline)) void* takes_b_then_a(void* arg) {
  pthread_setname_np(pthread_self(), "taker");
  pthread_mutex_lock(&lock_b);
  have_b = 1;
  pthread_mutex_lock(&lock_a);
  return arg;
}
static pthread_t start_taker(void) {
  pthread_t t;
  CHECK(pthread_mutex_lock(&lock_a) == 0);
  CHECK(pthread_create(&t, NULL, takes_b_then_a, NULL) == 0);
  while (!have_b) sched_yield();
  return t;
}
__attribute__((noinline)) void wants_b(void) { pthread_mutex_lock(&lock_b); }
static void two_locks(void) {
  start_taker();
  about_to();
  wants_b();
}
static void joins_a_waiter(void) {
  pthread_t t = start_taker();
  about_to();
  pthread_join(t, NULL);
}
static void* waits_for_news(void* arg) {
  pthread_mutex_lock(&lock_b);
  for (;;) pthread_cond_wait(&cond, &lock_b);
  return arg;
}
static void crowd(void) {
  pthread_t t[20];
  for (int i = 0; i < 20; i++) CHECK(pthread_create(&t[i], NULL, waits_for_news, NULL) == 0);
  about_to();
  for (int i = 0; i < 20; i++) pthread_join(t[i], NULL);
}
static void* returns(void* arg) { return arg; }
static void last_one_waits(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, returns, NULL) == 0 && pthread_join(t, NULL) == 0);
  about_to();
  sem_wait(&sem);
}
__attribute__((noinline)) void locks_twice(void) {
  pthread_mutex_lock(&lock_a);
  about_to();
  pthread_mutex_lock(&lock_a);
}
static void alone(void) { locks_twice(); }
static void main_has_left(void) {
  start_taker();
  about_to();
  pthread_exit(NULL);
}

/* ---- no deadlocks ---------------------------------------------------------------------------- */

static void post(int sig) { sem_post(&sem); }
static void waits_for_a_handler(void) {
  start_taker();
  signal(SIGUSR1, post);
  about_to();
  while (sem_wait(&sem) != 0) {
  }
  puts("woken");
}
static void alone_waits_for_a_handler(void) {
  signal(SIGUSR1, post);
  about_to();
  while (sem_wait(&sem) != 0) {
  }
  puts("woken");
}
static void* waits_for_a_signal(void* arg) {
  sigset_t set;
  int sig;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  CHECK(sigwait(&set, &sig) == 0);
  sem_post(&sem);
  return arg;
}
static void waits_in_sigwait(void) {
  pthread_t t;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  CHECK(pthread_create(&t, NULL, waits_for_a_signal, NULL) == 0);
  about_to();
  sem_wait(&sem);
  puts("woken");
}
static int ends[2];
static void* reads(void* arg) {
  char c;
  CHECK(read(ends[0], &c, 1) == 1);
  sem_post(&sem);
  return arg;
}
static void* writes_late(void* arg) {
  sleep_ms(3000);
  CHECK(write(ends[1], "x", 1) == 1);
  _exit(0);
}
static void waits_for_another_process(void) {
  pthread_t t;
  CHECK(pipe(ends) == 0);
  if (fork() == 0) writes_late(NULL);
  CHECK(pthread_create(&t, NULL, reads, NULL) == 0);
  about_to();
  sem_wait(&sem);
  puts("woken");
}
static void* sleeps(void* arg) {
  sleep_ms(3000);
  sem_post(&sem);
  return arg;
}
static void waits_for_a_sleeper(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, sleeps, NULL) == 0);
  about_to();
  sem_wait(&sem);
  puts("woken");
}
static void* times_out(void* arg) {
  struct timespec ts = in_ms(CLOCK_REALTIME, 3000);
  CHECK(pthread_mutex_timedlock(&lock_a, &ts) == ETIMEDOUT);
  pthread_mutex_unlock(&lock_b);
  return arg;
}
static void waits_for_a_timeout(void) {
  pthread_t t;
  CHECK(pthread_mutex_lock(&lock_a) == 0 && pthread_mutex_lock(&lock_b) == 0);
  CHECK(pthread_create(&t, NULL, times_out, NULL) == 0);
  about_to();
  pthread_mutex_lock(&lock_b);
  puts("woken");
}
static void waits_on_a_shared_lock(void) {
  sem_t* s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(s != MAP_FAILED && sem_init(s, 1, 0) == 0);
  if (fork() == 0) {
    sleep_ms(3000);
    sem_post(s);
    _exit(0);
  }
  start_taker();
  about_to();
  sem_wait(s);
  puts("woken");
}
static void alarm_will_end_it(void) {
  start_taker();
  alarm(3);
  about_to();
  wants_b();
}
static void* computes(void* arg) {
  int64_t end = now_ms() + 3000;
  while (now_ms() < end) {
    for (volatile int i = 0; i < 100000;) i++;
  }
  sem_post(&sem);
  return arg;
}
static void waits_for_one_that_computes(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, computes, NULL) == 0);
  about_to();
  sem_wait(&sem);
  puts("woken");
}

static const struct test_case cases[] = {
    CASE(two_locks), CASE(joins_a_waiter), CASE(crowd), CASE(last_one_waits), CASE(alone),
    CASE(main_has_left),
    CASE(waits_for_a_handler), CASE(alone_waits_for_a_handler), CASE(waits_in_sigwait),
    CASE(waits_for_another_process), CASE(waits_for_a_sleeper), CASE(waits_for_a_timeout),
    CASE(waits_on_a_shared_lock), CASE(alarm_will_end_it), CASE(waits_for_one_that_computes),
};
CASE_MAIN(cases)
