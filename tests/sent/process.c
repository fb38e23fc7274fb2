// Calls in flight beside fork, exec and the ways to end; thousands in flight; what a worker is not.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "sent.h"

static int idle_pipe[2];  // nobody writes
static char idle_byte;

static void send_idle(union sysunion *m, int n) {
  for (int i = 0; i < n; i++) cr_send_read(&m[i], &port, idle_pipe[0], &idle_byte, 1);
  EXPECT(cr_async_wait(&m[n - 1], 3 * kMillisecond) == ETIMEDOUT);
}

static int status_of(pid_t pid) {
  int status = -1;
  EXPECT(waitpid(pid, &status, 0) == pid);
  return status;
}

// ---- fork ----------------------------------------------------------------------------------------

static void test_fork(void) {
  enum { kN = 20 };
  union sysunion m[kN];
  int p[2];
  char c[kN];
  EXPECT(pipe(p) == 0);
  for (int i = 0; i < kN; i++) cr_send_read(&m[i], &port, p[0], &c[i], 1);
  EXPECT(cr_async_wait(&m[0], 3 * kMillisecond) == ETIMEDOUT);
  pid_t pid = fork();
  if (pid == 0) {
    // None of them here; calls of its own go as ever.
    port_init();
    union sysunion mine[kN];
    int q[2];
    if (pipe(q) != 0) _exit(1);
    for (int i = 0; i < kN; i++) cr_send_read(&mine[i], &port, q[0], &c[i], 1);
    if (write(q[1], c, kN) != kN) _exit(2);
    for (int i = 0; i < kN; i++) {
      if (result_of(&mine[i]) != 1) _exit(3);
    }
    union sysunion *done;
    if (cr_async_wait_any(&port, 3 * kMillisecond, &done) != ETIMEDOUT) _exit(4);
    _exit(42);
  }
  int status = status_of(pid);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 42);
  EXPECT(write(p[1], c, kN) == kN);
  for (int i = 0; i < kN; i++) EXPECT(result_of(&m[i]) == 1);
  close(p[0]);
  close(p[1]);
}

// Threads fork while others send, wait and abort.
static volatile int forking;

static void *send_meanwhile(void *arg) {
  struct lwkt_port mine;
  lwkt_initport_thread(&mine, lwkt_curthread());
  while (forking) {
    union sysunion m;
    struct timespec ts = {0, 20000};
    cr_send_nanosleep(&m, &mine, &ts, NULL);
    EXPECT(result_of(&m) == 0);
  }
  return arg;
}

static void test_fork_beside_senders(void) {
  pthread_t thread[3];
  forking = 1;
  for (int i = 0; i < 3; i++) pthread_create(&thread[i], NULL, send_meanwhile, NULL);
  for (int i = 0; i < 50; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      port_init();
      union sysunion m;
      struct timespec ts = {0, 1000};
      cr_send_nanosleep(&m, &port, &ts, NULL);
      _exit(result_of(&m) == 0 ? 9 : 1);
    }
    int status = status_of(pid);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 9);
  }
  forking = 0;
  for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
}

// ---- the end ---------------------------------------------------------------------------------------

static void *last_thread(void *arg) {
  usleep(2000);
  return arg;
}

static void end_by(int how) {
  static union sysunion m[10];  // in flight while pthread_exit unwinds the stack
  pthread_t thread;
  port_init();
  send_idle(m, 10);
  if (how == 1) _exit(11);
  if (how == 2) exit(12);
  if (how == 3) execl("/bin/sh", "sh", "-c", "exit 13", (char *)NULL);
  if (how == 4) pthread_exit(NULL);  // the program's last thread, whatever is in flight
  if (how == 5) {
    pthread_create(&thread, NULL, last_thread, NULL);
    pthread_exit(NULL);
  }
  kill(getpid(), SIGKILL);
}

static void test_ends(void) {
  static const int expect[] = {0, 11, 12, 13, 0, 0};
  for (int how = 1; how <= 6; how++) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
      alarm(20);
      end_by(how);
      _exit(99);
    }
    int status = status_of(pid);
    if (how < 6) {
      EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == expect[how]);
    } else {
      EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
  }
}

// ---- signals and identity -----------------------------------------------------------------------

static volatile pid_t handled_by;
static void on_usr1(int sig) { handled_by = (pid_t)syscall(SYS_gettid); }

