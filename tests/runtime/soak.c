/* A soak: all primitives at once, with random signals, forks, cancels and exits, from a seed, and every
 * operation accounted for, so that one that is lost is seen.
 *
 *   soak [--seconds S] [--seed N] [--threads N]
 *
 * Each worker does one small act after the other, chosen by its own generator, which begins with the seed and the
 * worker's number. What an act does is booked on one side before or after it (a lock taken, a byte sent, a signal
 * queued, a thread cancelled) and on the other where it arrives (what the lock guards, the reader, the handler,
 * the cleanup handler). At the end, when all has been drained, the two sides must be equal. Real-time signals are
 * never lost, nor are expiries of a timer with its overruns. All is natively so, too.
 *
 * Prints one line for each account to standard error and `nothing lost` to standard output. Exit status: 0; 1 where
 * something was lost; 3 where nothing moved for kStall seconds: then it says what each thread was at; 99 a CHECK.
 */
#include "case.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

enum { kStall = 30, kKinds = 9, kLocks = 4, kQueues = 4, kSlots = 8, kChannels = 8 };

extern char** environ;

/* ---- accounts ---- */

#define ACCOUNTS(A)                                                                                              \
  A(locks) A(cond_items) A(rwlocks) A(barrier_rounds) A(semaphores) A(channel_bytes) A(events) A(timer_expiries) \
  A(timerfd_expiries) A(signals_handled) A(signals_waited) A(signals_thread) A(signals_fd) A(cancels)             \
  A(async_cancels) A(threads) A(owner_deaths) A(children) A(shared) A(keys)
#define NAME(name) #name,
#define ENUM(name) name,
static const char* const names[] = {ACCOUNTS(NAME)};
enum { ACCOUNTS(ENUM) kAccounts };

static struct {
  uint64_t out, in;
} book[kAccounts];
static void out(int account, uint64_t n) { __atomic_add_fetch(&book[account].out, n, __ATOMIC_RELAXED); }
static void in(int account, uint64_t n) { __atomic_add_fetch(&book[account].in, n, __ATOMIC_RELAXED); }
static uint64_t get(const uint64_t* n) { return __atomic_load_n(n, __ATOMIC_SEQ_CST); }

static volatile int stop;
static uint64_t seed = 1;
static int nworkers = 48;
static __thread uint64_t rng = 1;
static __thread const char** doing; /* for the watchdog */
static const char* at[1024];
static uint64_t moved;

static uint64_t next(void) {
  rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
  return rng;
}
static int one_of(unsigned n) { return (int)((next() >> 20) % n); }
static void nap(long us) {
  struct timespec ts = {0, us * 1000};
  nanosleep(&ts, NULL);
}

/* ---- locks of each kind; what they guard is no atomic ---- */

struct guarded {
  pthread_mutex_t lock;
  uint64_t count;
};
struct shared {
  struct guarded guarded[2];
  uint64_t added;
};
static struct guarded guarded[kKinds][kLocks];
static struct shared* common;

static void make_lock(pthread_mutex_t* m, int kind) {
  pthread_mutexattr_t a;
  static const int types[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP};
  pthread_mutexattr_init(&a);
  pthread_mutexattr_settype(&a, types[kind < 4 ? kind : 0]);
  if (kind == 4 || kind == 6) pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
  if (kind == 5 || kind == 6) pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
  if (kind >= 7) pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
  if (kind == 8) pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
  CHECK(pthread_mutex_init(m, &a) == 0);
}
/* The owner may have died: booked where it is seen. */
static void take(pthread_mutex_t* m, int how) {
  int error;
  if (how == 0) {
    error = pthread_mutex_lock(m);
  } else if (how == 1) {
    while ((error = pthread_mutex_trylock(m)) == EBUSY) sched_yield();
  } else {
    do {
      struct timespec end = in_ms(CLOCK_REALTIME, 1 + how);
      error = pthread_mutex_timedlock(m, &end);
    } while (error == ETIMEDOUT);
  }
  if (error == EOWNERDEAD) {
    in(owner_deaths, 1);
    CHECK(pthread_mutex_consistent(m) == 0);
    error = 0;
  }
  if (error != 0) printf("lock: %s\n", strerror(error));
  CHECK(error == 0);
}
static void act_lock(void) {
  int kind = one_of(kKinds);
  struct guarded* g = &guarded[kind][one_of(kLocks)];
  take(&g->lock, one_of(4));
  if (kind == 1) take(&g->lock, one_of(2));
  uint64_t seen = g->count;
  if (one_of(8) == 0) sched_yield();
  if (one_of(64) == 0) nap(50);
  g->count = seen + 1;
  if (kind == 1) CHECK(pthread_mutex_unlock(&g->lock) == 0);
  CHECK(pthread_mutex_unlock(&g->lock) == 0);
  out(locks, 1);
}
static void* die_with_it(void* p) {
  struct guarded* g = p;
  take(&g->lock, 0);
  g->count++;
  out(locks, 1);
  out(owner_deaths, 1);
  return NULL;
}

