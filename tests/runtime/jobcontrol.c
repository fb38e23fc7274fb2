/* Stop signals and SIGCONT: each discards the other where it is pending, whoever blocks or catches it,
 * and a process that was told to go on goes on. */
#include "sending.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/wait.h>

static void* nothing(void* p) { return p; }
static void* nap(void* p) {
  for (;;) sleep_ms(1);
  return NULL;
}
static pthread_t start(void* (*fn)(void*), void* arg) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, fn, arg) == 0);
  return t;
}
static void be_a_threaded_program(void) { CHECK(pthread_join(start(nothing, NULL), NULL) == 0); }

static sigset_t job_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTSTP);
  sigaddset(&set, SIGTTIN);
  sigaddset(&set, SIGTTOU);
  sigaddset(&set, SIGCONT);
  return set;
}
static void block(void) {
  sigset_t set = job_signals();
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
}
static void unblock(void) {
  sigset_t set = job_signals();
  CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
}
static int member(const sigset_t* set, int sig) { return sigismember(set, sig) ? 1 << sig : 0; }
/* What another process sends is there when kill has returned natively; under libcr a kernel thread may still be at it. */
static void expect_pending(const char* when, int expected) {
  int is = -1;
  for (int64_t end = now_ms() + 10000; is != expected && now_ms() < end;) {
    sigset_t set;
    if (is != -1) sleep_ms(1);
    CHECK(sigpending(&set) == 0);
    is = member(&set, SIGTSTP) | member(&set, SIGTTIN) | member(&set, SIGTTOU) | member(&set, SIGCONT);
  }
  printf("%s: %x\n", when, (unsigned)is);
  fflush(stdout);
}
enum { TSTP = 1 << SIGTSTP, TTIN = 1 << SIGTTIN, TTOU = 1 << SIGTTOU, CONT = 1 << SIGCONT };

static void (*const senders[])(int) = {by_kill, by_thread, by_queue, by_another};
enum { SENDERS = 4 };

static int caught[65];
static void count(int sig) { caught[sig]++; }
static void catch_them(void) {
  struct sigaction sa = {.sa_handler = count, .sa_flags = SA_RESTART};
  sigaction(SIGTSTP, &sa, NULL);
  sigaction(SIGCONT, &sa, NULL);
}

static void discard_each_other_blocked(void) {
  for (int first = 0; first < SENDERS; first++) {
    for (int then = 0; then < SENDERS; then++) {
      senders[first](SIGTSTP);
      expect_pending("stop", TSTP);
      senders[first](SIGTTOU);
      expect_pending("stops", TSTP | TTOU);
      senders[then](SIGCONT);
      expect_pending("continue", CONT);
      senders[first](SIGTTIN);
      expect_pending("stop", TTIN);
      senders[then](SIGCONT);
      expect_pending("continue", CONT);
    }
  }
}
static void discard_each_other(void) {
  block();
  discard_each_other_blocked();
  unblock();
  expect_pending("end", 0);
}
static void blocked_ones_discard_each_other(void) { discard_each_other(); }
static void blocked_ones_of_a_threaded_program_discard_each_other(void) {
  be_a_threaded_program();
  discard_each_other();
  puts("beside a thread");
  block();
  pthread_detach(start(nap, NULL));
  discard_each_other_blocked();
}
static void blocked_ones_that_are_caught_discard_each_other(void) {
  catch_them();
  discard_each_other();
  printf("%d %d\n", caught[SIGTSTP], caught[SIGCONT]);
}
static void an_ignored_one_of_ones_own_discards_the_other(void) {
  be_a_threaded_program();
  block();
  by_kill(SIGCONT);
  unblock();
  signal(SIGTSTP, SIG_IGN);
  const sigset_t set = only(SIGCONT);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  by_kill(SIGCONT);
  expect_pending("continue", CONT);
  by_kill(SIGTSTP);
  expect_pending("ignored stop", 0);
}
/* The same where another process sends them: the kernel would drop what is ignored. */
static void ignored_ones_of_another(void) {
  block();
  by_another(SIGTSTP);
  expect_pending("stop", TSTP);
  signal(SIGCONT, SIG_IGN);
  by_another(SIGCONT);
  expect_pending("ignored continue", CONT);
  signal(SIGTSTP, SIG_IGN);
  by_another(SIGTSTP);
  expect_pending("ignored stop", TSTP);
  const sigset_t set = only(SIGCONT);
  CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
  by_another(SIGCONT);
  expect_pending("ignored continue, not blocked", 0);
  unblock();
  by_another(SIGTSTP);
  by_another(SIGTTOU);
  puts("goes on");
  fflush(stdout);
}
/* In a group of its own, which is not an orphan: there the default would stop it. */
static void ignored_ones_in_a_group(int threaded) {
  int status;
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    CHECK(setpgid(0, 0) == 0);
    signal(SIGTTOU, SIG_IGN);
    if (threaded) be_a_threaded_program();
    ignored_ones_of_another();
    _exit(0);
  }
  CHECK(waitpid(pid, &status, WUNTRACED) == pid);
  printf("status %x\n", (unsigned)status);
}
static void an_ignored_one_of_another_discards_the_other(void) { ignored_ones_in_a_group(0); }
static void an_ignored_one_of_another_discards_the_other_in_a_threaded_program(void) { ignored_ones_in_a_group(1); }

