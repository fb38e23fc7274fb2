// Aborts: what each kind of call ends with, and aborts that race with completions. Every message has
// exactly one reply, and no data is lost: a read that ended with EINTR took none.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "sent.h"

static const struct timespec kMinute = {60, 0};

// Lets what was sent begin and fall asleep.
static void settle(union sysunion *m) { EXPECT(cr_async_wait(m, 3 * kMillisecond) == ETIMEDOUT); }

static int aborted(union sysunion *m) {
  settle(m);
  cr_async_abort(m);
  cr_async_abort(m);  // once counts
  return error_of(m);
}

static void test_sleeping_calls(void) {
  int p[2], s[2], full[2];
  char c;
  union sysunion m;
  EXPECT(pipe(p) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0 && pipe(full) == 0);
  fcntl(full[1], F_SETFL, O_NONBLOCK);
  while (write(full[1], &(char[4096]){0}, 4096) > 0) {
  }
  fcntl(full[1], F_SETFL, 0);
  cr_send_read(&m, &port, p[0], &c, 1);
  EXPECT(aborted(&m) == EINTR);
  cr_send_write(&m, &port, full[1], &c, 1);
  EXPECT(aborted(&m) == EINTR);
  cr_send_recvfrom(&m, &port, s[0], &c, 1, 0, NULL, NULL);
  EXPECT(aborted(&m) == EINTR);
  struct pollfd pfd = {p[0], POLLIN, 0};
  cr_send_poll(&m, &port, &pfd, 1, -1);
  EXPECT(aborted(&m) == EINTR);
  cr_send_ppoll(&m, &port, &pfd, 1, NULL, NULL, 8);
  EXPECT(aborted(&m) == EINTR);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(p[0], &set);
#ifdef __i386__  // where select takes them in memory
  cr_send__newselect(&m, &port, p[0] + 1, &set, NULL, NULL, NULL);
#else
  cr_send_select(&m, &port, p[0] + 1, &set, NULL, NULL, NULL);
#endif
  EXPECT(aborted(&m) == EINTR);
  int ep = epoll_create1(0);
  struct epoll_event ev = {.events = EPOLLIN};
  EXPECT(epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev) == 0);
  cr_send_epoll_wait(&m, &port, ep, &ev, 1, -1);
  EXPECT(aborted(&m) == EINTR);
  int event = eventfd(0, 0);
  uint64_t value;
  cr_send_read(&m, &port, event, &value, 8);
  EXPECT(aborted(&m) == EINTR);
  uint32_t word = 0;
  cr_send_futex(&m, &port, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
  EXPECT(aborted(&m) == EINTR);
  // The rest is written by a sleep that had begun.
  struct timespec rest = {0, 0};
  for (int i = 0; i < 100 && rest.tv_sec == 0; i++) {
    cr_send_nanosleep(&m, &port, &kMinute, &rest);
    EXPECT(aborted(&m) == EINTR);
  }
  EXPECT(rest.tv_sec == 59);
  // Nothing was lost or left behind: the same descriptors serve the plain calls.
  EXPECT(write(p[1], "x", 1) == 1 && read(p[0], &c, 1) == 1 && c == 'x');
  EXPECT(write(s[1], "y", 1) == 1 && read(s[0], &c, 1) == 1 && c == 'y');
  int fds[] = {p[0], p[1], s[0], s[1], full[0], full[1], ep, event};
  for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) close(fds[i]);
}

// Not ported: their worker sits in the kernel, on a kernel thread of its own.
static void test_calls_in_the_kernel(void) {
  union sysunion m[2];
  int a = memfd_create("lock", 0);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", a);
  int b = open(path, O_RDWR);
  EXPECT(flock(a, LOCK_EX) == 0);
  cr_send_flock(&m[0], &port, b, LOCK_EX);
  EXPECT(aborted(&m[0]) == EINTR);
  pid_t pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  int status = 0;
  cr_send_wait4(&m[1], &port, pid, &status, 0, NULL);
  EXPECT(aborted(&m[1]) == EINTR);
  cr_send_wait4(&m[1], &port, pid, &status, 0, NULL);
  settle(&m[1]);
  kill(pid, SIGKILL);
  EXPECT(result_of(&m[1]) == pid && WIFSIGNALED(status));
  // A lock that is let go of while the abort comes.
  int got = 0;
  for (int i = 0; i < 200; i++) {
    cr_send_flock(&m[0], &port, b, LOCK_EX);
    if (i % 2 == 0) sched_yield();
    flock(a, LOCK_UN);
    cr_async_abort(&m[0]);
    int error = error_of(&m[0]);
    EXPECT(error == 0 || error == EINTR);
    got += error == 0;
    flock(b, LOCK_UN);
    EXPECT(flock(a, LOCK_EX | LOCK_NB) == 0);
  }
  close(a);
  close(b);
}

