/* Code whose stack pointer has next to nothing below it, as goroutines' or Erlang's: it is taken off its cpu, gets signals on
 * an alternate stack, and makes calls. This program passes for Go's by a section's name. */
#include "blocking.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

asm(".pushsection .gopclntab, \"a\"\n .byte 0\n .popsection");

enum { SIZE = 16384, FILL = 0xa5, ROOM = 256 }; /* ROOM: what a call may take. A computing thread's: its red zone */

static unsigned char* narrow_new(void) {
  unsigned char* s = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(s != MAP_FAILED);
  memset(s, FILL, SIZE);
  return s;
}
static size_t used(const unsigned char* s) {
  size_t untouched = 0;
  while (untouched < SIZE && s[untouched] == FILL) untouched++;
  return SIZE - untouched;
}

/* The stack pointer is `top` over the call. Inlined: a vfork's child must not return from who made it. */
__attribute__((always_inline)) static inline long call_at(void* top, long nr, long a, long b, long c, long d) {
  long r = nr;
#ifdef __x86_64__
  register long r10 asm("r10") = d;
  register void* sp asm("rbx") = top;
  asm volatile("xchg %%rsp, %%rbx\n syscall\n mov %%rbx, %%rsp"
               : "+a"(r), "+r"(sp)
               : "D"(a), "S"(b), "d"(c), "r"(r10)
               : "rcx", "r11", "memory");
#else
  asm volatile("xchg %%esp, %%edi\n int $0x80\n mov %%edi, %%esp"
               : "+a"(r), "+D"(top)
               : "b"(a), "c"(b), "d"(c), "S"(d)
               : "memory");
#endif
  return r;
}
/* Counts down with the stack pointer at `top`. */
static void compute_at(void* top, long n) {
#ifdef __x86_64__
  asm volatile("xchg %%rsp, %0\n 1: sub $1, %1\n jnz 1b\n xchg %%rsp, %0" : "+r"(top), "+r"(n) : : "memory", "cc");
#else
  asm volatile("xchg %%esp, %0\n 1: sub $1, %1\n jnz 1b\n xchg %%esp, %0" : "+r"(top), "+r"(n) : : "memory", "cc");
#endif
}

static unsigned char* own_stack;
__attribute__((always_inline)) static inline long narrow(long nr, long a, long b, long c, long d) { return call_at(own_stack + SIZE, nr, a, b, c, d); }
static void say(const char* what, long r) {
  size_t n = used(own_stack);
  if (n > ROOM) printf("%s: %zu bytes below the stack pointer are overwritten\n", what, n);
  else printf("%s: %s\n", what, r < 0 ? strerror((int)-r) : "done");
  memset(own_stack, FILL, SIZE);
}

/* Each says how much of its stack is used. */
static size_t most_used(pthread_t* t, int n) {
  size_t most = 0;
  for (int i = 0; i < n; i++) {
    void* bytes;
    CHECK(pthread_join(t[i], &bytes) == 0);
    if ((size_t)bytes > most) most = (size_t)bytes;
  }
  return most;
}
static void* computes(void* arg) {
  unsigned char* s = narrow_new();
  uint64_t end = now_ms() + 400;
  while (now_ms() < end) compute_at(s + SIZE, 5000000);
  return (void*)used(s);
}
static void is_preempted(void) {
  pthread_t t[16];
  for (int i = 0; i < 16; i++) CHECK(pthread_create(&t[i], NULL, computes, NULL) == 0);
  size_t most = most_used(t, 16);
  if (most > ROOM) printf("%zu bytes\n", most);
  else puts("kept");
}

