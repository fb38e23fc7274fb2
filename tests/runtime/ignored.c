/* Signals that the program ignores: while they are blocked they wait like any other, ignoring discards what waits, and
 * new programs inherit it, whatever libcr tells the kernel meanwhile. */
#include "case.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static volatile int runs;
static void count(int sig) {
  (void)sig;
  runs++;
}
static sigset_t only(int sig) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, sig);
  return set;
}
static void mask(int how, int sig) {
  sigset_t set = only(sig);
  CHECK(pthread_sigmask(how, &set, NULL) == 0);
}
static void by_another(int sig) {
  int status;
  pid_t pid = fork();
  if (pid == 0) _exit(kill(getppid(), sig) == 0 ? 0 : 1);
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}
static void by_self(int sig) { CHECK(kill(getpid(), sig) == 0); }
static void by_thread(int sig) { CHECK(pthread_kill(pthread_self(), sig) == 0); }
static void (*const senders[])(int) = {by_self, by_thread, by_another};
enum { SENDERS = 3 };

/* What another process sends is there when kill has returned natively; under libcr a kernel thread may still be at it. */
static void expect_pending(int sig, int expected) {
  for (int64_t end = now_ms() + 10000;;) {
    sigset_t set;
    CHECK(sigpending(&set) == 0);
    if (sigismember(&set, sig) == expected) return;
    CHECK(now_ms() < end);
    sleep_ms(1);
  }
}
static void* nap(void* p) {
  for (;;) sleep_ms(100);
  return p;
}
static void* nothing(void* p) { return p; }
static void make_thread(void* (*fn)(void*), int wait) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, fn, NULL) == 0);
  CHECK((wait ? pthread_join(t, NULL) : pthread_detach(t)) == 0);
}

static const int kinds[] = {SIGUSR1, SIGHUP, SIGPIPE, SIGURG, SIGWINCH, 40};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void wait_while_blocked(void) {
  const struct timespec most = {10, 0}, none = {0, 0};
  for (int k = 0; k < KINDS; k++) {
    int sig = kinds[k];
    sigset_t set = only(sig);
    CHECK(signal(sig, SIG_IGN) != SIG_ERR);
    for (int way = 0; way < SENDERS; way++) {
      senders[way](sig); /* dropped */
      mask(SIG_BLOCK, sig);
      CHECK(sigtimedwait(&set, NULL, &none) == -1 && errno == EAGAIN);
      senders[way](sig);
      printf("%d ", sigtimedwait(&set, NULL, &most) == sig);
      senders[way](sig);
      expect_pending(sig, 1);
      CHECK(signal(sig, count) == SIG_IGN);
      mask(SIG_UNBLOCK, sig);
      printf("%d ", runs);
      CHECK(signal(sig, SIG_IGN) == count);
      mask(SIG_BLOCK, sig);
      senders[way](sig);
      expect_pending(sig, 1);
      mask(SIG_UNBLOCK, sig); /* ignored after all */
      CHECK(signal(sig, count) == SIG_IGN);
      printf("%d\n", runs);
      CHECK(signal(sig, SIG_IGN) == count);
      runs = 0;
    }
  }
}
static void blocked_ones_wait(void) { wait_while_blocked(); }
static void blocked_ones_of_a_threaded_program_wait(void) {
  make_thread(nothing, 1);
  wait_while_blocked();
}

