/* Arguments at the edges, and calls that few programs make: what the Linux Test Project's own tests found. */
#include "sending.h"

#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static volatile sig_atomic_t handled;
static void count(int sig) { handled++; }

/* A thread that stays, and one that has gone. */
static pthread_barrier_t stays;
static pid_t staying, gone;
static void* stay(void* arg) {
  staying = gettid();
  pthread_barrier_wait(&stays);
  pthread_barrier_wait(&stays);
  return NULL;
}
static void* go(void* arg) {
  gone = gettid();
  return NULL;
}
static void with_a_thread(void (*run)(void)) {
  pthread_t t, other;
  pthread_attr_t small; /* where memory is locked a user has little */
  pthread_attr_init(&small);
  CHECK(pthread_attr_setstacksize(&small, 64 << 10) == 0);
  pthread_barrier_init(&stays, NULL, 2);
  CHECK(pthread_create(&t, &small, stay, NULL) == 0);
  pthread_barrier_wait(&stays);
  CHECK(pthread_create(&other, &small, go, NULL) == 0);
  CHECK(pthread_join(other, NULL) == 0);
  run();
  pthread_barrier_wait(&stays);
  CHECK(pthread_join(t, NULL) == 0);
}

static void say(const char* call, long r) { printf("%s: %s\n", call, r == 0 ? "0" : strerror(errno)); }
/* Whoever takes it. */
static void wait_handled(int n) {
  for (int ms = 0; handled < n && ms < 5000; ms++) sleep_ms(1);
  printf("%d handled\n", (int)handled);
}

static siginfo_t info_of(int code) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  info.si_signo = SIGUSR1;
  info.si_code = code;
  info.si_pid = getpid();
  info.si_uid = getuid();
  return info;
}

static void by_a_threads_id(void) {
  siginfo_t info = info_of(SI_QUEUE);
  say("kill", kill(staying, SIGUSR1));
  wait_handled(1);
  say("kill 0", kill(staying, 0));
  say("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, staying, SIGUSR1, &info));
  wait_handled(2);
  say("kill, gone", kill(gone, SIGUSR1));
  say("rt_sigqueueinfo, gone", syscall(SYS_rt_sigqueueinfo, gone, SIGUSR1, &info));
}
static void any_of_its_threads_names_a_process(void) {
  signal(SIGUSR1, count);
  with_a_thread(by_a_threads_id);
}

static void send_to_all(void) {
  const pid_t ids[] = {-1, 0, getpid(), staying, gone};
  const int codes[] = {SI_QUEUE, SI_USER, SI_TKILL, 1};
  for (size_t i = staying == 0 ? 2 : 4; i + 1 != 0; i--) {
    for (int sig = -1; sig <= 66; sig += sig == -1 ? 1 : sig == 0 ? SIGUSR1 : sig == SIGUSR1 ? 64 - SIGUSR1 : 1) {
      if (sig == 64) continue;
      printf("to the %zu., signal %d\n", i, sig);
      say("tkill", syscall(SYS_tkill, ids[i], sig));
      say("tgkill", syscall(SYS_tgkill, getpid(), ids[i], sig));
      say("tgkill to it", syscall(SYS_tgkill, ids[i], ids[i], sig));
      if (ids[i] > 0) say("kill", kill(ids[i], sig));
      for (int c = 0; c < 4; c++) {
        siginfo_t info = info_of(codes[c]);
        say("rt_tgsigqueueinfo", syscall(SYS_rt_tgsigqueueinfo, getpid(), ids[i], sig, &info));
        if (ids[i] > 0 && sig != -1 && sig < 65) {
          say("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, ids[i], sig, &info));
        }
      }
    }
  }
  say("nothing to send", syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGUSR1, NULL));
}
static void signals_to_who_is_not_there(void) {
  signal(SIGUSR1, count);
  send_to_all();
  printf("%d came\n", (int)handled);
}
static void signals_to_who_is_not_there_beside_a_thread(void) {
  signal(SIGUSR1, count);
  with_a_thread(send_to_all);
}

/* At the end of what may be read. */
static void a_siginfo_is_read_as_far_as_it_has_something(void) {
  signal(SIGUSR1, count);
  long page = sysconf(_SC_PAGESIZE);
  char* p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED && mprotect(p + page, page, PROT_NONE) == 0);
  const int codes[] = {SI_QUEUE, -100};
  for (int c = 0; c < 2; c++) {
    siginfo_t info = info_of(codes[c]);
    for (size_t size = 32; size <= sizeof info; size += 16) {
      memcpy(p + page - size, &info, size);
      printf("%zu of %d: ", size, codes[c]);
      say("", syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, p + page - size));
    }
    ((char*)&info)[sizeof info - 1] = 1;
    say("with a tail", syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGUSR1, &info));
  }
  wait_handled(1);
}

