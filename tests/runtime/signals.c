/* Signals: mask, pending set and alternate stack are the LWKT's, dispositions the process's. */
#include "case.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

static volatile sig_atomic_t got, last_sig, last_code;
static volatile pid_t last_pid;

static void on_signal(int sig) {
  got++;
  last_sig = sig;
}
static void on_info(int sig, siginfo_t* info, void* uc) {
  got++;
  last_sig = sig;
  last_code = info->si_code;
  last_pid = info->si_pid;
  CHECK(uc != NULL);
}
static void handle(int sig, void (*fn)(int), int flags) {
  struct sigaction sa = {0};
  sa.sa_handler = fn;
  sa.sa_flags = flags;
  CHECK(sigaction(sig, &sa, NULL) == 0);
}
static void handle_info(int sig, void (*fn)(int, siginfo_t*, void*), int flags) {
  struct sigaction sa = {0};
  sa.sa_sigaction = fn;
  sa.sa_flags = flags | SA_SIGINFO;
  CHECK(sigaction(sig, &sa, NULL) == 0);
}
static void block(int sig, int how) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, sig);
  CHECK(pthread_sigmask(how, &set, NULL) == 0);
}

static void kill_self_with_info(void) {
  handle_info(SIGUSR1, on_info, 0);
  CHECK(kill(getpid(), SIGUSR1) == 0);
  CHECK(got == 1 && last_sig == SIGUSR1 && last_pid == getpid());
  printf("%d\n", last_code);
  CHECK(raise(SIGUSR1) == 0);
  CHECK(got == 2);
  printf("%d\n", last_code);
  union sigval v = {.sival_int = 5};
  CHECK(sigqueue(getpid(), SIGUSR1, v) == 0);
  CHECK(got == 3);
  printf("%d\n", last_code);
}

static void blocked_then_unblocked(void) {
  handle(SIGUSR1, on_signal, 0);
  block(SIGUSR1, SIG_BLOCK);
  kill(getpid(), SIGUSR1);
  kill(getpid(), SIGUSR1);
  CHECK(got == 0);
  sigset_t pend;
  sigpending(&pend);
  CHECK(sigismember(&pend, SIGUSR1));
  block(SIGUSR1, SIG_UNBLOCK);
  printf("%d\n", got); /* a standard signal does not queue */
}

static int order[8], norder;
static void on_rt(int sig, siginfo_t* info, void* uc) { order[norder++] = info->si_value.sival_int; }
static void realtime_signals_queue(void) {
  handle_info(SIGRTMIN + 3, on_rt, 0);
  block(SIGRTMIN + 3, SIG_BLOCK);
  for (int i = 0; i < 5; i++) {
    union sigval v = {.sival_int = i};
    CHECK(sigqueue(getpid(), SIGRTMIN + 3, v) == 0);
  }
  block(SIGRTMIN + 3, SIG_UNBLOCK);
  for (int i = 0; i < norder; i++) printf("%d ", order[i]);
  puts("");
}

static int fds[2];
static pthread_t main_thread;
static void* poke_then_write(void* arg) {
  sleep_ms(50);
  pthread_kill(main_thread, SIGUSR1);
  sleep_ms(50);
  CHECK(write(fds[1], "x", 1) == 1);
  return arg;
}
static void read_with_signal(int flags) {
  CHECK(pipe(fds) == 0);
  handle(SIGUSR1, on_signal, flags);
  main_thread = pthread_self();
  pthread_t t;
  CHECK(pthread_create(&t, NULL, poke_then_write, NULL) == 0);
  char c;
  errno = 0;
  ssize_t n = read(fds[0], &c, 1);
  printf("%zd %d %d\n", n, n < 0 ? errno : 0, got);
  pthread_join(t, NULL);
}
static void read_restarts(void) { read_with_signal(SA_RESTART); }
static void read_says_eintr(void) { read_with_signal(0); }