/* ---- a bounded queue by condition variables ---- */

static struct {
  pthread_mutex_t lock;
  pthread_cond_t filled, emptied;
  uint64_t item[8];
  unsigned n;
} queue[kQueues];
static void act_produce(void) {
  int q = one_of(kQueues);
  uint64_t item = next() % 1000;
  pthread_mutex_lock(&queue[q].lock);
  struct timespec end = in_ms(CLOCK_REALTIME, 5);
  int error = 0;
  while (queue[q].n == 8 && error == 0) error = pthread_cond_timedwait(&queue[q].emptied, &queue[q].lock, &end);
  CHECK(error == 0 || error == ETIMEDOUT);
  if (queue[q].n < 8) {
    queue[q].item[queue[q].n++] = item;
    out(cond_items, item + 1);
  }
  pthread_cond_signal(&queue[q].filled);
  pthread_mutex_unlock(&queue[q].lock);
}
static void act_consume(void) {
  int q = one_of(kQueues);
  pthread_mutex_lock(&queue[q].lock);
  struct timespec end = in_ms(CLOCK_MONOTONIC, 5);
  int error = 0;
  while (queue[q].n == 0 && error == 0) error = pthread_cond_clockwait(&queue[q].filled, &queue[q].lock, CLOCK_MONOTONIC, &end);
  CHECK(error == 0 || error == ETIMEDOUT);
  if (queue[q].n > 0) in(cond_items, queue[q].item[--queue[q].n] + 1);
  if (one_of(4) == 0) {
    pthread_cond_broadcast(&queue[q].emptied);
  } else {
    pthread_cond_signal(&queue[q].emptied);
  }
  pthread_mutex_unlock(&queue[q].lock);
}

static pthread_rwlock_t rw[kSlots];
static uint64_t rw_a[kSlots], rw_b[kSlots];
static void act_rwlock(void) {
  int i = one_of(kSlots);
  if (one_of(4) == 0) {
    CHECK(pthread_rwlock_wrlock(&rw[i]) == 0);
    rw_a[i]++;
    if (one_of(4) == 0) sched_yield();
    rw_b[i]++;
    out(rwlocks, 1);
  } else {
    CHECK(pthread_rwlock_rdlock(&rw[i]) == 0);
    if (one_of(8) == 0) sched_yield();
    CHECK(rw_a[i] == rw_b[i]);
  }
  CHECK(pthread_rwlock_unlock(&rw[i]) == 0);
}

static sem_t sem[kSlots];
static void act_semaphore(void) {
  int i = one_of(kSlots);
  struct timespec end = in_ms(CLOCK_REALTIME, 3);
  if (sem_timedwait(&sem[i], &end) != 0) {
    CHECK(errno == ETIMEDOUT || errno == EINTR);
    return;
  }
  out(semaphores, 1);
  if (one_of(4) == 0) sched_yield();
  CHECK(sem_post(&sem[i]) == 0);
  in(semaphores, 1);
}

/* ---- threads that come and go ---- */

