/* The futex calls themselves, beyond what glibc makes of them: the condition-variable pair of PI
 * locks, waiting on several words, the calls of Linux 6.7. Words are private to the process unless
 * a case says otherwise. */
#include "case.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { FUTEX_WAITV = 449, FUTEX2_WAKE = 454, FUTEX2_WAIT = 455, FUTEX2_REQUEUE = 456 };
enum { SIZE_U32 = 2, PRIVATE = 128 };

struct waitv {
  uint64_t val, uaddr;
  uint32_t flags, reserved;
};

/* The newer calls have 64-bit times everywhere. */
struct time64 {
  int64_t sec, nsec;
};
static struct time64 wide(struct timespec ts) { return (struct time64){ts.tv_sec, ts.tv_nsec}; }

static long futex(uint32_t* at, int op, uint32_t val, const void* timeout, uint32_t* other,
                  uint32_t val3) {
  return syscall(SYS_futex, at, op, val, timeout, other, val3);
}
/* Wakes as many as `n` on `at`, waiting for them to come. */
static int wake_all_of(uint32_t* at, int n) {
  int woken = 0;
  for (int64_t end = now_ms() + 20000; woken < n && now_ms() < end;) {
    long r = futex(at, FUTEX_WAKE_PRIVATE, (uint32_t)(n - woken), NULL, NULL, 0);
    CHECK(r >= 0);
    woken += (int)r;
    if (woken < n) sched_yield();
  }
  return woken;
}

/* ---- PI locks ----------------------------------------------------------------------------- */

static uint32_t cond, lock;

