/* Programs that filter their own calls (seccomp). */
#include "blocking.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>

#define LOAD_NR BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define ON(nr, what) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), RETURN(what)
#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* in si_code */
#endif
#define ALLOW(nr) ON(nr, SECCOMP_RET_ALLOW)
#define TRAP(nr) ON(nr, SECCOMP_RET_TRAP)
#define FAIL(nr) ON(nr, SECCOMP_RET_ERRNO | 71)
#define DATA 77 /* of the filter's answer: in si_errno */

#ifdef __x86_64__
enum { NR = REG_RAX, PC = REG_RIP, ARG1 = REG_RDI, ARG2 = REG_RSI };
#define OWN_ARCH AUDIT_ARCH_X86_64
#define STAT SYS_newfstatat
#else
enum { NR = REG_EAX, PC = REG_EIP, ARG1 = REG_EBX, ARG2 = REG_ECX };
#define OWN_ARCH AUDIT_ARCH_I386
#define STAT SYS_fstatat64
#endif

static void install(int for_all, struct sock_filter* code, size_t size) {
  struct sock_fprog program = {(unsigned short)(size / sizeof *code), code};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (for_all) CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0);
  else CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}
#define INSTALL_(for_all, ...)                    \
  do {                                            \
    struct sock_filter code_[] = {__VA_ARGS__};   \
    install(for_all, code_, sizeof code_);        \
  } while (0)
#define INSTALL(...) INSTALL_(0, __VA_ARGS__)
#define INSTALL_FOR_ALL(...) INSTALL_(1, __VA_ARGS__)

/* Its own traps, so that it is known where each is and what it is called with. */
__attribute__((noinline)) static long call2(long nr, long a, long b) {
  long r;
#ifdef __x86_64__
  asm volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
#else
  asm volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b) : "memory");
#endif
  return r;
}
static int in_call2(const void* pc) { return (char*)pc > (char*)call2 && (char*)pc < (char*)call2 + 64; }

static void says_sum(int sig, siginfo_t* info, void* context) {
  greg_t* r = ((ucontext_t*)context)->uc_mcontext.gregs;
  long sum = r[ARG1] + r[ARG2];
  if (info->si_code != SYS_SECCOMP || info->si_errno != DATA || info->si_arch != OWN_ARCH) sum = -1;
  if (info->si_syscall != r[NR] || !in_call2(info->si_call_addr) || info->si_call_addr != (void*)r[PC]) sum = -2;
  r[NR] = sum;
}
static void handle_sigsys(void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER};
  CHECK(sigaction(SIGSYS, &sa, NULL) == 0);
}
static const int kinds[] = {SYS_getppid, SYS_getpgid, SYS_sched_getaffinity, SYS_openat,
                            SYS_read,    SYS_flock,   SYS_pipe2};
static void trap_all_kinds(void) {
  handle_sigsys(says_sum);
  INSTALL(LOAD_NR, ON(SYS_getppid, SECCOMP_RET_TRAP | DATA), ON(SYS_getpgid, SECCOMP_RET_TRAP | DATA),
          ON(SYS_sched_getaffinity, SECCOMP_RET_TRAP | DATA), ON(SYS_openat, SECCOMP_RET_TRAP | DATA),
          ON(SYS_read, SECCOMP_RET_TRAP | DATA), ON(SYS_flock, SECCOMP_RET_TRAP | DATA),
          ON(SYS_pipe2, SECCOMP_RET_TRAP | DATA), RETURN(SECCOMP_RET_ALLOW));
}
static long call_all_kinds(void) {
  long wrong = 0;
  for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    for (long a = 0; a < 10; a++) wrong += call2(kinds[i], a, 1000) != a + 1000;
  return wrong;
}
static void a_handler_says_the_result(void) {
  trap_all_kinds();
  for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) printf("%u: %ld\n", i, call2(kinds[i], 3, 4));
}
static void* calls(void* arg) { return (void*)call_all_kinds(); }
static void in_several_threads(void) {
  trap_all_kinds();
  pthread_t t[8];
  for (int i = 0; i < 8; i++) CHECK(pthread_create(&t[i], NULL, calls, NULL) == 0);
  long wrong = call_all_kinds();
  for (int i = 0; i < 8; i++) {
    void* w;
    CHECK(pthread_join(t[i], &w) == 0);
    wrong += (long)w;
  }
  printf("%ld wrong\n", wrong);
}
/* libc's own calls: the result goes through errno. */
static void says_eperm(int sig, siginfo_t* info, void* context) {
  ((ucontext_t*)context)->uc_mcontext.gregs[NR] = -EPERM;
}
static void through_libc(void) {
  handle_sigsys(says_eperm);
  INSTALL(LOAD_NR, TRAP(SYS_getppid), TRAP(SYS_sched_getaffinity),
          TRAP(SYS_openat), RETURN(SECCOMP_RET_ALLOW));
  cpu_set_t set;
  printf("%d %d\n", sched_getaffinity(0, sizeof set, &set), errno);
  printf("%d %d\n", open("/dev/null", O_RDONLY), errno);
  printf("%ld %d\n", syscall(SYS_getppid), errno);
}