static uint64_t detached; /* that live */
static int create(pthread_t* t, void* (*fn)(void*), void* arg) {
  int error = pthread_create(t, NULL, fn, arg);
  CHECK(error == 0 || error == EAGAIN);
  if (error == 0) out(threads, 1);
  return error == 0;
}
static void* come_and_go(void* p) {
  if ((uintptr_t)p % 2) sched_yield();
  in(threads, 1);
  return p;
}
static void* come_and_go_detached(void* p) {
  CHECK(pthread_detach(pthread_self()) == 0);
  in(threads, 1);
  __atomic_sub_fetch(&detached, 1, __ATOMIC_SEQ_CST);
  return p;
}
static void act_thread(void) {
  pthread_t t[6];
  void* r;
  int n = 1 + one_of(6), made = 0;
  while (made < n && create(&t[made], come_and_go, (void*)(uintptr_t)made)) made++;
  for (int i = 0; i < made; i++) CHECK(pthread_join(t[i], &r) == 0 && r == (void*)(uintptr_t)i);
  __atomic_add_fetch(&detached, 1, __ATOMIC_SEQ_CST);
  if (!create(&t[0], come_and_go_detached, NULL)) __atomic_sub_fetch(&detached, 1, __ATOMIC_SEQ_CST);
}
static void act_owner_dies(void) {
  static const int kinds[] = {4, 6, 8};
  pthread_t t;
  int kind = kinds[one_of(3)];
  if (one_of(4) != 0 || !create(&t, die_with_it, &guarded[kind][one_of(kLocks)])) return;
  CHECK(pthread_join(t, NULL) == 0);
  in(threads, 1);
}
static pthread_barrier_t barrier;
static pthread_mutex_t barrier_lock = PTHREAD_MUTEX_INITIALIZER;
enum { kRounds = 20, kParty = 4 };
static void* meet(void* p) {
  for (int i = 0; i < kRounds; i++) {
    int r = pthread_barrier_wait(&barrier);
    CHECK(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD);
    if (r != 0) in(barrier_rounds, 1);
  }
  if (p != NULL) in(threads, 1);
  return NULL;
}
static void act_barrier(void) {
  pthread_t t[kParty];
  if (one_of(8) != 0 || pthread_mutex_trylock(&barrier_lock) != 0) return;
  CHECK(pthread_barrier_init(&barrier, NULL, kParty) == 0);
  int n = 1;
  while (n < kParty) n += create(&t[n], meet, &barrier);
  out(barrier_rounds, kRounds);
  meet(NULL);
  while (--n > 0) CHECK(pthread_join(t[n], NULL) == 0);
  CHECK(pthread_barrier_destroy(&barrier) == 0);
  pthread_mutex_unlock(&barrier_lock);
}

/* Threads that are cancelled run no handlers: glibc makes the cancel asynchronous while a call waits, so that it
 * could come amid a handler, before that has booked. */
static void only_cancels(void) {
  sigset_t all;
  sigfillset(&all);
  CHECK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
}
static void cleaned(void* account) { in((int)(intptr_t)account, 1); }
static sem_t never;
static int silent[2];
static void* wait_for_ever(void* p) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
  struct pollfd pfd = {silent[0], POLLIN, 0};
  char c;
  only_cancels();
  pthread_cleanup_push(cleaned, (void*)cancels);
  for (;;) {
    switch ((uintptr_t)p) {
      case 0: sem_wait(&never); break;
      case 1: nap(900000); break;
      case 2: CHECK(read(silent[0], &c, 1) < 0); break;
      case 3: poll(&pfd, 1, -1); break;
      case 4: pause(); break;
      case 5:
        pthread_mutex_lock(&lock);
        pthread_cleanup_push((void (*)(void*))pthread_mutex_unlock, &lock);
        for (;;) pthread_cond_wait(&cond, &lock);
        pthread_cleanup_pop(1);
        break;
      case 6: recv(silent[0], &c, 1, 0); break;
      default: pthread_testcancel(); sched_yield(); break;
    }
  }
  pthread_cleanup_pop(0);
  return NULL;
}
static void* compute_for_ever(void* p) {
  int old;
  only_cancels();
  pthread_cleanup_push(cleaned, (void*)async_cancels);
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
  for (volatile uint64_t n = 0;; n++) {
  }
  pthread_cleanup_pop(0);
  return NULL;
}
static void act_cancel(void) {
  pthread_t t;
  void* r;
  int async = one_of(4) == 0;
  if (!create(&t, async ? compute_for_ever : wait_for_ever, (void*)(uintptr_t)one_of(8))) return;
  if (one_of(2)) sched_yield();
  if (one_of(4) == 0) nap(100 + one_of(400));
  CHECK(pthread_cancel(t) == 0);
  int error = pthread_join(t, &r);
  if (error != 0 || r != PTHREAD_CANCELED) printf("a thread cancelled %s: %s, %p\n", async ? "at once" : "at a call", strerror(error), r);
  CHECK(error == 0 && r == PTHREAD_CANCELED);
  in(threads, 1);
  out(async ? async_cancels : cancels, 1);
}

/* ---- channels: bytes in, bytes out ---- */

