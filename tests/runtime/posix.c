/* What POSIX says of the calls around threads, where the runtime once differed: signals at a handler's
 * return, timers of timer_create, sleeps under blocked signals, small stacks. */
#include "fifo.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void handle(int sig, void (*fn)(int), const sigset_t* mask) {
  struct sigaction sa = {0};
  sa.sa_handler = fn;
  if (mask != NULL) sa.sa_mask = *mask;
  CHECK(sigaction(sig, &sa, NULL) == 0);
}
static sigset_t set_of(int a, int b, int c) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, a);
  if (b != 0) sigaddset(&set, b);
  if (c != 0) sigaddset(&set, c);
  return set;
}
static void nothing(int sig) {}

static void* doze(void* arg) {
  sem_wait(arg);
  return NULL;
}
/* Runs fn beside another thread, which makes the runtime take other ways. */
static void beside_a_thread(void (*fn)(void)) {
  pthread_t t;
  sem_t go;
  CHECK(sem_init(&go, 0, 0) == 0 && pthread_create(&t, NULL, doze, &go) == 0);
  fn();
  CHECK(sem_post(&go) == 0 && pthread_join(t, NULL) == 0);
}

static void errno_is_zero_at_start(void) { printf("%d\n", errno); }

/* Three signals become deliverable as one handler returns. */
static volatile int order[8], norder;
static void note(int sig) { order[norder++] = sig; }
static void raise_three(int sig) {
  CHECK(raise(SIGALRM) == 0 && raise(SIGUSR2) == 0 && raise(SIGTERM) == 0);
  note(sig);
}
static void several_signals_at_a_handlers_return(void) {
  sigset_t mask = set_of(SIGALRM, SIGUSR2, SIGTERM);
  handle(SIGUSR1, raise_three, &mask);
  handle(SIGUSR2, note, NULL);
  handle(SIGALRM, note, NULL);
  handle(SIGTERM, note, NULL);
  for (int i = 0; i < 2; i++) {
    norder = 0;
    CHECK(raise(SIGUSR1) == 0);
    for (int k = 0; k < norder; k++) printf("%d ", order[k]);
    puts("");
  }
}

/* ---- timers ---- */

static timer_t new_timer(int notify, int sig, int value, pid_t tid) {
  struct sigevent ev = {0};
  ev.sigev_notify = notify;
  ev.sigev_signo = sig;
  ev.sigev_value.sival_int = value;
  if (notify == SIGEV_THREAD_ID) ev.sigev_notify_thread_id = tid;
  timer_t t;
  CHECK(timer_create(CLOCK_MONOTONIC, &ev, &t) == 0);
  return t;
}
static void set_timer(timer_t t, int first_ms, int every_ms) {
  struct itimerspec its = {{0, every_ms * 1000000}, {0, first_ms * 1000000}};
  CHECK(timer_settime(t, 0, &its, NULL) == 0);
}

static sem_t expired;
static void count_expiry(union sigval v) {
  CHECK(v.sival_int == 42);
  sem_post(&expired);
}
static void timer_runs_a_thread(void) {
  struct sigevent ev = {0};
  ev.sigev_notify = SIGEV_THREAD;
  ev.sigev_notify_function = count_expiry;
  ev.sigev_value.sival_int = 42;
  CHECK(sem_init(&expired, 0, 0) == 0);
  timer_t t;
  CHECK(timer_create(CLOCK_REALTIME, &ev, &t) == 0);
  set_timer(t, 5, 5);
  for (int i = 0; i < 3; i++) CHECK(sem_wait(&expired) == 0);
  CHECK(timer_delete(t) == 0);
  puts("3 expiries");
}

