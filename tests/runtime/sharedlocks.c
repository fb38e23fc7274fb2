/* Process-shared locks between two processes, each under libcr or not.
 *
 * The parent is what the driver started: native for the expectation, under libcr for the test. The
 * child of a case is FORK (of the parent), SAME (a program of its own under the parent's runtime),
 * NATIVE or LIBCR, so all four pairs are run. A case that no pair of kinds can pass, because the
 * kernel knows no thread of libcr's but the first, has fewer of them (docs/design.md). */
#include "case.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum kind { FORK, SAME, NATIVE, LIBCR };
enum { NORMAL, RECURSIVE, ERRORCHECK, ROBUST, PI, PI_RECURSIVE, PI_ROBUST, LOCKS };
static const char* const lock_names[] = {"normal", "recursive", "errorcheck", "robust",
                                         "pi",     "pi recursive", "pi robust"};
enum { THREADS = 3, ROUNDS = 2000 };

struct area {
  pthread_mutex_t m[LOCKS], again[LOCKS];
  pthread_cond_t cond;
  pthread_barrier_t barrier;
  pthread_rwlock_t rw;
  sem_t sem[2];
  int stage, inside, turn;
  long count[LOCKS], reads, sum;
};
static struct area* at;
static int area_fd;

static void init_mutex(pthread_mutex_t* m, int which) {
  pthread_mutexattr_t a;
  pthread_mutexattr_init(&a);
  pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
  if (which == RECURSIVE || which == PI_RECURSIVE) pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
  if (which == ERRORCHECK) pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ERRORCHECK);
  if (which == ROBUST || which == PI_ROBUST) pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
  if (which >= PI) pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
  CHECK(pthread_mutex_init(m, &a) == 0);
}

static void map_area(void) {
  at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED, area_fd, 0);
  CHECK(at != MAP_FAILED);
}
static void make_area(void) {
  area_fd = memfd_create("locks", 0);
  CHECK(area_fd >= 0 && ftruncate(area_fd, sizeof *at) == 0);
  map_area();
  for (int i = 0; i < LOCKS; i++) init_mutex(&at->m[i], i), init_mutex(&at->again[i], i);
  pthread_condattr_t c;
  pthread_condattr_init(&c);
  pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
  CHECK(pthread_cond_init(&at->cond, &c) == 0);
  pthread_barrierattr_t b;
  pthread_barrierattr_init(&b);
  pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
  CHECK(pthread_barrier_init(&at->barrier, &b, 2 * THREADS) == 0);
  pthread_rwlockattr_t r;
  pthread_rwlockattr_init(&r);
  pthread_rwlockattr_setpshared(&r, PTHREAD_PROCESS_SHARED);
  CHECK(pthread_rwlock_init(&at->rw, &r) == 0);
  for (int i = 0; i < 2; i++) CHECK(sem_init(&at->sem[i], 1, 0) == 0);
}

static void reach(int stage) { __atomic_store_n(&at->stage, stage, __ATOMIC_SEQ_CST); }
static void await(int stage) {
  for (int64_t end = now_ms() + 40000; __atomic_load_n(&at->stage, __ATOMIC_SEQ_CST) < stage;) {
    CHECK(now_ms() < end);
    usleep(500);
  }
}

static const char* self;
static pid_t start(enum kind kind, const char* role, void (*body)(void)) {
  fflush(stdout);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid != 0) return pid;
  if (kind == FORK) {
    body();
    fflush(stdout);
    _exit(0);
  }
  char launcher[4096], fd[16];
  snprintf(launcher, sizeof launcher, "%.*sruntime_unpreload", (int)(strrchr(self, '/') - self + 1), self);
  snprintf(fd, sizeof fd, "%d", area_fd);
  const char* preload = getenv("CR_TEST_PRELOAD");
  if (kind == LIBCR && preload != NULL) {
    setenv("LD_PRELOAD", preload, 1);
    setenv("LIBCR_CPUS", "2", 0);
  }
  if (kind == NATIVE) {
    execl(launcher, launcher, self, "--child", role, fd, (char*)NULL);
  } else {
    execl(self, self, "--child", role, fd, (char*)NULL);
  }
  _exit(126);
}
static void end(pid_t pid, int expect) {
  int status;
  while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR);
  if (status != expect) printf("CHECK failed: the child's status is %#x\n", status);
}

static void on_threads(int n, void* (*body)(void*), void* arg) {
  pthread_t t[8];
  for (int i = 0; i < n; i++) CHECK(pthread_create(&t[i], NULL, body, arg) == 0);
  for (int i = 0; i < n; i++) CHECK(pthread_join(t[i], NULL) == 0);
}

