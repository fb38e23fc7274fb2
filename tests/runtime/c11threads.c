/* <threads.h> of C11. */
#include "case.h"

#include <threads.h>

static mtx_t mutex;
static cnd_t cond;
static once_flag flag = ONCE_FLAG_INIT;
static tss_t key;
static int shared, ran, destroyed;
static thread_local int local = 3;

static void once(void) { ran++; }
static void destroy(void* p) { __atomic_add_fetch(&destroyed, *(int*)p, __ATOMIC_SEQ_CST); }
static int body(void* arg) {
  static int ones[1] = {1};
  call_once(&flag, once);
  tss_set(key, ones);
  CHECK(local == 3);
  for (int i = 0; i < 1000; i++) {
    mtx_lock(&mutex);
    shared++;
    local++;
    mtx_unlock(&mutex);
    if (i % 50 == 0) thrd_yield();
  }
  CHECK(local == 1003);
  return *(int*)arg;
}
static void all(void) {
  thrd_t t[8];
  int arg[8], sum = 0;
  CHECK(mtx_init(&mutex, mtx_plain) == thrd_success && tss_create(&key, destroy) == thrd_success);
  for (int i = 0; i < 8; i++) {
    arg[i] = i;
    CHECK(thrd_create(&t[i], body, &arg[i]) == thrd_success);
  }
  for (int i = 0; i < 8; i++) {
    int r;
    CHECK(thrd_join(t[i], &r) == thrd_success);
    sum += r;
  }
  printf("%d %d %d %d\n", sum, shared, ran, destroyed);
}

static int waiter(void* arg) {
  mtx_lock(&mutex);
  while (shared == 0) cnd_wait(&cond, &mutex);
  mtx_unlock(&mutex);
  thrd_exit(11);
}
static void conditions(void) {
  thrd_t t;
  int r;
  CHECK(mtx_init(&mutex, mtx_timed) == thrd_success && cnd_init(&cond) == thrd_success);
  struct timespec ts = in_ms(CLOCK_REALTIME, 20);
  mtx_lock(&mutex);
  CHECK(cnd_timedwait(&cond, &mutex, &ts) == thrd_timedout);
  CHECK(thrd_create(&t, waiter, NULL) == thrd_success);
  mtx_unlock(&mutex);
  CHECK(thrd_sleep(&(struct timespec){0, 20000000}, NULL) == 0);
  mtx_lock(&mutex);
  shared = 1;
  cnd_broadcast(&cond);
  mtx_unlock(&mutex);
  CHECK(thrd_join(t, &r) == thrd_success);
  printf("%d\n", r);
}

static const struct test_case cases[] = {CASE(all), CASE(conditions)};
CASE_MAIN(cases)
