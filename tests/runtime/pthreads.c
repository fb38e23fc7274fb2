/* NPTL's primitives on LWKTs: each must behave as on kernel threads. */
#include "case.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/syscall.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int shared;

static void* return_arg(void* arg) { return arg; }

static void create_join(void) {
  pthread_t t[64];
  for (intptr_t i = 0; i < 64; i++) CHECK(pthread_create(&t[i], NULL, return_arg, (void*)i) == 0);
  intptr_t sum = 0;
  for (int i = 0; i < 64; i++) {
    void* r;
    CHECK(pthread_join(t[i], &r) == 0);
    sum += (intptr_t)r;
  }
  printf("%ld\n", (long)sum);
}

static void create_join_many(void) {
  for (intptr_t i = 0; i < 5000; i++) {
    pthread_t t;
    void* r;
    CHECK(pthread_create(&t, NULL, return_arg, (void*)i) == 0);
    CHECK(pthread_join(t, &r) == 0 && r == (void*)i);
  }
  puts("5000");
}

static sem_t sem;
static void* post(void* arg) {
  sem_post(&sem);
  return arg;
}
static void detach(void) {
  CHECK(sem_init(&sem, 0, 0) == 0);
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  for (int i = 0; i < 200; i++) {
    pthread_t t;
    CHECK(pthread_create(&t, i & 1 ? &attr : NULL, post, NULL) == 0);
    if (!(i & 1)) CHECK(pthread_detach(t) == 0);
  }
  for (int i = 0; i < 200; i++) CHECK(sem_wait(&sem) == 0);
  puts("detached");
}

static void* hold_300ms(void* arg) {
  sleep_ms(300);
  return arg;
}
static void tryjoin_timedjoin(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, hold_300ms, NULL) == 0);
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  struct timespec ts = in_ms(CLOCK_REALTIME, 20);
  CHECK(pthread_timedjoin_np(t, NULL, &ts) == ETIMEDOUT);
  CHECK(pthread_join(t, NULL) == 0);
  CHECK(pthread_create(&t, NULL, return_arg, (void*)7) == 0);
  ts = in_ms(CLOCK_MONOTONIC, 10000);
  void* r;
  CHECK(pthread_clockjoin_np(t, &r, CLOCK_MONOTONIC, &ts) == 0 && r == (void*)7);
  puts("ok");
}

static void* add_10000(void* arg) {
  for (int i = 0; i < 10000; i++) {
    pthread_mutex_lock(&mutex);
    shared++;
    pthread_mutex_unlock(&mutex);
    if (i % 100 == 0) sched_yield();
  }
  return arg;
}
static void mutex_counter(void) {
  pthread_t t[8];
  for (int i = 0; i < 8; i++) CHECK(pthread_create(&t[i], NULL, add_10000, NULL) == 0);
  for (int i = 0; i < 8; i++) pthread_join(t[i], NULL);
  printf("%d\n", shared);
}

static void mutex_kinds(void) {
  pthread_mutexattr_t a;
  pthread_mutex_t m;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_init(&m, &a);
  CHECK(pthread_mutex_unlock(&m) == EPERM);
  CHECK(pthread_mutex_lock(&m) == 0 && pthread_mutex_lock(&m) == EDEADLK);
  CHECK(pthread_mutex_unlock(&m) == 0);
  pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&m, &a);
  CHECK(pthread_mutex_lock(&m) == 0 && pthread_mutex_lock(&m) == 0);
  CHECK(pthread_mutex_unlock(&m) == 0 && pthread_mutex_unlock(&m) == 0);
  CHECK(pthread_mutex_unlock(&m) == EPERM);
  puts("ok");
}

static void* lock_for_200ms(void* arg) {
  pthread_mutex_lock(&mutex);
  sem_post(&sem);
  sleep_ms(200);
  pthread_mutex_unlock(&mutex);
  return arg;
}
static void mutex_timed(void) {
  sem_init(&sem, 0, 0);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, lock_for_200ms, NULL) == 0);
  sem_wait(&sem);
  CHECK(pthread_mutex_trylock(&mutex) == EBUSY);
  struct timespec ts = in_ms(CLOCK_REALTIME, 20);
  CHECK(pthread_mutex_timedlock(&mutex, &ts) == ETIMEDOUT);
  ts = in_ms(CLOCK_MONOTONIC, 20);
  CHECK(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &ts) == ETIMEDOUT);
  ts = in_ms(CLOCK_REALTIME, 10000);
  CHECK(pthread_mutex_timedlock(&mutex, &ts) == 0);
  pthread_join(t, NULL);
  puts("ok");
}