/* A call that sleeps in the kernel may cost the first kernel thread its cpu: it is not needed for a stop. */
static int queue;
static void* send_after_a_while(void* p) {
  struct { long type; char text[1]; } item = {1, "a"};
  sleep_ms(20);
  CHECK(msgsnd(queue, &item, 1, 0) == 0);
  for (int64_t end = now_ms() + 20; now_ms() < end;) {
  }
  return p;
}
static void it_stops_after_a_call_that_slept(void) {
  int status;
  pid_t pid = fork();
  if (pid == 0) {
    struct { long type; char text[1]; } item;
    CHECK(setpgid(0, 0) == 0);
    CHECK((queue = msgget(IPC_PRIVATE, 0600)) >= 0);
    for (int i = 0; i < 3; i++) {
      pthread_t t = start(send_after_a_while, NULL);
      CHECK(msgrcv(queue, &item, 1, 0, 0) == 1);
      CHECK(pthread_join(t, NULL) == 0);
    }
    CHECK(msgctl(queue, IPC_RMID, NULL) == 0);
    for (;;) sched_yield();
  }
  sleep_ms(300);
  for (int i = 0; i < 3; i++) {
    CHECK(kill(pid, SIGTSTP) == 0);
    int stopped = 0;
    for (int64_t end = now_ms() + 10000; !stopped && now_ms() < end; sleep_ms(1)) {
      stopped = waitpid(pid, &status, WUNTRACED | WNOHANG) == pid && WIFSTOPPED(status);
    }
    printf("stopped %d\n", stopped);
    CHECK(kill(pid, SIGCONT) == 0);
    sleep_ms(20);
  }
  CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
}

static int ready[2];
static void* wait_with_a_stop_pending(void* p) {
  block();
  by_thread(SIGTSTP);
  expect_pending("thread", TSTP);
  CHECK(write(ready[1], "", 1) == 1);
  for (sigset_t set;; sleep_ms(1)) {
    CHECK(sigpending(&set) == 0);
    if (!sigismember(&set, SIGTSTP)) break;
  }
  unblock();
  expect_pending("thread after it", 0);
  return NULL;
}
static void a_continue_discards_what_is_pending_for_a_thread(void) {
  char c;
  CHECK(pipe(ready) == 0);
  for (int way = 0; way < SENDERS; way++) {
    pthread_t t = start(wait_with_a_stop_pending, NULL);
    CHECK(read(ready[0], &c, 1) == 1);
    senders[way](SIGCONT);
    CHECK(pthread_join(t, NULL) == 0);
  }
}

/* ---- a process that is told to stop and to go on ---- */