static void discards(void) {
  for (int k = 0; k < KINDS; k++) {
    int sig = kinds[k];
    for (int way = 0; way < SENDERS; way++) {
      CHECK(signal(sig, count) != SIG_ERR);
      mask(SIG_BLOCK, sig);
      senders[way](sig);
      expect_pending(sig, 1);
      CHECK(signal(sig, SIG_IGN) == count);
      expect_pending(sig, 0);
      CHECK(signal(sig, count) == SIG_IGN);
      mask(SIG_UNBLOCK, sig);
      printf("%d ", runs);
      mask(SIG_BLOCK, sig);
      senders[way](sig);
      expect_pending(sig, 1);
      int by_default = sig == SIGURG || sig == SIGWINCH;
      CHECK(signal(sig, SIG_DFL) == count);
      expect_pending(sig, !by_default);
      CHECK(signal(sig, count) == SIG_DFL);
      mask(SIG_UNBLOCK, sig);
      printf("%d\n", runs);
      runs = 0;
    }
  }
}
static void ignoring_discards_what_waits(void) { discards(); }
static void ignoring_discards_what_waits_beside_a_thread(void) {
  make_thread(nap, 0);
  mask(SIG_BLOCK, SIGCHLD);
  for (int k = 0; k < KINDS; k++) {
    /* Who naps must not take them. */
    mask(SIG_BLOCK, kinds[k]);
  }
  make_thread(nothing, 1);
  pid_t pid = fork();
  if (pid == 0) {
    discards();
    fflush(stdout);
    _exit(0);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static volatile int blocked, done;
static void* block_and_wait(void* p) {
  mask(SIG_BLOCK, SIGUSR2);
  CHECK(pthread_kill(pthread_self(), SIGUSR2) == 0);
  blocked = 1;
  while (!done) sleep_ms(1);
  mask(SIG_UNBLOCK, SIGUSR2);
  return p;
}
static void ignoring_discards_what_waits_for_another_thread(void) {
  CHECK(signal(SIGUSR2, count) != SIG_ERR);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, block_and_wait, NULL) == 0);
  while (!blocked) sleep_ms(1);
  CHECK(signal(SIGUSR2, SIG_IGN) == count && signal(SIGUSR2, count) == SIG_IGN);
  done = 1;
  CHECK(pthread_join(t, NULL) == 0);
  printf("runs %d\n", runs);
}

/* A sleeper does not hear of what is ignored, though it was blocked some time. */
static void* poke(void* p) {
  for (int i = 0; i < 20; i++) {
    sleep_ms(10);
    kill(getppid(), SIGUSR1);
  }
  return p;
}
static void nobody_is_interrupted(void) {
  CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
  mask(SIG_BLOCK, SIGUSR1);
  mask(SIG_UNBLOCK, SIGUSR1);
  int ends[2], events = epoll_create1(0);
  CHECK(pipe(ends) == 0 && events >= 0);
  struct epoll_event e = {.events = EPOLLIN};
  CHECK(epoll_ctl(events, EPOLL_CTL_ADD, ends[0], &e) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    poke(NULL);
    CHECK(write(ends[1], "x", 1) == 1);
    _exit(0);
  }
  char c;
  struct timespec nap_time = {0, 40 * 1000 * 1000};
  CHECK(nanosleep(&nap_time, NULL) == 0);
  struct pollfd p = {ends[0], POLLIN, 0};
  CHECK(poll(&p, 1, 40) == 0 && poll(&p, 1, 1) == 0);
  CHECK(epoll_wait(events, &e, 1, 40) == 0);
  CHECK(read(ends[0], &c, 1) == 1);
  CHECK(waitpid(pid, NULL, 0) == pid);
  puts("undisturbed");
}
static void sleepers_are_not_interrupted(void) { nobody_is_interrupted(); }
static void sleepers_are_not_interrupted_beside_a_thread(void) {
  make_thread(nap, 0);
  nobody_is_interrupted();
}

/* What the kernel must know: nobody waits for the children of who ignores SIGCHLD. */
static void children_of_who_ignores_them_are_gone(void) {
  CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
  mask(SIG_BLOCK, SIGCHLD);
  const sigset_t set = only(SIGCHLD);
  const struct timespec none = {0, 0};
  CHECK(sigtimedwait(&set, NULL, &none) == -1);
  pid_t pid = fork();
  if (pid == 0) _exit(3);
  CHECK(waitpid(pid, NULL, 0) == -1 && errno == ECHILD);
  puts("gone");
}