static __thread char* alt;
static volatile int outside, handled;
enum { ALT = 65536 };
static void where(int sig) {
  char* at = __builtin_frame_address(0);
  if (at < alt || at >= alt + ALT) outside = 1;
  __atomic_add_fetch(&handled, 1, __ATOMIC_SEQ_CST);
}
static void alternate(void) {
  alt = malloc(ALT);
  stack_t ss = {.ss_sp = alt, .ss_size = ALT};
  CHECK(sigaltstack(&ss, NULL) == 0);
}
static volatile int over, ready;
static void* computes_with_handlers(void* arg) {
  unsigned char* s = narrow_new();
  alternate();
  __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
  while (!over) compute_at(s + SIZE, 1000000);
  stack_t off = {.ss_flags = SS_DISABLE};
  CHECK(sigaltstack(&off, NULL) == 0);
  free(alt);
  return (void*)used(s);
}
/* Signals for threads that are off their cpus, and several at a time. */
static void handlers_have_the_alternate_stack(void) {
  struct sigaction sa = {.sa_handler = where, .sa_flags = SA_ONSTACK | SA_RESTART};
  CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
  CHECK(sigaction(SIGUSR2, &sa, NULL) == 0);
  pthread_t t[6];
  for (int i = 0; i < 6; i++) CHECK(pthread_create(&t[i], NULL, computes_with_handlers, NULL) == 0);
  while (ready < 6) sleep_ms(1);
  for (int round = 0; round < 60; round++) {
    for (int i = 0; i < 6; i++) {
      CHECK(pthread_kill(t[i], SIGUSR1) == 0);
      CHECK(pthread_kill(t[i], SIGUSR2) == 0);
    }
    sleep_ms(5);
  }
  sleep_ms(300); /* the last ones, too, are handled before a thread gives up its stack */
  over = 1;
  size_t most = most_used(t, 6);
  printf("%s, %s, %s\n", outside ? "outside" : "inside", handled >= 12 ? "many" : "few", most > ROOM ? "overwritten" : "kept");
}

static void* raiser(void* arg) {
  sleep_ms(60);
  pthread_kill(*(pthread_t*)arg, SIGUSR2);
  return NULL;
}
/* Handlers that wait for one another, each with the stack that it asks for: FIRST blocks SECOND and THIRD while it raises
 * them, THIRD raises FOURTH. What they say goes by write: they interrupt one another. */
enum { FIRST = 40, SECOND, THIRD, FOURTH };
enum { FIRST_ON = 1, SECOND_ON = 2, THIRD_ON = 4, BOTH = 8, NESTED = 16, DISARM = 32, COMBINATIONS = 64 };
static int combination;
static void tell(const char* who) {
  char* at = __builtin_frame_address(0);
  stack_t now;
  CHECK(sigaltstack(NULL, &now) == 0);
  char text[64];
  int n = snprintf(text, sizeof text, " %s %s %x", who, at >= alt && at < alt + ALT ? "alternate" : "own", (unsigned)now.ss_flags);
  CHECK(write(1, text, (size_t)n) == n);
}
static void fourth(int sig, siginfo_t* info, void* context) { tell("4"); }
static void third(int sig, siginfo_t* info, void* context) {
  tell("3");
  if (combination & NESTED) CHECK(raise(FOURTH) == 0);
  tell("3 again");
}
static void second(int sig, siginfo_t* info, void* context) { tell("2"); }
static void first(int sig, siginfo_t* info, void* context) {
  tell("1");
  CHECK(raise(SECOND) == 0);
  if (combination & BOTH) CHECK(raise(THIRD) == 0);
}
static void set_handler(int sig, void (*handler)(int, siginfo_t*, void*), int on) {
  struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | (on ? SA_ONSTACK : 0)};
  if (sig == FIRST) sigaddset(&sa.sa_mask, SECOND), sigaddset(&sa.sa_mask, THIRD);
  CHECK(sigaction(sig, &sa, NULL) == 0);
}
static void each_on_its_stack(void) {
  alt = malloc(ALT);
  set_handler(FOURTH, fourth, 1);
  for (combination = 0; combination < COMBINATIONS; combination++) {
    /* SS_AUTODISARM, which glibc does not name */
    stack_t ss = {.ss_sp = alt, .ss_size = ALT, .ss_flags = combination & DISARM ? (int)(1u << 31) : 0};
    CHECK(sigaltstack(&ss, NULL) == 0);
    set_handler(FIRST, first, combination & FIRST_ON);
    set_handler(SECOND, second, combination & SECOND_ON);
    set_handler(THIRD, third, combination & THIRD_ON);
    printf("%d:", combination);
    fflush(stdout);
    CHECK(raise(FIRST) == 0);
    CHECK(sigaltstack(NULL, &ss) == 0);
    printf(" end %x\n", (unsigned)ss.ss_flags);
  }
}