static void cond_timeouts(void) {
  pthread_mutex_lock(&mutex);
  int64_t t0 = now_ms();
  struct timespec ts = in_ms(CLOCK_REALTIME, 50);
  CHECK(pthread_cond_timedwait(&cond, &mutex, &ts) == ETIMEDOUT);
  CHECK(now_ms() - t0 >= 49);
  t0 = now_ms();
  ts = in_ms(CLOCK_MONOTONIC, 50);
  CHECK(pthread_cond_clockwait(&cond, &mutex, CLOCK_MONOTONIC, &ts) == ETIMEDOUT);
  CHECK(now_ms() - t0 >= 49);
  pthread_condattr_t a;
  pthread_cond_t c;
  pthread_condattr_init(&a);
  pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
  pthread_cond_init(&c, &a);
  ts = in_ms(CLOCK_MONOTONIC, 30);
  CHECK(pthread_cond_timedwait(&c, &mutex, &ts) == ETIMEDOUT);
  ts = in_ms(CLOCK_MONOTONIC, -1000);
  CHECK(pthread_cond_timedwait(&c, &mutex, &ts) == ETIMEDOUT);
  ts.tv_nsec = 1000000000;
  CHECK(pthread_cond_timedwait(&c, &mutex, &ts) == EINVAL);
  pthread_mutex_unlock(&mutex);
  puts("ok");
}

static void* cond_timeout_in_thread_main(void* arg) {
  cond_timeouts();
  return arg;
}
static void cond_timeouts_in_thread(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, cond_timeout_in_thread_main, NULL) == 0);
  pthread_join(t, NULL);
}

static void* pong(void* arg) {
  for (int i = 0; i < 20000; i++) {
    pthread_mutex_lock(&mutex);
    while (shared % 2 == 0) pthread_cond_wait(&cond, &mutex);
    shared++;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&mutex);
  }
  return arg;
}
static void cond_pingpong(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, pong, NULL) == 0);
  for (int i = 0; i < 20000; i++) {
    pthread_mutex_lock(&mutex);
    shared++;
    pthread_cond_signal(&cond);
    while (shared % 2 != 0) pthread_cond_wait(&cond, &mutex);
    pthread_mutex_unlock(&mutex);
  }
  pthread_join(t, NULL);
  printf("%d\n", shared);
}

static int go;
static void* wait_go(void* arg) {
  pthread_mutex_lock(&mutex);
  shared++;
  while (!go) pthread_cond_wait(&cond, &mutex);
  pthread_mutex_unlock(&mutex);
  return arg;
}
static void cond_broadcast(void) {
  pthread_t t[100];
  for (int i = 0; i < 100; i++) CHECK(pthread_create(&t[i], NULL, wait_go, NULL) == 0);
  for (int ready = 0; !ready; sched_yield()) {
    pthread_mutex_lock(&mutex);
    ready = shared == 100;
    pthread_mutex_unlock(&mutex);
  }
  pthread_mutex_lock(&mutex);
  go = 1;
  pthread_cond_broadcast(&cond);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < 100; i++) pthread_join(t[i], NULL);
  printf("%d\n", shared);
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static int left, right;
static void* rw_worker(void* arg) {
  int bad = 0;
  for (int i = 0; i < 2000; i++) {
    if (i % 8 == (intptr_t)arg) {
      pthread_rwlock_wrlock(&rwlock);
      left++;
      if (i % 64 == 0) sched_yield();
      right++;
      pthread_rwlock_unlock(&rwlock);
    } else {
      pthread_rwlock_rdlock(&rwlock);
      bad += left != right;
      if (i % 64 == 1) sched_yield();
      pthread_rwlock_unlock(&rwlock);
    }
  }
  return (void*)(intptr_t)bad;
}
static void rwlock_readers_writers(void) {
  pthread_t t[8];
  intptr_t bad = 0;
  for (intptr_t i = 0; i < 8; i++) CHECK(pthread_create(&t[i], NULL, rw_worker, (void*)i) == 0);
  for (int i = 0; i < 8; i++) {
    void* r;
    pthread_join(t[i], &r);
    bad += (intptr_t)r;
  }
  printf("%d %d %ld\n", left, right, (long)bad);
}

