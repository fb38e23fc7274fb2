/* Everything at once, for a bounded time, from a seed.
 *
 *   stress SECONDS [SEED [THREADS]]
 *
 * A crowd of threads each picks, by its own generator, one small act after the other from all
 * primitives: locks, conditions, semaphores, rwlocks, barriers of two, sleeps, yields, pipes,
 * signals to each other, threads made and joined, cancelled or detached, forks whose child makes
 * threads again, and computing without calls. Counters that only the right semantics keep are
 * compared at the end. A watchdog thread (and SIGALRM with the default action, if even that one
 * does not run) ends a run that stands still: exit status 3 says that no act was done for
 * kStall seconds.
 */
#include "case.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>

enum { kSlots = 32, kStall = 20, kActs = 16 };

static const char* const act_names[kActs] = {
    "lock", "cond", "sem", "rwlock", "sleep", "yield", "pipe", "kill",
    "create", "cancel", "detach", "fork", "compute", "timedwait", "robust", "crowd"};

static volatile int stop;
static uint64_t acts[kActs];
static pthread_mutex_t lock[kSlots], pi_lock;
static uint64_t under_lock[kSlots], added[kSlots], pi_count, pi_added;
static pthread_cond_t cond[kSlots];
static uint64_t tickets[kSlots];
static sem_t sem[kSlots];
static pthread_rwlock_t rw[kSlots];
static uint64_t rw_a[kSlots], rw_b[kSlots];
static uint64_t signals_taken, threads_made, threads_ended, cancels, forks;
static __thread uint64_t rng;

static uint64_t next(void) {
  rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
  return rng;
}
static void add(uint64_t* n, uint64_t by) { __atomic_add_fetch(n, by, __ATOMIC_RELAXED); }
static uint64_t get(uint64_t* n) { return __atomic_load_n(n, __ATOMIC_RELAXED); }

static void on_signal(int sig) {
  int saved = errno;
  add(&signals_taken, 1);
  errno = saved;
}

static void* bump(void* arg) {
  intptr_t i = (intptr_t)arg;
  pthread_mutex_lock(&lock[i]);
  under_lock[i]++;
  pthread_mutex_unlock(&lock[i]);
  add(&added[i], 1);
  add(&threads_ended, 1);
  return arg;
}
/* By itself: where the maker detaches it, glibc 2.36 looks at the descriptor once more when the
 * thread may have ended and another one, which somebody wants to join, may be on it. */
static void* detach_and_bump(void* arg) {
  CHECK(pthread_detach(pthread_self()) == 0);
  return bump(arg);
}
static void ended(void* arg) { add(&threads_ended, 1); }
static void* sleep_until_cancelled(void* arg) {
  pthread_cleanup_push(ended, NULL);
  for (;;) {
    struct timespec ts = {100, 0};
    nanosleep(&ts, NULL);
  }
  pthread_cleanup_pop(0);
  return arg;
}
static int create(pthread_t* t, void* (*fn)(void*), void* arg) {
  int error = pthread_create(t, NULL, fn, arg);
  if (error == 0) add(&threads_made, 1);
  CHECK(error == 0 || error == EAGAIN);
  return error == 0;
}

static void* child_thread(void* arg) { return arg; }
static void child_main(void) {
  pthread_t t[3];
  alarm(kStall);
  signal(SIGALRM, SIG_DFL);
  for (intptr_t i = 0; i < 3; i++) {
    if (pthread_create(&t[i], NULL, child_thread, (void*)i) != 0) _exit(51);
  }
  for (intptr_t i = 0; i < 3; i++) {
    void* r;
    if (pthread_join(t[i], &r) != 0 || r != (void*)i) _exit(52);
  }
  _exit(50);
}

static void act_pipe(void) {
  int fds[2];
  char buf[64] = "";
  CHECK(pipe(fds) == 0);
  CHECK(write(fds[1], "hello", 5) == 5);
  ssize_t n;
  do n = read(fds[0], buf, sizeof buf);
  while (n < 0 && errno == EINTR);
  CHECK(n == 5 && memcmp(buf, "hello", 5) == 0);
  close(fds[0]);
  close(fds[1]);
}