/* A handler that asks a broker, who is outside. */
static int broker[2];
static void asks(int sig, siginfo_t* info, void* context) {
  greg_t* r = ((ucontext_t*)context)->uc_mcontext.gregs;
  long answer = r[ARG1];
  int saved = errno;
  CHECK(send(broker[0], &answer, sizeof answer, 0) == sizeof answer);
  CHECK(recv(broker[0], &answer, sizeof answer, 0) == sizeof answer);
  errno = saved;
  r[NR] = answer;
}
static void* asks_often(void* arg) {
  long wrong = 0;
  for (long i = 1; i < 200; i++) wrong += call2(SYS_getpgid, 7, 0) != 14;
  return (void*)wrong;
}
static void a_handler_that_blocks(void) {
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, broker) == 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    close(broker[0]);
    for (long q; recv(broker[1], &q, sizeof q, 0) == sizeof q;) {
      q *= 2;
      CHECK(send(broker[1], &q, sizeof q, 0) == sizeof q);
    }
    _exit(5);
  }
  close(broker[1]);
  handle_sigsys(asks);
  INSTALL(LOAD_NR, TRAP(SYS_getpgid), RETURN(SECCOMP_RET_ALLOW));
  pthread_t t[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, asks_often, NULL) == 0);
  long wrong = (long)asks_often(NULL);
  for (int i = 0; i < 4; i++) {
    void* w;
    CHECK(pthread_join(t[i], &w) == 0);
    wrong += (long)w;
  }
  close(broker[0]);
  int status;
  CHECK(waitpid(pid, &status, 0) == pid);
  printf("%ld wrong, broker %d\n", wrong, WEXITSTATUS(status));
}

static int end_of_child(pid_t pid) {
  int status;
  CHECK(waitpid(pid, &status, 0) == pid);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 1000 + WEXITSTATUS(status);
}
static int end_of(void (*run)(void)) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    run();
    _exit(3);
  }
  return end_of_child(pid);
}
static void trap_getppid(void) { INSTALL(LOAD_NR, TRAP(SYS_getppid), RETURN(SECCOMP_RET_ALLOW)); }
static void unhandled(void) {
  trap_getppid();
  call2(SYS_getppid, 0, 0);
}
static void ignored(void) {
  signal(SIGSYS, SIG_IGN);
  unhandled();
}
static void blocked(void) {
  handle_sigsys(says_sum);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGSYS);
  sigprocmask(SIG_BLOCK, &set, NULL);
  unhandled();
}
static void killed(void) {
  INSTALL(LOAD_NR, ON(SYS_getppid, SECCOMP_RET_KILL_PROCESS), RETURN(SECCOMP_RET_ALLOW));
  call2(SYS_getppid, 0, 0);
}
static void* ends_here(void* arg) {
  call2(SYS_getppid, 0, 0);
  return NULL;
}
static void in_a_thread(void) {
  trap_getppid();
  pthread_t t;
  CHECK(pthread_create(&t, NULL, ends_here, NULL) == 0);
  pthread_join(t, NULL);
}
static void without_a_handler_it_ends(void) {
  printf("unhandled: %d\n", end_of(unhandled));
  printf("ignored: %d\n", end_of(ignored));
  printf("blocked: %d\n", end_of(blocked));
  printf("killed: %d\n", end_of(killed));
  printf("in a thread: %d\n", end_of(in_a_thread));
}
static void in_a_vforks_child(void) {
  trap_getppid();
  pid_t pid = vfork();
  if (pid == 0) {
    call2(SYS_getppid, 0, 0);
    _exit(3);
  }
  printf("%d\n", end_of_child(pid));
}