/* ---- counting ------------------------------------------------------------------------------ */

static void count_under(int which, int rounds) {
  for (int i = 0; i < rounds; i++) {
    CHECK(pthread_mutex_lock(&at->m[which]) == 0);
    CHECK(__atomic_add_fetch(&at->inside, 1, __ATOMIC_SEQ_CST) == 1);
    at->count[which]++;
    if (i % 16 == 0) sched_yield();
    CHECK(__atomic_sub_fetch(&at->inside, 1, __ATOMIC_SEQ_CST) == 0);
    CHECK(pthread_mutex_unlock(&at->m[which]) == 0);
  }
}
static void* count_body(void* arg) {
  count_under((int)(intptr_t)arg, ROUNDS);
  return arg;
}
static void count_range(int from, int to) {
  for (int k = from; k < to; k++) {
    on_threads(THREADS, count_body, (void*)(intptr_t)k);
    /* The next lock's counting must not overlap: `inside` is one for all. */
    pthread_barrier_wait(&at->barrier);
  }
}
static void small_barrier(void) {
  pthread_barrier_destroy(&at->barrier);
  pthread_barrierattr_t b;
  pthread_barrierattr_init(&b);
  pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
  CHECK(pthread_barrier_init(&at->barrier, &b, 2) == 0);
}
static void counter_child(void) { count_range(NORMAL, PI); }
static void counter(enum kind kind) {
  small_barrier();
  pid_t pid = start(kind, "counter", counter_child);
  count_range(NORMAL, PI);
  end(pid, 0);
  for (int k = NORMAL; k < PI; k++) printf("%s %ld\n", lock_names[k], at->count[k]);
}
static void counter_pi_child(void) { count_range(PI, LOCKS); }
static void counter_pi(enum kind kind) {
  small_barrier();
  pid_t pid = start(kind, "counter_pi", counter_pi_child);
  count_range(PI, LOCKS);
  end(pid, 0);
  for (int k = PI; k < LOCKS; k++) printf("%s %ld\n", lock_names[k], at->count[k]);
}

/* Only the first threads take the PI locks, beside busy ones that move them between kernel threads. */
static int stop;
static void* busy(void* arg) {
  while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
    for (int i = 0; i < 50; i++) sched_yield();
    usleep(200);
  }
  return arg;
}
static void first_threads(void) {
  pthread_t t[2];
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&t[i], NULL, busy, NULL) == 0);
  for (int k = PI; k < LOCKS; k++) {
    count_under(k, ROUNDS / 2);
    pthread_barrier_wait(&at->barrier);
  }
  __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(t[i], NULL) == 0);
}
static void counter_pi_first(enum kind kind) {
  small_barrier();
  pid_t pid = start(kind, "counter_pi_first", first_threads);
  first_threads();
  end(pid, 0);
  for (int k = PI; k < LOCKS; k++) printf("%s %ld\n", lock_names[k], at->count[k]);
}

/* ---- waiting for each other -------------------------------------------------------------------- */

static void take_turns(int which, int mine, int rounds) {
  pthread_mutex_t* m = &at->m[which];
  CHECK(pthread_mutex_lock(m) == 0);
  for (int i = 0; i < rounds; i++) {
    while (at->turn % 2 != mine) {
      struct timespec ts = in_ms(CLOCK_REALTIME, 20000);
      CHECK(pthread_cond_timedwait(&at->cond, m, &ts) == 0);
    }
    at->turn++;
    CHECK(pthread_cond_broadcast(&at->cond) == 0);
  }
  CHECK(pthread_mutex_unlock(m) == 0);
}
static void* turns_body(void* arg) {
  take_turns(ROBUST, (int)(intptr_t)arg, 500);
  return arg;
}
/* One condition variable, three mutexes in turn: a phase is over when both have left it. */
static void all_turns(int mine) {
  take_turns(NORMAL, mine, 500);
  pthread_barrier_wait(&at->barrier);
  on_threads(1, turns_body, (void*)(intptr_t)mine);
  pthread_barrier_wait(&at->barrier);
  take_turns(PI, mine, 500); /* the first threads */
}
static void turns_child(void) { all_turns(1); }
static void turns(enum kind kind) {
  small_barrier();
  pid_t pid = start(kind, "turns", turns_child);
  all_turns(0);
  end(pid, 0);
  printf("%d\n", at->turn);
}