static void test_ended_and_partial(void) {
  int p[2];
  char c;
  union sysunion m, *done;
  EXPECT(pipe(p) == 0);
  // Done already.
  EXPECT(write(p[1], "x", 1) == 1);
  cr_send_read(&m, &port, p[0], &c, 1);
  while (!lwkt_checkmsg(&m.sm.sm_lmsg)) usleep(100);
  cr_async_abort(&m);
  EXPECT(result_of(&m) == 1);
  // Not begun: answered on the spot. (Unless a slice ends just then, or another cpu begins it.)
  int on_the_spot = 0;
  for (int i = 0; i < 100; i++) {
    cr_send_read(&m, &port, p[0], &c, 1);
    cr_async_abort(&m);
    on_the_spot += lwkt_checkmsg(&m.sm.sm_lmsg);
    EXPECT(error_of(&m) == EINTR);
  }
  EXPECT(on_the_spot > 0);
  EXPECT(cr_async_wait_any(&port, 0, &done) == ETIMEDOUT);
  // Half done: the count. The pipe holds so much.
  size_t size = 1 << 20;
  char *data = calloc(1, size);
  long room = fcntl(p[1], F_GETPIPE_SZ);
  cr_send_write(&m, &port, p[1], data, size);
  for (int held = 0; held < room; usleep(100)) EXPECT(ioctl(p[0], FIONREAD, &held) == 0);
  settle(&m);
  cr_async_abort(&m);
  EXPECT(result_of(&m) == room);
  long left = 0;
  fcntl(p[0], F_SETFL, O_NONBLOCK);
  for (ssize_t r; (r = read(p[0], data, size)) > 0;) left += r;
  EXPECT(left == room);
  free(data);
  close(p[0]);
  close(p[1]);
}

// An abort while a signal of the program's is about: handlers run in the program's threads.
static volatile int handled;
static void on_alarm(int sig) { handled++; }

static void test_signals_leave_calls_alone(void) {
  int p[2];
  char c;
  union sysunion m;
  EXPECT(pipe(p) == 0);
  struct sigaction sa = {.sa_handler = on_alarm};
  sigaction(SIGALRM, &sa, NULL);
  cr_send_read(&m, &port, p[0], &c, 1);
  settle(&m);
  for (int i = 0; i < 50; i++) kill(getpid(), SIGALRM);
  EXPECT(handled > 0);
  settle(&m);
  // The waiting sender is interrupted, its call is not.
  struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
  union sysunion *done;
  setitimer(ITIMER_REAL, &often, NULL);
  int before = handled;
  EXPECT(cr_async_wait(&m, -1) == EINTR);
  EXPECT(handled > before);
  before = handled;
  EXPECT(cr_async_wait_any(&port, -1, &done) == EINTR && done == NULL);
  EXPECT(handled > before);
  setitimer(ITIMER_REAL, &never, NULL);
  EXPECT(write(p[1], "x", 1) == 1);
  EXPECT(result_of(&m) == 1);
  signal(SIGALRM, SIG_DFL);
  close(p[0]);
  close(p[1]);
}

// ---- races -------------------------------------------------------------------------------------

// Without an engine a hand-off, and so a turn, takes as long as the monitor takes to see it.
static int rounds(void) { return engine_parks() ? 4000 : 60; }
static int race_pipe[2];
static volatile int turn;

static void *write_at_once(void *arg) {
  for (int i = 1; i <= rounds(); i++) {
    while (turn < i) sched_yield();
    if (i % 3 == 0) sched_yield();
    EXPECT(write(race_pipe[1], "x", 1) == 1);
  }
  return NULL;
}