/* What a filter says is said to all threads, those that were there and those to come. */
static int gate[2];
static void* asked_for_ppid(void* arg) {
  char c;
  CHECK(read(gate[0], &c, 1) == 1);
  errno = 0;
  long r = syscall(SYS_getppid);
  return (void*)(long)(r == -1 ? errno : 0);
}
static void all_threads_at_once(void) {
  CHECK(pipe(gate) == 0);
  pthread_t t[8];
  for (int i = 0; i < 8; i++) CHECK(pthread_create(&t[i], NULL, asked_for_ppid, NULL) == 0);
  sleep_ms(10);
  INSTALL_FOR_ALL(LOAD_NR, FAIL(SYS_getppid), RETURN(SECCOMP_RET_ALLOW));
  CHECK(write(gate[1], "12345678", 8) == 8);
  for (int i = 0; i < 8; i++) {
    void* e;
    CHECK(pthread_join(t[i], &e) == 0);
    printf("%ld ", (long)e);
  }
  pthread_t late;
  void* e;
  CHECK(write(gate[1], "x", 1) == 1);
  CHECK(pthread_create(&late, NULL, asked_for_ppid, NULL) == 0);
  CHECK(pthread_join(late, &e) == 0);
  printf("%ld\n", (long)e);
}

/* A filter that names all that the program calls natively, and some calls that any program with threads may need; it
 * answers everything else by a signal. */
static volatile int strays;
static void strays_here(int sig, siginfo_t* info, void* context) {
  strays = info->si_syscall;
  ((ucontext_t*)context)->uc_mcontext.gregs[NR] = -ENOSYS;
}
enum { ROUNDS = 500 };
static int ping[2], pong[2];
static void* answers(void* arg) {
  char c;
  for (int i = 0; i < ROUNDS; i++) {
    CHECK(read(ping[0], &c, 1) == 1);
    CHECK(write(pong[1], &c, 1) == 1);
  }
  return NULL;
}
/* Of one who answers. */
static void asks_answers(void) {
  char c = 'x';
  for (int i = 0; i < ROUNDS; i++) {
    CHECK(write(ping[1], &c, 1) == 1);
    CHECK(read(pong[0], &c, 1) == 1);
  }
}
static void* writes_nothing(void* arg) { return arg; }
static void nothing_else_is_called(void) {
  handle_sigsys(strays_here);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ping) == 0);
  CHECK(pipe(pong) == 0);
  pthread_t t;
  INSTALL(LOAD_NR, ALLOW(SYS_read), ALLOW(SYS_write), ALLOW(SYS_futex),
#ifdef __i386__
          ALLOW(SYS_mmap2), ALLOW(SYS_clock_gettime64), ALLOW(SYS_futex_time64),
          ALLOW(SYS_clock_nanosleep_time64), ALLOW(SYS_fstat64), ALLOW(SYS_statx),
          ALLOW(SYS_set_thread_area), ALLOW(SYS_sigreturn),
#endif
          ALLOW(SYS_exit), ALLOW(SYS_exit_group), ALLOW(SYS_rt_sigreturn),
          ALLOW(SYS_rt_sigprocmask), ALLOW(SYS_mmap), ALLOW(SYS_munmap),
          ALLOW(SYS_mprotect), ALLOW(SYS_madvise), ALLOW(SYS_clone3),
          ALLOW(SYS_clone), ALLOW(SYS_set_robust_list), ALLOW(SYS_rseq),
          ALLOW(SYS_brk), ALLOW(SYS_clock_nanosleep), ALLOW(STAT),
          ALLOW(SYS_sched_yield), ALLOW(SYS_getpid), ALLOW(SYS_gettid),
          ALLOW(SYS_tgkill), ALLOW(SYS_rt_sigaction), ALLOW(SYS_sigaltstack),
          ALLOW(SYS_getrandom), RETURN(SECCOMP_RET_TRAP));
  CHECK(pthread_create(&t, NULL, answers, NULL) == 0);
  asks_answers();
  CHECK(pthread_join(t, NULL) == 0);
  sleep_ms(2);
  printf("called besides: %d\n", strays);
}