static void* rw_timed_in_thread(void* arg) {
  struct timespec ts = in_ms(CLOCK_REALTIME, 20);
  CHECK(pthread_rwlock_timedrdlock(&rwlock, &ts) == ETIMEDOUT);
  ts = in_ms(CLOCK_MONOTONIC, 20);
  CHECK(pthread_rwlock_clockwrlock(&rwlock, CLOCK_MONOTONIC, &ts) == ETIMEDOUT);
  CHECK(pthread_rwlock_tryrdlock(&rwlock) == EBUSY);
  return arg;
}
static void rwlock_timed(void) {
  pthread_t t;
  pthread_rwlock_wrlock(&rwlock);
  CHECK(pthread_rwlock_rdlock(&rwlock) == EDEADLK);
  CHECK(pthread_create(&t, NULL, rw_timed_in_thread, NULL) == 0);
  pthread_join(t, NULL);
  pthread_rwlock_unlock(&rwlock);
  puts("ok");
}

static pthread_barrier_t barrier;
static int serial, arrived[50];
static void* barrier_worker(void* arg) {
  for (int i = 0; i < 50; i++) {
    __atomic_add_fetch(&arrived[i], 1, __ATOMIC_SEQ_CST);
    if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
      __atomic_add_fetch(&serial, 1, __ATOMIC_SEQ_CST);
    }
    CHECK(__atomic_load_n(&arrived[i], __ATOMIC_SEQ_CST) == 16);
  }
  return arg;
}
static void barriers(void) {
  pthread_t t[16];
  pthread_barrier_init(&barrier, NULL, 16);
  for (int i = 0; i < 16; i++) CHECK(pthread_create(&t[i], NULL, barrier_worker, NULL) == 0);
  for (int i = 0; i < 16; i++) pthread_join(t[i], NULL);
  printf("%d\n", serial);
}

static sem_t other;
static void* sem_worker(void* arg) {
  for (int i = 0; i < 5000; i++) {
    while (sem_wait(&sem) != 0) CHECK(errno == EINTR);
    shared++;
    sem_post(&other);
  }
  return arg;
}
static void semaphores(void) {
  pthread_t t;
  sem_init(&sem, 0, 0);
  sem_init(&other, 0, 0);
  CHECK(pthread_create(&t, NULL, sem_worker, NULL) == 0);
  for (int i = 0; i < 5000; i++) {
    sem_post(&sem);
    while (sem_wait(&other) != 0) CHECK(errno == EINTR);
  }
  pthread_join(t, NULL);
  CHECK(sem_trywait(&sem) == -1 && errno == EAGAIN);
  struct timespec ts = in_ms(CLOCK_REALTIME, 20);
  CHECK(sem_timedwait(&sem, &ts) == -1 && errno == ETIMEDOUT);
  ts = in_ms(CLOCK_MONOTONIC, 20);
  CHECK(sem_clockwait(&sem, CLOCK_MONOTONIC, &ts) == -1 && errno == ETIMEDOUT);
  printf("%d\n", shared);
}

static pthread_spinlock_t spin;
static void* spin_worker(void* arg) {
  for (int i = 0; i < 20000; i++) {
    pthread_spin_lock(&spin);
    shared++;
    pthread_spin_unlock(&spin);
  }
  return arg;
}
static void spinlocks(void) {
  pthread_t t[4];
  pthread_spin_init(&spin, 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, spin_worker, NULL) == 0);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  printf("%d\n", shared);
}

static volatile int flag;
static void* set_flag(void* arg) {
  flag = 1;
  return arg;
}
/* A thread that computes without calls must not starve the one that it waits for. */
static void busy_wait_for_other_thread(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, set_flag, NULL) == 0);
  while (!flag) {
  }
  pthread_join(t, NULL);
  puts("ok");
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int times;
static void init_once(void) {
  sleep_ms(20);
  times++;
}
static void* once_worker(void* arg) {
  pthread_once(&once, init_once);
  CHECK(times == 1);
  return arg;
}
static void once_only(void) {
  pthread_t t[16];
  for (int i = 0; i < 16; i++) CHECK(pthread_create(&t[i], NULL, once_worker, NULL) == 0);
  for (int i = 0; i < 16; i++) pthread_join(t[i], NULL);
  printf("%d\n", times);
}