static int lock_pi(uint32_t* word) {
  uint32_t expect = 0;
  if (__atomic_compare_exchange_n(word, &expect, (uint32_t)gettid(), 0, __ATOMIC_SEQ_CST,
                                  __ATOMIC_SEQ_CST)) {
    return 0;
  }
  return futex(word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0 ? 0 : errno;
}
static int unlock_pi(uint32_t* word) {
  uint32_t expect = (uint32_t)gettid();
  if (__atomic_compare_exchange_n(word, &expect, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return 0;
  return futex(word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0 ? 0 : errno;
}

static int waiting, holding, served;
static void* requeue_waiter(void* arg) {
  __atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
  long r = futex(&cond, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &lock, 0);
  CHECK(r == 0);
  CHECK((lock & FUTEX_TID_MASK) == (uint32_t)gettid());
  CHECK(__atomic_add_fetch(&holding, 1, __ATOMIC_SEQ_CST) == 1);
  sched_yield();
  served++;
  __atomic_sub_fetch(&holding, 1, __ATOMIC_SEQ_CST);
  CHECK(unlock_pi(&lock) == 0);
  return arg;
}
/* CMP_REQUEUE_PI until `n` waiters were woken or moved. */
static int requeue_pi(int n) {
  int done = 0;
  for (int64_t end = now_ms() + 20000; done < n && now_ms() < end;) {
    long r = futex(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, (void*)(intptr_t)(n - done - 1), &lock, 0);
    CHECK(r >= 0);
    done += (int)r;
    if (done < n) sched_yield();
  }
  return done;
}

static void requeue_to_a_held_lock(void) {
  enum { N = 5 };
  pthread_t t[N];
  CHECK(lock_pi(&lock) == 0);
  for (int i = 0; i < N; i++) CHECK(pthread_create(&t[i], NULL, requeue_waiter, NULL) == 0);
  printf("requeued %d\n", requeue_pi(N));
  sleep_ms(20);
  printf("served while held %d\n", served);
  CHECK(unlock_pi(&lock) == 0);
  for (int i = 0; i < N; i++) CHECK(pthread_join(t[i], NULL) == 0);
  printf("served %d, lock %u\n", served, lock);
}

static void requeue_to_a_free_lock(void) {
  enum { N = 4 };
  pthread_t t[N];
  for (int i = 0; i < N; i++) CHECK(pthread_create(&t[i], NULL, requeue_waiter, NULL) == 0);
  while (__atomic_load_n(&waiting, __ATOMIC_SEQ_CST) != N) sched_yield();
  sleep_ms(50);
  printf("done %d\n", requeue_pi(N));
  for (int i = 0; i < N; i++) CHECK(pthread_join(t[i], NULL) == 0);
  printf("served %d, lock %u\n", served, lock);
}

static void* requeue_times_out(void* arg) {
  struct timespec ts = in_ms(CLOCK_MONOTONIC, 30);
  long r = futex(&cond, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &ts, &lock, 0);
  printf("unmoved: %ld %s\n", r, strerrorname_np(errno));
  ts = in_ms(CLOCK_MONOTONIC, 200);
  __atomic_store_n(&waiting, 1, __ATOMIC_SEQ_CST);
  r = futex(&cond, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &ts, &lock, 0);
  printf("moved: %ld %s\n", r, strerrorname_np(errno));
  return arg;
}
static void requeue_pi_timeouts(void) {
  CHECK(lock_pi(&lock) == 0);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, requeue_times_out, NULL) == 0);
  while (!__atomic_load_n(&waiting, __ATOMIC_SEQ_CST)) sched_yield();
  CHECK(requeue_pi(1) == 1);
  CHECK(pthread_join(t, NULL) == 0);
  CHECK(unlock_pi(&lock) == 0);
  printf("lock %u\n", lock);
}

static void errno_of(const char* what, long r) {
  printf("%s: %s\n", what, r < 0 ? strerrorname_np(errno) : "ok");
}
static void* wait_plainly(void* arg) {
  __atomic_store_n(&waiting, 1, __ATOMIC_SEQ_CST);
  while (futex(&cond, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) != 0) CHECK(errno == EINTR);
  return arg;
}
static void requeue_pi_errors(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, wait_plainly, NULL) == 0);
  while (!__atomic_load_n(&waiting, __ATOMIC_SEQ_CST)) sched_yield();
  sleep_ms(50);
  errno_of("one word", futex(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, &cond, 0));
  errno_of("two to wake", futex(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 2, NULL, &lock, 0));
  errno_of("another value", futex(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, &lock, 7));
  errno_of("a plain waiter", futex(&cond, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, &lock, 0));
  errno_of("wait on one word", futex(&cond, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, NULL, &cond, 0));
  errno_of("wait, another value", futex(&cond, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 7, NULL, &lock, 0));
  errno_of("nobody waits", futex(&lock, FUTEX_CMP_REQUEUE_PI_PRIVATE, 1, NULL, &cond, 0));
  CHECK(wake_all_of(&cond, 1) == 1);
  CHECK(pthread_join(t, NULL) == 0);
}

/* A handler without SA_RESTART must not end a wait for a PI lock: glibc takes it for locked. */
static pthread_mutex_t pi;
static volatile sig_atomic_t signalled;
static int owned;
static void note(int sig) { signalled++; }
static void* take_interrupted(void* arg) {
  __atomic_store_n(&waiting, 1, __ATOMIC_SEQ_CST);
  CHECK(pthread_mutex_lock(&pi) == 0);
  CHECK(__atomic_exchange_n(&owned, 1, __ATOMIC_SEQ_CST) == 0);
  __atomic_store_n(&owned, 0, __ATOMIC_SEQ_CST);
  CHECK(pthread_mutex_unlock(&pi) == 0);
  return arg;
}
static void signals_do_not_end_a_pi_wait(void) {
  struct sigaction sa = {.sa_handler = note};
  CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
  CHECK(pthread_mutex_init(&pi, &a) == 0);
  CHECK(pthread_mutex_lock(&pi) == 0);
  owned = 1;
  pthread_t t;
  CHECK(pthread_create(&t, NULL, take_interrupted, NULL) == 0);
  while (!__atomic_load_n(&waiting, __ATOMIC_SEQ_CST)) sched_yield();
  for (int i = 0; i < 20; i++) {
    int before = signalled;
    CHECK(pthread_kill(t, SIGUSR1) == 0);
    while (signalled == before) sched_yield();
    sleep_ms(1);
  }
  __atomic_store_n(&owned, 0, __ATOMIC_SEQ_CST);
  CHECK(pthread_mutex_unlock(&pi) == 0);
  CHECK(pthread_join(t, NULL) == 0);
  printf("%d\n", (int)signalled);
}

