/* pthread_cancel: it travels as a signal between LWKTs and unwinds through the gate. */
#include "case.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/select.h>

static sem_t ready;
static int cleaned;
static int fds[2];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

static void cleanup(void* arg) { __atomic_add_fetch(&cleaned, (int)(intptr_t)arg, __ATOMIC_SEQ_CST); }
static void unlock(void* arg) {
  cleaned += 100;
  pthread_mutex_unlock(arg);
}

static void* in_read(void* arg) {
  char c;
  pthread_cleanup_push(cleanup, (void*)1);
  sem_post(&ready);
  CHECK(read(fds[0], &c, 1) < 0);
  pthread_cleanup_pop(0);
  return arg;
}
static void* in_cond_wait(void* arg) {
  pthread_mutex_lock(&mutex);
  pthread_cleanup_push(unlock, &mutex);
  sem_post(&ready);
  for (;;) pthread_cond_wait(&cond, &mutex);
  pthread_cleanup_pop(0);
  return arg;
}
static void* in_cond_timedwait(void* arg) {
  pthread_mutex_lock(&mutex);
  pthread_cleanup_push(unlock, &mutex);
  sem_post(&ready);
  struct timespec ts = in_ms(CLOCK_REALTIME, 100000);
  pthread_cond_timedwait(&cond, &mutex, &ts);
  pthread_cleanup_pop(0);
  return arg;
}
static void* in_sleep(void* arg) {
  pthread_cleanup_push(cleanup, (void*)1);
  sem_post(&ready);
  sleep(1000);
  pthread_cleanup_pop(0);
  return arg;
}
static void* in_pause(void* arg) {
  pthread_cleanup_push(cleanup, (void*)1);
  sem_post(&ready);
  pause();
  pthread_cleanup_pop(0);
  return arg;
}
static void* in_poll(void* arg) {
  struct pollfd p = {fds[0], POLLIN, 0};
  pthread_cleanup_push(cleanup, (void*)1);
  sem_post(&ready);
  poll(&p, 1, -1);
  pthread_cleanup_pop(0);
  return arg;
}
static void* in_select(void* arg) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fds[0], &set);
  pthread_cleanup_push(cleanup, (void*)1);
  sem_post(&ready);
  select(fds[0] + 1, &set, NULL, NULL, NULL);
  pthread_cleanup_pop(0);
  return arg;
}
static sem_t never;
static void* in_sem_wait(void* arg) {
  pthread_cleanup_push(cleanup, (void*)1);
  sem_post(&ready);
  sem_wait(&never);
  pthread_cleanup_pop(0);
  return arg;
}
static pthread_t sleeper;
static void* in_join(void* arg) {
  pthread_cleanup_push(cleanup, (void*)1);
  sem_post(&ready);
  pthread_join(sleeper, NULL);
  pthread_cleanup_pop(0);
  return arg;
}
static void* at_testcancel(void* arg) {
  pthread_cleanup_push(cleanup, (void*)1);
  sem_post(&ready);
  for (;;) {
    pthread_testcancel();
    sched_yield();
  }
  pthread_cleanup_pop(0);
  return arg;
}
static void* while_disabled(void* arg) {
  int old;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
  sem_post(&ready);
  sleep_ms(60);
  pthread_cleanup_push(cleanup, (void*)1);
  pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
  pthread_testcancel();
  pthread_cleanup_pop(0);
  return arg;
}
static volatile unsigned long spins;
static void* async_busy(void* arg) {
  int old;
  pthread_cleanup_push(cleanup, (void*)1);
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
  sem_post(&ready);
  for (;;) spins++;
  pthread_cleanup_pop(0);
  return arg;
}
static void* async_read(void* arg) {
  int old;
  char c;
  pthread_cleanup_push(cleanup, (void*)1);
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
  sem_post(&ready);
  CHECK(read(fds[0], &c, 1) < 0);
  pthread_cleanup_pop(0);
  return arg;
}