static void* wait_for_timer(void* arg) {
  sigset_t set = set_of(SIGUSR1, 0, 0);
  siginfo_t info;
  timer_t t = new_timer(SIGEV_THREAD_ID, SIGUSR1, 7, gettid());
  set_timer(t, 5, 0);
  CHECK(sigwaitinfo(&set, &info) == SIGUSR1);
  printf("code %d value %d\n", info.si_code, info.si_value.sival_int);
  CHECK(timer_delete(t) == 0);
  return NULL;
}
/* It must not be taken by the first thread, which does not block it. */
static void timer_signals_one_thread(void) {
  handle(SIGUSR1, nothing, NULL);
  sigset_t set = set_of(SIGUSR1, 0, 0);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, wait_for_timer, NULL) == 0);
  CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
  CHECK(pthread_join(t, NULL) == 0);
}
static void timer_for_no_thread_is_refused(void) {
  struct sigevent ev = {0};
  ev.sigev_notify = SIGEV_THREAD_ID;
  ev.sigev_signo = SIGUSR1;
  ev.sigev_notify_thread_id = 1;
  timer_t t;
  int r = timer_create(CLOCK_MONOTONIC, &ev, &t);
  printf("%d %d\n", r, errno);
}

static void expiries_while_blocked(void) {
  sigset_t set = set_of(SIGUSR1, 0, 0);
  handle(SIGUSR1, nothing, NULL);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  timer_t t = new_timer(SIGEV_SIGNAL, SIGUSR1, 1, 0);
  set_timer(t, 2, 2);
  sleep_ms(60);
  siginfo_t info;
  CHECK(sigwaitinfo(&set, &info) == SIGUSR1);
  printf("code %d, overruns: %d, the same by timer_getoverrun: %d\n", info.si_code,
         info.si_overrun >= 5, timer_getoverrun(t) == info.si_overrun);
  CHECK(timer_delete(t) == 0);
  printf("%d\n", timer_getoverrun(t));
  CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
}
static void expiries_while_blocked_are_overruns(void) {
  expiries_while_blocked();
  beside_a_thread(expiries_while_blocked);
}

/* A standard signal waits once for each timer and once more for kill. */
static void each_timer_has_a_signal_of_its_own(void) {
  sigset_t set = set_of(SIGUSR1, 0, 0);
  handle(SIGUSR1, nothing, NULL);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  CHECK(kill(getpid(), SIGUSR1) == 0);
  timer_t a = new_timer(SIGEV_SIGNAL, SIGUSR1, 10, 0), b = new_timer(SIGEV_SIGNAL, SIGUSR1, 20, 0);
  set_timer(a, 1, 0);
  sleep_ms(20);
  set_timer(b, 1, 0);
  sleep_ms(20);
  struct timespec none = {0, 0};
  siginfo_t info;
  while (sigtimedwait(&set, &info, &none) == SIGUSR1) {
    printf("code %d value %d\n", info.si_code, info.si_code == SI_TIMER ? info.si_value.sival_int : 0);
  }
  CHECK(timer_delete(a) == 0 && timer_delete(b) == 0);
}