static struct channel {
  int kind, from, to;
  pthread_t reader;
} channel[kChannels];
static const char* const kind_names[] = {"pipe", "stream", "packets", "datagrams"};
static void make_channel(struct channel* c, int kind) {
  int fd[2];
  c->kind = kind;
  if (kind == 0) {
    CHECK(pipe2(fd, O_CLOEXEC) == 0);
  } else {
    int type = kind == 1 ? SOCK_STREAM : kind == 2 ? SOCK_SEQPACKET : SOCK_DGRAM;
    CHECK(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fd) == 0);
  }
  c->from = fd[0];
  c->to = fd[1];
}
static ssize_t receive(struct channel* c, char* buffer, size_t size) {
  struct pollfd p = {c->from, POLLIN, 0};
  fd_set set;
  switch (one_of(4)) {
    case 0:
      if (poll(&p, 1, one_of(20)) <= 0) return -2;
      break;
    case 1:
      FD_ZERO(&set);
      FD_SET(c->from, &set);
      if (select(c->from + 1, &set, NULL, NULL, NULL) <= 0) return -2;
      break;
    case 2:
      if (c->kind != 0) return recv(c->from, buffer, size, 0);
      break;
    default: break;
  }
  return read(c->from, buffer, size);
}
static void* read_channel(void* p) {
  struct channel* c = p;
  char buffer[512];
  rng = seed * 77 + (uint64_t)(c - channel) + 1;
  doing = &at[900 + (c - channel)];
  for (;;) {
    *doing = kind_names[c->kind];
    ssize_t n = receive(c, buffer, sizeof buffer);
    if (n == -2) continue;
    if (n < 0) {
      CHECK(errno == EINTR);
      continue;
    }
    if (n == 0 || (n == 1 && buffer[0] == 'E')) break;
    for (ssize_t i = 0; i < n; i++) CHECK(buffer[i] == 'x');
    in(channel_bytes, (uint64_t)n);
    __atomic_add_fetch(&moved, 1, __ATOMIC_RELAXED);
    if (one_of(64) == 0) nap(300);
  }
  *doing = NULL;
  return NULL;
}
static void act_send(void) {
  char buffer[256];
  struct channel* c = &channel[one_of(kChannels)];
  size_t n = 2 + (size_t)one_of(sizeof buffer - 2);
  memset(buffer, 'x', n);
  ssize_t sent;
  do sent = c->kind != 0 && one_of(2) ? send(c->to, buffer, n, 0) : write(c->to, buffer, n);
  while (sent < 0 && errno == EINTR);
  CHECK(sent > 0);
  out(channel_bytes, (uint64_t)sent);
}

/* eventfds, all read by one thread through epoll. */
static int event[4], poller, last_event;
static void* read_events(void* p) {
  rng = seed * 79 + 1;
  doing = &at[910];
  for (int done = 0; !done;) {
    struct epoll_event e[4];
    *doing = "epoll";
    int n = epoll_wait(poller, e, 4, one_of(2) ? -1 : 10);
    CHECK(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; i++) {
      uint64_t value;
      if (read(e[i].data.fd, &value, sizeof value) != sizeof value) {
        CHECK(errno == EINTR || errno == EAGAIN);
      } else if (e[i].data.fd == last_event) {
        done = 1;
      } else {
        in(events, value);
      }
    }
  }
  *doing = NULL;
  return NULL;
}
static void act_event(void) {
  uint64_t value = 1 + next() % 100;
  ssize_t r;
  do r = write(event[one_of(4)], &value, sizeof value);
  while (r < 0 && errno == EINTR);
  CHECK(r == sizeof value);
  out(events, value);
}

/* ---- timers ---- */

static int64_t now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
static struct itimerspec every(int64_t first, int64_t period) {
  return (struct itimerspec){{period / 1000000000, period % 1000000000}, {first / 1000000000, first % 1000000000}};
}
enum { kPeriod = 3000000, kTimers = 3 };
static timer_t timer[kTimers];
static int64_t timer_begin, timerfd_begin;
static int timer_fd;
static uint64_t expired, timerfd_expired;
static void on_timer(int sig, siginfo_t* info, void* context) {
  __atomic_add_fetch(&expired, 1 + (uint64_t)info->si_overrun, __ATOMIC_RELAXED);
}
static void start_timers(void) {
  timer_begin = now_ns() + 20000000;
  for (int i = 0; i < kTimers; i++) {
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 4};
    CHECK(timer_create(CLOCK_MONOTONIC, &e, &timer[i]) == 0);
    struct itimerspec its = every(timer_begin, kPeriod * (i + 1));
    CHECK(timer_settime(timer[i], TIMER_ABSTIME, &its, NULL) == 0);
  }
}
static uint64_t due(int64_t begin, int64_t period, int64_t now) { return now < begin ? 0 : (uint64_t)((now - begin) / period) + 1; }
static uint64_t due_timers(int64_t now) {
  uint64_t n = 0;
  for (int i = 0; i < kTimers; i++) n += due(timer_begin, kPeriod * (i + 1), now);
  return n;
}
static uint64_t due_timerfd(int64_t now) { return due(timerfd_begin, kPeriod, now); }
/* They go on meanwhile: between two expiries the sides are equal, unless one is lost. */
static void settle_timers(int account, uint64_t* counted, uint64_t (*due_at)(int64_t)) {
  uint64_t expected = 0, taken = 0;
  for (int64_t end = now_ms() + 10000; now_ms() < end; nap(100)) {
    expected = due_at(now_ns());
    taken = get(counted);
    if (taken == expected) break;
  }
  out(account, expected);
  in(account, taken);
}
static void* read_timerfd(void* p) {
  doing = &at[911];
  uint64_t n;
  for (;;) {
    *doing = "timerfd";
    ssize_t r = read(timer_fd, &n, sizeof n);
    CHECK(r == sizeof n || errno == EINTR);
    if (r == sizeof n) __atomic_add_fetch(&timerfd_expired, n, __ATOMIC_RELAXED);
  }
  return NULL;
}