/* With no room for any: kill is not told, and what is no realtime signal needs none. */
static void no_room(void) {
  struct rlimit none = {0, 0};
  CHECK(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
  say("tgkill", syscall(SYS_tgkill, getpid(), gettid(), SIGRTMIN));
  say("sigqueue", sigqueue(getpid(), SIGRTMIN, (union sigval){0}));
  for (int i = 0; i < 3; i++) say("kill", kill(getpid(), SIGRTMIN));
  signal(SIGRTMIN + 1, SIG_IGN);
  say("sigqueue of an ignored one", sigqueue(getpid(), SIGRTMIN + 1, (union sigval){0}));
  say("tgkill of another", syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1));
  sigset_t pending;
  CHECK(sigpending(&pending) == 0);
  printf("pending: %d %d\n", sigismember(&pending, SIGRTMIN), sigismember(&pending, SIGUSR1));
  signal(SIGRTMIN, count);
  sigset_t set = only(SIGRTMIN);
  CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
  printf("%d came\n", (int)handled);
}
static void block_both(void) {
  sigset_t set = only(SIGRTMIN);
  sigaddset(&set, SIGUSR1);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
}
static void no_room_for_a_signal(void) {
  block_both();
  no_room();
}
static void no_room_for_a_signal_beside_a_thread(void) {
  block_both();
  with_a_thread(no_room);
}

/* What clone3 refuses. The structure stands at the end of what may be read. */
static long clone3_with(struct clone_args args, size_t size) {
  long page = sysconf(_SC_PAGESIZE);
  char* p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED && mprotect(p + page, page, PROT_NONE) == 0);
  memcpy(p + page - sizeof args, &args, sizeof args);
  fflush(stdout);
  long r = syscall(SYS_clone3, p + page - sizeof args, size);
  if (r == 0) _exit(0);
  int error = errno;
  if (r > 0) {
    CHECK(waitpid(r, NULL, 0) == r);
    r = 0;
  }
  munmap(p, 2 * page);
  errno = error;
  return r;
}
static void clone3_refuses(void) {
  const struct clone_args plain = {.exit_signal = SIGCHLD};
  struct clone_args a = plain;
  const size_t sizes[] = {0, 63, 64, 72, sizeof a, sizeof a + 1, 4096, 4097};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) say("size", clone3_with(plain, sizes[i]));
  a.stack = (uintptr_t)&a;
  say("a stack of no size", clone3_with(a, sizeof a));
  a = plain;
  a.stack_size = 4096;
  say("a size of no stack", clone3_with(a, sizeof a));
  a = plain;
  a.exit_signal = 256 + SIGCHLD;
  say("a signal that is none", clone3_with(a, sizeof a));
  a.exit_signal = 65;
  say("a signal that is none", clone3_with(a, sizeof a));
  a = plain;
  a.flags = CLONE_SIGHAND;
  say("handlers without memory", clone3_with(a, sizeof a));
  a.flags = CLONE_THREAD;
  say("a thread without handlers", clone3_with(a, sizeof a));
  a = plain;
  a.exit_signal = 0;
  a.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
  a.set_tid = (uintptr_t)&a;
  say("tids without a number", clone3_with(a, sizeof a));
  a.set_tid = 0;
  a.flags |= CLONE_DETACHED;
  say("a thread that is detached the old way", clone3_with(a, sizeof a));
  a = plain;
  a.stack = UINTPTR_MAX - 8192;
  a.stack_size = 4096;
  say("a stack beyond all addresses", clone3_with(a, sizeof a));
  a.stack = 4096;
  a.stack_size = UINT64_MAX - 4096;
  say("a stack around all addresses", clone3_with(a, sizeof a));
  a = plain;
  a.flags = CLONE_FS | CLONE_NEWNS;
  say("a directory of two namespaces", clone3_with(a, sizeof a));
  a.flags = CLONE_PIDFD;
  a.pidfd = 8;
  say("a pidfd nowhere", clone3_with(a, sizeof a));
}
static void what_is_no_clone3_is_refused(void) {
  clone3_refuses();
  with_a_thread(clone3_refuses);
}