/* SIGCONT is ignored by default, so that the kernel may hold it: with its count of expiries. */
static void expiries_of_an_ignored_signal(void) {
  sigset_t set = set_of(SIGCONT, 0, 0);
  CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
  timer_t t = new_timer(SIGEV_SIGNAL, SIGCONT, 1, 0);
  set_timer(t, 2, 2);
  sleep_ms(40);
  CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
  printf("overruns: %d\n", timer_getoverrun(t) >= 5);
  CHECK(timer_delete(t) == 0);
}
static void fast_timer_of_an_ignored_signal(void) {
  sigset_t set = set_of(SIGCONT, 0, 0);
  CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
  timer_t t = new_timer(SIGEV_SIGNAL, SIGCONT, 1, 0);
  struct itimerspec its = {{0, 1}, {0, 1000000}};
  CHECK(timer_settime(t, 0, &its, NULL) == 0);
  sleep_ms(10);
  CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
  printf("overruns: %d\n", timer_getoverrun(t) >= 75);
  CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && timer_delete(t) == 0);
}
static void ignored_signal_is_gone_once_unblocked(void) {
  sigset_t set = set_of(SIGCONT, SIGURG, 0), pending;
  for (int i = 0; i < 2; i++) {
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(kill(getpid(), SIGCONT) == 0 && kill(getpid(), SIGURG) == 0);
    CHECK(sigpending(&pending) == 0);
    printf("%d %d\n", sigismember(&pending, SIGCONT), sigismember(&pending, SIGURG));
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(sigpending(&pending) == 0);
    printf("%d %d\n", sigismember(&pending, SIGCONT), sigismember(&pending, SIGURG));
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
  }
}
/* The same from outside, where the kernel holds them. */
static void ignored_signal_from_a_child_is_gone_once_unblocked(void) {
  sigset_t set = set_of(SIGCONT, SIGCHLD, 0), pending;
  for (int i = 0; i < 2; i++) {
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    pid_t pid = fork();
    if (pid == 0) {
      kill(getppid(), SIGCONT);
      _exit(0);
    }
    CHECK(waitpid(pid, NULL, 0) == pid && sigpending(&pending) == 0);
    printf("%d %d\n", sigismember(&pending, SIGCONT), sigismember(&pending, SIGCHLD));
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(sigpending(&pending) == 0);
    printf("%d %d\n", sigismember(&pending, SIGCONT), sigismember(&pending, SIGCHLD));
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
  }
}

/* ---- queued signals ---- */

static void limit_queued_signals(rlim_t n) {
  struct rlimit l;
  CHECK(getrlimit(RLIMIT_SIGPENDING, &l) == 0);
  if (l.rlim_max < n) exit(0);
  l.rlim_cur = n;
  CHECK(setrlimit(RLIMIT_SIGPENDING, &l) == 0);
}
static int queue_until_refused(int sig, int most) {
  union sigval v = {.sival_int = 0};
  while (v.sival_int < most && sigqueue(getpid(), sig, v) == 0) v.sival_int++;
  if (v.sival_int < most) CHECK(errno == EAGAIN);
  return v.sival_int;
}
static void many_signals_are_queued_in_order(void) {
  sigset_t set = set_of(SIGRTMIN, SIGRTMIN + 1, 0);
  CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
  limit_queued_signals(20000);
  for (int i = 0; i < 5000; i++) {
    union sigval v = {.sival_int = i};
    CHECK(sigqueue(getpid(), SIGRTMIN + i % 2, v) == 0);
  }
  struct timespec none = {0, 0};
  siginfo_t info;
  int last[2] = {-2, -1}, taken = 0;
  while (sigtimedwait(&set, &info, &none) > 0) {
    int* of = &last[info.si_signo - SIGRTMIN];
    CHECK(info.si_value.sival_int == *of + 2);
    *of = info.si_value.sival_int;
    taken++;
  }
  printf("%d\n", taken);
}
static void queued_signals_have_a_limit(void) {
  sigset_t set = set_of(SIGRTMIN, SIGUSR1, 0);
  CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
  limit_queued_signals(3000);
  int n = queue_until_refused(SIGRTMIN, 4000);
  printf("%d\n", n <= 3000 && n > 2000);
  printf("%d\n", kill(getpid(), SIGUSR1));
  CHECK(sigpending(&set) == 0);
  printf("%d\n", sigismember(&set, SIGUSR1));
}

/* ---- sleeps ---- */

static int semaphores;