static pthread_key_t key, key2;
static int destroyed;
static void destroy(void* v) {
  __atomic_add_fetch(&destroyed, (int)(intptr_t)v, __ATOMIC_SEQ_CST);
  if (v == (void*)1) pthread_setspecific(key, (void*)100); /* a second round */
}
static void* tsd_worker(void* arg) {
  pthread_setspecific(key, arg);
  pthread_setspecific(key2, (void*)1000);
  for (int i = 0; i < 20; i++) {
    sched_yield();
    CHECK(pthread_getspecific(key) == arg);
  }
  return NULL;
}
static void tsd_destructors(void) {
  pthread_t t[10];
  pthread_key_create(&key, destroy);
  pthread_key_create(&key2, destroy);
  for (intptr_t i = 0; i < 10; i++) CHECK(pthread_create(&t[i], NULL, tsd_worker, (void*)(i + 1)) == 0);
  for (int i = 0; i < 10; i++) pthread_join(t[i], NULL);
  printf("%d\n", destroyed);
}

static __thread int tls_value = 5;
static void* tls_worker(void* arg) {
  CHECK(tls_value == 5);
  for (int i = 0; i < 200; i++) {
    tls_value = (int)(intptr_t)arg + i;
    errno = tls_value;
    sched_yield();
    CHECK(tls_value == (int)(intptr_t)arg + i && errno == tls_value);
  }
  return NULL;
}
static void thread_locals(void) {
  pthread_t t[16];
  for (intptr_t i = 0; i < 16; i++) CHECK(pthread_create(&t[i], NULL, tls_worker, (void*)(i * 1000)) == 0);
  for (int i = 0; i < 16; i++) pthread_join(t[i], NULL);
  CHECK(tls_value == 5);
  puts("ok");
}

static pthread_mutex_t robust;
static void* die_holding(void* arg) {
  pthread_mutex_lock(&robust);
  sem_post(&sem);
  sleep_ms(50);
  return arg;
}
static void init_robust(int protocol, int shared_kind) {
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setprotocol(&a, protocol);
  pthread_mutexattr_setpshared(&a, shared_kind);
  CHECK(pthread_mutex_init(&robust, &a) == 0);
}
static void owner_dies(void) {
  sem_init(&sem, 0, 0);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, die_holding, NULL) == 0);
  sem_wait(&sem);
  CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD); /* it sleeps for it */
  CHECK(pthread_mutex_consistent(&robust) == 0);
  CHECK(pthread_mutex_unlock(&robust) == 0);
  pthread_join(t, NULL);
  CHECK(pthread_create(&t, NULL, die_holding, NULL) == 0);
  pthread_join(t, NULL);
  CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);
  CHECK(pthread_mutex_unlock(&robust) == 0); /* not made consistent */
  CHECK(pthread_mutex_lock(&robust) == ENOTRECOVERABLE);
  puts("ok");
}
static void robust_owner_died(void) {
  init_robust(PTHREAD_PRIO_NONE, PTHREAD_PROCESS_PRIVATE);
  owner_dies();
}
static void robust_pi_owner_died(void) {
  init_robust(PTHREAD_PRIO_INHERIT, PTHREAD_PROCESS_PRIVATE);
  owner_dies();
}

static void* pi_timed(void* arg) {
  struct timespec ts = in_ms(CLOCK_REALTIME, 20);
  CHECK(pthread_mutex_timedlock(&mutex, &ts) == ETIMEDOUT);
  CHECK(pthread_mutex_trylock(&mutex) == EBUSY);
  return arg;
}
static void pi_mutex(void) {
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
  CHECK(pthread_mutex_init(&mutex, &a) == 0);
  mutex_counter();
  pthread_mutex_lock(&mutex);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, pi_timed, NULL) == 0);
  pthread_join(t, NULL);
  pthread_mutex_unlock(&mutex);
  shared = 0;
  cond_pingpong();
}

static uint32_t ids[300];
static void* record_tid(void* arg) {
  ids[(intptr_t)arg] = (uint32_t)syscall(SYS_gettid);
  CHECK((uint32_t)gettid() == ids[(intptr_t)arg]);
  pthread_barrier_wait(&barrier);
  return arg;
}
/* Under libcr ids lie where no kernel thread's can; natively that part can't hold. */
static void thread_ids(void) {
  pthread_t t[300];
  pthread_barrier_init(&barrier, NULL, 301);
  for (intptr_t i = 0; i < 300; i++) CHECK(pthread_create(&t[i], NULL, record_tid, (void*)i) == 0);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 300; i++) pthread_join(t[i], NULL);
  const char* preload = getenv("LD_PRELOAD");
  int under = preload != NULL && strstr(preload, "libcr") != NULL;
  for (int i = 0; i < 300; i++) {
    if (under) CHECK(ids[i] > 4194304);
    CHECK(ids[i] < 1u << 30);
    for (int j = 0; j < i; j++) CHECK(ids[i] != ids[j]);
  }
  CHECK(gettid() == getpid());
  puts("unique");
}