/* A thread's slack is the default of those that it makes, processes too. */
static void slack_of_a_child(void) {
  CHECK(prctl(PR_SET_TIMERSLACK, 70000ul) == 0);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    printf("has %d", prctl(PR_GET_TIMERSLACK));
    CHECK(prctl(PR_SET_TIMERSLACK, 0ul) == 0);
    printf(", goes back to %d\n", prctl(PR_GET_TIMERSLACK));
    exit(0);
  }
  CHECK(waitpid(pid, NULL, 0) == pid);
}
static void a_childs_slack_is_its_default(void) {
  slack_of_a_child();
  with_a_thread(slack_of_a_child);
}

static void no_attributes(void) {
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attr = {.size = sizeof attr};
  say("none", syscall(SYS_sched_setattr, 0, NULL, 0));
  say("flags", syscall(SYS_sched_setattr, 0, &attr, 1000));
  say("elsewhere", syscall(SYS_sched_setattr, 0, (void*)8, 0));
  say("these", syscall(SYS_sched_setattr, 0, &attr, 0));
}
static void attributes_of_scheduling_that_are_none(void) {
  no_attributes();
  with_a_thread(no_attributes);
}

/* libc's own functions, alone: they make their call with arguments that the program does not see. */
static void selects(const char* what, int* pair, long ms) {
  struct timeval t = {ms / 1000, ms % 1000 * 1000};
  fd_set in;
  FD_ZERO(&in);
  FD_SET(pair[0], &in);
  int r = select(pair[0] + 1, &in, NULL, NULL, ms < 0 ? NULL : &t);
  printf("%s: %d, %d there, %s\n", what, r, FD_ISSET(pair[0], &in) != 0, ms > 0 && t.tv_sec > 0 ? "in time" : "late");
}
static void alone_select_waits_and_finds(void) {
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  selects("none", pair, 0);
  selects("a moment", pair, 10);
  CHECK(send(pair[1], "x", 1, 0) == 1);
  selects("some", pair, 5000);
  selects("some, for ever", pair, -1);
  char c;
  CHECK(recv(pair[0], &c, 1, 0) == 1 && c == 'x');
  struct timeval bad = {-1, 0};
  say("less than none", select(0, NULL, NULL, NULL, &bad));
}