static void act_fork(void) {
  pid_t pid = fork();
  CHECK(pid >= 0 || errno == EAGAIN || errno == ENOMEM);
  if (pid < 0) return;
  if (pid == 0) child_main();
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR);
  if (status != 50 << 8) {
    printf("a forked child ended with status 0x%x\n", (unsigned)status);
    fflush(stdout);
    _exit(4);
  }
  add(&forks, 1);
}

static void do_act(unsigned act, unsigned i) {
  struct timespec ts;
  pthread_t t;
  switch (act) {
    case 0:
      pthread_mutex_lock(&lock[i]);
      under_lock[i]++;
      if (next() % 16 == 0) sched_yield();
      pthread_mutex_unlock(&lock[i]);
      add(&added[i], 1);
      break;
    case 1: /* pass a ticket on, or wait a little for one */
      pthread_mutex_lock(&lock[i]);
      tickets[i]++;
      if (next() % 4 == 0) {
        pthread_cond_broadcast(&cond[i]);
      } else {
        pthread_cond_signal(&cond[i]);
      }
      pthread_mutex_unlock(&lock[i]);
      break;
    case 13: {
      int error = 0;
      pthread_mutex_lock(&lock[i]);
      uint64_t seen = tickets[i];
      int mono = next() % 2 == 0;
      ts = in_ms(mono ? CLOCK_MONOTONIC : CLOCK_REALTIME, (int64_t)(next() % 5));
      while (tickets[i] == seen && error == 0) {
        error = mono ? pthread_cond_clockwait(&cond[i], &lock[i], CLOCK_MONOTONIC, &ts)
                     : pthread_cond_timedwait(&cond[i], &lock[i], &ts);
      }
      CHECK(error == 0 || error == ETIMEDOUT);
      under_lock[i]++;
      pthread_mutex_unlock(&lock[i]);
      add(&added[i], 1);
      break;
    }
    case 2:
      if (sem_trywait(&sem[i]) != 0) {
        ts = in_ms(CLOCK_REALTIME, 2);
        if (sem_timedwait(&sem[i], &ts) != 0) {
          CHECK(errno == ETIMEDOUT || errno == EINTR);
          break;
        }
      }
      CHECK(sem_post(&sem[i]) == 0);
      break;
    case 3:
      if (next() % 4 == 0) {
        pthread_rwlock_wrlock(&rw[i]);
        rw_a[i]++;
        if (next() % 8 == 0) sched_yield();
        rw_b[i]++;
      } else {
        pthread_rwlock_rdlock(&rw[i]);
        CHECK(rw_a[i] == rw_b[i]);
      }
      pthread_rwlock_unlock(&rw[i]);
      break;
    case 4:
      ts = (struct timespec){0, (long)(next() % 2000000)};
      nanosleep(&ts, NULL);
      break;
    case 5: sched_yield(); break;
    case 6: act_pipe(); break;
    case 7:
      pthread_kill(pthread_self(), SIGUSR1);
      if (next() % 8 == 0) kill(getpid(), SIGUSR2);
      break;
    case 8:
      if (create(&t, bump, (void*)(uintptr_t)i)) CHECK(pthread_join(t, NULL) == 0);
      break;
    case 9:
      if (create(&t, sleep_until_cancelled, NULL)) {
        void* r;
        if (next() % 2) sched_yield();
        CHECK(pthread_cancel(t) == 0 && pthread_join(t, &r) == 0 && r == PTHREAD_CANCELED);
        add(&cancels, 1);
      }
      break;
    case 10:
      create(&t, detach_and_bump, (void*)(uintptr_t)i);
      break;
    case 11:
      if (next() % 64 == 0) act_fork();
      break;
    case 12: {
      volatile uint64_t x = 0;
      for (uint64_t n = next() % 200000; n > 0; n--) x += n;
      break;
    }
    case 14:
      pthread_mutex_lock(&pi_lock);
      pi_count++;
      if (next() % 16 == 0) sched_yield();
      pthread_mutex_unlock(&pi_lock);
      add(&pi_added, 1);
      break;
    case 15: { /* a crowd that meets and goes */
      if (next() % 32 != 0) break;
      pthread_t many[32];
      int n = 0;
      while (n < 32 && create(&many[n], bump, (void*)(uintptr_t)((i + (unsigned)n) % kSlots))) n++;
      while (n > 0) CHECK(pthread_join(many[--n], NULL) == 0);
      break;
    }
    default: break;
  }
  add(&acts[act], 1);
}