static int fds[2];
static void* writes_later(void* arg) {
  for (int i = 0; i < 3; i++) {
    sleep_ms(30);
    CHECK(write(fds[1], "x", 1) == 1);
  }
  return NULL;
}
static void calls(void) {
  own_stack = narrow_new();
  CHECK(pipe(fds) == 0);
  int null = open("/dev/null", O_WRONLY);
  char buf[16] = "";
  struct timespec ms[2] = {{0, 2000000}};
  unsigned word = 0;
  struct pollfd p = {.fd = fds[0], .events = POLLIN};
  for (int threads = 0; threads < 2; threads++) {
    pthread_t t;
    if (threads) CHECK(pthread_create(&t, NULL, writes_later, NULL) == 0);
    say("getppid", narrow(SYS_getppid, 0, 0, 0, 0));
    say("gettid", narrow(SYS_gettid, 0, 0, 0, 0));
    say("write", narrow(SYS_write, null, (long)buf, 5, 0));
    say("sched_yield", narrow(SYS_sched_yield, 0, 0, 0, 0));
    say("nanosleep", narrow(SYS_nanosleep, (long)ms, 0, 0, 0));
    say("futex", narrow(SYS_futex, (long)&word, FUTEX_WAIT_PRIVATE, 0, (long)ms));
    long fd = narrow(SYS_openat, AT_FDCWD, (long)"/dev/null", O_RDONLY, 0);
    say("openat", fd);
    say("close", narrow(SYS_close, fd, 0, 0, 0));
    say("close again", narrow(SYS_close, fd, 0, 0, 0));
    say("rt_sigprocmask", narrow(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)buf, 8));
    say("kill", narrow(SYS_kill, getpid(), 0, 0, 0));
    if (threads) {
      say("read", narrow(SYS_read, fds[0], (long)buf, 1, 0));
      say("poll", narrow(SYS_poll, (long)&p, 1, -1, 0));
      say("read", narrow(SYS_read, fds[0], (long)buf, 1, 0));
      say("read", narrow(SYS_read, fds[0], (long)buf, 1, 0));
      CHECK(pthread_join(t, NULL) == 0);
    }
  }
}

static void* writes_late(void* arg) {
  sleep_ms(200);
  CHECK(write(fds[1], "x", 1) == 1);
  return NULL;
}
static void interrupted(void) {
  own_stack = narrow_new();
  alternate();
  struct timespec second = {1, 0};
  pthread_t self = pthread_self(), t, writer;
  struct sigaction sa = {.sa_handler = where, .sa_flags = SA_ONSTACK};
  CHECK(sigaction(SIGUSR2, &sa, NULL) == 0);
  CHECK(pthread_create(&t, NULL, raiser, &self) == 0);
  say("nanosleep", narrow(SYS_nanosleep, (long)&second, 0, 0, 0));
  CHECK(pthread_join(t, NULL) == 0);
  for (int restart = 0; restart < 2; restart++) {
    sa.sa_flags = SA_ONSTACK | (restart ? SA_RESTART : 0);
    CHECK(sigaction(SIGUSR2, &sa, NULL) == 0);
    CHECK(pipe(fds) == 0);
    char c = 0;
    CHECK(pthread_create(&t, NULL, raiser, &self) == 0);
    if (restart) CHECK(pthread_create(&writer, NULL, writes_late, NULL) == 0);
    say("read", narrow(SYS_read, fds[0], (long)&c, 1, 0));
    printf("%d\n", c);
    CHECK(pthread_join(t, NULL) == 0);
    if (restart) CHECK(pthread_join(writer, NULL) == 0);
  }
  printf("%d handled, %s\n", handled, outside ? "outside" : "inside");
}