/* ---- signals ---- */

static pthread_t* crowd;
static int crowd_size;
enum { kLast = 1 << 20 };
static void on_process_signal(int sig, siginfo_t* info, void* context) { in(signals_handled, (uint64_t)info->si_value.sival_int); }
static void on_thread_signal(int sig, siginfo_t* info, void* context) { in(signals_thread, (uint64_t)info->si_value.sival_int); }
static void on_nuisance(int sig) {}
static sigset_t only(int sig) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, sig);
  return set;
}
static void* accept_signals(void* p) {
  sigset_t set = only(SIGRTMIN + 2);
  siginfo_t info;
  rng = seed * 83 + 1;
  doing = &at[912];
  for (;;) {
    struct timespec ts = {0, 5000000};
    *doing = "sigwait";
    int sig = one_of(2) ? sigwaitinfo(&set, &info) : sigtimedwait(&set, &info, &ts);
    if (sig < 0) {
      CHECK(errno == EINTR || errno == EAGAIN);
      continue;
    }
    if (info.si_value.sival_int == kLast) break;
    in(signals_waited, (uint64_t)info.si_value.sival_int);
  }
  *doing = NULL;
  return NULL;
}
static int signal_fd;
static void* read_signals(void* p) {
  struct signalfd_siginfo info;
  doing = &at[913];
  for (;;) {
    *doing = "signalfd";
    ssize_t r = read(signal_fd, &info, sizeof info);
    if (r != sizeof info) {
      CHECK(errno == EINTR);
      continue;
    }
    if (info.ssi_int == kLast) break;
    in(signals_fd, (uint64_t)info.ssi_int);
  }
  *doing = NULL;
  return NULL;
}
static void act_signal(void) {
  static const int accounts[] = {signals_handled, signals_waited, signals_thread, signals_fd};
  static const int numbers[] = {1, 2, 3, 5};
  union sigval value = {.sival_int = 1 + one_of(100)};
  int kind = one_of(4), r;
  if (kind == 2) {
    r = pthread_sigqueue(crowd[one_of((unsigned)crowd_size)], SIGRTMIN + numbers[kind], value);
  } else {
    r = sigqueue(getpid(), SIGRTMIN + numbers[kind], value) == 0 ? 0 : errno;
  }
  CHECK(r == 0 || r == EAGAIN);
  if (r == 0) out(accounts[kind], (uint64_t)value.sival_int);
  if (one_of(4) == 0) CHECK(pthread_kill(crowd[one_of((unsigned)crowd_size)], SIGUSR1) == 0);
}
static void act_masked(void) { /* a handler runs while its signal is let through, and only then */
  sigset_t set = only(SIGRTMIN + 3), old, wait;
  CHECK(pthread_sigmask(SIG_BLOCK, &set, &old) == 0);
  if (one_of(4) == 0) sched_yield();
  if (one_of(8) == 0) {
    union sigval value = {.sival_int = 1};
    if (pthread_sigqueue(pthread_self(), SIGRTMIN + 3, value) == 0) {
      out(signals_thread, 1);
      wait = old;
      sigdelset(&wait, SIGRTMIN + 3);
      CHECK(sigsuspend(&wait) == -1 && errno == EINTR);
    }
  }
  CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
}

/* ---- processes ---- */