// Workers block everything: a signal of the process waits for the program's own thread.
static void test_no_signal_is_a_workers(void) {
  union sysunion m[10];
  sigset_t set, pending;
  send_idle(m, 10);
  signal(SIGUSR1, on_usr1);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  kill(getpid(), SIGUSR1);
  usleep(2000);
  sigpending(&pending);
  EXPECT(sigismember(&pending, SIGUSR1) && handled_by == 0);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  EXPECT(handled_by == getpid());
  for (int i = 0; i < 10; i++) cr_async_abort(&m[i]);
  for (int i = 0; i < 10; i++) EXPECT(error_of(&m[i]) == EINTR);
}

static void test_setuid_beside_calls_in_flight(void) {
  union sysunion m[10];
  send_idle(m, 10);
  EXPECT(setresuid(-1, geteuid(), -1) == 0);
  for (int i = 0; i < 10; i++) cr_async_abort(&m[i]);
  for (int i = 0; i < 10; i++) EXPECT(error_of(&m[i]) == EINTR);
}

// A worker that waits for the next message excludes no deadlock. (run.sh: LIBCR_ON_DEADLOCK=abort.)
static void test_idle_workers_do_not_hide_a_deadlock(void) {
  pid_t pid = fork();
  if (pid == 0) {
    port_init();
    union sysunion m;
    char c;
    int p[2];
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    if (pipe(p) != 0 || write(p[1], "x", 1) != 1) _exit(1);
    cr_send_read(&m, &port, p[0], &c, 1);
    if (result_of(&m) != 1) _exit(2);
    signal(SIGUSR1, SIG_DFL);
    dup2(open("/dev/null", O_WRONLY), 2);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    pthread_mutex_lock(&mutex);
    pthread_mutex_lock(&mutex);
    _exit(3);
  }
  int status = status_of(pid);
  EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

// ---- thousands ------------------------------------------------------------------------------------

// Without an engine each call in flight keeps a kernel thread.
static int how_many(void) { return engine_parks() ? 10000 : 100; }

static void test_thousands_of_reads(void) {
  enum { kPipes = 20 };
  int n = how_many(), pipes[kPipes][2], each = n / kPipes;
  union sysunion *m = calloc((size_t)n, sizeof *m), *done;
  char *got = calloc((size_t)n, 1), *data = malloc((size_t)each);
  memset(data, 'd', (size_t)each);
  for (int i = 0; i < kPipes; i++) EXPECT(pipe(pipes[i]) == 0);
  for (int i = 0; i < n; i++) cr_send_read(&m[i], &port, pipes[i % kPipes][0], &got[i], 1);
  EXPECT(cr_async_wait(&m[0], 0) == ETIMEDOUT);
  for (int i = 0; i < kPipes; i++) EXPECT(write(pipes[i][1], data, (size_t)each) == each);
  for (int i = 0; i < n && failures == 0; i++) {
    EXPECT(cr_async_wait_any(&port, 60LL * kSecond, &done) == 0);
    if (done != NULL) EXPECT(done->sm.sm_error == 0 && done->sm.sm_result == 1);
  }
  for (int i = 0; i < n && failures == 0; i++) EXPECT(got[i] == 'd');
  // And all aborted.
  for (int i = 0; i < n; i++) cr_send_read(&m[i], &port, pipes[i % kPipes][0], &got[i], 1);
  EXPECT(cr_async_wait(&m[0], 3 * kMillisecond) == ETIMEDOUT);
  for (int i = 0; i < n; i++) cr_async_abort(&m[i]);
  for (int i = 0; i < n && failures == 0; i++) {
    EXPECT(cr_async_wait_any(&port, 60LL * kSecond, &done) == 0);
    if (done != NULL) EXPECT(done->sm.sm_error == EINTR);
  }
  for (int i = 0; i < kPipes; i++) {
    close(pipes[i][0]);
    close(pipes[i][1]);
  }
  free(m);
  free(got);
  free(data);
}

static void test_thousands_of_sleeps(void) {
  int n = how_many();
  union sysunion *m = calloc((size_t)n, sizeof *m), **all = calloc((size_t)n, sizeof *all);
  struct timespec ts = {0, 10 * kMillisecond};
  for (int i = 0; i < n; i++) {
    all[i] = &m[i];
    cr_send_nanosleep(&m[i], &port, &ts, NULL);
  }
  EXPECT(cr_async_wait_all(all, (size_t)n, 60LL * kSecond) == 0);
  for (int i = 0; i < n && failures == 0; i++) EXPECT(m[i].sm.sm_error == 0);
  free(m);
  free(all);
}

int main(void) {
  EXPECT(pipe(idle_pipe) == 0);
  port_init();
  test_fork();
  test_fork_beside_senders();
  test_ends();
  test_no_signal_is_a_workers();
  test_setuid_beside_calls_in_flight();
  test_idle_workers_do_not_hide_a_deadlock();
  test_thousands_of_reads();
  test_thousands_of_sleeps();
  return report();
}
