/* Signals that come faster than they are put away, or again while they are blocked, from outside the process. */
#include "case.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static volatile int runs, values, out_of_order;
static volatile int linger;  /* the handler waits until this many are sent */
static volatile int* sent;   /* by the child, in shared memory */


static void handler(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  if (info->si_code == SI_QUEUE && info->si_value.sival_int != values++) out_of_order = 1;
  runs++;
  if (sent != NULL) sent[1] = 1;
  while (linger != 0 && *sent < linger) getppid();
}

static void catch(int sig, int flags) {
  struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
  CHECK(sigaction(sig, &sa, NULL) == 0);
}

/* A child that sends sig n times, each with its number; `begun`: all but the first once the handler has begun. */
static pid_t sender(int sig, int n, int queued, int begun) {
  sent = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(sent != MAP_FAILED);
  sent[0] = sent[1] = 0;
  pid_t parent = getpid(), pid = fork();
  if (pid != 0) return pid;
  for (int i = 0; i < n; i++) {
    if (queued) {
      CHECK(sigqueue(parent, sig, (union sigval){.sival_int = i}) == 0);
    } else {
      CHECK(kill(parent, sig) == 0);
    }
    *sent = *sent + 1;
    while (begun && !sent[1]) usleep(100);
  }
  _exit(0);
}

static void finish(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) != pid) CHECK(errno == EINTR);
  CHECK(status == 0);
}

static sigset_t only(int sig) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, sig);
  return set;
}

/* A timer of a microsecond: its handler must come to an end each time. It disarms the timer after many, since
 * what it interrupts need not go on. */
static timer_t timer;
static void expiry(int sig) {
  (void)sig;
  for (int i = 0; i < 3; i++) getppid();
  const struct itimerspec never = {{0, 0}, {0, 0}};
  if (++runs == 2000) CHECK(timer_settime(timer, 0, &never, NULL) == 0);
}
static void a_timer_faster_than_its_handler(void) {
  static const int signals[] = {SIGALRM, SIGUSR1};
  for (int i = 0; i < 3; i++) {
    int sig = i < 2 ? signals[i] : SIGRTMIN;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig};
    const struct itimerspec soon = {{0, 1000}, {0, 1000}};
    CHECK(signal(sig, expiry) != SIG_ERR);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    runs = 0;
    CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
    while (runs < 2000) getppid();
    CHECK(timer_delete(timer) == 0);
    puts("enough");
  }
}

static void blocked_standard_signals_are_one(void) {
  catch(SIGUSR1, 0);
  sigset_t set = only(SIGUSR1), pending;
  for (int round = 0; round < 5; round++) {
    sigprocmask(SIG_BLOCK, &set, NULL);
    runs = 0;
    pid_t pid = sender(SIGUSR1, 40, 0, 0);
    while (*sent < 40) {
      if (*sent % 2 != 0) getppid();
    }
    finish(pid);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1));
    CHECK(runs == 0);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    printf("runs %d\n", runs);
  }
}

static void blocked_realtime_signals_are_all_there(void) {
  catch(SIGRTMIN, 0);
  sigset_t set = only(SIGRTMIN);
  sigprocmask(SIG_BLOCK, &set, NULL);
  pid_t pid = sender(SIGRTMIN, 60, 1, 0);
  while (*sent < 60) {
  }
  finish(pid);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  printf("runs %d, %d out of order\n", runs, out_of_order);
}

/* While its handler runs: one more for a standard signal, all for a real-time one. */
static void signals_during_their_handler(void) {
  catch(SIGUSR1, 0);
  catch(SIGRTMIN, 0);
  linger = 30;
  pid_t pid = sender(SIGUSR1, 30, 0, 1);
  while (runs < 2) getppid();
  finish(pid);
  printf("runs %d\n", runs);
  runs = 0;
  pid = sender(SIGRTMIN, 30, 1, 1);
  while (runs < 30) getppid();
  finish(pid);
  printf("runs %d, %d out of order\n", runs, out_of_order);
}

