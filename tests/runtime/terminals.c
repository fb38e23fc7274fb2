/* Terminals and the masters of pseudo-terminals, read and written by threads. */
#include "blocking.h"

#include <pty.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <termios.h>

static void* nap(void* p) {
  for (;;) sleep_ms(1);
  return NULL;
}
static int master, slave;
static void open_terminal(void) {
  struct termios t;
  master = posix_openpt(O_RDWR | O_NOCTTY);
  CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
  slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  CHECK(slave >= 0 && tcgetattr(slave, &t) == 0);
  t.c_lflag &= ~(tcflag_t)ECHO;
  t.c_oflag &= ~(tcflag_t)OPOST;
  CHECK(tcsetattr(slave, TCSANOW, &t) == 0);
}
static void begin(void) {
  alarm(50);
  pthread_detach(start(nap, NULL));
  open_terminal();
}
static void raw_mode(int vmin, int vtime) {
  struct termios t;
  CHECK(tcgetattr(slave, &t) == 0);
  cfmakeraw(&t);
  t.c_cc[VMIN] = (cc_t)vmin;
  t.c_cc[VTIME] = (cc_t)vtime;
  CHECK(tcsetattr(slave, TCSANOW, &t) == 0);
}

static void* read_some(void* p) {
  char c[64];
  ssize_t n = read(*(int*)p, c, sizeof c);
  printf("%s", outcome(n));
  if (n > 0) printf(" %.*s", (int)n, c);
  puts("");
  return NULL;
}

static void a_line_comes_when_it_is_whole(void) {
  begin();
  pthread_t t = start(read_some, &slave);
  settle();
  CHECK(write(master, "on", 2) == 2);
  sleep_ms(20);
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  CHECK(write(master, "e\ntwo\n", 6) == 6);
  finish(t);
  read_some(&slave);
}
static void a_timed_read_ends_with_nothing(void) {
  begin();
  raw_mode(0, 1);
  int64_t from = now_ms();
  finish(start(read_some, &slave));
  CHECK(now_ms() - from >= 80);
}
static void* read_into_two(void* p) {
  char a[2], b[8];
  struct iovec iov[2] = {{a, sizeof a}, {b, sizeof b}};
  printf("%s\n", outcome(readv(slave, iov, 2)));
  return NULL;
}
static void a_read_waits_for_vmin(void) {
  begin();
  raw_mode(3, 0);
  pthread_t t = start(read_into_two, NULL);
  settle();
  for (int i = 0; i < 3; i++) {
    CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
    CHECK(write(master, "x", 1) == 1);
    sleep_ms(10);
  }
  finish(t);
}
static void a_nonblocking_read_says_so(void) {
  begin();
  nonblocking(slave, 1);
  nonblocking(master, 1);
  finish(start(read_some, &slave));
  finish(start(read_some, &master));
}
static void a_master_reads_what_comes_and_then_that_all_are_gone(void) {
  begin();
  pthread_t t = start(read_some, &master);
  settle();
  CHECK(write(slave, "hello", 5) == 5);
  finish(t);
  t = start(read_some, &master);
  settle();
  CHECK(close(slave) == 0);
  finish(t);
}
static void a_terminal_whose_master_went_reads_its_end(void) {
  begin();
  pthread_t t = start(read_some, &slave);
  settle();
  CHECK(close(master) == 0);
  finish(t);
}

/* ---- many ---- */

enum { PAIRS = 24, LINES = 40 };
static int masters[PAIRS], slaves[PAIRS];
static void* answer(void* p) { /* the program at the terminal */
  char c[64];
  int fd = slaves[(intptr_t)p];
  for (int i = 0; i < LINES; i++) {
    ssize_t n = read(fd, c, sizeof c);
    CHECK(n > 0 && c[n - 1] == '\n' && write(fd, c, (size_t)n) == n);
  }
  return NULL;
}
static void* ask(void* p) {
  char line[64], got[64];
  int fd = masters[(intptr_t)p];
  for (int i = 0; i < LINES; i++) {
    int n = snprintf(line, sizeof line, "%d of %d\n", i, (int)(intptr_t)p);
    CHECK(write(fd, line, (size_t)n) == n);
    read_all(fd, got, (size_t)n);
    CHECK(memcmp(line, got, (size_t)n) == 0);
  }
  return NULL;
}
static void many_sessions_run_side_by_side(void) {
  pthread_t a[PAIRS], b[PAIRS];
  begin();
  for (int i = 0; i < PAIRS; i++) {
    open_terminal();
    masters[i] = master;
    slaves[i] = slave;
    a[i] = start(answer, (void*)(intptr_t)i);
    b[i] = start(ask, (void*)(intptr_t)i);
  }
  for (int i = 0; i < PAIRS; i++) finish(a[i]), finish(b[i]);
  puts("all");
}

static void* write_much(void* p) {
  static char block[200000];
  memset(block, 'w', sizeof block);
  write_all(*(int*)p, block, sizeof block);
  return NULL;
}
static void a_writer_waits_for_room(void) {
  static char block[200000];
  begin();
  raw_mode(1, 0);
  pthread_t t = start(write_much, &master);
  settle();
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  read_all(slave, block, sizeof block);
  finish(t);
  t = start(write_much, &slave);
  settle();
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  read_all(master, block, sizeof block);
  finish(t);
  puts("both ways");
}

/* ---- signals ---- */