static void cancel_one(void* (*fn)(void*), int wait_ms) {
  pthread_t t;
  void* r;
  CHECK(pthread_create(&t, NULL, fn, NULL) == 0);
  while (sem_wait(&ready) != 0) {
  }
  if (wait_ms > 0) sleep_ms(wait_ms);
  CHECK(pthread_cancel(t) == 0);
  CHECK(pthread_join(t, &r) == 0);
  CHECK(r == PTHREAD_CANCELED);
}
/* With the victim asleep, and at once: it may be anywhere before its call. */
static void cancel_rounds(void* (*fn)(void*)) {
  CHECK(sem_init(&ready, 0, 0) == 0 && sem_init(&never, 0, 0) == 0 && pipe(fds) == 0);
  for (int i = 0; i < 3; i++) cancel_one(fn, 20);
  for (int i = 0; i < 50; i++) cancel_one(fn, 0);
  CHECK(pthread_mutex_trylock(&mutex) == 0);
  printf("%d\n", cleaned);
}

static void cancel_in_read(void) { cancel_rounds(in_read); }
static void cancel_in_cond_wait(void) { cancel_rounds(in_cond_wait); }
static void cancel_in_cond_timedwait(void) { cancel_rounds(in_cond_timedwait); }
static void cancel_in_sleep(void) { cancel_rounds(in_sleep); }
static void cancel_in_pause(void) { cancel_rounds(in_pause); }
static void cancel_in_poll(void) { cancel_rounds(in_poll); }
static void cancel_in_select(void) { cancel_rounds(in_select); }
static void cancel_in_sem_wait(void) { cancel_rounds(in_sem_wait); }
static void cancel_in_join(void) {
  CHECK(sem_init(&never, 0, 0) == 0 && sem_init(&ready, 0, 0) == 0);
  CHECK(pthread_create(&sleeper, NULL, in_sem_wait, NULL) == 0);
  sem_wait(&ready);
  cancel_rounds(in_join);
}
static void cancel_at_testcancel(void) { cancel_rounds(at_testcancel); }
static void cancel_while_disabled(void) {
  CHECK(sem_init(&ready, 0, 0) == 0);
  cancel_one(while_disabled, 0);
  printf("%d\n", cleaned);
}
static void cancel_async_busy(void) { cancel_rounds(async_busy); }
static void cancel_async_in_read(void) { cancel_rounds(async_read); }

static void* nested_cleanups(void* arg) {
  pthread_cleanup_push(cleanup, (void*)1);
  pthread_cleanup_push(cleanup, (void*)10);
  pthread_exit((void*)77);
  pthread_cleanup_pop(0);
  pthread_cleanup_pop(0);
  return arg;
}
static void exit_runs_cleanups(void) {
  pthread_t t;
  void* r;
  CHECK(pthread_create(&t, NULL, nested_cleanups, NULL) == 0);
  CHECK(pthread_join(t, &r) == 0 && r == (void*)77);
  printf("%d\n", cleaned);
}

static void* cancel_many_body(void* arg) {
  pthread_cleanup_push(cleanup, (void*)1);
  sem_post(&ready);
  for (;;) usleep(1000);
  pthread_cleanup_pop(0);
  return arg;
}
static void cancel_many(void) {
  pthread_t t[100];
  CHECK(sem_init(&ready, 0, 0) == 0);
  for (int i = 0; i < 100; i++) CHECK(pthread_create(&t[i], NULL, cancel_many_body, NULL) == 0);
  for (int i = 0; i < 100; i++) sem_wait(&ready);
  for (int i = 0; i < 100; i++) CHECK(pthread_cancel(t[i]) == 0);
  for (int i = 0; i < 100; i++) {
    void* r;
    CHECK(pthread_join(t[i], &r) == 0 && r == PTHREAD_CANCELED);
  }
  printf("%d\n", cleaned);
}

static const struct test_case cases[] = {
    CASE(cancel_in_read), CASE(cancel_in_cond_wait), CASE(cancel_in_cond_timedwait),
    CASE(cancel_in_sleep), CASE(cancel_in_pause), CASE(cancel_in_poll), CASE(cancel_in_select),
    CASE(cancel_in_sem_wait), CASE(cancel_in_join), CASE(cancel_at_testcancel),
    CASE(cancel_while_disabled), CASE(cancel_async_busy), CASE(cancel_async_in_read),
    CASE(exit_runs_cleanups), CASE(cancel_many),
};
CASE_MAIN(cases)