static void* turns_pi_body(void* arg) {
  take_turns(PI, (int)(intptr_t)arg, 500);
  return arg;
}
static void turns_pi_child(void) { on_threads(1, turns_pi_body, (void*)1); }
static void turns_pi(enum kind kind) {
  pid_t pid = start(kind, "turns_pi", turns_pi_child);
  on_threads(1, turns_pi_body, (void*)0);
  end(pid, 0);
  printf("%d\n", at->turn);
}

static void* meet(void* arg) {
  for (int i = 0; i < 200; i++) {
    int r = pthread_barrier_wait(&at->barrier);
    CHECK(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD);
    if (r != 0) __atomic_add_fetch(&at->sum, 1, __ATOMIC_SEQ_CST);
    if (i % 4 == 0) {
      CHECK(pthread_rwlock_wrlock(&at->rw) == 0);
      at->count[0]++;
    } else {
      CHECK(pthread_rwlock_rdlock(&at->rw) == 0);
      __atomic_add_fetch(&at->reads, at->count[0] >= 0, __ATOMIC_SEQ_CST);
    }
    CHECK(pthread_rwlock_unlock(&at->rw) == 0);
  }
  return arg;
}
static char sem_name[64];
static void others_child(void) {
  on_threads(THREADS, meet, NULL);
  await(1);
  snprintf(sem_name, sizeof sem_name, "/libcr-test-%d", at->turn);
  sem_t* named = sem_open(sem_name, 0);
  CHECK(named != SEM_FAILED);
  for (int i = 0; i < 500; i++) {
    while (sem_wait(&at->sem[0]) != 0) CHECK(errno == EINTR);
    CHECK(sem_post(&at->sem[1]) == 0);
    CHECK(sem_post(named) == 0);
  }
}
static void others(enum kind kind) {
  at->turn = getpid();
  snprintf(sem_name, sizeof sem_name, "/libcr-test-%d", at->turn);
  sem_t* named = sem_open(sem_name, O_CREAT | O_EXCL, 0600, 0);
  CHECK(named != SEM_FAILED);
  pid_t pid = start(kind, "others", others_child);
  on_threads(THREADS, meet, NULL);
  reach(1);
  for (int i = 0; i < 500; i++) {
    CHECK(sem_post(&at->sem[0]) == 0);
    while (sem_wait(&at->sem[1]) != 0) CHECK(errno == EINTR);
    while (sem_wait(named) != 0) CHECK(errno == EINTR);
  }
  struct timespec ts = in_ms(CLOCK_REALTIME, 20);
  CHECK(sem_timedwait(named, &ts) != 0 && errno == ETIMEDOUT);
  end(pid, 0);
  CHECK(sem_unlink(sem_name) == 0);
  printf("%ld %ld %ld\n", at->sum, at->count[0], at->reads);
}

/* ---- held locks ------------------------------------------------------------------------------ */

static void hold_all(void) {
  for (int k = 0; k < LOCKS; k++) CHECK(pthread_mutex_lock(&at->m[k]) == 0);
  reach(1);
  await(2);
  for (int k = 0; k < LOCKS; k++) CHECK(pthread_mutex_unlock(&at->m[k]) == 0);
  reach(3);
  await(4);
}
static void holder_child(void) { hold_all(); }
static void* hold_body(void* arg) {
  hold_all();
  return arg;
}
static void thread_holder_child(void) { on_threads(1, hold_body, NULL); }
static void try_held(void) {
  for (int k = 0; k < LOCKS; k++) {
    struct timespec ts = in_ms(CLOCK_REALTIME, 30);
    int a = pthread_mutex_trylock(&at->m[k]), b = pthread_mutex_timedlock(&at->m[k], &ts);
    ts = in_ms(CLOCK_MONOTONIC, 30);
    int c = pthread_mutex_clocklock(&at->m[k], CLOCK_MONOTONIC, &ts);
    printf("%s: %s %s %s\n", lock_names[k], strerrorname_np(a), strerrorname_np(b), strerrorname_np(c));
  }
}
static void* try_held_body(void* arg) {
  try_held();
  return arg;
}
static void held_in(pid_t pid) {
  await(1);
  try_held();
  on_threads(1, try_held_body, NULL);
  reach(2);
  await(3);
  for (int k = 0; k < LOCKS; k++) {
    CHECK(pthread_mutex_trylock(&at->m[k]) == 0);
    CHECK(pthread_mutex_unlock(&at->m[k]) == 0);
  }
  reach(4);
  end(pid, 0);
}