/* The same without a second thread: the call sleeps in the kernel. */
static void read_alone(int flags) {
  CHECK(pipe(fds) == 0);
  handle(SIGALRM, on_signal, flags);
  pid_t pid = fork();
  if (pid == 0) {
    sleep_ms(50);
    kill(getppid(), SIGALRM);
    sleep_ms(50);
    CHECK(write(fds[1], "x", 1) == 1);
    _exit(0);
  }
  char c;
  ssize_t n = read(fds[0], &c, 1);
  printf("%zd %d %d\n", n, n < 0 ? errno : 0, got);
  while (waitpid(pid, NULL, 0) < 0) {
  }
}
static void read_restarts_alone(void) { read_alone(SA_RESTART); }
static void read_says_eintr_alone(void) { read_alone(0); }

static void* poke_main(void* arg) {
  sleep_ms(50);
  pthread_kill(main_thread, SIGUSR1);
  return arg;
}
static void sleep_says_eintr(void) {
  handle(SIGUSR1, on_signal, SA_RESTART);
  main_thread = pthread_self();
  pthread_t t;
  CHECK(pthread_create(&t, NULL, poke_main, NULL) == 0);
  struct timespec ts = {100, 0}, rem = {0, 0};
  CHECK(nanosleep(&ts, &rem) == -1 && errno == EINTR);
  CHECK(rem.tv_sec >= 90 && rem.tv_sec < 100);
  pthread_join(t, NULL);
  printf("%d\n", got);
}

static char* altbase;
static volatile int on_alt;
static void note_stack(int sig) {
  char here;
  on_alt = &here >= altbase && &here < altbase + 65536;
  stack_t ss;
  sigaltstack(NULL, &ss);
  CHECK(!on_alt || (ss.ss_flags & SS_ONSTACK));
  got++;
}
static void* altstack_body(void* arg) {
  altbase = malloc(65536);
  stack_t ss = {.ss_sp = altbase, .ss_size = 65536}, old;
  CHECK(sigaltstack(&ss, &old) == 0 && (old.ss_flags & SS_DISABLE));
  handle(SIGUSR1, note_stack, SA_ONSTACK);
  pthread_kill(pthread_self(), SIGUSR1);
  CHECK(got == 1 && on_alt);
  handle(SIGUSR1, note_stack, 0);
  pthread_kill(pthread_self(), SIGUSR1);
  CHECK(got == 2 && !on_alt);
  got = 0;
  ss.ss_flags = SS_DISABLE;
  CHECK(sigaltstack(&ss, NULL) == 0);
  free(altbase);
  return arg;
}
static void alternate_stack(void) {
  altstack_body(NULL);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, altstack_body, NULL) == 0);
  pthread_join(t, NULL);
  puts("ok");
}

static sigjmp_buf jump;
static void on_overflow(int sig) { siglongjmp(jump, sig); }
static int recurse(int n) {
  volatile char page[1024];
  page[0] = (char)n;
  return recurse(n + 1) + page[0];
}
static void* overflow_body(void* arg) {
  stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536};
  CHECK(sigaltstack(&ss, NULL) == 0);
  handle(SIGSEGV, on_overflow, SA_ONSTACK);
  for (int i = 0; i < 3; i++) {
    int r = sigsetjmp(jump, 1);
    if (r == 0) recurse(0);
    CHECK(r == SIGSEGV);
  }
  return arg;
}
static void overflow_is_survived_on_altstack(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, overflow_body, NULL) == 0);
  pthread_join(t, NULL);
  puts("ok");
}

static void on_fault(int sig, siginfo_t* info, void* uc) {
  last_sig = sig;
  last_code = info->si_code;
  CHECK(info->si_addr == (void*)(altbase + 16));
  siglongjmp(jump, 1);
}
static void fault_handler_and_siglongjmp(void) {
  altbase = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  handle_info(SIGSEGV, on_fault, 0);
  for (int i = 0; i < 100; i++) {
    if (sigsetjmp(jump, 1) == 0) {
      *(volatile char*)(altbase + 16) = 1;
      CHECK(!"unreachable");
    }
    CHECK(last_sig == SIGSEGV && last_code == SEGV_ACCERR);
  }
  puts("ok");
}