/* Memory that is locked, and threads in it. */
static __thread unsigned char own[8192];
static void* writes_its_own(void* arg) {
  for (size_t i = 0; i < sizeof own; i++) CHECK(own[i] == 0);
  memset(own, 0xff, sizeof own);
  unsigned char there[4096];
  if (arg != NULL) {
    CHECK(mlock(own, sizeof own) == 0 && mlock(there, sizeof there) == 0);
  }
  memset(there, 0xff, sizeof there);
  return arg;
}
/* Stacks that libc does not keep. */
static void threads_on_large_stacks(void* arg) {
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  CHECK(pthread_attr_setstacksize(&attr, 48 << 20) == 0);
  for (int i = 0; i < 8; i++) {
    pthread_t t;
    int error = pthread_create(&t, &attr, writes_its_own, arg);
    if (error == 0) error = pthread_join(t, NULL);
    if (error != 0) printf("a thread: %s\n", strerror(error));
  }
}
static void a_stack_that_was_locked_is_empty_again(void) { threads_on_large_stacks(own); }
static long locked_kb(void) {
  char line[256];
  long kb = -1;
  FILE* f = fopen("/proc/self/status", "r");
  CHECK(f != NULL);
  while (fgets(line, sizeof line, f) != NULL) sscanf(line, "VmLck: %ld", &kb);
  fclose(f);
  return kb;
}
/* libc keeps the stack, and gives it another guard. */
static void* locks_its_stack(void* arg) {
  pthread_attr_t attr;
  void* at;
  size_t size;
  CHECK(pthread_getattr_np(pthread_self(), &attr) == 0 && pthread_attr_getstack(&attr, &at, &size) == 0);
  pthread_attr_destroy(&attr);
  if (arg != NULL) CHECK(mlock(at, size) == 0);
  memset(at, 1, 4096);
  return NULL;
}
static void a_stack_that_was_locked_takes_another_guard(void) {
  for (int i = 0; i < 6; i++) {
    pthread_t t;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    size_t guard = (i % 3 + 1) * 4096;
    CHECK(pthread_attr_setstacksize(&attr, (256 << 10) - guard) == 0 && pthread_attr_setguardsize(&attr, guard) == 0);
    CHECK(pthread_create(&t, &attr, locks_its_stack, i < 3 ? own : NULL) == 0 && pthread_join(t, NULL) == 0);
  }
}
static void* locks_all(void* arg) {
  uintptr_t far = ((uintptr_t)&arg - (16 << 20)) & ~(uintptr_t)4095;
  unsigned char there = 0;
  int r = mlockall((int)(intptr_t)arg);
  CHECK(mincore((void*)far, 4096, &there) == 0);
  printf("%d locks its stack: %d\n", (int)(intptr_t)arg, r != 0 || there != 0);
  CHECK(r != 0 || munlockall() == 0);
  return NULL;
}
static void a_threads_stack_is_locked_with_the_rest(void) {
  for (int flags = MCL_CURRENT; flags <= MCL_CURRENT + MCL_FUTURE; flags += MCL_FUTURE) {
    pthread_t t;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    CHECK(pthread_attr_setstacksize(&attr, 32 << 20) == 0);
    CHECK(pthread_create(&t, &attr, locks_all, (void*)(intptr_t)flags) == 0 && pthread_join(t, NULL) == 0);
  }
}
static void what_is_mapped_is_locked(int flags) {
  int r = mlockall(flags);
  say("mlockall", r);
  threads_on_large_stacks(NULL);
  with_a_thread(no_attributes);
  if (r == 0) say("munlockall", munlockall());
  threads_on_large_stacks(NULL);
}
static void threads_beside_locked_memory(void) {
  what_is_mapped_is_locked(MCL_CURRENT);
  what_is_mapped_is_locked(MCL_FUTURE);
  what_is_mapped_is_locked(MCL_CURRENT | MCL_FUTURE);
  what_is_mapped_is_locked(MCL_CURRENT | MCL_ONFAULT);
  what_is_mapped_is_locked(0);
  what_is_mapped_is_locked(MCL_ONFAULT);
  what_is_mapped_is_locked(64);
}
static void* at_least(void* arg) {
  printf("a thread locks its stack: %d\n", locked_kb() >= (long)(intptr_t)arg + 1024);
  return NULL;
}
/* So many that libcr needs memory for them, which the program has later. */
static void many_polls(void) {
  static struct pollfd fds[400];
  for (int i = 0; i < 400; i++) fds[i] = (struct pollfd){1, POLLOUT, 0};
  for (int i = 0; i < 700; i++) CHECK(poll(fds, 400, 0) >= 0);
}
static void the_program_is_locked_and_little_more(void) {
  with_a_thread(many_polls);
  static char mine[8 << 20] __attribute__((aligned(4096)));
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    say("mlockall", -1); /* a user's limit */
    return;
  }
  long kb = locked_kb();
  printf("locked: %d, little more: %d\n", kb >= 8 << 10, kb < 32 << 10);
  unsigned char there;
  CHECK(mincore(mine, 4096, &there) == 0 && there == 1);
  pthread_t t;
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  CHECK(pthread_attr_setstacksize(&attr, 1 << 20) == 0);
  CHECK(pthread_create(&t, &attr, at_least, (void*)(intptr_t)kb) == 0 && pthread_join(t, NULL) == 0);
  printf("little more: %d\n", locked_kb() < 64 << 10);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    printf("a child has %ld\n", locked_kb());
    threads_on_large_stacks(NULL);
    printf("and still %ld\n", locked_kb());
    exit(0);
  }
  CHECK(waitpid(pid, NULL, 0) == pid);
}