static void* name_worker(void* arg) {
  char name[16];
  CHECK(pthread_setname_np(pthread_self(), "a-worker") == 0);
  CHECK(pthread_getname_np(pthread_self(), name, sizeof name) == 0);
  printf("%s\n", name);
  return arg;
}
static void thread_names(void) {
  pthread_t t;
  char name[16];
  CHECK(pthread_create(&t, NULL, name_worker, NULL) == 0);
  pthread_join(t, NULL);
  CHECK(pthread_getname_np(pthread_self(), name, sizeof name) == 0);
  printf("%s\n", name);
}

static pthread_mutex_t taken_again = PTHREAD_MUTEX_INITIALIZER;
static volatile int end_taking;
static void* take_again_and_again(void* arg) {
  while (!end_taking) {
    pthread_mutex_lock(&taken_again);
    sched_yield();
    pthread_mutex_unlock(&taken_again);
  }
  return arg;
}
/* Whoever gives it back takes it again before anybody else runs, but for a preemption. */
static void lock_that_is_taken_again_at_once(void) {
  pthread_t t[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, take_again_and_again, NULL) == 0);
  for (int i = 0; i < 3; i++) {
    sleep_ms(2);
    pthread_mutex_lock(&taken_again);
    pthread_mutex_unlock(&taken_again);
  }
  end_taking = 1;
  for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
  puts("ok");
}

static void* exit_last(void* arg) {
  sleep_ms(50);
  puts("last thread");
  return arg;
}
static void main_thread_exits_first(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, exit_last, NULL) == 0);
  puts("main leaves");
  fflush(stdout);
  pthread_exit(NULL);
}

static pthread_t main_thread;
static void* join_main(void* arg) {
  void* r;
  CHECK(pthread_join(main_thread, &r) == 0 && r == (void*)42);
  puts("main joined");
  exit(3);
  return arg;
}
static void main_thread_is_joined(void) {
  pthread_t t;
  main_thread = pthread_self();
  CHECK(pthread_create(&t, NULL, join_main, NULL) == 0);
  pthread_exit((void*)42);
}

static void* exit_process(void* arg) {
  exit(7);
  return arg;
}
static void thread_exits_process(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, exit_process, NULL) == 0);
  for (;;) pause();
}

static int depth(char* below, int n) {
  volatile char page[4096];
  page[0] = (char)n;
  if (n == 0) return below - (char*)page > 0;
  return depth(below, n - 1) + page[0] * 0;
}
static void* use_stack(void* arg) {
  char here;
  CHECK(depth(&here, 40) >= 0);
  return arg;
}
static void stack_sizes(void) {
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  static const size_t sizes[] = {256 << 10, 1 << 20, 64 << 20, 8 << 20};
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 4; i++) {
      pthread_t t;
      CHECK(pthread_attr_setstacksize(&attr, sizes[i]) == 0);
      CHECK(pthread_create(&t, &attr, use_stack, NULL) == 0);
      pthread_join(t, NULL);
    }
  }
  size_t size;
  void* base;
  pthread_attr_t mine;
  CHECK(pthread_getattr_np(pthread_self(), &mine) == 0);
  CHECK(pthread_attr_getstack(&mine, &base, &size) == 0);
  char here;
  CHECK(&here > (char*)base && &here < (char*)base + size);
  /* A stack of the program's own. */
  void* own = aligned_alloc(4096, 256 << 10);
  pthread_t t;
  pthread_attr_init(&attr);
  CHECK(pthread_attr_setstack(&attr, own, 256 << 10) == 0);
  CHECK(pthread_create(&t, &attr, use_stack, NULL) == 0);
  pthread_join(t, NULL);
  puts("ok");
}

static volatile int hog_stop;
static void* hog(void* arg) {
  while (!hog_stop) {
  }
  return arg;
}
/* Sleepers wake on time though others compute. */
static void timeout_beside_busy_threads(void) {
  pthread_t t[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, hog, NULL) == 0);
  for (int i = 0; i < 5; i++) {
    int64_t t0 = now_ms();
    sleep_ms(10);
    int64_t took = now_ms() - t0;
    CHECK(took >= 10);
    CHECK(took < 5000);
  }
  hog_stop = 1;
  for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
  puts("ok");
}

