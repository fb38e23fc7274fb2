/* Trap sites that only an int3 can take (trapsites_x.S), and a program's own use of SIGTRAP beside
 * them. */
#include "case.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

#ifdef __i386__
#define REG_PC REG_EIP
#else
#define REG_PC REG_RIP
#endif

long x_syscall(long nr, ...);
pid_t x_vfork(void);
long x_vectors(void);

static int wait_for(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR);
  return status;
}

static void plain_calls(void) {
  CHECK(x_syscall(SYS_getpid) == getpid());
  CHECK(x_syscall(SYS_close, -1) == -EBADF);
  CHECK(x_syscall(-1) == -ENOSYS && x_syscall(100000) == -ENOSYS);
  CHECK(x_syscall(SYS_write, 1, "written\n", 8) == 8);
}

/* A call that traps unseen names a kernel thread that the program knows nothing of. */
static void* own_tid(void* arg) {
  for (int i = 0; i < 2000; i++) {
    CHECK(x_syscall(SYS_gettid) == gettid());
    if (i % 10 == 0) x_syscall(SYS_sched_yield);
  }
  return arg;
}
static void threads_see_their_own_ids(void) {
  pthread_t t[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, own_tid, NULL) == 0);
  own_tid(NULL);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
  puts("ok");
}

static uint32_t turn;
static void* other_side(void* arg) {
  for (uint32_t i = 0; i < 500; i++) {
    while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != 2 * i + 1) {
      x_syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, 2 * i, NULL);
    }
    __atomic_store_n(&turn, 2 * i + 2, __ATOMIC_SEQ_CST);
    x_syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1);
  }
  return arg;
}
static void futex_hand_over(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, other_side, NULL) == 0);
  for (uint32_t i = 0; i < 500; i++) {
    __atomic_store_n(&turn, 2 * i + 1, __ATOMIC_SEQ_CST);
    x_syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1);
    while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != 2 * i + 2) {
      x_syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, 2 * i + 1, NULL);
    }
  }
  CHECK(pthread_join(t, NULL) == 0);
  printf("%u\n", turn);
}

static void* vectors(void* arg) {
  for (int i = 0; i < 1000; i++) CHECK(x_vectors() == 0);
  return arg;
}
static void registers_outlive_the_call(void) {
  pthread_t t[2];
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&t[i], NULL, vectors, NULL) == 0);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(t[i], NULL) == 0);
  puts("ok");
}

static void* nothing(void* arg) { return arg; }
static void fork_there(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, nothing, NULL) == 0 && pthread_join(t, NULL) == 0);
  pid_t pid = (pid_t)x_syscall(SYS_fork);
  CHECK(pid >= 0);
  if (pid == 0) _exit(x_syscall(SYS_getpid) == getpid() && x_syscall(SYS_gettid) == gettid() ? 5 : 6);
  printf("%d\n", wait_for(pid) >> 8);
}

/* The child runs on our memory and its int3 is the child's own signal. */
static void vfork_and_exec_there(void) {
  static char* argv[] = {"sh", "-c", "exit 7", NULL};
  static char* envp[] = {NULL};
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  pid_t pid = x_vfork();
  CHECK(pid >= 0);
  if (pid == 0) {
    x_syscall(SYS_close, 0);
    x_syscall(SYS_execve, "/bin/sh", argv, envp);
    x_syscall(SYS_exit_group, 1);
  }
  printf("%d\n", wait_for(pid) >> 8);
}

static int ends[2];
static void refill(int sig) { CHECK(write(ends[1], "x", 1) == 1); }
static void interrupted_calls(void) {
  CHECK(pipe(ends) == 0);
  struct sigaction sa = {.sa_handler = refill, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &sa, NULL) == 0);
  struct itimerval in_20ms = {.it_value.tv_usec = 20000};
  char c = 0;
  CHECK(setitimer(ITIMER_REAL, &in_20ms, NULL) == 0);
  long r = x_syscall(SYS_read, ends[0], &c, 1);
  printf("restarted: %ld %c\n", r, c);
  sa.sa_flags = 0;
  CHECK(sigaction(SIGALRM, &sa, NULL) == 0);
  CHECK(setitimer(ITIMER_REAL, &in_20ms, NULL) == 0);
  r = x_syscall(SYS_read, ends[0], &c, 1);
  printf("interrupted: %ld\n", r);
}

static volatile int traps, behind_int3;
extern char after_own_int3[];
static void on_trap(int sig, siginfo_t* info, void* context) {
  ucontext_t* uc = context;
  CHECK(x_syscall(SYS_getpid) == getpid());
  behind_int3 += (char*)uc->uc_mcontext.gregs[REG_PC] == after_own_int3;
  traps++;
}
static void __attribute__((noinline)) own_int3(void) {
  __asm__ volatile("int3\n.globl after_own_int3\nafter_own_int3:" ::: "memory");
}
static void handle(int flags) {
  struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | flags};
  CHECK(sigaction(SIGTRAP, &sa, NULL) == 0);
}
static void own_handler(void) {
  struct sigaction old;
  CHECK(sigaction(SIGTRAP, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
  handle(0);
  for (int i = 0; i < 3; i++) {
    own_int3();
    CHECK(x_syscall(SYS_getpid) == getpid());
    raise(SIGTRAP);
  }
  CHECK(sigaction(SIGTRAP, NULL, &old) == 0 && old.sa_sigaction == on_trap);
  printf("%d %d\n", traps, behind_int3);
}

/* Ends of a child, by signal. */
static void child_ends(const char* how, void (*body)(void)) {
  fflush(stdout);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    body();
    _exit(0);
  }
  int status = wait_for(pid);
  printf("%s: %s %d\n", how, WIFSIGNALED(status) ? "signal" : "exit",
         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}
static void call(void) { CHECK(x_syscall(SYS_getpid) == getpid()); }
static void ignored_call(void) {
  signal(SIGTRAP, SIG_IGN);
  call();
  raise(SIGTRAP);
  call();
}
static void ignored_int3(void) {
  signal(SIGTRAP, SIG_IGN);
  own_int3();
}
static void block(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTRAP);
  CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
}
static void blocked_call(void) {
  block();
  call();
}
static void blocked_int3(void) {
  handle(0);
  block();
  own_int3();
}
static void raised(void) { raise(SIGTRAP); }
static void once_then_default(void) {
  handle(SA_RESETHAND);
  own_int3();
  call();
  own_int3();
}
static void default_and_ignored(void) {
  child_ends("a call", call);
  child_ends("an int3", own_int3);
  child_ends("raised", raised);
  child_ends("a call, ignored", ignored_call);
  child_ends("an int3, ignored", ignored_int3);
  child_ends("a call, blocked", blocked_call);
  child_ends("an int3, blocked", blocked_int3);
  child_ends("a handler for once", once_then_default);
}

static void pending_while_blocked(void) {
  handle(0);
  block();
  raise(SIGTRAP);
  call();
  sigset_t set;
  CHECK(sigpending(&set) == 0 && sigismember(&set, SIGTRAP) == 1 && traps == 0);
  sigemptyset(&set);
  CHECK(sigprocmask(SIG_SETMASK, &set, NULL) == 0);
  printf("%d\n", traps);
}

static const struct test_case cases[] = {
    CASE(plain_calls),          CASE(threads_see_their_own_ids), CASE(futex_hand_over),
    CASE(registers_outlive_the_call), CASE(fork_there),          CASE(vfork_and_exec_there),
    CASE(interrupted_calls),    CASE(own_handler),               CASE(default_and_ignored),
    CASE(pending_while_blocked),
};
CASE_MAIN(cases)
