// Calls sent as messages do what the plain calls do; what is refused; replies, ports and waits.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "sent.h"

#ifdef __i386__
enum { kFstatat = SYS_fstatat64, kNoCall = SYS_ulimit };
#else
enum { kFstatat = SYS_newfstatat, kNoCall = SYS_tuxcall };
#endif

// ---- the same results ----------------------------------------------------------------------

// Sends `nr` with the arguments and makes the plain call: the same error, or the same result.
static void compare(const char *what, long nr, long a, long b, long c, long d) {
  union sysunion m;
  cr_async_init(&m, (uint32_t)nr, &port);
  long args[] = {a, b, c, d};
  for (int i = 0; i < 4; i++) m.raw.arg[i] = (unsigned long)args[i];
  cr_async_send(&m);
  int error = error_of(&m);
  long sent = error != 0 ? -error : m.sm.sm_result;
  long plain = syscall(nr, a, b, c, d, 0, 0);
  if (plain == -1) plain = -errno;
  if (sent != plain) {
    fprintf(stderr, "%s: %ld when sent, %ld when called\n", what, sent, plain);
    failures++;
  }
}

static void test_results(int file) {
  char buf[64], path[64];
  struct stat64 st;
  struct pollfd p = {file, POLLIN, 0};
  struct iovec iov[2] = {{buf, 8}, {buf + 8, 8}};
  struct timespec nothing = {0, 0}, bad = {0, -1}, soon = {0, kMillisecond};
  uint32_t word = 1;
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  compare("read of a bad descriptor", SYS_read, -1, (long)buf, 8, 0);
  compare("read into a bad buffer", SYS_pread64, file, 8, 8, 0);
  compare("pread", SYS_pread64, file, (long)buf, sizeof buf, 10);
  compare("preadv", SYS_preadv, file, (long)iov, 2, 3);
  compare("pread past the end", SYS_pread64, file, (long)buf, 8, 1 << 20);
  compare("read of a directory", SYS_read, AT_FDCWD, (long)buf, 8, 0);
  compare("write to a descriptor that can't", SYS_write, -1, (long)buf, 8, 0);
  compare("openat of nothing", SYS_openat, AT_FDCWD, (long)"/nothing/here", O_RDONLY, 0);
  compare("fstatat", kFstatat, AT_FDCWD, (long)path, (long)&st, 0);
  compare("lseek", SYS_lseek, file, 5, SEEK_SET, 0);
  compare("fsync", SYS_fsync, file, 0, 0, 0);
  compare("poll", SYS_poll, (long)&p, 1, -1, 0);
  compare("ppoll without a mask", SYS_ppoll, (long)&p, 1, (long)&soon, 0);
  compare("nanosleep", SYS_nanosleep, (long)&nothing, 0, 0, 0);
  compare("nanosleep for a bad time", SYS_nanosleep, (long)&bad, 0, 0, 0);
  compare("futex wait for another value", SYS_futex, (long)&word, FUTEX_WAIT_PRIVATE, 2, 0);
  compare("futex wait with a time-out", SYS_futex, (long)&word, FUTEX_WAIT_PRIVATE, 1, (long)&soon);
  compare("futex wake", SYS_futex, (long)&word, FUTEX_WAKE_PRIVATE, 1, 0);
  compare("getpid", SYS_getpid, 0, 0, 0, 0);
  compare("gettid", SYS_gettid, 0, 0, 0, 0);
  compare("fcntl", SYS_fcntl, file, F_GETFL, 0, 0);
  compare("wait4 without children", SYS_wait4, -1, 0, 0, 0);
  compare("accept4 on a file", SYS_accept4, file, 0, 0, 0);
  compare("no such number", 100000, 0, 0, 0, 0);
  compare("no such number in the table", kNoCall, 0, 0, 0, 0);
}

static void *send_later(void *arg) {
  struct timespec ts = {0, 5 * kMillisecond};
  nanosleep(&ts, NULL);
  EXPECT(write(*(int *)arg, "hello", 5) == 5);
  return NULL;
}