/* ---- what new programs inherit ---- */
static void print_ignored(void) {
  for (int sig = 1; sig < 65; sig++) {
    struct sigaction sa;
    if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN) printf("%d ", sig);
  }
  sigset_t set;
  sigpending(&set);
  for (int sig = 1; sig < 65; sig++) {
    if (sigismember(&set, sig)) printf("pending %d ", sig);
  }
  puts("");
}
static char* const argv_print[] = {"ignored", "print_ignored", NULL};
extern char** environ;
static void ignore_some(void) {
  for (int k = 0; k < KINDS; k++) {
    mask(SIG_BLOCK, kinds[k]);
    CHECK(signal(kinds[k], k % 2 == 0 ? SIG_IGN : count) != SIG_ERR);
    if (k != 0) mask(SIG_UNBLOCK, kinds[k]);
  }
}
static void wait_for(pid_t pid) {
  int status;
  CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
  printf("status %d\n", status);
  fflush(stdout);
}
static void new_programs_inherit(void) {
  pid_t pid;
  CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv_print, environ) == 0);
  wait_for(pid);
  posix_spawnattr_t attr;
  sigset_t set = only(SIGUSR1);
  CHECK(posix_spawnattr_init(&attr) == 0 && posix_spawnattr_setsigdefault(&attr, &set) == 0);
  CHECK(posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF) == 0);
  CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, &attr, argv_print, environ) == 0);
  wait_for(pid);
  pid = vfork();
  if (pid == 0) {
    execv("/proc/self/exe", argv_print);
    _exit(9);
  }
  wait_for(pid);
  pid = fork();
  if (pid == 0) {
    by_self(SIGUSR1);
    execv("/nonexistent", argv_print);
    expect_pending(SIGUSR1, 1);
    execv("/proc/self/exe", argv_print);
    _exit(9);
  }
  wait_for(pid);
}
static void a_failed_exec_changes_nothing(void) {
  ignore_some();
  execv("/nonexistent", argv_print);
  const sigset_t set = only(SIGUSR1);
  const struct timespec most = {10, 0};
  by_another(SIGUSR1);
  printf("%d\n", sigtimedwait(&set, NULL, &most) == SIGUSR1);
}
static void ignored_ones_are_inherited(void) {
  ignore_some();
  new_programs_inherit();
}
static void ignored_ones_are_inherited_beside_a_thread(void) {
  ignore_some();
  make_thread(nap, 0);
  new_programs_inherit();
}

/* A vfork's child sees its parent's dispositions, and changes its own. */
static void in_a_vforks_child(void) {
  ignore_some();
  static volatile int seen[KINDS];
  static volatile int after;
  pid_t pid = vfork();
  if (pid == 0) {
    struct sigaction sa;
    for (int k = 0; k < KINDS; k++) {
      sigaction(kinds[k], NULL, &sa);
      seen[k] = sa.sa_handler == SIG_IGN ? 1 : sa.sa_handler == count ? 2 : 3;
    }
    signal(SIGHUP, SIG_IGN);
    after = signal(SIGHUP, SIG_DFL) == SIG_IGN;
    kill(getpid(), SIGHUP);
    _exit(0);
  }
  wait_for(pid);
  for (int k = 0; k < KINDS; k++) printf("%d ", seen[k]);
  printf("%d\n", after);
  by_self(SIGHUP);
  printf("runs %d\n", runs);
}

static const struct test_case cases[] = {
    CASE(blocked_ones_wait), CASE(blocked_ones_of_a_threaded_program_wait), CASE(ignoring_discards_what_waits),
    CASE(ignoring_discards_what_waits_beside_a_thread), CASE(ignoring_discards_what_waits_for_another_thread),
    CASE(sleepers_are_not_interrupted), CASE(sleepers_are_not_interrupted_beside_a_thread),
    CASE(children_of_who_ignores_them_are_gone), CASE(print_ignored), CASE(a_failed_exec_changes_nothing),
    CASE(ignored_ones_are_inherited), CASE(ignored_ones_are_inherited_beside_a_thread), CASE(in_a_vforks_child),
};
CASE_MAIN(cases)