static int interrupted_fd;
static void* read_interrupted(void* p) {
  char c;
  ssize_t n = read(interrupted_fd, &c, 1);
  return (void*)(intptr_t)(n < 0 ? -errno : n);
}
static void signals_interrupt_or_do_not(void) {
  begin();
  for (int i = 0; i < 4; i++) {
    void* result;
    raw_mode(1, 0);
    handle(SIGUSR1, count_signal, i / 2 == 0 ? 0 : SA_RESTART);
    interrupted_fd = i % 2 == 0 ? slave : master;
    pthread_t t = start(read_interrupted, NULL);
    settle();
    for (int k = 0; k < 5 || (i / 2 == 0 && k < 1000); k++) {
      if (pthread_kill(t, SIGUSR1) != 0) break;
      sleep_ms(5);
      if (i / 2 == 0 && pthread_tryjoin_np(t, &result) == 0) goto ended;
    }
    CHECK(write(i % 2 == 0 ? master : slave, "x", 1) == 1);
    result = finish(t);
  ended:
    printf("%d\n", (int)(intptr_t)result);
  }
  for (int i = 0; i < 2; i++) {
    interrupted_fd = i == 0 ? slave : master;
    pthread_t t = start(read_interrupted, NULL);
    settle();
    CHECK(pthread_cancel(t) == 0 && finish(t) == PTHREAD_CANCELED);
  }
}

/* A session leader on the terminal; its child reads from the background, by a thread. */
static void* read_terminal(void* p) {
  char c;
  _exit(read(slave, &c, 1) == 1 ? c : 99);
}
static void a_read_from_the_background_stops_the_process_until_it_is_in_front(void) {
  int status;
  begin();
  pid_t session = fork();
  if (session == 0) {
    CHECK(setsid() > 0 && ioctl(slave, TIOCSCTTY, 0) == 0);
    signal(SIGTTOU, SIG_IGN);
    pid_t job = fork();
    if (job == 0) {
      CHECK(setpgid(0, 0) == 0);
      pthread_detach(start(nap, NULL));
      start(read_terminal, NULL);
      for (;;) pause();
    }
    CHECK(waitpid(job, &status, WUNTRACED) == job);
    printf("stopped %d by %d\n", WIFSTOPPED(status), WSTOPSIG(status) == SIGTTIN);
    CHECK(tcsetpgrp(slave, job) == 0 && kill(job, SIGCONT) == 0);
    sleep_ms(50);
    CHECK(write(master, "k\n", 2) == 2);
    CHECK(waitpid(job, &status, 0) == job);
    printf("exited %d\n", WEXITSTATUS(status));
    fflush(stdout);
    _exit(0);
  }
  wait_for(session);
}

/* A job of two processes in the background; one blocks what the kernel would send the whole job for using the terminal. */
static void tell_pending(const char* what, int r) {
  sigset_t set;
  int error = errno;
  CHECK(sigpending(&set) == 0);
  printf("%s: %d %s%s%s\n", what, r, r < 0 ? strerror(error) : "", sigismember(&set, SIGTTIN) ? " ttin" : "",
         sigismember(&set, SIGTTOU) ? " ttou" : "");
}
static void use_the_terminal_from_behind(void) {
  struct termios t;
  char c;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTTIN);
  sigaddset(&set, SIGTTOU);
  CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
  CHECK(tcgetattr(slave, &t) == 0);
  t.c_lflag |= TOSTOP;
  tell_pending("set", tcsetattr(slave, TCSANOW, &t));
  tell_pending("read", (int)read(slave, &c, 1));
  struct iovec iov = {&c, 1};
  tell_pending("readv", (int)readv(slave, &iov, 1));
  tell_pending("write", (int)write(slave, "x", 1));
  tell_pending("drain", tcflush(slave, TCIFLUSH));
  tell_pending("take", tcsetpgrp(slave, getpgrp()));
  tell_pending("is mine", tcgetpgrp(slave) == getpgrp());
  CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
  fflush(stdout);
}
static void a_job_that_blocks_the_signals_uses_the_terminal_from_behind(void) {
  int status;
  alarm(50);
  open_terminal();
  for (int threads = 0; threads < 2; threads++) {
    pid_t session = fork();
    if (session == 0) {
      CHECK(setsid() > 0 && ioctl(slave, TIOCSCTTY, 0) == 0);
      pid_t other = fork();
      if (other == 0) {
        setpgid(0, 0);
        for (;;) pause();
      }
      CHECK(setpgid(other, other) == 0);
      pid_t job = fork();
      if (job == 0) {
        CHECK(setpgid(0, other) == 0);
        if (threads != 0) pthread_detach(start(nap, NULL));
        use_the_terminal_from_behind();
        _exit(7);
      }
      CHECK(waitpid(job, &status, WUNTRACED) == job);
      printf("job %x\n", (unsigned)status);
      printf("other stopped: %d\n", waitpid(other, &status, WUNTRACED | WNOHANG) != 0);
      kill(other, SIGKILL);
      fflush(stdout);
      signal(SIGHUP, SIG_IGN);
      _exit(0);
    }
    wait_for(session);
  }
}

static const struct test_case cases[] = {
    CASE(a_line_comes_when_it_is_whole),
    CASE(a_timed_read_ends_with_nothing),
    CASE(a_read_waits_for_vmin),
    CASE(a_nonblocking_read_says_so),
    CASE(a_master_reads_what_comes_and_then_that_all_are_gone),
    CASE(a_terminal_whose_master_went_reads_its_end),
    CASE(many_sessions_run_side_by_side),
    CASE(a_writer_waits_for_room),
    CASE(signals_interrupt_or_do_not),
    CASE(a_read_from_the_background_stops_the_process_until_it_is_in_front),
    CASE(a_job_that_blocks_the_signals_uses_the_terminal_from_behind),
};
CASE_MAIN(cases)