/* Timed PI waits that end while the lock is handed over: nobody may own it twice or never. */
static int in_section;
static long sections;
static void* hurried(void* arg) {
  unsigned seed = (unsigned)(intptr_t)arg;
  for (int i = 0; i < 2000; i++) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_nsec += rand_r(&seed) % 60000;
    if (ts.tv_nsec >= 1000000000) ts.tv_sec++, ts.tv_nsec -= 1000000000;
    int r = pthread_mutex_timedlock(&pi, &ts);
    CHECK(r == 0 || r == ETIMEDOUT);
    if (r != 0) continue;
    CHECK(__atomic_add_fetch(&in_section, 1, __ATOMIC_SEQ_CST) == 1);
    sections++;
    for (int k = 0; k < 5; k++) sched_yield();
    CHECK(__atomic_sub_fetch(&in_section, 1, __ATOMIC_SEQ_CST) == 0);
    CHECK(pthread_mutex_unlock(&pi) == 0);
  }
  return arg;
}
static void pi_waits_that_time_out(void) {
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
  CHECK(pthread_mutex_init(&pi, &a) == 0);
  pthread_t t[6];
  for (intptr_t i = 0; i < 6; i++) CHECK(pthread_create(&t[i], NULL, hurried, (void*)(i + 1)) == 0);
  for (int i = 0; i < 6; i++) CHECK(pthread_join(t[i], NULL) == 0);
  CHECK(pthread_mutex_trylock(&pi) == 0 && pthread_mutex_unlock(&pi) == 0);
  printf("%d\n", sections > 0);
}

/* A plain requeue of waiters whose time runs out: each leaves the queue it is in then. */
static uint32_t first, second;
static int stop;
static void* wait_briefly(void* arg) {
  unsigned seed = (unsigned)(intptr_t)arg;
  while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
    struct timespec ts = {0, 1000 + rand_r(&seed) % 40000};
    long r = futex(&first, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0);
    CHECK(r == 0 || errno == ETIMEDOUT);
    /* Somewhere else at once: a record left behind would be woken here. */
    ts.tv_nsec = 20000;
    r = futex(&second + 0, FUTEX_WAIT_PRIVATE, 1, &ts, NULL, 0);
    CHECK(r < 0 && errno == EAGAIN);
  }
  return arg;
}
static void requeue_against_timeouts(void) {
  pthread_t t[6];
  for (intptr_t i = 0; i < 6; i++) CHECK(pthread_create(&t[i], NULL, wait_briefly, (void*)(i + 1)) == 0);
  for (int64_t end = now_ms() + 500; now_ms() < end;) {
    CHECK(futex(&first, FUTEX_CMP_REQUEUE_PRIVATE, 0, (void*)100, &second, 0) >= 0);
    if (now_ms() % 3 == 0) futex(&second, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
  }
  __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 6; i++) CHECK(pthread_join(t[i], NULL) == 0);
  puts("ok");
}

/* ---- futex_waitv --------------------------------------------------------------------------- */

static uint32_t words[128];
static struct waitv vec[128];
static void fill(uint32_t n) {
  for (uint32_t i = 0; i < n; i++) vec[i] = (struct waitv){0, (uintptr_t)&words[i], SIZE_U32 | PRIVATE, 0};
}
static long waitv(uint32_t n, const struct timespec* ts, int clock) {
  struct time64 until = ts != NULL ? wide(*ts) : (struct time64){0, 0};
  return syscall(FUTEX_WAITV, vec, n, 0, ts != NULL ? &until : NULL, clock);
}