static void do_nanosleep(void) {
  struct timespec ts = {0, 100000000};
  printf("%d\n", nanosleep(&ts, &ts));
}
static void do_clock_nanosleep(void) {
  struct timespec ts = {0, 100000000};
  printf("%d\n", clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts));
}
static void do_poll(void) { printf("%d\n", poll(NULL, 0, 100)); }
static void do_ppoll(void) {
  struct timespec ts = {0, 100000000};
  printf("%d\n", ppoll(NULL, 0, &ts, NULL));
}
static void do_select(void) {
  struct timeval tv = {0, 100000};
  printf("%d\n", select(0, NULL, NULL, NULL, &tv));
}
static void do_epoll_wait(void) {
  struct epoll_event e;
  int ep = epoll_create1(0);
  printf("%d\n", epoll_wait(ep, &e, 1, 100));
  close(ep);
}
static void do_epoll_pwait2(void) {
  struct epoll_event e;
  int ep = epoll_create1(0);
  int64_t ts[2] = {0, 100000000};
  printf("%ld\n", syscall(SYS_epoll_pwait2, ep, &e, 1, ts, NULL, 8));
  close(ep);
}
static void do_semtimedop(void) {
  struct timespec ts = {0, 100000000};
  struct sembuf op = {0, -1, 0};
  int r = semtimedop(semaphores, &op, 1, &ts);
  printf("%d %d\n", r, errno);
}
static void do_sigtimedwait(void) {
  struct timespec ts = {0, 100000000};
  sigset_t set = set_of(SIGUSR2, 0, 0);
  int r = sigtimedwait(&set, NULL, &ts);
  printf("%d %d\n", r, errno);
}

static void all_sleeps(void) {
  static void (*const sleeps[])(void) = {do_nanosleep, do_clock_nanosleep, do_poll, do_ppoll, do_select,
                                         do_epoll_wait, do_epoll_pwait2, do_semtimedop, do_sigtimedwait};
  for (size_t i = 0; i < sizeof sleeps / sizeof sleeps[0]; i++) sleeps[i]();
}
/* A sleep must not begin anew at each of them, or it never ends. */
static void blocked_signals_do_not_prolong_sleeps(void) {
  sigset_t set = set_of(SIGALRM, 0, 0);
  handle(SIGALRM, nothing, NULL);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  semaphores = semget(IPC_PRIVATE, 1, 0600);
  CHECK(semaphores >= 0);
  struct itimerval it = {{0, 10000}, {0, 10000}};
  CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
  all_sleeps();
  beside_a_thread(all_sleeps);
  CHECK(semctl(semaphores, 0, IPC_RMID) == 0);
}

/* ---- real-time classes, all on one processor; where they are not allowed, nothing ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static sem_t arrived;
static void* pass_gate(void* arg) {
  CHECK(sem_post(&arrived) == 0 && pthread_mutex_lock(&gate) == 0);
  order[norder++] = (int)(intptr_t)arg;
  CHECK(pthread_mutex_unlock(&gate) == 0);
  return NULL;
}
static void waiters_go_on_by_priority(void) {
  static const int priorities[] = {5, 20, 10, 20, 5};
  pthread_t t[5];
  if (!be_fifo(1)) return;
  CHECK(sem_init(&arrived, 0, 0) == 0 && pthread_mutex_lock(&gate) == 0);
  for (int i = 0; i < 5; i++) {
    t[i] = new_fifo(priorities[i], pass_gate, (void*)(intptr_t)(priorities[i] * 10 + i));
    CHECK(sem_wait(&arrived) == 0);
    sleep_ms(2);  /* until it waits */
  }
  CHECK(pthread_mutex_unlock(&gate) == 0);
  for (int i = 0; i < 5; i++) CHECK(pthread_join(t[i], NULL) == 0);
  for (int i = 0; i < norder; i++) printf("%d\n", order[i]);
}

static volatile int done;
static void* spin_a_while(void* arg) {
  int64_t end = now_ms() + 30;
  while (now_ms() < end) sched_yield();
  done = 1;
  return NULL;
}
static void* make_a_higher_one(void* arg) {
  pthread_t t = new_fifo(3, spin_a_while, NULL);
  printf("%d\n", done);
  CHECK(pthread_join(t, NULL) == 0);
  done = 0;
  t = new_fifo(1, spin_a_while, NULL);
  printf("%d\n", done);
  CHECK(pthread_join(t, NULL) == 0);
  done = 0;
  return NULL;
}
static void higher_priority_runs_first(void) {
  if (!be_fifo(1)) return;
  struct sched_param p = {0};
  CHECK(sched_setscheduler(0, SCHED_OTHER, &p) == 0);
  CHECK(pthread_join(new_fifo(2, make_a_higher_one, NULL), NULL) == 0);
}