static void* worker(void* arg) {
  rng = (uint64_t)(uintptr_t)arg;
  while (!stop) {
    uint64_t r = next();
    do_act((unsigned)(r >> 8) % kActs, (unsigned)(r >> 32) % kSlots);
  }
  return arg;
}

static uint64_t total(void) {
  uint64_t n = 0;
  for (int i = 0; i < kActs; i++) n += get(&acts[i]);
  return n;
}

int main(int argc, char** argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 5;
  uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
  int nthreads = argc > 3 ? atoi(argv[3]) : 2000;
  pthread_mutexattr_t pi;
  pthread_mutexattr_init(&pi);
  pthread_mutexattr_setprotocol(&pi, PTHREAD_PRIO_INHERIT);
  CHECK(pthread_mutex_init(&pi_lock, &pi) == 0);
  for (int i = 0; i < kSlots; i++) {
    pthread_mutex_init(&lock[i], NULL);
    pthread_cond_init(&cond[i], NULL);
    sem_init(&sem[i], 0, 3);
    pthread_rwlock_init(&rw[i], NULL);
  }
  struct sigaction sa = {0};
  sa.sa_handler = on_signal;
  sa.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &sa, NULL);
  sigaction(SIGUSR2, &sa, NULL);
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 64 << 10);
  pthread_t* crowd = calloc((size_t)nthreads, sizeof *crowd);
  int n = 0;
  for (uint64_t s = seed * 0x9e3779b97f4a7c15ull | 1; n < nthreads; n++) {
    s = s * 6364136223846793005ull + 1442695040888963407ull;
    int error = pthread_create(&crowd[n], &attr, worker, (void*)(uintptr_t)(s | 1));
    if (error == EAGAIN) break;
    CHECK(error == 0);
  }
  int64_t begin = now_ms(), moved = begin;
  uint64_t before = 0;
  while (now_ms() - begin < (int64_t)(seconds * 1000)) {
    alarm(2 * kStall);
    sleep_ms(50);
    uint64_t now = total();
    if (now != before) moved = now_ms();
    before = now;
    if (now_ms() - moved > kStall * 1000) {
      puts("stalled");
      fflush(stdout);
      _exit(3);
    }
  }
  stop = 1;
  alarm(3 * kStall); /* all must end by themselves */
  for (int i = 0; i < n; i++) CHECK(pthread_join(crowd[i], NULL) == 0);
  while (get(&threads_ended) != get(&threads_made)) sleep_ms(5);
  for (int i = 0; i < kSlots; i++) {
    int value;
    pthread_mutex_lock(&lock[i]); /* of the last bump's unlock */
    CHECK(under_lock[i] == get(&added[i]));
    pthread_mutex_unlock(&lock[i]);
    CHECK(rw_a[i] == rw_b[i]);
    CHECK(sem_getvalue(&sem[i], &value) == 0 && value == 3);
  }
  CHECK(pi_count == pi_added);
  CHECK(get(&acts[7]) == 0 || get(&signals_taken) >= get(&acts[7]));
  fprintf(stderr, "%d threads, seed %lu:", n, (unsigned long)seed);
  for (int i = 0; i < kActs; i++) fprintf(stderr, " %s %lu", act_names[i], (unsigned long)acts[i]);
  fprintf(stderr, "; %lu made, %lu forks, %lu signals\n", (unsigned long)threads_made,
          (unsigned long)forks, (unsigned long)signals_taken);
  puts("held");
  return 0;
}