static int to[2], from[2];
static void* echo(void* p) {
  char c;
  while (read(to[0], &c, 1) == 1) CHECK(write(from[1], &c, 1) == 1);
  /* Another kernel thread of libcr's may still be at it. */
  struct sigaction sa;
  sigaction(SIGCONT, NULL, &sa);
  for (int64_t end = now_ms() + 10000; sa.sa_handler == count && caught[SIGCONT] == 0 && now_ms() < end;) sleep_ms(1);
  _exit(caught[SIGCONT] != 0 ? 1 : 0);
}
static pid_t fork_echo(int threads, void (*prepare)(void)) {
  CHECK(pipe(to) == 0 && pipe(from) == 0);
  pid_t pid = fork();
  if (pid != 0) {
    close(to[0]);
    close(from[1]);
    return pid;
  }
  setpgid(0, 0); /* in an orphaned group stop signals would be ignored */
  close(to[1]);
  be_a_threaded_program();
  prepare();
  for (int i = 0; i < threads; i++) pthread_detach(start(nap, NULL));
  echo(NULL);
  return 0;
}
static void expect_echo(void) {
  char c = 'x';
  struct pollfd p = {from[0], POLLIN, 0};
  CHECK(write(to[1], &c, 1) == 1);
  CHECK(poll(&p, 1, 20000) == 1 && read(from[0], &c, 1) == 1);
}
static void end_echo(pid_t pid) {
  int status;
  close(to[1]);
  CHECK(waitpid(pid, &status, 0) == pid);
  printf("status %x\n", (unsigned)status);
  close(from[0]);
}
/* At once, or when it has surely stopped. */
static void stop_and_go(pid_t pid, int rounds) {
  for (int i = 0; i < rounds; i++) {
    CHECK(kill(pid, SIGTSTP) == 0);
    if (i % 8 == 0) sleep_ms(20);
    CHECK(kill(pid, SIGCONT) == 0);
    expect_echo();
  }
}
static void a_process_goes_on_that_is_told_so_right_after_a_stop(void) {
  for (int threads = 0; threads < 3; threads++) {
    pid_t pid = fork_echo(threads, be_a_threaded_program);
    expect_echo();
    stop_and_go(pid, 200);
    end_echo(pid);
  }
}
static void a_handler_learns_that_the_process_went_on(void) {
  for (int threads = 0; threads < 3; threads++) {
    int status;
    pid_t pid = fork_echo(threads, catch_them);
    expect_echo();
    CHECK(kill(pid, SIGSTOP) == 0 && waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    CHECK(kill(pid, SIGCONT) == 0 && waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
    expect_echo();
    end_echo(pid);
  }
}

/* Waits go on, as if nothing had been, and the parent sees each step. */
enum { WAITS = 7, LONG = 2500 };
static int wait_by(int kind) {
  struct timespec ts = {LONG / 1000, LONG % 1000 * 1000000}, end = in_ms(CLOCK_REALTIME, LONG);
  struct timeval tv = {LONG / 1000, LONG % 1000 * 1000};
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
  sem_t sem;
  sigset_t usr1;
  CHECK(sem_init(&sem, 0, 0) == 0);
  switch (kind) {
    case 0: return nanosleep(&ts, NULL);
    case 1: return poll(NULL, 0, LONG);
    case 2: return select(0, NULL, NULL, NULL, &tv);
    case 3: return clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &end, NULL);
    case 4: return sem_timedwait(&sem, &end) == -1 && errno == ETIMEDOUT ? 0 : -1;
    case 5:
      pthread_mutex_lock(&lock);
      return pthread_cond_timedwait(&cond, &lock, &end) == ETIMEDOUT ? 0 : -1;
    default: /* not restarted, whatever the signal does: signal(7) */
      sigemptyset(&usr1);
      sigaddset(&usr1, SIGUSR1);
      pthread_sigmask(SIG_BLOCK, &usr1, NULL);
      sigtimedwait(&usr1, NULL, &ts);
      return 0;
  }
}
static void a_wait_goes_on_after_a_stop(void) {
  int status, n = 0, stopped = 0, well = 0;
  pid_t pid[2 * WAITS];
  int64_t started = now_ms();
  for (; n < 2 * WAITS; n++) {
    if ((pid[n] = fork()) != 0) continue;
    setpgid(0, 0);
    be_a_threaded_program();
    if (n % 2) pthread_detach(start(nap, NULL));
    int64_t begin = now_ms();
    int r = wait_by(n / 2);
    if (r != 0 || (n / 2 < WAITS - 1 && now_ms() - begin < LONG - 1)) printf("wait %d: %d, errno %d\n", n / 2, r, errno);
    fflush(stdout);
    _exit(r == 0 ? 7 : 8);
  }
  sleep_ms(150);
  for (int i = 0; i < n; i++) {
    CHECK(kill(pid[i], SIGTSTP) == 0 && waitpid(pid[i], &status, WUNTRACED) == pid[i]);
    if (!WIFSTOPPED(status)) printf("wait %d of %d has ended by %d ms\n", i / 2, i % 2 + 1, (int)(now_ms() - started));
    stopped += WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP;
  }
  for (int i = 0; i < n; i++) {
    CHECK(kill(pid[i], SIGCONT) == 0 && waitpid(pid[i], &status, WCONTINUED) == pid[i]);
    if (WIFCONTINUED(status)) CHECK(waitpid(pid[i], &status, 0) == pid[i]); /* else it has ended already */
    well += WIFEXITED(status) && WEXITSTATUS(status) == 7;
  }
  printf("%d stopped, %d well\n", stopped, well);
}

static const struct test_case cases[] = {
    CASE(blocked_ones_discard_each_other),
    CASE(blocked_ones_of_a_threaded_program_discard_each_other),
    CASE(blocked_ones_that_are_caught_discard_each_other),
    CASE(it_stops_after_a_call_that_slept), CASE(an_ignored_one_of_another_discards_the_other),
    CASE(an_ignored_one_of_another_discards_the_other_in_a_threaded_program),
    CASE(an_ignored_one_of_ones_own_discards_the_other),
    CASE(a_continue_discards_what_is_pending_for_a_thread),
    CASE(a_process_goes_on_that_is_told_so_right_after_a_stop),
    CASE(a_handler_learns_that_the_process_went_on),
    CASE(a_wait_goes_on_after_a_stop),
};
CASE_MAIN(cases)