// A call that waits, for what a thread does while the sender does something else.
static void test_calls_that_wait(int out, int in) {
  union sysunion m;
  char buf[16] = "";
  pthread_t thread;
  pthread_create(&thread, NULL, send_later, &out);
  cr_send_read(&m, &port, in, buf, sizeof buf);
  EXPECT(!lwkt_checkmsg(&m.sm.sm_lmsg));
  EXPECT(result_of(&m) == 5 && memcmp(buf, "hello", 5) == 0);
  pthread_join(thread, NULL);
  // O_NONBLOCK is the descriptor's.
  fcntl(in, F_SETFL, O_NONBLOCK);
  cr_send_read(&m, &port, in, buf, sizeof buf);
  EXPECT(error_of(&m) == EAGAIN);
  fcntl(in, F_SETFL, 0);
}

static void test_socket(void) {
  int s[2];
  EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
  union sysunion m[4];
  char a[4], b[4];
  // Both wait for the same data; a message of 4 MB waits for room until both ends are read.
  cr_send_recvfrom(&m[0], &port, s[0], a, 4, MSG_WAITALL, NULL, NULL);
  size_t big = 4 << 20;
  char *data = malloc(big), *got = malloc(big);
  for (size_t i = 0; i < big; i++) data[i] = (char)(i * 7 + i / 4096);
  cr_send_write(&m[1], &port, s[0], data, big);
  EXPECT(send(s[1], "ab", 2, 0) == 2);
  EXPECT(cr_async_wait(&m[0], 20 * kMillisecond) == ETIMEDOUT);
  EXPECT(send(s[1], "cd", 2, 0) == 2);
  EXPECT(result_of(&m[0]) == 4 && memcmp(a, "abcd", 4) == 0);
  for (size_t n = 0; n < big;) {
    cr_send_read(&m[2], &port, s[1], got + n, big - n);
    long r = result_of(&m[2]);
    if (r <= 0) break;
    n += (size_t)r;
  }
  EXPECT(result_of(&m[1]) == (long)big && memcmp(data, got, big) == 0);
  cr_send_shutdown(&m[3], &port, s[1], SHUT_WR);
  EXPECT(result_of(&m[3]) == 0);
  cr_send_read(&m[3], &port, s[0], b, 4);
  EXPECT(result_of(&m[3]) == 0);
  free(data);
  free(got);
  close(s[0]);
  close(s[1]);
}

// ---- whose call it is ------------------------------------------------------------------------

static void *other_thread(void *arg) {
  struct lwkt_port mine;
  lwkt_initport_thread(&mine, lwkt_curthread());
  union sysunion m;
  cr_send_gettid(&m, &mine);
  EXPECT(lwkt_checkmsg(&m.sm.sm_lmsg));  // at once
  EXPECT(result_of(&m) == syscall(SYS_gettid));
  uint64_t set = 1u << (SIGUSR1 - 1);
  sigset_t now;
  cr_send_rt_sigprocmask(&m, &mine, SIG_BLOCK, (sigset_t *)&set, NULL, 8);
  EXPECT(result_of(&m) == 0);
  pthread_sigmask(SIG_BLOCK, NULL, &now);
  EXPECT(sigismember(&now, SIGUSR1));
  return arg;
}

static void test_calls_about_the_sender(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, other_thread, NULL);
  pthread_join(thread, NULL);
  sigset_t now;
  pthread_sigmask(SIG_BLOCK, NULL, &now);
  EXPECT(!sigismember(&now, SIGUSR1));
}

static void test_refused(void) {
  static const struct {
    long nr;
    uint64_t arg[6];
  } refused[] = {
      {SYS_clone, {0}},      {SYS_clone3, {0}},          {SYS_fork, {0}},
      {SYS_vfork, {0}},      {SYS_execve, {0}},          {SYS_execveat, {0}},
      {SYS_exit, {0}},       {SYS_exit_group, {0}},      {SYS_rt_sigreturn, {0}},
      {SYS_pause, {0}},      {SYS_rt_sigsuspend, {0}},   {SYS_rt_sigtimedwait, {0}},
      {SYS_ptrace, {0}},     {SYS_restart_syscall, {0}}, {SYS_sigaltstack, {0}},
      {SYS_ppoll, {0, 0, 0, 1, 8}},
      {SYS_epoll_pwait, {0, 0, 0, 0, 1, 8}},
      {SYS_epoll_pwait2, {0, 0, 0, 0, 1, 8}},
      {SYS_futex, {0, FUTEX_LOCK_PI_PRIVATE}},
      {SYS_futex, {0, FUTEX_LOCK_PI2}},
      {SYS_futex, {0, FUTEX_WAIT_REQUEUE_PI}},
  };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    union sysunion m;
    cr_async_init(&m, (uint32_t)refused[i].nr, &port);
    memcpy(m.raw.arg, refused[i].arg, sizeof m.raw.arg);
    cr_async_send(&m);
    EXPECT(error_of(&m) == EOPNOTSUPP);
  }
  uint64_t none = 0;
  unsigned long packed[2] = {(unsigned long)&none, 8};
  union sysunion m;
  cr_send_pselect6(&m, &port, 0, NULL, NULL, NULL, NULL, packed);
  EXPECT(error_of(&m) == EOPNOTSUPP);
}