struct several {
  uint32_t n;
  long result;
  int error;
};
static void* wait_for_several(void* arg) {
  struct several* s = arg;
  s->result = waitv(s->n, NULL, 0);
  s->error = s->result < 0 ? errno : 0;
  return arg;
}
static long woken_through(uint32_t n, uint32_t* word) {
  struct several s = {.n = n};
  pthread_t t;
  CHECK(pthread_create(&t, NULL, wait_for_several, &s) == 0);
  CHECK(wake_all_of(word, 1) == 1);
  CHECK(pthread_join(t, NULL) == 0);
  CHECK(s.error == 0);
  return s.result;
}
static void waitv_says_which(void) {
  fill(128);
  const uint32_t sizes[] = {1, 2, 7, 128};
  for (int k = 0; k < 4; k++) {
    uint32_t n = sizes[k];
    printf("%u:", n);
    for (uint32_t i = 0; i < n; i += n > 8 ? 61 : 1) printf(" %ld", woken_through(n, &words[i]));
    puts("");
  }
}

static void waitv_errors(void) {
  pthread_t t;
  uint32_t nobody = 0;
  CHECK(pthread_create(&t, NULL, wait_plainly, NULL) == 0); /* more than one thread */
  fill(4);
  struct timespec past = {0, 0}, soon, bad = {0, 2000000000};
  errno_of("none", waitv(0, NULL, 0));
  errno_of("too many", waitv(129, NULL, 0));
  errno_of("flags", syscall(FUTEX_WAITV, vec, 2, 1, NULL, 0));
  errno_of("no array", syscall(FUTEX_WAITV, NULL, 2, 0, NULL, 0));
  errno_of("bad array", syscall(FUTEX_WAITV, (void*)8, 2, 0, NULL, 0));
  errno_of("clock", waitv(2, &past, 7));
  errno_of("bad time", waitv(2, &bad, CLOCK_MONOTONIC));
  errno_of("past", waitv(2, &past, CLOCK_MONOTONIC));
  soon = in_ms(CLOCK_REALTIME, 20);
  errno_of("soon", waitv(4, &soon, CLOCK_REALTIME));
  words[3] = 1;
  errno_of("another value", waitv(4, NULL, 0));
  words[3] = 0;
  vec[1].reserved = 1;
  errno_of("reserved", waitv(4, NULL, 0));
  fill(4);
  vec[1].flags = 0;
  errno_of("size", waitv(4, NULL, 0));
  fill(4);
  vec[2].uaddr += 2;
  errno_of("alignment", waitv(4, NULL, 0));
  fill(4);
  vec[2].val = 1ull << 32;
  errno_of("wide value", waitv(4, NULL, 0));
  fill(4);
  vec[2].uaddr = 16;
  errno_of("bad word", waitv(4, NULL, 0));
  CHECK(futex(&words[0], FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0) == 0); /* nobody is left there */
  CHECK(futex(&nobody, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0) == 0);
  CHECK(wake_all_of(&cond, 1) == 1);
  CHECK(pthread_join(t, NULL) == 0);
}

static void waitv_interrupted(void) {
  struct sigaction sa = {.sa_handler = note};
  CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
  fill(3);
  struct several s = {.n = 3};
  pthread_t t;
  CHECK(pthread_create(&t, NULL, wait_for_several, &s) == 0);
  while (s.result == 0) {
    CHECK(pthread_kill(t, SIGUSR1) == 0);
    sleep_ms(5);
  }
  CHECK(pthread_join(t, NULL) == 0);
  printf("%ld %s\n", s.result, strerrorname_np(s.error));
  sa.sa_flags = SA_RESTART;
  CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
  s = (struct several){.n = 3};
  CHECK(pthread_create(&t, NULL, wait_for_several, &s) == 0);
  for (int i = 0; i < 5; i++) {
    CHECK(pthread_kill(t, SIGUSR1) == 0);
    sleep_ms(5);
  }
  CHECK(wake_all_of(&words[2], 1) == 1);
  CHECK(pthread_join(t, NULL) == 0);
  printf("%ld %d\n", s.result, s.error);
}