static void held_signals_are_waited_for(void) {
  sigset_t set = only(SIGRTMIN);
  sigaddset(&set, SIGUSR1);
  catch(SIGRTMIN, 0);
  sigprocmask(SIG_BLOCK, &set, NULL);
  pid_t pid = sender(SIGRTMIN, 20, 1, 0);
  while (*sent < 20) {
  }
  finish(pid);
  siginfo_t info;
  for (int i = 0; i < 20; i++) {
    CHECK(sigwaitinfo(&set, &info) == SIGRTMIN && info.si_value.sival_int == i);
  }
  struct timespec none = {0, 0};
  printf("then none: %d\n", sigtimedwait(&set, &info, &none) < 0 && errno == EAGAIN);
  catch(SIGUSR1, 0);
  pid = sender(SIGUSR1, 20, 0, 0);
  while (*sent < 20) getppid();
  finish(pid);
  CHECK(sigwaitinfo(&set, &info) == SIGUSR1);
  printf("then none: %d\n", sigtimedwait(&set, &info, &none) < 0 && errno == EAGAIN);
  printf("runs %d\n", runs);
}

static sigjmp_buf out;
static void jump(int sig) {
  (void)sig;
  runs++;
  sent[1] = 1;
  while (*sent < 10) getppid();
  siglongjmp(out, 1);
}
static void a_jump_out_of_the_handler_lets_them_come_again(void) {
  CHECK(signal(SIGUSR2, jump) != SIG_ERR);
  const sigset_t set = only(SIGUSR2);
  static volatile pid_t pid;
  for (volatile int round = 0; round < 2; round++) {
    runs = 0;
    if (sigsetjmp(out, 1) == 0) {
      sigprocmask(SIG_BLOCK, &set, NULL); /* until the jump's target and the child's number are there */
      pid = sender(SIGUSR2, 10, 0, 1);
      sigprocmask(SIG_UNBLOCK, &set, NULL);
    }
    while (runs < 2) {
      if (round == 0) {
        getppid();
      } else {
        usleep(1000);
      }
    }
    finish(pid);
    printf("runs %d\n", runs);
  }
}

/* A thread made while signals are held takes them if it does not block them. */
static void* takes_them(void* set) {
  pthread_sigmask(SIG_UNBLOCK, set, NULL);
  while (runs < 30) usleep(100);
  return NULL;
}
static void a_new_thread_takes_what_is_held(void) {
  catch(SIGRTMIN, 0);
  sigset_t set = only(SIGRTMIN);
  sigprocmask(SIG_BLOCK, &set, NULL);
  pid_t pid = sender(SIGRTMIN, 30, 1, 0);
  while (*sent < 15) {
  }
  pthread_t t;
  CHECK(pthread_create(&t, NULL, takes_them, &set) == 0);
  CHECK(pthread_join(t, NULL) == 0);
  finish(pid);
  printf("runs %d\n", runs);
}

/* Ignored from some time on, and then caught again. */
static void ignored_and_caught_again(void) {
  catch(SIGUSR1, 0);
  sigset_t set = only(SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  pid_t pid = sender(SIGUSR1, 10, 0, 0);
  while (*sent < 10) {
  }
  finish(pid);
  CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  catch(SIGUSR1, 0);
  printf("runs %d\n", runs);
  finish(sender(SIGUSR1, 1, 0, 0));
  printf("runs %d\n", runs);
}

static const struct test_case cases[] = {
    CASE(a_timer_faster_than_its_handler), CASE(blocked_standard_signals_are_one),
    CASE(blocked_realtime_signals_are_all_there), CASE(signals_during_their_handler),
    CASE(held_signals_are_waited_for), CASE(a_jump_out_of_the_handler_lets_them_come_again),
    CASE(a_new_thread_takes_what_is_held), CASE(ignored_and_caught_again),
};
CASE_MAIN(cases)