// ---- replies -----------------------------------------------------------------------------------

static void test_order_and_any(int in, int out) {
  union sysunion m[3], *done;
  struct timespec soon = {0, kMillisecond};
  uint64_t value = 1;
  char c;
  int event = eventfd(0, 0);
  cr_send_read(&m[0], &port, event, &value, 8);
  cr_send_nanosleep(&m[1], &port, &soon, NULL);
  cr_send_read(&m[2], &port, in, &c, 1);
  EXPECT(cr_async_wait_any(&port, -1, &done) == 0 && done == &m[1]);
  EXPECT(write(event, &value, 8) == 8);
  EXPECT(cr_async_wait_any(&port, -1, &done) == 0 && done == &m[0]);
  close(event);
  EXPECT(cr_async_wait_any(&port, 0, &done) == ETIMEDOUT && done == NULL);
  EXPECT(cr_async_wait_any(&port, 2 * kMillisecond, &done) == ETIMEDOUT && done == NULL);
  EXPECT(cr_async_wait(&m[2], 0) == ETIMEDOUT);
  EXPECT(cr_async_wait(&m[2], 2 * kMillisecond) == ETIMEDOUT);
  EXPECT(write(out, "x", 1) == 1);
  EXPECT(result_of(&m[2]) == 1 && c == 'x');
  EXPECT(cr_async_wait(&m[2], -1) == 0);  // again: taken already
  EXPECT(cr_async_wait_any(&port, 0, &done) == ETIMEDOUT);
}

static void test_wait_all(int in, int out) {
  enum { kN = 50 };
  union sysunion m[kN], *all[kN];
  char c[kN];
  for (int i = 0; i < kN; i++) {
    all[i] = &m[i];
    cr_send_read(&m[i], &port, in, &c[i], 1);
  }
  EXPECT(cr_async_wait_all(all, kN, 2 * kMillisecond) == ETIMEDOUT);
  EXPECT(write(out, "0123456789", 10) == 10);
  EXPECT(cr_async_wait_all(all, kN, 5 * kMillisecond) == ETIMEDOUT);
  char rest[kN - 10];
  memset(rest, 'r', sizeof rest);
  EXPECT(write(out, rest, sizeof rest) == (ssize_t)sizeof rest);
  EXPECT(cr_async_wait_all(all, kN, -1) == 0);
  for (int i = 0; i < kN; i++) EXPECT(m[i].sm.sm_error == 0 && m[i].sm.sm_result == 1);
}

// The same message again and again: its arguments stay.
static void test_reuse(int in, int out) {
  union sysunion m;
  char c = 0;
  cr_async_init(&m, SYS_read, &port);
  m.read_.fd = in;
  m.read_.buf = &c;
  m.read_.count = 1;
  uint64_t args[6];
  memcpy(args, m.raw.arg, sizeof args);
  for (int i = 0; i < 2000; i++) {
    if (i % 2 == 0) EXPECT(write(out, &(char){(char)i}, 1) == 1);
    cr_async_send(&m);
    if (i % 2 != 0) EXPECT(write(out, &(char){(char)i}, 1) == 1);
    if (result_of(&m) != 1 || c != (char)i) failures++;
    if (m.sm.sm_nr != SYS_read || memcmp(args, m.raw.arg, sizeof args) != 0) failures++;
  }
}

// ---- ports -------------------------------------------------------------------------------------

enum { kThreads = 4, kEach = 500 };
static struct lwkt_port shared_port;
static int event_fd;
static volatile int taken;