/* Words of both kinds in one call: some in memory that a child shares, some not. */
static void waitv_mixed(void) {
  uint32_t* shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  fill(6);
  for (int i = 1; i < 6; i += 2) {
    vec[i].uaddr = (uintptr_t)&shared[i];
    vec[i].flags = SIZE_U32;
  }
  for (int i = 0; i < 6; i++) {
    struct several s = {.n = 6};
    pthread_t t;
    CHECK(pthread_create(&t, NULL, wait_for_several, &s) == 0);
    if (i % 2 == 0) {
      CHECK(wake_all_of(&words[i], 1) == 1);
    } else {
      while (futex(&shared[i], FUTEX_WAKE, 1, NULL, NULL, 0) != 1) sched_yield();
    }
    CHECK(pthread_join(t, NULL) == 0);
    printf("%ld %d\n", s.result, s.error);
  }
  struct timespec ts = in_ms(CLOCK_MONOTONIC, 20);
  errno_of("time", waitv(6, &ts, CLOCK_MONOTONIC));
  shared[5] = 1;
  errno_of("another value", waitv(6, NULL, 0));
  shared[5] = 0;
  words[4] = 1;
  errno_of("another value of ours", waitv(6, NULL, 0));
}

/* Many wakers and sleepers on overlapping sets: no wake is counted that nobody got. */
enum { STEPS = 300 };
static long got, given;
static void* sleeper(void* arg) {
  uint32_t from = (uint32_t)(intptr_t)arg;
  struct waitv v[4];
  for (uint32_t i = 0; i < 4; i++) {
    v[i] = (struct waitv){0, (uintptr_t)&words[(from + i) % 8], SIZE_U32 | PRIVATE, 0};
  }
  for (int i = 0; i < STEPS; i++) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += 300000;
    if (ts.tv_nsec >= 1000000000) ts.tv_sec++, ts.tv_nsec -= 1000000000;
    struct time64 until = wide(ts);
    long r = syscall(FUTEX_WAITV, v, 4, 0, &until, CLOCK_MONOTONIC);
    CHECK((r >= 0 && r < 4) || errno == ETIMEDOUT);
    if (r >= 0) __atomic_add_fetch(&got, 1, __ATOMIC_SEQ_CST);
  }
  return arg;
}
static void* waker(void* arg) {
  unsigned seed = (unsigned)(intptr_t)arg;
  while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
    long r = futex(&words[rand_r(&seed) % 8], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    CHECK(r == 0 || r == 1);
    __atomic_add_fetch(&given, r, __ATOMIC_SEQ_CST);
    sched_yield();
  }
  return arg;
}
static void waitv_crowd(void) {
  pthread_t s[6], w[2];
  for (intptr_t i = 0; i < 6; i++) CHECK(pthread_create(&s[i], NULL, sleeper, (void*)i) == 0);
  for (intptr_t i = 0; i < 2; i++) CHECK(pthread_create(&w[i], NULL, waker, (void*)(i + 1)) == 0);
  for (int i = 0; i < 6; i++) CHECK(pthread_join(s[i], NULL) == 0);
  __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(w[i], NULL) == 0);
  /* The kernel may count one sleeper for each of its words. */
  printf("%d\n", got <= given);
}

/* ---- the calls of Linux 6.7 -------------------------------------------------------------- */