/* A handler that asks for no other stack, where there is room for it. */
static char *from, *to;
static void within(int sig) {
  char* at = __builtin_frame_address(0);
  handled++;
  outside |= at < from || at >= to;
}
static void interrupted_upon_the_same_stack(void) {
  enum { ROOMY = 256 << 10 };
  from = mmap(NULL, ROOMY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(from != MAP_FAILED);
  to = from + ROOMY;
  struct sigaction sa = {.sa_handler = within};
  CHECK(sigaction(SIGUSR2, &sa, NULL) == 0);
  pthread_t self = pthread_self(), t;
  CHECK(pthread_create(&t, NULL, raiser, &self) == 0);
  struct timespec second = {1, 0};
  long r = call_at(to, SYS_nanosleep, (long)&second, 0, 0, 0);
  CHECK(pthread_join(t, NULL) == 0);
  printf("%s, %d handled, %s\n", strerror((int)-r), handled, outside ? "outside" : "inside");
  handled = 0;
  r = call_at(to, SYS_kill, getpid(), SIGUSR2, 0, 0);
  printf("%ld, %d handled, %s\n", r, handled, outside ? "outside" : "inside");
}

/* By its own traps, as Go's runtime does. */
static void children(void) {
  own_stack = narrow_new();
  char* argv[] = {"true", NULL};
  int status;
  long pid = narrow(SYS_clone, SIGCHLD, 0, 0, 0);
  if (pid == 0) {
    narrow(SYS_getppid, 0, 0, 0, 0);
    narrow(SYS_exit_group, used(own_stack) > ROOM ? 1 : 7, 0, 0, 0);
  }
  say("wait4", narrow(SYS_wait4, pid, (long)&status, 0, 0));
  printf("status %x\n", status);
  for (int fails = 0; fails < 2; fails++) {
    pid = narrow(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0);
    if (pid == 0) {
      narrow(SYS_execve, (long)(fails ? "/nowhere" : "/bin/true"), (long)argv, (long)environ, 0);
      narrow(SYS_exit_group, 9, 0, 0, 0);
    }
    say("vfork", pid > 0 ? 0 : pid);
    say("wait4", narrow(SYS_wait4, pid, (long)&status, 0, 0));
    printf("status %x\n", status);
  }
}
static void children_beside_a_thread(void) {
  pthread_t t;
  CHECK(pipe(fds) == 0);
  CHECK(pthread_create(&t, NULL, writes_later, NULL) == 0);
  children();
  CHECK(pthread_join(t, NULL) == 0);
}

static void* forks(void* arg) {
  children();
  return NULL;
}
static void children_of_another_thread(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, forks, NULL) == 0);
  CHECK(pthread_join(t, NULL) == 0);
}
/* The child of a thread that is not the first makes calls, threads, and handles a signal. */
static void* forks_and_goes_on(void* arg) {
  own_stack = narrow_new();
  alternate();
  struct sigaction sa = {.sa_handler = where, .sa_flags = SA_ONSTACK};
  CHECK(sigaction(SIGUSR2, &sa, NULL) == 0);
  int status;
  long pid = narrow(SYS_clone, SIGCHLD, 0, 0, 0);
  if (pid == 0) {
    say("kill", narrow(SYS_kill, getpid(), SIGUSR2, 0, 0));
    pthread_t self = pthread_self(), t;
    struct timespec second = {1, 0};
    CHECK(pthread_create(&t, NULL, raiser, &self) == 0);
    say("nanosleep", narrow(SYS_nanosleep, (long)&second, 0, 0, 0));
    CHECK(pthread_join(t, NULL) == 0);
    printf("%d handled, %s\n", handled, outside ? "outside" : "inside");
    fflush(stdout);
    _exit(3);
  }
  say("wait4", narrow(SYS_wait4, pid, (long)&status, 0, 0));
  printf("status %x\n", status);
  return NULL;
}
static void a_child_of_another_thread_goes_on(void) {
  pthread_t t;
  fflush(stdout);
  CHECK(pthread_create(&t, NULL, forks_and_goes_on, NULL) == 0);
  CHECK(pthread_join(t, NULL) == 0);
}

static const struct test_case cases[] = {
    CASE(is_preempted),
    CASE(handlers_have_the_alternate_stack),
    CASE(each_on_its_stack),
    CASE(calls),
    CASE(interrupted),
    CASE(interrupted_upon_the_same_stack),
    CASE(children),
    CASE(children_beside_a_thread),
    CASE(children_of_another_thread),
    CASE(a_child_of_another_thread_goes_on),
};
CASE_MAIN(cases)