static void* one_more(void* p) {
  take(&common->guarded[0].lock, 0);
  common->guarded[0].count++;
  CHECK(pthread_mutex_unlock(&common->guarded[0].lock) == 0);
  __atomic_add_fetch(&common->added, 1, __ATOMIC_RELAXED);
  return p;
}
static void child_main(void) {
  pthread_t t[3];
  doing = &at[1000];
  signal(SIGALRM, SIG_DFL);
  alarm(4 * kStall);
  for (intptr_t i = 0; i < 3; i++) {
    if (pthread_create(&t[i], NULL, common != NULL ? one_more : come_and_go, (void*)i) != 0) _exit(51);
  }
  for (intptr_t i = 0; i < 3; i++) {
    void* r;
    if (pthread_join(t[i], &r) != 0 || r != (void*)i) _exit(52);
  }
  _exit(50);
}
static void act_child(void) {
  char* argv[] = {"soak", "--child", NULL};
  int status = 0, expected = 50 << 8, kind = one_of(5);
  pid_t pid = -1;
  if (one_of(16) != 0) return;
  if (kind == 0) {
    pid = fork();
    if (pid == 0) child_main();
  } else if (kind == 1) {
    pid = fork();
    if (pid == 0) {
      execv("/proc/self/exe", argv);
      _exit(53);
    }
  } else if (kind == 2) {
    pid = vfork();
    if (pid == 0) {
      execv("/proc/self/exe", argv);
      _exit(53);
    }
  } else if (kind == 3) {
    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) != 0) pid = -1;
  } else {
    pid = fork();
    if (pid == 0) {
      for (;;) pause();
    }
    expected = SIGKILL;
    if (pid > 0) {
      if (one_of(2)) nap(one_of(3000));
      CHECK(kill(pid, SIGKILL) == 0);
    }
  }
  if (pid < 0) return; /* no memory, no process to be had */
  out(children, 1);
  while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR);
  if (status != expected) printf("a child of kind %d ended with status 0x%x\n", kind, (unsigned)status);
  CHECK(status == expected);
  in(children, 1);
}

/* ---- and the rest ---- */

static pthread_key_t key;
static void destroy(void* p) { in(keys, (uint64_t)(uintptr_t)p); }
static void* use_key(void* p) {
  CHECK(pthread_setspecific(key, p) == 0);
  out(keys, (uint64_t)(uintptr_t)p);
  if ((uintptr_t)p % 2) sched_yield();
  CHECK(pthread_getspecific(key) == p);
  if ((uintptr_t)p % 3 == 0) pthread_exit(p);
  return p;
}
static void act_key(void) {
  pthread_t t;
  if (!create(&t, use_key, (void*)(uintptr_t)(1 + one_of(100)))) return;
  CHECK(pthread_join(t, NULL) == 0);
  in(threads, 1);
}
static void act_memory(void) {
  size_t size = 4096 * (size_t)(1 + one_of(32));
  char* p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED);
  p[0] = p[size - 1] = 1;
  CHECK(mprotect(p, size, PROT_READ) == 0 && p[size - 1] == 1 && munmap(p, size) == 0);
}
static int file;
static void act_file(void) {
  uint64_t value[64], back[64];
  off_t own = (off_t)(doing - at) * (off_t)sizeof value;
  for (int i = 0; i < 64; i++) value[i] = next();
  CHECK(pwrite(file, value, sizeof value, own) == sizeof value);
  CHECK(pread(file, back, sizeof back, own) == sizeof back && memcmp(value, back, sizeof value) == 0);
}
/* What no signal ends. */
static void act_name(void) {
  char a[64], b[80], text[8];
  struct stat st;
  if (one_of(8) != 0) return;
  snprintf(a, sizeof a, "/tmp/soak.%d.%d", (int)getpid(), (int)(doing - at));
  snprintf(b, sizeof b, "%s.b", a);
  CHECK(mkdir(a, 0700) == 0 && rename(a, b) == 0 && rmdir(b) == 0);
  int fd = open(a, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && write(fd, "text", 4) == 4 && ftruncate(fd, 100) == 0 && close(fd) == 0);
  CHECK(link(a, b) == 0 && stat(b, &st) == 0 && st.st_nlink == 2 && st.st_size == 100 && unlink(a) == 0);
  CHECK((fd = open(b, O_RDONLY | O_CLOEXEC)) >= 0 && unlink(b) == 0 && read(fd, text, 8) == 8 && close(fd) == 0);
}
static void act_load(void) {
  if (one_of(8) != 0) return;
  void* library = dlopen("libm.so.6", RTLD_NOW);
  if (library == NULL) printf("%s\n", dlerror());
  CHECK(library != NULL);
  double (*function)(double) = (double (*)(double))(intptr_t)dlsym(library, "fabs");
  CHECK(function != NULL && function(-3) == 3 && dlclose(library) == 0);
}
static void act_sleep(void) { nap(one_of(2000)); }
static void act_yield(void) { sched_yield(); }
static void act_compute(void) {
  volatile uint64_t x = 0;
  for (uint64_t n = next() % 100000; n > 0; n--) x += n;
}