static void *take_replies(void *arg) {
  for (;;) {
    union sysunion *done;
    if (cr_async_wait_any(&shared_port, -1, &done) != 0) continue;
    int last = done->sm.sm_nr == SYS_getpid;
    if (!last) {
      EXPECT(done->sm.sm_error == 0 && done->sm.sm_result == 8);
      __atomic_fetch_add(&taken, 1, __ATOMIC_SEQ_CST);
    }
    free(done);
    if (last) return arg;
  }
}

// Several threads send to one port and several take from it.
static void *send_many(void *arg) {
  static uint64_t sink;
  for (int i = 0; i < kEach; i++) {
    union sysunion *m = malloc(sizeof *m);
    cr_send_read(m, &shared_port, event_fd, &sink, 8);
    if (i % 10 == 9) {
      uint64_t ten = 10;
      EXPECT(write(event_fd, &ten, 8) == 8);
    }
  }
  return arg;
}

static void test_shared_port(void) {
  pthread_t senders[kThreads], takers[kThreads];
  lwkt_initport_spin(&shared_port);
  event_fd = eventfd(0, EFD_SEMAPHORE);
  taken = 0;
  for (int i = 0; i < kThreads; i++) {
    pthread_create(&takers[i], NULL, take_replies, NULL);
    pthread_create(&senders[i], NULL, send_many, NULL);
  }
  for (int i = 0; i < kThreads; i++) pthread_join(senders[i], NULL);
  while (taken < kThreads * kEach) usleep(100);
  for (int i = 0; i < kThreads; i++) {
    union sysunion *m = malloc(sizeof *m);
    cr_send_getpid(m, &shared_port);
  }
  for (int i = 0; i < kThreads; i++) pthread_join(takers[i], NULL);
  close(event_fd);
}

static volatile int called;

static void on_reply(lwkt_port_t self, lwkt_msg_t msg) {
  if (((struct sysmsg *)msg)->sm_result == 1) __atomic_fetch_add(&called, 1, __ATOMIC_SEQ_CST);
}

static void test_function_ports(int in, int out) {
  struct lwkt_port function, polled;
  union sysunion m[2];
  char c[2];
  lwkt_initport_replyonly(&function, on_reply);
  lwkt_initport_replyonly_null(&polled);
  called = 0;
  cr_send_read(&m[0], &function, in, &c[0], 1);
  cr_send_read(&m[1], &polled, in, &c[1], 1);
  EXPECT(write(out, "xx", 2) == 2);
  while (called == 0 || !lwkt_checkmsg(&m[1].sm.sm_lmsg)) usleep(100);
  EXPECT(called == 1 && m[1].sm.sm_result == 1);
}

static void raw_lwkt(void *arg) {
  struct lwkt_port mine;
  lwkt_initport_thread(&mine, lwkt_curthread());
  union sysunion m[3];
  struct timespec soon = {0, kMillisecond};
  for (int i = 0; i < 3; i++) cr_send_nanosleep(&m[i], &mine, &soon, NULL);
  int error = 0;
  for (int i = 0; i < 3; i++) error |= cr_async_wait(&m[i], -1) | m[i].sm.sm_error;
  *(int *)arg = error;
}

static void test_from_an_lwkt_of_the_programs_own(void) {
  thread_t td;
  int error = -1;
  EXPECT(lwkt_create(raw_lwkt, &error, &td, 0, 0, "sender") == 0);
  lwkt_join(td);
  EXPECT(error == 0);
}

// lwkt_domsg waits, so it is the plain call.
static void test_domsg(int in, int out) {
  union sysunion m;
  char c = 0;
  pthread_t thread;
  pthread_create(&thread, NULL, send_later, &out);
  cr_async_init(&m, SYS_read, &port);
  m.read_.fd = in;
  m.read_.buf = &c;
  m.read_.count = 1;
  EXPECT(lwkt_domsg(&syscall_port, &m.sm.sm_lmsg, 0) == 0 && m.sm.sm_result == 1 && c == 'h');
  char rest[4];
  EXPECT(read(in, rest, 4) == 4);
  pthread_join(thread, NULL);
}

// ---- shims ---------------------------------------------------------------------------------------

static struct lwkt_port shim;
static volatile unsigned seen;
static volatile int sees_sender;