// A thread writes while the reader is aborted: the byte is either the read's or still there.
static void test_abort_against_completion(void) {
  union sysunion m, *done;
  pthread_t thread;
  char c;
  int interrupted = 0;
  EXPECT(pipe(race_pipe) == 0);
  pthread_create(&thread, NULL, write_at_once, NULL);
  for (int i = 1; i <= rounds() && failures == 0; i++) {
    cr_send_read(&m, &port, race_pipe[0], &c, 1);
    turn = i;
    for (int k = i % 5; k > 0; k--) sched_yield();
    cr_async_abort(&m);
    int error = error_of(&m);
    EXPECT(error == EINTR || (error == 0 && m.sm.sm_result == 1));
    memset(&m, 0xdb, sizeof m);  // nobody touches it after its reply: the next round would crash
    interrupted += error == EINTR;
    if (error == EINTR) EXPECT(read(race_pipe[0], &c, 1) == 1);
    EXPECT(cr_async_wait_any(&port, 0, &done) == ETIMEDOUT);
  }
  pthread_join(thread, NULL);
  EXPECT(interrupted > 0);
  fcntl(race_pipe[0], F_SETFL, O_NONBLOCK);
  EXPECT(read(race_pipe[0], &c, 1) == -1 && errno == EAGAIN);
  close(race_pipe[0]);
  close(race_pipe[1]);
}

// Timers that go off as the abort comes; some are aborted before they begin.
static void test_abort_against_timers(void) {
  enum { kBatch = 64 };
  union sysunion m[kBatch], *done;
  unsigned replies = 0, sent = 0;
  for (int round = 0; round < 60; round++) {
    struct timespec ts = {0, 1000 + 3000 * (round % 40)};
    for (int i = 0; i < kBatch; i++, sent++) cr_send_nanosleep(&m[i], &port, &ts, NULL);
    if (round % 2 == 0) sched_yield();
    for (int i = 0; i < kBatch; i++) cr_async_abort(&m[i]);
    for (int i = 0; i < kBatch; i++) {
      if (cr_async_wait_any(&port, 60LL * kSecond, &done) != 0) break;
      replies++;
      EXPECT(done->sm.sm_error == 0 || done->sm.sm_error == EINTR);
    }
    EXPECT(cr_async_wait_any(&port, 0, &done) == ETIMEDOUT);
  }
  EXPECT(replies == sent);
}

// Threads that send, wait a moment and abort, all on pipes that others write.
static int pool_pipe[2];
static unsigned taken_bytes;

static void *abort_after_timeout(void *arg) {
  struct lwkt_port mine;
  lwkt_initport_thread(&mine, lwkt_curthread());
  unsigned seed = (unsigned)(long)arg;
  for (int i = 0; i < (engine_parks() ? 400 : 60); i++) {
    union sysunion m;
    char c;
    cr_send_read(&m, &mine, pool_pipe[0], &c, 1);
    seed = seed * 1103515245 + 12345;
    if (cr_async_wait(&m, seed / 65536 % 60000) != 0) cr_async_abort(&m);
    int error = error_of(&m);
    EXPECT(error == 0 || error == EINTR);
    if (error == 0) __atomic_fetch_add(&taken_bytes, 1, __ATOMIC_SEQ_CST);
  }
  return NULL;
}

static void test_many_threads_that_abort(void) {
  enum { kThreads = 4 };
  const int bytes = engine_parks() ? 800 : 120;
  pthread_t thread[kThreads];
  EXPECT(pipe(pool_pipe) == 0);
  taken_bytes = 0;
  for (long i = 0; i < kThreads; i++) pthread_create(&thread[i], NULL, abort_after_timeout, (void *)i);
  for (int i = 0; i < bytes; i++) {
    EXPECT(write(pool_pipe[1], "x", 1) == 1);
    if (i % 4 == 0) usleep(20);
  }
  for (int i = 0; i < kThreads; i++) pthread_join(thread[i], NULL);
  unsigned left = 0;
  char c;
  fcntl(pool_pipe[0], F_SETFL, O_NONBLOCK);
  while (read(pool_pipe[0], &c, 1) == 1) left++;
  if (taken_bytes + left != (unsigned)bytes) fprintf(stderr, "taken %u left %u of %d\n", taken_bytes, left, bytes);
  EXPECT(taken_bytes + left == (unsigned)bytes);
  close(pool_pipe[0]);
  close(pool_pipe[1]);
}

int main(void) {
  port_init();
  test_sleeping_calls();
  test_calls_in_the_kernel();
  test_ended_and_partial();
  test_signals_leave_calls_alone();
  test_abort_against_completion();
  test_abort_against_timers();
  test_many_threads_that_abort();
  return report();
}