static int pipe_fds[2];
static void* write_later(void* arg) {
  sleep_ms(20);
  for (int i = 0; i < 1000; i++) CHECK(write(pipe_fds[1], "x", 1) == 1);
  close(pipe_fds[1]);
  return arg;
}
/* A thread that blocks in a call must not keep the others from running. */
static void blocking_read_beside_writer(void) {
  CHECK(pipe(pipe_fds) == 0);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, write_later, NULL) == 0);
  int n = 0;
  char c;
  while (read(pipe_fds[0], &c, 1) == 1) n++;
  pthread_join(t, NULL);
  printf("%d\n", n);
}

enum { kWaiters = 6, kWaits = 4000 };
static uint32_t words[2];  /* stay 0: only wakes and timeouts end a wait */
static long waits_woken, wakes;
static volatile int waits_over;
static long futex(uint32_t* word, int op, uint32_t value, const void* timeout, uint32_t* word2) {
  return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, timeout, word2, 0);
}
static void* wait_in_turns(void* arg) {
  uint64_t r = (uint64_t)(uintptr_t)arg * 0x9e3779b97f4a7c15ull | 1;
  for (int i = 0; i < kWaits; i++) {
    r ^= r << 13, r ^= r >> 7, r ^= r << 17;
    struct timespec ts = {0, (long)(r % 60000)}, pause = {0, 20000}, before, after;
    if (futex(&words[i & 1], FUTEX_WAIT, 0, &ts, NULL) == 0) {
      __atomic_add_fetch(&waits_woken, 1, __ATOMIC_RELAXED);
    } else {
      CHECK(errno == ETIMEDOUT);
    }
    clock_gettime(CLOCK_MONOTONIC, &before);
    CHECK(nanosleep(&pause, NULL) == 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec >= 20000);
  }
  return arg;
}
static void* wake_in_turns(void* arg) {
  for (unsigned i = 0; !waits_over; i++) {
    long n = futex(&words[i & 1], FUTEX_WAKE, 1, NULL, NULL);
    CHECK(n == 0 || n == 1);
    __atomic_add_fetch(&wakes, n, __ATOMIC_RELAXED);
    CHECK(futex(&words[i & 1], FUTEX_REQUEUE, 0, (void*)1, &words[~i & 1]) >= 0);
    if (i % 8 == 0) sched_yield();
  }
  return arg;
}
/* A wake that meets the end of a wait by timeout: one of the two wins, and the loser touches
 * nothing that the waiter does next. */
static void wakes_meet_timeouts(void) {
  pthread_t waiter[kWaiters], waker[2];
  for (intptr_t i = 0; i < kWaiters; i++) {
    CHECK(pthread_create(&waiter[i], NULL, wait_in_turns, (void*)(i + 1)) == 0);
  }
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&waker[i], NULL, wake_in_turns, NULL) == 0);
  for (int i = 0; i < kWaiters; i++) pthread_join(waiter[i], NULL);
  waits_over = 1;
  for (int i = 0; i < 2; i++) pthread_join(waker[i], NULL);
  CHECK(waits_woken == wakes);
  puts("ok");
}

static const struct test_case cases[] = {
    CASE(create_join), CASE(create_join_many), CASE(detach), CASE(tryjoin_timedjoin),
    CASE(mutex_counter), CASE(mutex_kinds), CASE(mutex_timed), CASE(cond_timeouts),
    CASE(cond_timeouts_in_thread), CASE(cond_pingpong), CASE(cond_broadcast),
    CASE(rwlock_readers_writers), CASE(rwlock_timed), CASE(barriers), CASE(semaphores),
    CASE(spinlocks), CASE(busy_wait_for_other_thread), CASE(once_only), CASE(tsd_destructors),
    CASE(thread_locals), CASE(robust_owner_died), CASE(robust_pi_owner_died), CASE(pi_mutex),
    CASE(thread_ids), CASE(thread_names), CASE(main_thread_exits_first),
    CASE(main_thread_is_joined), CASE(thread_exits_process), CASE(stack_sizes),
    CASE(timeout_beside_busy_threads), CASE(blocking_read_beside_writer),
    CASE(wakes_meet_timeouts), CASE(lock_that_is_taken_again_at_once),
};
CASE_MAIN(cases)