static void mend_fault(int sig, siginfo_t* info, void* uc) {
  got++;
  CHECK(mprotect(altbase, 4096, PROT_READ | PROT_WRITE) == 0);
}
static void* fault_in_thread(void* arg) {
  for (int i = 0; i < 20; i++) {
    mprotect(altbase, 4096, PROT_NONE);
    *(volatile char*)altbase = (char)i;
    CHECK(altbase[0] == i);
  }
  return arg;
}
static void fault_handler_repairs(void) {
  altbase = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  handle_info(SIGSEGV, mend_fault, 0);
  fault_in_thread(NULL);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, fault_in_thread, NULL) == 0);
  pthread_join(t, NULL);
  printf("%d\n", got);
}

static void bad_pointers_give_efault(void) {
  CHECK(pipe(fds) == 0);
  void* volatile bad = (void*)8;
  CHECK(write(fds[1], bad, 1) == -1 && errno == EFAULT);
  CHECK(syscall(SYS_nanosleep, bad, NULL) == -1 && errno == EFAULT);  // i386's nanosleep itself reads it
  CHECK(sigaltstack((void*)8, NULL) == -1 && errno == EFAULT);
  uintptr_t nowhere[] = {8, (uintptr_t)1 << (sizeof(void*) == 8 ? 32 : 12), (uintptr_t)1 << (sizeof(void*) * 8 - 1)};
  for (int i = 0; i < 3; i++) {
    bad = (void*)nowhere[i];
    if (msync((void*)(nowhere[i] & ~(uintptr_t)4095), 1, MS_ASYNC) == 0) continue;  // something is there
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad, NULL, 8) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad, 8) == -1 && errno == EFAULT);
  }
  puts("ok");
}

static void* suspend_poker(void* arg) {
  sleep_ms(30);
  pthread_kill(main_thread, SIGUSR1);
  return arg;
}
static void sigsuspend_waits(void) {
  handle(SIGUSR1, on_signal, 0);
  block(SIGUSR1, SIG_BLOCK);
  main_thread = pthread_self();
  pthread_t t;
  sigset_t none, now;
  CHECK(pthread_create(&t, NULL, suspend_poker, NULL) == 0);
  pthread_sigmask(SIG_BLOCK, NULL, &none);
  sigdelset(&none, SIGUSR1);
  while (got == 0) CHECK(sigsuspend(&none) == -1 && errno == EINTR);
  pthread_sigmask(SIG_BLOCK, NULL, &now);
  CHECK(sigismember(&now, SIGUSR1));
  pthread_join(t, NULL);
  /* One that is pending already. */
  kill(getpid(), SIGUSR1);
  CHECK(got == 1);
  CHECK(sigsuspend(&none) == -1 && got == 2);
  printf("%d\n", got);
}

static void sigwait_takes(void) {
  sigset_t set;
  int sig;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  kill(getpid(), SIGTERM);
  CHECK(sigwait(&set, &sig) == 0 && sig == SIGTERM);
  main_thread = pthread_self();
  pthread_t t;
  CHECK(pthread_create(&t, NULL, suspend_poker, NULL) == 0);
  siginfo_t info;
  CHECK(sigwaitinfo(&set, &info) == SIGUSR1);
  printf("%d\n", info.si_code);
  pthread_join(t, NULL);
  struct timespec ts = {0, 20000000};
  CHECK(sigtimedwait(&set, &info, &ts) == -1 && errno == EAGAIN);
  puts("ok");
}