static void held(enum kind kind) { held_in(start(kind, "holder", holder_child)); }
static void held_by_thread(enum kind kind) {
  held_in(start(kind, "thread_holder", thread_holder_child));
}

/* A handler without SA_RESTART must not end a wait for a lock. */
static volatile sig_atomic_t signalled;
static void note(int sig) { signalled++; }
static void wait_and_own(int which) {
  CHECK(pthread_mutex_lock(&at->m[which]) == 0);
  CHECK(__atomic_load_n(&at->stage, __ATOMIC_SEQ_CST) >= 2);
  CHECK(__atomic_add_fetch(&at->inside, 1, __ATOMIC_SEQ_CST) == 1);
  __atomic_sub_fetch(&at->inside, 1, __ATOMIC_SEQ_CST);
  CHECK(pthread_mutex_unlock(&at->m[which]) == 0);
}
static void* wait_and_own_body(void* arg) {
  wait_and_own((int)(intptr_t)arg);
  return arg;
}
static pthread_t signalled_thread[2];
static void* shoot(void* arg) {
  for (int i = 0; i < 40; i++) {
    int before = signalled;
    CHECK(pthread_kill(signalled_thread[i % 2], SIGUSR1) == 0);
    while (signalled == before) sched_yield();
    usleep(1000);
  }
  reach(2);
  return arg;
}
static void signals_while_waiting(enum kind kind) {
  struct sigaction sa = {.sa_handler = note};
  CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
  pid_t pid = start(kind, "holder", holder_child);
  await(1);
  pthread_t shooter;
  signalled_thread[0] = pthread_self();
  CHECK(pthread_create(&signalled_thread[1], NULL, wait_and_own_body, (void*)PI) == 0);
  CHECK(pthread_create(&shooter, NULL, shoot, NULL) == 0);
  wait_and_own(PI);
  CHECK(pthread_join(shooter, NULL) == 0);
  CHECK(pthread_join(signalled_thread[1], NULL) == 0);
  await(3);
  reach(4);
  end(pid, 0);
  printf("%d\n", (int)signalled);
}

/* ---- owners that die ------------------------------------------------------------------------- */

static void take_both(int which) {
  CHECK(pthread_mutex_lock(&at->m[which]) == 0);
  CHECK(pthread_mutex_lock(&at->again[which]) == 0);
}
static void* take_and_end(void* arg) {
  for (int k = 0; k < LOCKS; k++) {
    if ((intptr_t)arg >> k & 1) take_both(k);
  }
  return arg;
}
static void* take_and_stay(void* arg) {
  take_and_end(arg);
  reach(1);
  for (;;) pause();
  return arg;
}
static void* lock_says(void* arg) {
  int which = (int)(intptr_t)arg;
  int r = pthread_mutex_lock(&at->m[which]);
  printf("%s: %s", lock_names[which], strerrorname_np(r));
  if (r == EOWNERDEAD) CHECK(pthread_mutex_consistent(&at->m[which]) == 0);
  CHECK(pthread_mutex_unlock(&at->m[which]) == 0);
  return arg;
}
/* The first lock's waiter is there before the owner dies, the second's comes afterwards. */
static void bury(enum kind kind, const char* role, void (*body)(void), int locks, int kill_it, int expect) {
  for (int k = 0; k < LOCKS; k++) {
    if (!(locks >> k & 1)) continue;
    at->stage = 0;
    at->turn = 1 << k;
    pid_t pid = start(kind, role, body);
    await(1);
    pthread_t t;
    CHECK(pthread_create(&t, NULL, lock_says, (void*)(intptr_t)k) == 0);
    sleep_ms(30);
    reach(2);
    if (kill_it) CHECK(kill(pid, SIGKILL) == 0);
    CHECK(pthread_join(t, NULL) == 0);
    if (expect >= 0) end(pid, expect);
    int r = pthread_mutex_lock(&at->again[k]);
    printf(" %s", strerrorname_np(r));
    /* Not made consistent: nobody can have it any more. */
    CHECK(pthread_mutex_unlock(&at->again[k]) == 0);
    printf(" %s\n", strerrorname_np(pthread_mutex_lock(&at->again[k])));
    if (expect < 0) {
      reach(3);
      end(pid, 0);
    }
  }
}
enum { ROBUST_ONE = 1 << ROBUST, PI_ROBUST_ONE = 1 << PI_ROBUST, BOTH = ROBUST_ONE | PI_ROBUST_ONE };