/* Others compute there, too: kernel threads of a lower class than theirs get nothing. */
static void higher_priority_runs_first_on_a_busy_processor(void) {
  if (!be_fifo(1)) return;
  struct sched_param p = {0};
  CHECK(sched_setscheduler(0, SCHED_OTHER, &p) == 0);
  pid_t busy[3];
  for (int i = 0; i < 3; i++) {
    busy[i] = fork();
    while (busy[i] == 0) {
    }
  }
  for (int i = 0; i < 20; i++) {  /* the first threads of a process are the ones to see */
    pid_t pid = fork();
    if (pid == 0) {
      CHECK(pthread_join(new_fifo(2, make_a_higher_one, NULL), NULL) == 0);
      exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  }
  for (int i = 0; i < 3; i++) CHECK(kill(busy[i], SIGKILL) == 0 && waitpid(busy[i], NULL, 0) == busy[i]);
}

static void* spin_until_done(void* arg) {
  CHECK(sem_post(&arrived) == 0);
  while (!done) {
  }
  return NULL;
}
static void* be_done(void* arg) {
  CHECK(sem_wait(&arrived) == 0);
  done = 1;
  return NULL;
}
/* As the kernel's: a bit of each second. */
static void others_get_some_time_beside_a_spinning_fifo_thread(void) {
  pthread_t t;
  if (!be_fifo(1)) return;
  struct sched_param p = {0};
  CHECK(sched_setscheduler(0, SCHED_OTHER, &p) == 0 && sem_init(&arrived, 0, 0) == 0);
  CHECK(pthread_create(&t, NULL, be_done, NULL) == 0);
  CHECK(pthread_join(new_fifo(10, spin_until_done, NULL), NULL) == 0 && pthread_join(t, NULL) == 0);
  puts("done");
}

/* ---- stacks ---- */

/* pthread_exit loads the unwinder's library. Below the stack nothing is mapped. */
static void* leave(void* arg) { pthread_exit(arg); }
static void library_is_loaded_on_the_smallest_stack(void) {
  size_t size = (size_t)sysconf(_SC_THREAD_STACK_MIN), guard = 65536;
  char* p = mmap(NULL, guard + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED && mprotect(p, guard, PROT_NONE) == 0);
  pthread_attr_t attr;
  pthread_t t;
  void* value;
  CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstack(&attr, p + guard, size) == 0);
  CHECK(pthread_create(&t, &attr, leave, p) == 0 && pthread_join(t, &value) == 0);
  printf("%d\n", value == p);
}

static const struct test_case cases[] = {
    CASE(errno_is_zero_at_start), CASE(several_signals_at_a_handlers_return), CASE(timer_runs_a_thread),
    CASE(timer_signals_one_thread), CASE(timer_for_no_thread_is_refused),
    CASE(expiries_while_blocked_are_overruns), CASE(each_timer_has_a_signal_of_its_own),
    CASE(expiries_of_an_ignored_signal), CASE(fast_timer_of_an_ignored_signal),
    CASE(ignored_signal_is_gone_once_unblocked),
    CASE(ignored_signal_from_a_child_is_gone_once_unblocked), CASE(many_signals_are_queued_in_order),
    CASE(queued_signals_have_a_limit),
    CASE(blocked_signals_do_not_prolong_sleeps), CASE(waiters_go_on_by_priority),
    CASE(higher_priority_runs_first), CASE(higher_priority_runs_first_on_a_busy_processor),
    CASE(others_get_some_time_beside_a_spinning_fifo_thread),
    CASE(library_is_loaded_on_the_smallest_stack),
};
CASE_MAIN(cases)