static void* open_for_usr2(void* arg) {
  (void)arg;
  block(SIGUSR2, SIG_UNBLOCK);
  for (int i = 0; i < 400 && got == 0; i++) sleep_ms(5);
  return NULL;
}
static void* send_both(void* arg) {
  (void)arg;
  sleep_ms(50);
  CHECK(kill(getpid(), SIGUSR2) == 0 && kill(getpid(), SIGUSR1) == 0);
  return NULL;
}
/* Both wake it. It takes one; the other is somebody's who doesn't block it. */
static void what_a_waiter_leaves_goes_to_who_has_it_open(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGUSR2);
  handle(SIGUSR2, on_signal, 0);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  pthread_t open, sender;
  CHECK(pthread_create(&open, NULL, open_for_usr2, NULL) == 0);
  CHECK(pthread_create(&sender, NULL, send_both, NULL) == 0);
  struct timespec most = {3, 0};
  int first = sigtimedwait(&set, NULL, &most);
  pthread_join(sender, NULL);
  if (first == SIGUSR2) { /* it ran between the two */
    got = 1;
    CHECK(sigtimedwait(&set, NULL, &most) == SIGUSR1);
  }
  pthread_join(open, NULL);
  printf("%d\n", got);
}

static void* wait_for_usr1(void* arg) {
  sigset_t set;
  int sig;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  CHECK(sigwait(&set, &sig) == 0);
  return (void*)(intptr_t)sig;
}
/* The usual design: all threads block it, one waits for it; it comes from another process. */
static void sigwait_thread_takes_process_signal(void) {
  block(SIGUSR1, SIG_BLOCK);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, wait_for_usr1, NULL) == 0);
  pid_t parent = getpid(), pid = fork();
  if (pid == 0) {
    sleep_ms(30);
    kill(parent, SIGUSR1);
    _exit(0);
  }
  void* r;
  pthread_join(t, &r);
  waitpid(pid, NULL, 0);
  printf("%d\n", (int)(intptr_t)r);
}

static __thread volatile int mine;
static void note_thread(int sig) { mine++; }
static pthread_barrier_t barrier;
static void* killed_body(void* arg) {
  pthread_barrier_wait(&barrier);
  while (mine < 10) usleep(1000);
  return (void*)(intptr_t)mine;
}
static void pthread_kill_reaches_its_thread(void) {
  handle(SIGUSR2, note_thread, 0);
  pthread_t t[8];
  pthread_barrier_init(&barrier, NULL, 9);
  for (int i = 0; i < 8; i++) CHECK(pthread_create(&t[i], NULL, killed_body, NULL) == 0);
  pthread_barrier_wait(&barrier);
  /* Signals that come while one is pending are lost: send until each has had its ten. */
  for (int i = 0; i < 8; i++) {
    void* r;
    while (pthread_tryjoin_np(t[i], &r) == EBUSY) {
      for (int k = i; k < 8; k++) pthread_kill(t[k], SIGUSR2);
      usleep(500);
    }
    CHECK((intptr_t)r >= 10);
  }
  CHECK(mine == 0);
  puts("ok");
}

static void* busy_until_signal(void* arg) {
  while (mine == 0) {
  }
  return arg;
}
static void pthread_kill_reaches_a_busy_thread(void) {
  handle(SIGUSR2, note_thread, 0);
  for (int i = 0; i < 10; i++) {
    pthread_t t;
    CHECK(pthread_create(&t, NULL, busy_until_signal, NULL) == 0);
    if (i % 2) sleep_ms(10);
    CHECK(pthread_kill(t, SIGUSR2) == 0);
    pthread_join(t, NULL);
  }
  puts("ok");
}

static void timer_signals(void) {
  handle(SIGALRM, on_signal, SA_RESTART);
  struct itimerval it = {{0, 5000}, {0, 5000}};
  CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
  while (got < 20) {
  } /* computing */
  while (got < 40) pause();
  it.it_value.tv_usec = 0;
  CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
  puts("ok");
}
static void timer_signals_beside_threads(void) {
  pthread_t t;
  block(SIGALRM, SIG_BLOCK);
  pthread_barrier_init(&barrier, NULL, 2);
  handle(SIGUSR2, note_thread, 0);
  CHECK(pthread_create(&t, NULL, killed_body, NULL) == 0);
  block(SIGALRM, SIG_UNBLOCK);
  pthread_barrier_wait(&barrier);
  timer_signals();
  while (pthread_tryjoin_np(t, NULL) == EBUSY) pthread_kill(t, SIGUSR2), usleep(500);
}
static void alarm_ends_process(void) {
  alarm(1);
  for (;;) pause();
}