/* What natively nobody calls is turned down without a word: there is no handler, which would end the process. */
static void what_is_not_called_is_forbidden(void) {
  INSTALL(LOAD_NR, TRAP(SYS_process_madvise), TRAP(SYS_sched_getscheduler),
          TRAP(SYS_sched_getparam), TRAP(SYS_eventfd2), TRAP(SYS_prctl),
          TRAP(SYS_prlimit64), TRAP(SYS_epoll_wait), TRAP(SYS_io_uring_setup),
          TRAP(SYS_recvfrom), TRAP(SYS_preadv2), TRAP(SYS_nanosleep),
          RETURN(SECCOMP_RET_ALLOW));
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ping) == 0);
  CHECK(pipe(pong) == 0);
  pthread_t t[20];
  for (int i = 0; i < 20; i++) CHECK(pthread_create(&t[i], NULL, i == 0 ? answers : writes_nothing, NULL) == 0);
  asks_answers();
  for (int i = 0; i < 20; i++) CHECK(pthread_join(t[i], NULL) == 0);
  puts("done");
}

/* Threads that sleep when the filter comes. It allows what they called, and is against all that could be done in its
 * place. */
enum { SLEEPERS = 6 };
static int wake_up[SLEEPERS][2];
static void* sleeps(void* arg) {
  long which = (long)arg;
  int fd = wake_up[which][0];
  char c = 0;
  struct pollfd p = {.fd = fd, .events = POLLIN};
  struct epoll_event ev = {.events = EPOLLIN};
  long r = -1;
  if (which == 0 || which == 1) r = read(fd, &c, 1);
  if (which == 2) r = poll(&p, 1, -1);
  if (which == 3) r = poll(&p, 1, 60000);
  if (which == 4) {
    int ep = epoll_create1(0);
    CHECK(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0);
    r = epoll_wait(ep, &ev, 1, -1);
  }
  if (which == 5) r = accept(fd, NULL, NULL) >= 0;
  return (void*)r;
}
static void sleepers_go_on(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  pthread_t t[SLEEPERS];
  for (long i = 0; i < SLEEPERS; i++) {
    if (i == 1) CHECK(pipe(wake_up[i]) == 0);
    else CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, wake_up[i]) == 0);
  }
  CHECK((wake_up[5][0] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
  CHECK((wake_up[5][1] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
  CHECK(bind(wake_up[5][0], (struct sockaddr*)&name, sizeof(sa_family_t)) == 0 && listen(wake_up[5][0], 1) == 0);
  socklen_t size = sizeof name;
  CHECK(getsockname(wake_up[5][0], (struct sockaddr*)&name, &size) == 0);
  for (long i = 0; i < SLEEPERS; i++) CHECK(pthread_create(&t[i], NULL, sleeps, (void*)i) == 0);
  sleep_ms(30);
  INSTALL_FOR_ALL(LOAD_NR, FAIL(SYS_recvfrom), FAIL(SYS_preadv2), FAIL(SYS_fcntl), FAIL(SYS_ioctl),
                  FAIL(SYS_epoll_ctl), FAIL(SYS_epoll_pwait2), FAIL(SYS_ppoll), FAIL(SYS_io_uring_enter),
                  RETURN(SECCOMP_RET_ALLOW));
  sleep_ms(10);
  for (int i = 0; i < 5; i++) CHECK(write(wake_up[i][1], "x", 1) == 1);
  CHECK(connect(wake_up[5][1], (struct sockaddr*)&name, size) == 0);
  for (int i = 0; i < SLEEPERS; i++) {
    void* r;
    CHECK(pthread_join(t[i], &r) == 0);
    printf("%d: %ld\n", i, (long)r);
  }
}

/* The same with many, and with one that waits for a child, under a filter that kills for what libcr would wait with. */
enum { MANY = 100 };
static int many[MANY][2];
static void* receives(void* arg) {
  char c;
  return (void*)recv(((int*)arg)[0], &c, 1, 0);
}
static void* waits_for_child(void* pid) {
  int status = -1;
  CHECK(waitpid((pid_t)(intptr_t)pid, &status, 0) == (pid_t)(intptr_t)pid);
  return (void*)(long)WEXITSTATUS(status);
}
static void many_sleepers_go_on(void) {
  CHECK(pipe(gate) == 0);
  pid_t pid = fork();
  char c;
  if (pid == 0) _exit(read(gate[0], &c, 1) == 1 ? 6 : 7);
  pthread_t t[MANY], w;
  for (int i = 0; i < MANY; i++) {
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, many[i]) == 0);
    CHECK(pthread_create(&t[i], NULL, receives, many[i]) == 0);
  }
  CHECK(pthread_create(&w, NULL, waits_for_child, (void*)(intptr_t)pid) == 0);
  sleep_ms(30);
  INSTALL(LOAD_NR, ON(SYS_epoll_wait, SECCOMP_RET_KILL_PROCESS), ON(SYS_epoll_pwait2, SECCOMP_RET_KILL_PROCESS),
          ON(SYS_epoll_ctl, SECCOMP_RET_KILL_PROCESS), ON(SYS_io_uring_enter, SECCOMP_RET_KILL_PROCESS),
          ON(SYS_clone, SECCOMP_RET_ERRNO | EAGAIN), RETURN(SECCOMP_RET_ALLOW));
  CHECK(write(gate[1], "x", 1) == 1);
  void* r;
  CHECK(pthread_join(w, &r) == 0);
  printf("child: %ld\n", (long)r);
  long got = 0;
  for (int i = 0; i < MANY; i++) CHECK(write(many[i][1], "x", 1) == 1);
  for (int i = 0; i < MANY; i++) {
    CHECK(pthread_join(t[i], &r) == 0);
    got += (long)r;
  }
  printf("%ld bytes\n", got);
}

/* A signal that is ignored and blocked waits for whoever takes it. */
static void* waits_for_gate(void* arg) {
  char c;
  CHECK(read(gate[0], &c, 1) == 1);
  return NULL;
}
static void blocked_signals_wait(void) {
  CHECK(pipe(gate) == 0);
  signal(SIGUSR1, SIG_IGN);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, waits_for_gate, NULL) == 0);
  INSTALL(RETURN(SECCOMP_RET_ALLOW));
  CHECK(write(gate[1], "xxxx", 4) == 4);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  struct timespec second = {1, 0};
  for (int i = 0; i < 5; i++) {
    CHECK(kill(getpid(), SIGUSR1) == 0);
    printf("%d\n", sigtimedwait(&set, NULL, &second) == SIGUSR1);
  }
}