#define ACTS(A)                                                                                                    \
  A(lock) A(produce) A(consume) A(rwlock) A(semaphore) A(thread) A(owner_dies) A(barrier) A(cancel) A(send) A(event) \
  A(signal) A(masked) A(child) A(key) A(memory) A(file) A(name) A(load) A(sleep) A(yield) A(compute)
#define ACT(name) {#name, act_##name},
static const struct {
  const char* name;
  void (*run)(void);
} acts[] = {ACTS(ACT)};
enum { kActs = sizeof acts / sizeof acts[0] };

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t all_done;
static void* worker(void* p) {
  pthread_mutex_lock(&gate);
  pthread_mutex_unlock(&gate);
  int self = (int)(intptr_t)p;
  rng = (seed * 1000003 + (uint64_t)self) * 0x9e3779b97f4a7c15ull | 1;
  for (int i = 0; i < 8; i++) next();
  doing = &at[self];
  while (!stop) {
    int i = one_of(kActs);
    *doing = acts[i].name;
    acts[i].run();
    __atomic_add_fetch(&moved, 1, __ATOMIC_RELAXED);
  }
  *doing = "the end";
  pthread_barrier_wait(&all_done); /* nobody goes to whom another may still send a signal */
  *doing = NULL;
  return NULL;
}

static void stalled(const char* when) {
  printf("stalled %s\n", when);
  for (int i = 0; i < 1024; i++) {
    if (at[i] != NULL) printf("  thread %d: %s\n", i, at[i]);
  }
  for (int i = 0; i < kAccounts; i++) printf("  %s: %lu out, %lu in\n", names[i], (unsigned long)book[i].out, (unsigned long)book[i].in);
  fflush(stdout);
  _exit(3);
}
static void* watch(void* p) {
  uint64_t before = 0;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  for (int64_t since = now_ms();; sleep_ms(200)) {
    uint64_t now = get(&moved);
    if (now != before) since = now_ms();
    before = now;
    if (now_ms() - since > kStall * 1000) stalled(stop ? "at the end" : "amid it");
  }
  return NULL;
}
/* What is under way arrives. */
static void settle(int account) {
  for (int64_t end = now_ms() + 10000; now_ms() < end && get(&book[account].in) < get(&book[account].out);) nap(200);
}

static pthread_t helper(void* (*fn)(void*), void* arg) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, fn, arg) == 0);
  return t;
}
static void prepare(void) {
  struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_RESTART};
  sigset_t set = only(SIGRTMIN + 2);
  sigaddset(&set, SIGRTMIN + 5);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  sa.sa_sigaction = on_process_signal;
  sigaction(SIGRTMIN + 1, &sa, NULL);
  sa.sa_sigaction = on_thread_signal;
  sigaction(SIGRTMIN + 3, &sa, NULL);
  sa.sa_sigaction = on_timer;
  sigaction(SIGRTMIN + 4, &sa, NULL);
  struct sigaction nuisance = {.sa_handler = on_nuisance}; /* calls end with EINTR */
  sigaction(SIGUSR1, &nuisance, NULL);
  common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(common != MAP_FAILED);
  make_lock(&common->guarded[0].lock, 7);
  for (int k = 0; k < kKinds; k++) {
    for (int i = 0; i < kLocks; i++) make_lock(&guarded[k][i].lock, k);
  }
  for (int i = 0; i < kQueues; i++) {
    pthread_mutex_init(&queue[i].lock, NULL);
    pthread_cond_init(&queue[i].filled, NULL);
    pthread_cond_init(&queue[i].emptied, NULL);
  }
  for (int i = 0; i < kSlots; i++) {
    sem_init(&sem[i], 0, 2);
    pthread_rwlock_init(&rw[i], NULL);
  }
  sem_init(&never, 0, 0);
  CHECK(pthread_key_create(&key, destroy) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, silent) == 0);
  char path[] = "/tmp/soak.XXXXXX";
  CHECK((file = mkostemp(path, O_CLOEXEC)) >= 0 && unlink(path) == 0);
  CHECK((poller = epoll_create1(EPOLL_CLOEXEC)) >= 0);
  for (int i = 0; i < 5; i++) {
    int fd = eventfd(0, EFD_CLOEXEC | (i % 2 ? EFD_NONBLOCK : 0));
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    CHECK(fd >= 0 && epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) == 0);
    *(i < 4 ? &event[i] : &last_event) = fd;
  }
  set = only(SIGRTMIN + 5);
  CHECK((signal_fd = signalfd(-1, &set, SFD_CLOEXEC)) >= 0);
  CHECK((timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) >= 0);
}