static int shim_begin(lwkt_port_t self, lwkt_msg_t msg) {
  union sysunion *m = (union sysunion *)msg;
  if (m->sm.sm_nr == SYS_unlink) return EPERM;
  if (m->sm.sm_nr == SYS_getppid) {
    m->sm.sm_result = 4711;
    return 0;
  }
  if (m->sm.sm_nr == SYS_read) {
    seen++;
    sees_sender = getpid() == (pid_t)syscall(SYS_gettid);  // calls of its own pass it by
    m->read_.count = 1;
  }
  return cr_shim_forward(self, msg);
}

static void test_shim_sees_messages(int in, int out) {
  union sysunion m;
  char c[2] = "";
  lwkt_initport_putonly(&shim, shim_begin);
  EXPECT(cr_shim_push(&syscall_port) == EINVAL);
  EXPECT(cr_shim_push(&shim) == 0);
  seen = 0;
  cr_send_getppid(&m, &port);
  EXPECT(result_of(&m) == 4711);
  cr_send_unlink(&m, &port, "/nothing/here");
  EXPECT(error_of(&m) == EPERM);
  cr_send_read(&m, &port, in, c, 2);
  EXPECT(seen == 1 && sees_sender);
  EXPECT(write(out, "ab", 2) == 2);
  EXPECT(result_of(&m) == 1 && c[0] == 'a' && c[1] == 0);
  EXPECT(cr_shim_pop(&shim) == 0);
  cr_send_read(&m, &port, in, c, 2);
  EXPECT(result_of(&m) == 1 && c[0] == 'b' && seen == 1);
}

// A shim that wants the result of what is in flight sends a copy of its own.
static struct lwkt_port watch;

struct watched {
  union sysunion copy;
  union sysunion *original;
};
static struct watched watched;

static void copy_done(lwkt_port_t self, lwkt_msg_t msg) {
  struct watched *w = (struct watched *)msg;
  w->original->sm.sm_result = w->copy.sm.sm_result + 1000;
  lwkt_replymsg(&w->original->sm.sm_lmsg, msg->ms_error);
}

static void abort_copy(lwkt_port_t self, lwkt_msg_t msg) { cr_async_abort(&watched.copy); }

static int watching_begin(lwkt_port_t self, lwkt_msg_t msg) {
  union sysunion *m = (union sysunion *)msg;
  if ((msg->ms_flags & MSGF_SYNC) != 0) return cr_shim_forward(self, msg);
  cr_async_init(&watched.copy, m->sm.sm_nr, &watch);
  memcpy(watched.copy.raw.arg, m->raw.arg, sizeof m->raw.arg);
  watched.original = m;
  msg->ms_target_port = self;
  lwkt_sendmsg(self->mp_next, &watched.copy.sm.sm_lmsg);
  return EASYNC;
}

static void test_shim_changes_a_late_result(int in, int out) {
  union sysunion m;
  char c;
  lwkt_initport_putonly(&shim, watching_begin);
  shim.mp_abortmsg = abort_copy;
  lwkt_initport_replyonly(&watch, copy_done);
  EXPECT(cr_shim_push(&shim) == 0);
  cr_send_read(&m, &port, in, &c, 1);
  EXPECT(cr_async_wait(&m, kMillisecond) == ETIMEDOUT);
  EXPECT(write(out, "x", 1) == 1);
  EXPECT(result_of(&m) == 1001);
  cr_send_getpid(&m, &port);
  EXPECT(result_of(&m) == getpid() + 1000);
  cr_send_read(&m, &port, in, &c, 1);
  EXPECT(cr_async_wait(&m, kMillisecond) == ETIMEDOUT);
  cr_async_abort(&m);
  EXPECT(error_of(&m) == EINTR);
  EXPECT(cr_shim_pop(&shim) == 0);
}

int main(void) {
  int p[2], file = memfd_create("file", 0);
  EXPECT(pipe(p) == 0 && write(file, "the text of the file, 32 bytes..", 32) == 32);
  port_init();
  test_results(file);
  test_calls_that_wait(p[1], p[0]);
  test_socket();
  test_calls_about_the_sender();
  test_refused();
  test_order_and_any(p[0], p[1]);
  test_wait_all(p[0], p[1]);
  test_reuse(p[0], p[1]);
  test_shared_port();
  test_function_ports(p[0], p[1]);
  test_from_an_lwkt_of_the_programs_own();
  test_domsg(p[0], p[1]);
  test_shim_sees_messages(p[0], p[1]);
  test_shim_changes_a_late_result(p[0], p[1]);
  return report();
}