static volatile int deepest, level;
static void nest(int sig) {
  level++;
  if (level > deepest) deepest = level;
  if (sig == SIGUSR1) raise(SIGUSR2);
  if (sig == SIGUSR2) raise(SIGTERM);
  if (sig == SIGUSR1) raise(SIGUSR1); /* blocked: runs after */
  got++;
  level--;
}
static void nested_handlers(void) {
  struct sigaction sa = {0};
  sa.sa_handler = nest;
  sigaction(SIGUSR2, &sa, NULL);
  sigaction(SIGTERM, &sa, NULL);
  sa.sa_flags = SA_RESETHAND;
  sigaction(SIGUSR1, &sa, NULL);
  signal(SIGUSR1, SIG_IGN);
  sa.sa_flags = 0;
  sigaction(SIGUSR1, &sa, NULL);
  raise(SIGUSR2);
  printf("%d %d\n", deepest, got);
  sigaddset(&sa.sa_mask, SIGUSR2);
  sigaction(SIGUSR2, &sa, NULL);
  raise(SIGUSR2);
  printf("%d %d\n", deepest, got);
}
static void reset_hand_and_nodefer(void) {
  handle(SIGUSR1, on_signal, SA_RESETHAND | SA_NODEFER);
  raise(SIGUSR1);
  struct sigaction sa;
  sigaction(SIGUSR1, NULL, &sa);
  CHECK(sa.sa_handler == SIG_DFL);
  printf("%d\n", got);
  fflush(stdout);
  raise(SIGUSR1);
}

static volatile int reaped;
static void reap(int sig) {
  int status, saved = errno;
  // Where this thread has it blocked, another one may be in here, too.
  while (waitpid(-1, &status, WNOHANG) > 0) __atomic_add_fetch(&reaped, WEXITSTATUS(status), __ATOMIC_SEQ_CST);
  errno = saved;
}
static void sigchld_handler_reaps(void) {
  handle(SIGCHLD, reap, SA_RESTART);
  for (int i = 1; i <= 10; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) _exit(i);
  }
  while (reaped < 55) usleep(1000);
  printf("%d\n", reaped);
}
static void* idle_body(void* arg) {
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  return arg;
}
static void sigchld_handler_reaps_beside_threads(void) {
  pthread_t t[4];
  pthread_barrier_init(&barrier, NULL, 5);
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, idle_body, NULL) == 0);
  pthread_barrier_wait(&barrier);
  sigchld_handler_reaps();
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
}

static sigjmp_buf out;
static void jump_out(int sig) { siglongjmp(out, 1); }
static void* jump_body(void* arg) {
  handle(SIGUSR1, jump_out, 0);
  main_thread = pthread_self();
  CHECK(pipe(fds) == 0);
  pthread_t t;
  for (volatile int i = 0; i < 5; i++) {
    if (sigsetjmp(out, 1) == 0) {
      CHECK(pthread_create(&t, NULL, poke_main, NULL) == 0);
      char c;
      read(fds[0], &c, 1);
      CHECK(!"unreachable");
    }
    pthread_join(t, NULL);
  }
  return arg;
}
static void siglongjmp_out_of_a_blocked_read(void) {
  jump_body(NULL);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, jump_body, NULL) == 0);
  pthread_join(t, NULL);
  puts("ok");
}

static void signalfd_reads(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  int fd = signalfd(-1, &set, 0);
  CHECK(fd >= 0);
  pid_t pid = fork();
  if (pid == 0) {
    kill(getppid(), SIGUSR1);
    _exit(0);
  }
  struct signalfd_siginfo info;
  CHECK(read(fd, &info, sizeof info) == sizeof info);
  printf("%u\n", info.ssi_signo);
  waitpid(pid, NULL, 0);
}