int main(int argc, char** argv) {
  static const struct option options[] = {{"seconds", required_argument, NULL, 's'}, {"seed", required_argument, NULL, 'r'},
                                          {"threads", required_argument, NULL, 't'}, {"child", no_argument, NULL, 'c'}, {0}};
  double seconds = 10;
  for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    switch (c) {
      case 's': seconds = atof(optarg); break;
      case 'r': seed = strtoull(optarg, NULL, 0); break;
      case 't': nworkers = atoi(optarg); break;
      case 'c': child_main(); break;
      default: return 2;
    }
  }
  CHECK(nworkers > 0 && nworkers < 900);
  prepare();
  crowd = calloc((size_t)nworkers, sizeof *crowd);
  pthread_t watcher = helper(watch, NULL), waiter = helper(accept_signals, NULL), reader = helper(read_signals, NULL),
            events_reader = helper(read_events, NULL);
  pthread_detach(watcher);
  for (int i = 0; i < kChannels; i++) {
    make_channel(&channel[i], i % 4);
    channel[i].reader = helper(read_channel, &channel[i]);
  }
  timerfd_begin = now_ns() + 20000000;
  struct itimerspec its = every(timerfd_begin, kPeriod);
  CHECK(timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &its, NULL) == 0);
  pthread_detach(helper(read_timerfd, NULL));
  start_timers();
  /* All are there before one of them sends another one a signal. */
  CHECK(pthread_barrier_init(&all_done, NULL, (unsigned)nworkers) == 0);
  pthread_mutex_lock(&gate);
  for (int i = 0; i < nworkers; i++) crowd[i] = helper(worker, (void*)(intptr_t)i);
  crowd_size = nworkers;
  pthread_mutex_unlock(&gate);

  for (int64_t end = now_ms() + (int64_t)(seconds * 1000); now_ms() < end;) sleep_ms(20);
  stop = 1;
  for (int i = 0; i < nworkers; i++) CHECK(pthread_join(crowd[i], NULL) == 0);
  while (get(&detached) != 0) nap(200);

  for (int i = 0; i < kChannels; i++) {
    if (channel[i].kind == 3) CHECK(send(channel[i].to, "E", 1, 0) == 1);
    CHECK(close(channel[i].to) == 0 && pthread_join(channel[i].reader, NULL) == 0);
  }
  for (int i = 0; i < 4; i++) {
    while (poll(&(struct pollfd){event[i], POLLIN, 0}, 1, 0) == 1) nap(200);
  }
  uint64_t one = 1;
  CHECK(write(last_event, &one, sizeof one) == sizeof one && pthread_join(events_reader, NULL) == 0);
  settle(signals_handled);
  union sigval last = {.sival_int = kLast};
  CHECK(sigqueue(getpid(), SIGRTMIN + 2, last) == 0 && pthread_join(waiter, NULL) == 0);
  CHECK(sigqueue(getpid(), SIGRTMIN + 5, last) == 0 && pthread_join(reader, NULL) == 0);
  settle_timers(timer_expiries, &expired, due_timers);
  settle_timers(timerfd_expiries, &timerfd_expired, due_timerfd);
  for (int i = 0; i < kTimers; i++) CHECK(timer_delete(timer[i]) == 0);

  for (int k = 0; k < kKinds; k++) {
    for (int i = 0; i < kLocks; i++) {
      take(&guarded[k][i].lock, 0);
      in(locks, guarded[k][i].count);
      CHECK(pthread_mutex_unlock(&guarded[k][i].lock) == 0);
    }
  }
  for (int i = 0; i < kQueues; i++) {
    while (queue[i].n > 0) in(cond_items, queue[i].item[--queue[i].n] + 1);
  }
  for (int i = 0; i < kSlots; i++) {
    int value;
    CHECK(sem_getvalue(&sem[i], &value) == 0 && value == 2 && rw_a[i] == rw_b[i]);
    in(rwlocks, rw_b[i]);
  }
  out(shared, get(&common->added));
  in(shared, common->guarded[0].count);
  int lost = 0;
  fprintf(stderr, "seed %lu, %d threads, %lu acts:", (unsigned long)seed, nworkers, (unsigned long)moved);
  for (int i = 0; i < kAccounts; i++) {
    fprintf(stderr, " %s %lu", names[i], (unsigned long)book[i].out);
    if (book[i].out != book[i].in) {
      printf("LOST: %s: %lu out, %lu in\n", names[i], (unsigned long)book[i].out, (unsigned long)book[i].in);
      lost = 1;
    }
  }
  fprintf(stderr, "\n");
  if (!lost) puts("nothing lost");
  return lost;
}