static void* take_then_end(void* arg) {
  take_and_end(arg);
  reach(1);
  await(2);
  return arg;
}
static void thread_ends_child(void) {
  on_threads(1, take_then_end, (void*)(intptr_t)at->turn);
  await(3);
}
static void thread_ends(enum kind kind) { bury(kind, "thread_ends", thread_ends_child, ROBUST_ONE, 0, -1); }
static void thread_ends_pi(enum kind kind) { bury(kind, "thread_ends", thread_ends_child, PI_ROBUST_ONE, 0, -1); }

static void process_exits_child(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, take_and_stay, (void*)(intptr_t)at->turn) == 0);
  await(2);
  _exit(3);
}
static void process_exits(enum kind kind) {
  bury(kind, "process_exits", process_exits_child, ROBUST_ONE, 0, 3 << 8);
}
static void process_exits_pi(enum kind kind) {
  bury(kind, "process_exits", process_exits_child, PI_ROBUST_ONE, 0, 3 << 8);
}

static void first_thread_killed_child(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, busy, NULL) == 0);
  take_and_stay((void*)(intptr_t)at->turn);
}
static void first_thread_killed(enum kind kind) {
  bury(kind, "first_thread_killed", first_thread_killed_child, BOTH, 1, SIGKILL);
}
static void thread_killed_child(void) {
  on_threads(1, take_and_stay, (void*)(intptr_t)at->turn);
}
static void thread_killed(enum kind kind) { bury(kind, "thread_killed", thread_killed_child, BOTH, 1, SIGKILL); }

/* ---- the table ------------------------------------------------------------------------------- */

#define RUN(fn, kind)                \
  static void fn##_##kind(void) {    \
    make_area();                     \
    fn(kind);                        \
  }
#define EVERY(fn) RUN(fn, FORK) RUN(fn, SAME) RUN(fn, NATIVE) RUN(fn, LIBCR)
EVERY(counter)
EVERY(counter_pi_first)
EVERY(turns)
EVERY(others)
EVERY(held)
EVERY(signals_while_waiting)
RUN(held_by_thread, FORK)
RUN(held_by_thread, SAME)
RUN(turns_pi, FORK)
RUN(turns_pi, SAME)
EVERY(thread_ends)
EVERY(process_exits)
EVERY(first_thread_killed)
RUN(counter_pi, FORK)
RUN(counter_pi, SAME)
RUN(thread_ends_pi, FORK)
RUN(thread_ends_pi, SAME)
RUN(process_exits_pi, FORK)
RUN(process_exits_pi, SAME)
RUN(thread_killed, FORK)
RUN(thread_killed, SAME)
RUN(thread_killed, NATIVE)

#define CASES(fn) CASE(fn##_FORK), CASE(fn##_SAME), CASE(fn##_NATIVE), CASE(fn##_LIBCR)
static const struct test_case cases[] = {
    CASES(counter),
    CASES(counter_pi_first),
    CASES(turns),
    CASES(others),
    CASES(held),
    CASES(signals_while_waiting),
    CASE(held_by_thread_FORK),
    CASE(held_by_thread_SAME),
    CASE(turns_pi_FORK),
    CASE(turns_pi_SAME),
    CASES(thread_ends),
    CASES(process_exits),
    CASES(first_thread_killed),
    CASE(counter_pi_FORK),
    CASE(counter_pi_SAME),
    CASE(thread_ends_pi_FORK),
    CASE(thread_ends_pi_SAME),
    CASE(process_exits_pi_FORK),
    CASE(process_exits_pi_SAME),
    CASE(thread_killed_FORK),
    CASE(thread_killed_SAME),
    CASE(thread_killed_NATIVE),
};

static const struct {
  const char* role;
  void (*body)(void);
} children[] = {
    {"counter", counter_child},
    {"counter_pi", counter_pi_child},
    {"counter_pi_first", first_threads},
    {"turns", turns_child},
    {"others", others_child},
    {"holder", holder_child},
    {"thread_holder", thread_holder_child},
    {"turns_pi", turns_pi_child},
    {"thread_ends", thread_ends_child},
    {"process_exits", process_exits_child},
    {"first_thread_killed", first_thread_killed_child},
    {"thread_killed", thread_killed_child},
};

int main(int argc, char** argv) {
  self = argv[0];
  if (argc == 4 && strcmp(argv[1], "--child") == 0) {
    area_fd = atoi(argv[3]);
    map_area();
    for (size_t i = 0; i < sizeof children / sizeof children[0]; i++) {
      if (strcmp(argv[2], children[i].role) == 0) children[i].body();
    }
    return 0;
  }
  return case_main(argc, argv, cases, (int)(sizeof cases / sizeof cases[0]));
}