/* All sleep in traps or behind locks: the kernel thread that takes the signal has no cpu then. */
static void* read_forever(void* arg) {
  char c;
  read(fds[0], &c, 1);
  return arg;
}
static void kill_ends_sleeping_threads(void) {
  for (int i = 0; i < 10; i++) {
    int up[2];
    char c;
    CHECK(pipe(fds) == 0 && pipe(up) == 0);
    pid_t pid = fork();
    if (pid == 0) {
      pthread_t t[3];
      for (int k = 0; k < 3; k++) CHECK(pthread_create(&t[k], NULL, read_forever, NULL) == 0);
      sleep_ms(20);
      write(up[1], "u", 1);
      pthread_join(t[0], NULL);
      _exit(1);
    }
    CHECK(read(up[0], &c, 1) == 1);
    sleep_ms(10);
    CHECK(kill(pid, i % 2 ? SIGTERM : SIGHUP) == 0);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("%d\n", WIFSIGNALED(status) ? WTERMSIG(status) : -1);
    close(fds[0]), close(fds[1]), close(up[0]), close(up[1]);
  }
}

/* What the program sees: /proc shows the kernel's view, which under libcr is another. */
static void print_inherited(void) {
  sigset_t set;
  sigprocmask(SIG_BLOCK, NULL, &set);
  for (int sig = 1; sig < 32; sig++) {
    struct sigaction sa;
    if (sigismember(&set, sig)) printf("blocked %d\n", sig);
    if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL) {
      printf("%s %d\n", sa.sa_handler == SIG_IGN ? "ignored" : "caught", sig);
    }
  }
}
static void exec_print(void) {
  execl("/proc/self/exe", "signals", "print_inherited", NULL);
  CHECK(!"exec");
}
static void exec_keeps_mask_and_ignored(void) {
  signal(SIGUSR1, on_signal); /* becomes the default */
  signal(SIGUSR2, SIG_IGN);
  block(SIGTERM, SIG_BLOCK);
  block(SIGCHLD, SIG_BLOCK);
  block(SIGSEGV, SIG_BLOCK);
  exec_print();
}
/* A blocked pending signal stays pending. */
static void exec_keeps_pending_body(void) {
  handle(SIGTERM, on_signal, 0);
  block(SIGTERM, SIG_UNBLOCK);
  printf("%d\n", got);
}
static void exec_keeps_pending(void) {
  block(SIGTERM, SIG_BLOCK);
  kill(getpid(), SIGTERM);
  execl("/proc/self/exe", "signals", "exec_keeps_pending_body", NULL);
}
static void child_inherits_ignored_and_mask(void) {
  signal(SIGUSR1, SIG_IGN);
  block(SIGUSR2, SIG_BLOCK);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) exec_print();
  CHECK(waitpid(pid, NULL, 0) == pid);
  pid = vfork();
  if (pid == 0) {
    execl("/proc/self/exe", "signals", "print_inherited", NULL);
    _exit(1);
  }
  CHECK(waitpid(pid, NULL, 0) == pid);
}

static void stop_and_continue(void) {
  pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0); /* in an orphaned group SIGTSTP would be ignored */
    raise(SIGSTOP);
    raise(SIGTSTP);
    _exit(5);
  }
  int status;
  CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
  printf("%d\n", WSTOPSIG(status));
  kill(pid, SIGCONT);
  CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
  printf("%d\n", WSTOPSIG(status));
  kill(pid, SIGCONT);
  CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
  printf("%d\n", WEXITSTATUS(status));
}

static volatile double product = 1;
static void clobber_fpu(int sig) {
  volatile double a = 3.7;
  for (int i = 0; i < 10; i++) a = a * 1.1 + 0.3;
  got++;
}
/* A handler must not disturb the vectors of the code that it interrupts. */
static void vectors_survive_handlers(void) {
  handle(SIGALRM, clobber_fpu, SA_RESTART);
  struct itimerval it = {{0, 1000}, {0, 1000}};
  setitimer(ITIMER_REAL, &it, NULL);
  while (got < 100) {
    double s = 0;
    for (int i = 1; i < 2000; i++) s += 1.0 / i;
    if (product == 1) product = s;
    CHECK(s == product);
  }
  puts("ok");
}

