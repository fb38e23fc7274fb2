/* Signals that the program ignores: while they are blocked they wait like any other, ignoring discards what waits, and
 * new programs inherit it, whatever libcr tells the kernel meanwhile. */
#include "sending.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static volatile int runs;
static void count(int sig) {
  (void)sig;
  runs++;
}
static void mask(int how, int sig) {
  sigset_t set = only(sig);
  CHECK(pthread_sigmask(how, &set, NULL) == 0);
}
static void (*const senders[])(int) = {by_kill, by_thread, by_another};
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

static const int kinds[] = {SIGUSR1, SIGHUP, SIGTERM, SIGURG, SIGWINCH, 40};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void wait_while_blocked(void) {
  const struct timespec most = {10, 0}, none = {0, 0};
  for (int k = 0; k < KINDS; k++) {
    int sig = kinds[k];
    sigset_t set = only(sig);
    CHECK(signal(sig, SIG_IGN) != SIG_ERR);
    for (int way = 0; way < SENDERS; way++) {
      senders[way](sig); /* dropped */
      if (way == 2) sleep_ms(3);
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
  for (int k = 0; k < KINDS; k++) mask(SIG_BLOCK, kinds[k]); /* who naps must not take them */
  make_thread(nap, 0);
  discards();
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
static void nobody_is_interrupted(void) {
  CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
  mask(SIG_BLOCK, SIGUSR1);
  mask(SIG_UNBLOCK, SIGUSR1);
  int ends[2], back[2], events = epoll_create1(0);
  CHECK(pipe(ends) == 0 && pipe2(back, O_NONBLOCK) == 0 && events >= 0);
  struct epoll_event e = {.events = EPOLLIN};
  CHECK(epoll_ctl(events, EPOLL_CTL_ADD, ends[0], &e) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    char c;
    for (int more = 10; more > 0; more -= read(back[0], &c, 1) == 1 || more < 10 ? 1 : 0) {
      sleep_ms(10);
      kill(getppid(), SIGUSR1);
    }
    CHECK(write(ends[1], "x", 1) == 1);
    _exit(0);
  }
  char c;
  struct timespec nap_time = {0, 40 * 1000 * 1000};
  CHECK(nanosleep(&nap_time, NULL) == 0);
  struct pollfd p = {ends[0], POLLIN, 0};
  CHECK(poll(&p, 1, 40) == 0 && poll(&p, 1, 1) == 0);
  CHECK(epoll_wait(events, &e, 1, 40) == 0);
  CHECK(write(back[1], "x", 1) == 1);
  CHECK(read(ends[0], &c, 1) == 1);
  CHECK(waitpid(pid, NULL, 0) == pid);
  puts("undisturbed");
}
static void sleepers_are_not_interrupted(void) { nobody_is_interrupted(); }
static void sleepers_are_not_interrupted_beside_a_thread(void) {
  make_thread(nap, 0);
  nobody_is_interrupted();
}

/* Natively a write that has begun goes on: nothing is to be delivered. */
static void write_all_of_it(void) {
  static char bytes[1 << 20];
  int ends[2];
  CHECK(pipe(ends) == 0);
  CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
  CHECK(system("exit 0") == 0); /* blocks SIGCHLD for a while */
  mask(SIG_BLOCK, SIGUSR1);
  mask(SIG_UNBLOCK, SIGUSR1);
  pid_t pid = fork();
  if (pid == 0) {
    static char got[4096];
    for (size_t sum = 0; sum < sizeof bytes;) {
      kill(getppid(), SIGUSR1);
      kill(getppid(), SIGCHLD);
      ssize_t n = read(ends[0], got, sizeof got);
      CHECK(n > 0);
      sum += (size_t)n;
      usleep(200);
    }
    _exit(0);
  }
  printf("%zd\n", write(ends[1], bytes, sizeof bytes));
  CHECK(waitpid(pid, NULL, 0) == pid);
}

static void a_long_write_is_not_cut_short(void) { write_all_of_it(); }
static void a_long_write_is_not_cut_short_beside_a_thread(void) {
  make_thread(nap, 0);
  write_all_of_it();
}

/* A broken pipe's signal is the writer's own, blocked or not: nobody else who waits for it hears of it. */
static int pipe_ends[2];
static void* break_pipe(void* p) {
  CHECK(write(pipe_ends[1], "x", 1) == -1 && errno == EPIPE);
  sigset_t set = only(SIGPIPE);
  const struct timespec none = {0, 0};
  printf("its own: %d\n", sigtimedwait(&set, NULL, &none) == SIGPIPE);
  return p;
}
static void a_broken_pipe_is_its_writers(void) {
  const sigset_t set = only(SIGPIPE);
  const struct timespec soon = {0, 50 * 1000 * 1000};
  CHECK(pipe(pipe_ends) == 0 && close(pipe_ends[0]) == 0);
  for (int i = 0; i < 2; i++) {
    CHECK(signal(SIGPIPE, i == 0 ? SIG_DFL : count) != SIG_ERR);
    mask(SIG_BLOCK, SIGPIPE);
    for (int k = 0; k < 3; k++) {
      pthread_t t;
      CHECK(pthread_create(&t, NULL, break_pipe, NULL) == 0);
      printf("ours: %d\n", sigtimedwait(&set, NULL, &soon));
      CHECK(pthread_join(t, NULL) == 0);
    }
  }
  CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
  for (int k = 0; k < 3; k++) CHECK(write(pipe_ends[1], "x", 1) == -1 && errno == EPIPE);
}

/* libcr's own handler tells bad pointers, whatever the program's is. */
static void bad_pointers_are_told_whatever_faults_do(void) {
  static void (*const to[])(int) = {SIG_IGN, SIG_DFL, count};
  make_thread(nap, 0);
  for (int i = 0; i < 3; i++) {
    CHECK(signal(SIGSEGV, to[i]) != SIG_ERR && signal(SIGBUS, to[i]) != SIG_ERR);
    struct timespec* bad = (struct timespec*)16;
    CHECK(syscall(SYS_nanosleep, bad, NULL) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, (void*)16, NULL, 8) == -1 && errno == EFAULT);
    struct sigaction sa;
    CHECK(sigaction(SIGSEGV, NULL, &sa) == 0 && sa.sa_handler == to[i]);
    pid_t pid = fork();
    if (pid == 0) {
      if (i < 2) *(volatile int*)bad = 0;
      _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("%x\n", (unsigned)status & 0x7f);
  }
}

/* Two wait under a mask that lets in what one of them takes: the other's mask is its own again, too. */
static volatile int masks_kept;
static void* wait_under_mask(void* events) {
  const sigset_t open = only(SIGUSR2);
  sigset_t now;
  struct epoll_event e;
  int r = epoll_pwait(*(int*)events, &e, 1, 60, &open);
  CHECK(r == 0 || (r == -1 && errno == EINTR));
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0);
  __atomic_add_fetch(&masks_kept, sigismember(&now, SIGUSR1) == 1, __ATOMIC_SEQ_CST);
  return NULL;
}
static void a_wait_gives_its_mask_back_whoever_took_the_signal(void) {
  int events = epoll_create1(0);
  for (int i = 0; i < 20; i++) {
    CHECK(signal(SIGUSR1, i % 2 == 0 ? SIG_IGN : count) != SIG_ERR);
    mask(SIG_BLOCK, SIGUSR1);
    pthread_t t[2];
    for (int k = 0; k < 2; k++) CHECK(pthread_create(&t[k], NULL, wait_under_mask, &events) == 0);
    sleep_ms(5);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    for (int k = 0; k < 2; k++) CHECK(pthread_join(t[k], NULL) == 0);
  }
  printf("%d masks kept\n", masks_kept);
}

/* Who waits for a signal hears of it, though another one has it ignored meanwhile. */
static void* have_it_ignored(void* p) {
  sleep_ms(20);
  CHECK(signal(SIGUSR2, SIG_IGN) != SIG_ERR);
  by_another(SIGUSR2);
  return p;
}
static void who_waits_hears_of_what_is_ignored_meanwhile(void) {
  pthread_t t;
  sigset_t set = only(SIGUSR2);
  const struct timespec most = {10, 0};
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  CHECK(pthread_create(&t, NULL, have_it_ignored, NULL) == 0);
  printf("%d\n", sigtimedwait(&set, NULL, &most) == SIGUSR2);
  CHECK(pthread_join(t, NULL) == 0);
}

/* What waits for a signalfd is there when the program has threads. */
static void a_signalfd_keeps_what_waits_when_threads_begin(void) {
  static const int waits[] = {SIGCHLD, SIGUSR1, SIGURG, SIGTERM};
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < 4; i++) sigaddset(&set, waits[i]);
  CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  int fd = signalfd(-1, &set, SFD_NONBLOCK);
  CHECK(fd >= 0);
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  CHECK(waitpid(pid, NULL, 0) == pid);
  by_another(SIGUSR1);
  by_kill(SIGURG);
  by_thread(SIGTERM);
  make_thread(nap, 0);
  struct pollfd p = {fd, POLLIN, 0};
  CHECK(poll(&p, 1, 10000) == 1);
  struct signalfd_siginfo info;
  int seen[65] = {0};
  for (int64_t end = now_ms() + 10000; seen[SIGCHLD] + seen[SIGUSR1] + seen[SIGURG] + seen[SIGTERM] < 4 && now_ms() < end;) {
    if (read(fd, &info, sizeof info) == (ssize_t)sizeof info) seen[info.ssi_signo] = 1;
  }
  for (int i = 0; i < 4; i++) printf("%d ", seen[waits[i]]);
  puts("");
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

/* What libcr does when it meets a library for the first time is not the program's child. */
static void load_a_library(void) {
  CHECK(signal(SIGCHLD, count) != SIG_ERR);
  CHECK(dlopen("libm.so.6", RTLD_NOW) != NULL);
  printf("runs %d\n", runs);
}
/* Runs a case of this program that finds no library known. */
static pid_t start_afresh(char* dir, const char* name) {
  CHECK(mkdtemp(dir) != NULL);
  pid_t pid = fork();
  if (pid != 0) return pid;
  CHECK(setenv("LIBCR_CACHE", dir, 1) == 0 && dup2(1, 2) == 2); /* it has nothing to say */
  execl("/proc/self/exe", "ignored", name, NULL);
  _exit(9);
}
static void remove_cache(const char* dir) {
  char command[64];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  CHECK(system(command) == 0);
}
static void a_library_that_is_loaded_sends_no_signal(void) {
  char dir[] = "/tmp/ignored.XXXXXX";
  int status;
  pid_t pid = start_afresh(dir, "load_a_library");
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  remove_cache(dir);
}

/* Nor does libcr need the program to wait for children. */
static void who_ignores_its_children_says_no_more(void) {
  char dir[] = "/tmp/ignored.XXXXXX";
  CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
  start_afresh(dir, "print_ignored");
  CHECK(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
  CHECK(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
  remove_cache(dir);
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
    by_kill(SIGUSR1);
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
  by_kill(SIGHUP);
  printf("runs %d\n", runs);
}

static const struct test_case cases[] = {
    CASE(blocked_ones_wait), CASE(blocked_ones_of_a_threaded_program_wait), CASE(ignoring_discards_what_waits),
    CASE(ignoring_discards_what_waits_beside_a_thread), CASE(ignoring_discards_what_waits_for_another_thread),
    CASE(a_long_write_is_not_cut_short), CASE(a_long_write_is_not_cut_short_beside_a_thread),
    CASE(a_broken_pipe_is_its_writers),
    CASE(bad_pointers_are_told_whatever_faults_do), CASE(a_wait_gives_its_mask_back_whoever_took_the_signal),
    CASE(who_waits_hears_of_what_is_ignored_meanwhile), CASE(a_signalfd_keeps_what_waits_when_threads_begin),
    CASE(sleepers_are_not_interrupted), CASE(sleepers_are_not_interrupted_beside_a_thread),
    CASE(children_of_who_ignores_them_are_gone), CASE(print_ignored), CASE(load_a_library), CASE(a_library_that_is_loaded_sends_no_signal),
    CASE(who_ignores_its_children_says_no_more), CASE(a_failed_exec_changes_nothing),
    CASE(ignored_ones_are_inherited), CASE(ignored_ones_are_inherited_beside_a_thread), CASE(in_a_vforks_child),
};
CASE_MAIN(cases)