static int have_futex2(void) {
  return syscall(FUTEX2_WAKE, &cond, ~0u, 1, 0xffff) >= 0 || errno != ENOSYS;
}
static long result2;
static void* wait2(void* arg) {
  result2 = syscall(FUTEX2_WAIT, &cond, 0ul, (unsigned long)(uintptr_t)arg, SIZE_U32 | PRIVATE, NULL, 0);
  return arg;
}
static long wake2(uint32_t* at, unsigned long mask, int n) {
  return syscall(FUTEX2_WAKE, at, mask, n, SIZE_U32 | PRIVATE);
}
static void futex2_wait_and_wake(void) {
  if (!have_futex2()) return;
  pthread_t t;
  CHECK(pthread_create(&t, NULL, wait2, (void*)6) == 0);
  sleep_ms(50);
  printf("%ld %ld %ld\n", wake2(&cond, 1, 1), wake2(&cond, 2, 0), wake2(&cond, 2, 1));
  CHECK(pthread_join(t, NULL) == 0);
  printf("%ld\n", result2);
  CHECK(pthread_create(&t, NULL, wait2, (void*)0xffffffff) == 0);
  CHECK(wake_all_of(&cond, 1) == 1); /* the old call wakes it, too */
  CHECK(pthread_join(t, NULL) == 0);
  printf("%ld\n", result2);
}
static void futex2_errors(void) {
  if (!have_futex2()) return;
  pthread_t t;
  CHECK(pthread_create(&t, NULL, wait_plainly, NULL) == 0);
  struct time64 soon = wide(in_ms(CLOCK_MONOTONIC, 20));
  errno_of("no mask", syscall(FUTEX2_WAIT, &first, 0ul, 0ul, SIZE_U32 | PRIVATE, NULL, 0));
  if (sizeof(long) == 8) errno_of("wide mask", syscall(FUTEX2_WAIT, &first, 0ul, (unsigned long)(1ull << 32), SIZE_U32 | PRIVATE, NULL, 0));
  errno_of("size", syscall(FUTEX2_WAIT, &first, 0ul, 1ul, PRIVATE, NULL, 0));
  errno_of("another value", syscall(FUTEX2_WAIT, &first, 1ul, 1ul, SIZE_U32 | PRIVATE, NULL, 0));
  errno_of("clock", syscall(FUTEX2_WAIT, &first, 0ul, 1ul, SIZE_U32 | PRIVATE, &soon, 7));
  errno_of("time", syscall(FUTEX2_WAIT, &first, 0ul, 1ul, SIZE_U32 | PRIVATE, &soon, CLOCK_MONOTONIC));
  errno_of("bad word", syscall(FUTEX2_WAIT, (void*)16, 0ul, 1ul, SIZE_U32 | PRIVATE, NULL, 0));
  errno_of("wake, no mask", syscall(FUTEX2_WAKE, &first, 0ul, 1, SIZE_U32 | PRIVATE));
  errno_of("wake, size", syscall(FUTEX2_WAKE, &first, 1ul, 1, PRIVATE));
  printf("%ld\n", wake2(&first, ~0u, 5));
  CHECK(wake_all_of(&cond, 1) == 1);
  CHECK(pthread_join(t, NULL) == 0);
}
static void futex2_requeue(void) {
  if (!have_futex2()) return;
  enum { N = 4 };
  pthread_t t[N];
  for (int i = 0; i < N; i++) CHECK(pthread_create(&t[i], NULL, wait2, (void*)1) == 0);
  sleep_ms(100);
  struct waitv v[2] = {{0, (uintptr_t)&cond, SIZE_U32 | PRIVATE, 0},
                       {0, (uintptr_t)&second, SIZE_U32 | PRIVATE, 0}};
  printf("%ld\n", syscall(FUTEX2_REQUEUE, v, 0, 1, 2));
  printf("%ld %ld\n", wake2(&second, 1, 10), wake2(&cond, 1, 10));
  for (int i = 0; i < N; i++) CHECK(pthread_join(t[i], NULL) == 0);
  v[0].val = 5;
  errno_of("another value", syscall(FUTEX2_REQUEUE, v, 0, 1, 2));
  v[0].val = 0;
  errno_of("flags", syscall(FUTEX2_REQUEUE, v, 1, 1, 2));
  errno_of("count", syscall(FUTEX2_REQUEUE, v, 0, -1, 2));
}

static const struct test_case cases[] = {
    CASE(requeue_to_a_held_lock), CASE(requeue_to_a_free_lock),
    CASE(requeue_pi_timeouts),    CASE(requeue_pi_errors),
    CASE(signals_do_not_end_a_pi_wait), CASE(pi_waits_that_time_out),
    CASE(requeue_against_timeouts), CASE(waitv_says_which),
    CASE(waitv_errors),           CASE(waitv_interrupted),
    CASE(waitv_mixed),            CASE(waitv_crowd),
    CASE(futex2_wait_and_wake),   CASE(futex2_errors),
    CASE(futex2_requeue),
};
CASE_MAIN(cases)