static void* sleep_for_ever(void* arg) {
  for (;;) pause();
  return arg;
}
/* A process in which nobody runs wakes for each signal, also for one that comes while it is about
 * to fall asleep: the sender answers at once, so some of many do. */
static void signals_wake_an_idle_process(void) {
  enum { kSignals = 60000 };
  sigset_t none;
  sigemptyset(&none);
  handle(SIGUSR1, on_signal, 0);
  block(SIGUSR1, SIG_BLOCK);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, sleep_for_ever, NULL) == 0);
  int fds[2];
  CHECK(pipe(fds) == 0);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    char c;
    close(fds[1]);
    do kill(getppid(), SIGUSR1);
    while (read(fds[0], &c, 1) == 1);
    _exit(0);
  }
  close(fds[0]);
  for (int i = 0; i < kSignals; i++) {
    while (got == 0) sigsuspend(&none);
    got = 0;
    CHECK(write(fds[1], "x", 1) == 1);
  }
  close(fds[1]);
  int status;
  while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
  CHECK(status == 0);
  puts("ok");
}

static void sigqueue_says_when_there_is_no_room_for_a_signalfd(void) {
  sigset_t set;
  struct rlimit none = {0, 0};
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 5);
  CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && signalfd(-1, &set, 0) >= 0);
  CHECK(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
  int r = sigqueue(getpid(), SIGRTMIN + 5, (union sigval){0});
  printf("%d %s\n", r, r < 0 ? strerror(errno) : "");
}

/* A signal that its one thread blocks, though libcr takes it, is no reason to sleep anew. */
static void a_blocked_signal_does_not_lengthen_a_sleep(void) {
  handle(SIGUSR1, on_signal, 0);
  block(SIGUSR1, SIG_BLOCK);
  pid_t parent = getpid(), pid = fork();
  if (pid == 0) {
    sleep_ms(400);
    CHECK(kill(parent, SIGUSR1) == 0);
    _exit(0);
  }
  struct timespec half = {0, 500000000};
  int64_t begun = now_ms();
  int r = nanosleep(&half, NULL);
  int64_t ms = now_ms() - begun;
  CHECK(waitpid(pid, NULL, 0) == pid);
  printf("%d %s\n", r, ms >= 490 && ms < 800 ? "in time" : "late");
}

static const struct test_case cases[] = {
    CASE(kill_self_with_info), CASE(blocked_then_unblocked), CASE(realtime_signals_queue),
    CASE(read_restarts), CASE(read_says_eintr), CASE(read_restarts_alone),
    CASE(read_says_eintr_alone), CASE(sleep_says_eintr), CASE(alternate_stack),
    CASE(overflow_is_survived_on_altstack), CASE(fault_handler_and_siglongjmp),
    CASE(fault_handler_repairs), CASE(bad_pointers_give_efault), CASE(sigsuspend_waits),
    CASE(sigwait_takes), CASE(what_a_waiter_leaves_goes_to_who_has_it_open), CASE(sigwait_thread_takes_process_signal),
    CASE(pthread_kill_reaches_its_thread), CASE(pthread_kill_reaches_a_busy_thread),
    CASE(timer_signals), CASE(timer_signals_beside_threads), CASE(alarm_ends_process),
    CASE(nested_handlers), CASE(reset_hand_and_nodefer), CASE(sigchld_handler_reaps),
    CASE(sigchld_handler_reaps_beside_threads), CASE(siglongjmp_out_of_a_blocked_read),
    CASE(signalfd_reads), CASE(kill_ends_sleeping_threads), CASE(print_inherited),
    CASE(exec_keeps_mask_and_ignored), CASE(exec_keeps_pending), CASE(exec_keeps_pending_body), CASE(child_inherits_ignored_and_mask), CASE(stop_and_continue),
    CASE(vectors_survive_handlers), CASE(signals_wake_an_idle_process),
    CASE(sigqueue_says_when_there_is_no_room_for_a_signalfd), CASE(a_blocked_signal_does_not_lengthen_a_sleep),
};
CASE_MAIN(cases)