/* What a child in a sandbox may do: a call that is not allowed ends it. */
static void end_of(void (*run)(void)) {
  int status;
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    run();
    syscall(SYS_exit, 3);
  }
  CHECK(waitpid(pid, &status, 0) == pid);
  printf("%s %d\n", WIFEXITED(status) ? "exits" : "ended by", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}
static void strictly(void) {
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
  CHECK(write(1, "strict\n", 7) == 7);
}
static void strictly_with_close(void) {
  strictly();
  close(0);
}
static void filtered(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ, SYS_exit, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ, SYS_write, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof code[0], code};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  CHECK(write(1, "filtered\n", 9) == 9);
}
static void a_sandboxed_process_ends_by_the_call_it_makes(void) {
  end_of(strictly);
  end_of(strictly_with_close);
  end_of(filtered);
}

/* Whoever traces a process sees the signals that it sends to itself, be they handled, ignored or blocked later. */
static void trace_me(int threads) {
  signal(SIGUSR1, count);
  signal(SIGUSR2, SIG_IGN);
  CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
  kill(getpid(), SIGUSR1);
  raise(SIGUSR2);
  raise(SIGTERM);
  if (!threads) raise(SIGCHLD); /* ignored, and docs/suites.md */
  sigqueue(getpid(), SIGRTMIN, (union sigval){0});
  raise(SIGUSR1);
  _exit(handled);
}
static void* nothing(void* arg) { return arg; }
static void traces_a_child(int threads) {
  int status;
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    pthread_t t;
    if (threads) CHECK(pthread_create(&t, NULL, nothing, NULL) == 0 && pthread_join(t, NULL) == 0);
    trace_me(threads);
  }
  while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
    printf("stops by %d\n", WSTOPSIG(status));
    CHECK(ptrace(PTRACE_CONT, pid, 0, WSTOPSIG(status) == SIGUSR1 ? SIGUSR1 : 0) == 0);
  }
  printf("exits with %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static void a_tracer_sees_what_its_child_sends_itself(void) { traces_a_child(0); }
static void a_tracer_sees_what_a_child_sends_itself_that_had_a_thread(void) { traces_a_child(1); }

static const struct test_case cases[] = {
    CASE(any_of_its_threads_names_a_process),
    CASE(signals_to_who_is_not_there),
    CASE(signals_to_who_is_not_there_beside_a_thread),
    CASE(no_room_for_a_signal),
    CASE(no_room_for_a_signal_beside_a_thread),
    CASE(what_is_no_clone3_is_refused),
    CASE(a_childs_slack_is_its_default),
    CASE(attributes_of_scheduling_that_are_none),
    CASE(alone_select_waits_and_finds),
    CASE(a_stack_that_was_locked_is_empty_again),
    CASE(a_stack_that_was_locked_takes_another_guard),
    CASE(a_threads_stack_is_locked_with_the_rest),
    CASE(threads_beside_locked_memory),
    CASE(the_program_is_locked_and_little_more),
    CASE(a_sandboxed_process_ends_by_the_call_it_makes),
    CASE(a_tracer_sees_what_its_child_sends_itself),
    CASE(a_tracer_sees_what_a_child_sends_itself_that_had_a_thread),
    CASE(a_siginfo_is_read_as_far_as_it_has_something),
};
CASE_MAIN(cases)