static void names_of_others(void) {
  CHECK(pipe(gate) == 0);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, waits_for_gate, NULL) == 0);
  INSTALL(RETURN(SECCOMP_RET_ALLOW));
  char name[16];
  int set = pthread_setname_np(t, "another"), got = pthread_getname_np(t, name, sizeof name);
  printf("%d %d %s\n", set, got, name);
  CHECK(write(gate[1], "x", 1) == 1);
  CHECK(pthread_join(t, NULL) == 0);
}

/* Programs ask what the kernel knows by filters that can't be. Blocked calls wait as before. */
static void a_filter_that_is_none(void) {
  errno = 0;
  printf("%ld %d\n", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL), errno);
  printf("%ld %d\n", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, NULL), errno);
  printf("%d %d\n", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL), errno);
  printf("%ld %d\n", syscall(SYS_seccomp, 77, 0, NULL), errno);
  CHECK(pipe(ping) == 0 && pipe(pong) == 0);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, answers, NULL) == 0);
  asks_answers();
  CHECK(pthread_join(t, NULL) == 0);
  puts("done");
}

static volatile int calls_seen;
static void says_eagain(int sig, siginfo_t* info, void* context) {
  calls_seen++;
  ((ucontext_t*)context)->uc_mcontext.gregs[NR] = -EAGAIN;
}
static void forks_and_execs(void) {
  handle_sigsys(says_eagain);
  pthread_t t;
  CHECK(pipe(gate) == 0);
  CHECK(pthread_create(&t, NULL, asked_for_ppid, NULL) == 0);
  INSTALL(LOAD_NR, TRAP(SYS_fork), TRAP(SYS_vfork), TRAP(SYS_execve),
          TRAP(SYS_clone), RETURN(SECCOMP_RET_ALLOW));
  char* const argv[] = {"true", NULL};
  errno = 0;
  printf("fork: %d %d\n", fork(), errno);
  printf("the call fork: %ld %d\n", syscall(SYS_fork), errno);
  pid_t pid = vfork();
  if (pid == 0) _exit(1);
  printf("vfork: %d %d\n", pid, errno);
  printf("execve: %d %d\n", execve("/bin/true", argv, NULL), errno);
  printf("%d signals\n", calls_seen);
  CHECK(write(gate[1], "x", 1) == 1);
  CHECK(pthread_join(t, NULL) == 0);
}
/* The filter goes with an exec. */
static void exec_in_a_sandbox(void) {
  INSTALL(LOAD_NR, TRAP(SYS_process_madvise), FAIL(SYS_getppid), RETURN(SECCOMP_RET_ALLOW));
  execl("/proc/self/exe", "sandboxes", "a_filter_that_is_none", NULL);
}

/* A program that is started where one call of the engine's is an error, as in containers. */
static void receives_late(void) {
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, many[0]) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, many[1]) == 0);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, receives, many[0]) == 0);
  for (int64_t end = now_ms() + 60; now_ms() < end;) {
  }
  CHECK(write(many[1][1], "x", 1) == 1 && receives(many[1]) == (void*)1);
  pid_t pid = fork();
  if (pid == 0) {
    sleep_ms(60);
    _exit(write(many[0][1], "x", 1) == 1 ? 0 : 1);
  }
  void* r;
  CHECK(pthread_join(t, &r) == 0);
  printf("%ld\n", (long)r);
}
static void exec_without_epoll_pwait2(void) {
  INSTALL(LOAD_NR, ON(SYS_epoll_pwait2, SECCOMP_RET_ERRNO | EPERM), RETURN(SECCOMP_RET_ALLOW));
  execl("/proc/self/exe", "sandboxes", "receives_late", NULL);
}

static const struct test_case cases[] = {
    CASE(a_handler_says_the_result), CASE(in_several_threads), CASE(through_libc), CASE(a_handler_that_blocks),
    CASE(without_a_handler_it_ends), CASE(in_a_vforks_child), CASE(all_threads_at_once), CASE(nothing_else_is_called),
    CASE(what_is_not_called_is_forbidden), CASE(sleepers_go_on), CASE(a_filter_that_is_none), CASE(forks_and_execs),
    CASE(exec_in_a_sandbox), CASE(many_sleepers_go_on), CASE(blocked_signals_wait), CASE(names_of_others),
    CASE(receives_late), CASE(exec_without_epoll_pwait2),
};
CASE_MAIN(cases)
