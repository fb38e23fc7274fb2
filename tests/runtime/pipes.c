/* Pipes, FIFOs, eventfd, timerfd, signalfd and ttys under threads that block, and splice between them. */
#include "blocking.h"

#include <semaphore.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <termios.h>

static int fds[2];

static void* read_some(void* arg) {
  char c[256];
  ssize_t n = read(*(int*)arg, c, sizeof c);
  return (void*)n;
}
static pthread_t blocked_in_read(int* fd) {
  pthread_t t = start(read_some, fd);
  settle();
  return t;
}

/* ---- pipes ----------------------------------------------------------------------------------------- */

static void* write_atoms(void* arg) {
  char c[1000];
  memset(c, 'a' + (int)(intptr_t)arg, sizeof c);
  for (int i = 0; i < 200; i++) CHECK(write(fds[1], c, sizeof c) == sizeof c);
  return NULL;
}
static void small_writes_are_atomic(void) {
  pthread_t t[6];
  char c[1000];
  CHECK(pipe(fds) == 0 && fcntl(fds[1], F_SETPIPE_SZ, 4096) == 4096); /* they must wait for room */
  for (intptr_t i = 0; i < 6; i++) t[i] = start(write_atoms, (void*)i);
  for (int i = 0; i < 6 * 200; i++) {
    read_all(fds[0], c, sizeof c);
    for (size_t k = 1; k < sizeof c; k++) CHECK(c[k] == c[0]);
  }
  for (int i = 0; i < 6; i++) finish(t[i]);
  puts("ok");
}
static void nonblocking_small_write_is_all_or_nothing(void) {
  char c[4096] = "";
  CHECK(pipe(fds) == 0);
  fill(fds[1]);
  nonblocking(fds[1], 1);
  CHECK(read(fds[0], c, 100) == 100);
  printf("%s", outcome(write(fds[1], c, 4096)));
  CHECK(read(fds[0], c, 3996) == 3996);
  printf(" %s\n", outcome(write(fds[1], c, 4096)));
}
static void packet_mode(void) {
  char c[16];
  CHECK(pipe2(fds, O_DIRECT) == 0);
  int in = fds[0];
  pthread_t t = blocked_in_read(&in);
  CHECK(write(fds[1], "one", 3) == 3 && write(fds[1], "three", 5) == 5);
  ssize_t first = (ssize_t)(intptr_t)finish(t);
  printf("%zd %zd\n", first, read(fds[0], c, 16));
}
static void reader_sees_the_end_of_the_last_writer(void) {
  CHECK(pipe(fds) == 0);
  int copy = dup(fds[1]);
  pthread_t t = blocked_in_read(&fds[0]);
  close(fds[1]);
  settle();
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  close(copy);
  printf("%zd\n", (ssize_t)(intptr_t)finish(t));
}
static char fifo[64];
static void* open_other_side(void* arg) {
  return (void*)(intptr_t)open(fifo, (int)(intptr_t)arg);
}
static void fifo_open_waits_for_the_peer(void) {
  snprintf(fifo, sizeof fifo, "/tmp/cr-test-fifo-%d", getpid());
  CHECK(mkfifo(fifo, 0600) == 0);
  for (int round = 0; round < 2; round++) {
    int first = round ? O_RDONLY : O_WRONLY, second = round ? O_WRONLY : O_RDONLY;
    pthread_t t = start(open_other_side, (void*)(intptr_t)first);
    settle();
    CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
    int fd = open(fifo, second);
    int other = (int)(intptr_t)finish(t);
    CHECK(fd >= 0 && other >= 0);
    int in = round ? other : fd, out = round ? fd : other;
    pthread_t r = blocked_in_read(&in);
    CHECK(write(out, "through", 7) == 7);
    printf("%zd ", (ssize_t)(intptr_t)finish(r));
    close(fd);
    close(other);
  }
  printf("%s ", outcome(open(fifo, O_WRONLY | O_NONBLOCK)));
  int fd = open(fifo, O_RDONLY | O_NONBLOCK);
  char c;
  printf("%s\n", outcome(read(fd, &c, 1))); /* no writer: the end */
  CHECK(unlink(fifo) == 0);
}

/* ---- eventfd ------------------------------------------------------------------------------------- */

static int event;
static void* take_event(void* arg) {
  eventfd_t v = 0;
  CHECK(eventfd_read(event, &v) == 0);
  return (void*)(intptr_t)v;
}
static void eventfd_counts(void) {
  event = eventfd(0, 0);
  pthread_t t = start(take_event, NULL);
  settle();
  CHECK(eventfd_write(event, 7) == 0);
  printf("%d", (int)(intptr_t)finish(t));
  nonblocking(event, 1);
  eventfd_t v;
  printf(" %s", outcome(eventfd_read(event, &v)));
  char small[4];
  printf(" %s\n", outcome(read(event, small, 4)));
}
static void semaphore_eventfd_wakes_one_each(void) {
  pthread_t t[5];
  intptr_t sum = 0;
  event = eventfd(0, EFD_SEMAPHORE);
  for (int i = 0; i < 5; i++) t[i] = start(take_event, NULL);
  settle();
  for (int i = 0; i < 5; i++) CHECK(eventfd_write(event, 1) == 0);
  for (int i = 0; i < 5; i++) sum += (intptr_t)finish(t[i]);
  printf("%d\n", (int)sum);
}
static void* add_two(void* arg) {
  CHECK(eventfd_write(event, 2) == 0);
  return NULL;
}
static void full_eventfd_makes_writers_wait(void) {
  event = eventfd(0, 0);
  CHECK(eventfd_write(event, UINT64_MAX - 1) == 0);
  pthread_t t = start(add_two, NULL);
  settle();
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  eventfd_t v;
  CHECK(eventfd_read(event, &v) == 0 && v == UINT64_MAX - 1);
  finish(t);
  CHECK(eventfd_read(event, &v) == 0);
  printf("%d\n", (int)v);
}

/* ---- timerfd --------------------------------------------------------------------------------------- */

static void timerfd_expires_under_its_reader(void) {
  uint64_t n = 0;
  int fd = timerfd_create(CLOCK_MONOTONIC, 0);
  pthread_t t = blocked_in_read(&fd); /* before it is set */
  struct itimerspec once = {{0, 0}, {0, 30000000}}, often = {{0, 10000000}, {0, 10000000}}, none = {{0}};
  CHECK(timerfd_settime(fd, 0, &once, NULL) == 0);
  printf("%zd", (ssize_t)(intptr_t)finish(t));
  CHECK(timerfd_settime(fd, 0, &often, NULL) == 0);
  int64_t from = now_ms();
  for (uint64_t sum = 0; sum < 10; sum += n) CHECK(read(fd, &n, sizeof n) == sizeof n && n >= 1);
  CHECK(now_ms() - from >= 95);
  CHECK(timerfd_settime(fd, 0, &none, NULL) == 0);
  nonblocking(fd, 1);
  printf(" %s\n", outcome(read(fd, &n, sizeof n)));
}
static void* read_timer(void* arg) {
  int fd = timerfd_create(CLOCK_MONOTONIC, 0);
  int ms = (int)(intptr_t)arg;
  struct itimerspec its = {{0, 0}, {ms / 1000, ms % 1000 * 1000000}};
  uint64_t n;
  int64_t from = now_ms();
  CHECK(timerfd_settime(fd, 0, &its, NULL) == 0 && read(fd, &n, sizeof n) == sizeof n && n == 1);
  CHECK(now_ms() - from >= ms - 1);
  close(fd);
  return NULL;
}
static void many_timerfds(void) {
  pthread_t t[40];
  for (intptr_t i = 0; i < 40; i++) t[i] = start(read_timer, (void*)(5 + i * 7 % 40 * 5));
  for (int i = 0; i < 40; i++) finish(t[i]);
  puts("ok");
}

/* ---- signalfd -------------------------------------------------------------------------------------- */

static void* take_signal(void* arg) {
  struct signalfd_siginfo info;
  CHECK(read(*(int*)arg, &info, sizeof info) == sizeof info);
  return (void*)(intptr_t)info.ssi_signo;
}
static void signalfd_under_a_thread(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGCHLD);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  int fd = signalfd(-1, &set, SFD_CLOEXEC);
  pthread_t t = start(take_signal, &fd);
  settle();
  CHECK(kill(getpid(), SIGTERM) == 0);
  printf("%d", (int)(intptr_t)finish(t));
  t = start(take_signal, &fd);
  settle();
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  printf(" %d", (int)(intptr_t)finish(t));
  CHECK(wait_for(pid) == 0);
  t = start(take_signal, &fd);
  settle();
  pid = fork();
  if (pid == 0) _exit(kill(getppid(), SIGUSR1));
  printf(" %d", (int)(intptr_t)finish(t));
  CHECK(wait_for(pid) == 0);
  struct pollfd p = {fd, POLLIN, 0};
  CHECK(poll(&p, 1, 10000) == 1); /* the child's end */
  struct signalfd_siginfo info;
  CHECK(read(fd, &info, sizeof info) == sizeof info && info.ssi_pid == (uint32_t)pid);
  nonblocking(fd, 1);
  printf(" %s\n", outcome(read(fd, &info, sizeof info)));
}
static void signal_pending_before_its_signalfd(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  CHECK(kill(getpid(), SIGUSR1) == 0);
  int fd = signalfd(-1, &set, 0);
  printf("%d\n", (int)(intptr_t)finish(start(take_signal, &fd)));
}

/* ---- ttys ----------------------------------------------------------------------------------------- */

static int master, slave;
static void open_pty(void) {
  master = posix_openpt(O_RDWR | O_NOCTTY);
  CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
  slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  CHECK(slave >= 0);
}
static void tty_reads_a_line(void) {
  char c[64];
  open_pty();
  pthread_t t = blocked_in_read(&slave);
  CHECK(write(master, "a li", 4) == 4);
  settle();
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  CHECK(write(master, "ne\nrest", 7) == 7);
  printf("%zd", (ssize_t)(intptr_t)finish(t));
  CHECK(write(master, "\004", 1) == 1); /* end of file: what is there, then nothing */
  printf(" %zd", read(slave, c, sizeof c));
  CHECK(write(master, "\004", 1) == 1);
  printf(" %zd\n", read(slave, c, sizeof c));
}
static void tty_without_lines(void) {
  struct termios raw;
  open_pty();
  CHECK(tcgetattr(slave, &raw) == 0);
  cfmakeraw(&raw);
  raw.c_cc[VMIN] = 3;
  raw.c_cc[VTIME] = 0;
  CHECK(tcsetattr(slave, TCSANOW, &raw) == 0);
  pthread_t t = blocked_in_read(&slave);
  CHECK(write(master, "ab", 2) == 2);
  settle();
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  CHECK(write(master, "c", 1) == 1);
  printf("%zd", (ssize_t)(intptr_t)finish(t));
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 1;
  CHECK(tcsetattr(slave, TCSANOW, &raw) == 0);
  t = blocked_in_read(&slave);
  printf(" %zd", (ssize_t)(intptr_t)finish(t)); /* a tenth of a second with nothing */
  t = blocked_in_read(&master);
  CHECK(write(slave, "to the master", 13) == 13);
  printf(" %zd", (ssize_t)(intptr_t)finish(t));
  t = start(read_some, &master);
  settle();
  CHECK(close(slave) == 0);
  printf(" %zd\n", (ssize_t)(intptr_t)finish(t)); /* EIO */
}

/* ---- between descriptors ----------------------------------------------------------------------- */

static int spliced[2];
static void* splice_all(void* arg) {
  size_t sum = 0;
  for (ssize_t n; (n = splice(fds[0], NULL, spliced[1], NULL, 1 << 20, 0)) > 0;) sum += (size_t)n;
  close(spliced[1]);
  return (void*)sum;
}
static void splice_waits_for_both(void) {
  static unsigned char out[300000], in[300000];
  pattern(out, sizeof out, 0);
  CHECK(pipe(fds) == 0);
  make_pair(TCP, spliced);
  pthread_t t = start(splice_all, NULL);
  pid_t pid = fork();
  if (pid == 0) {
    close(spliced[1]);
    for (size_t put = 0; put < sizeof out; put += 10000) {
      write_all(fds[1], out + put, 10000);
      if (put % 70000 == 0) sleep_ms(5);
    }
    _exit(0);
  }
  close(fds[1]);
  for (size_t got = 0; got < sizeof in; got += 20000) {
    read_all(spliced[0], in + got, 20000);
    if (got % 100000 == 0) sleep_ms(5);
  }
  CHECK(is_pattern(in, sizeof in, 0) && finish(t) == (void*)sizeof in && wait_for(pid) == 0);
  printf("%s\n", outcome(read(spliced[0], in, 1)));
}
static void tee_and_splice_flags(void) {
  int other[2];
  char c[16];
  CHECK(pipe(fds) == 0 && pipe(other) == 0);
  printf("%s", outcome(splice(fds[0], NULL, other[1], NULL, 5, SPLICE_F_NONBLOCK)));
  printf(" %s", outcome(tee(fds[0], other[1], 5, SPLICE_F_NONBLOCK)));
  CHECK(write(fds[1], "teed", 4) == 4);
  printf(" %s", outcome(tee(fds[0], other[1], 16, 0)));
  printf(" %zd", read(fds[0], c, sizeof c));
  printf(" %zd", read(other[0], c, sizeof c));
  close(fds[1]);
  printf(" %s\n", outcome(splice(fds[0], NULL, other[1], NULL, 5, 0)));
}
static int file;
static void* send_the_file(void* arg) {
  off_t at = 1000;
  ssize_t n = sendfile(spliced[1], file, &at, 1 << 20);
  CHECK(at == 1000 + n);
  close(spliced[1]);
  return (void*)n;
}
static void sendfile_to_a_slow_reader(void) {
  static unsigned char data[800000], in[800000];
  char path[] = "/tmp/cr-test-XXXXXX";
  file = mkstemp(path);
  CHECK(file >= 0 && unlink(path) == 0);
  pattern(data, sizeof data, 0);
  write_all(file, data, sizeof data);
  make_pair(TCP, spliced);
  pthread_t t = start(send_the_file, NULL);
  settle();
  size_t got = 0;
  for (ssize_t n; (n = read(spliced[0], in, 50000)) > 0; got += (size_t)n) CHECK(is_pattern(in, (size_t)n, got + 1000));
  CHECK((ssize_t)got == (ssize_t)(intptr_t)finish(t));
  printf("%zu %d\n", got, (int)lseek(file, 0, SEEK_CUR));
}


// The writer waits by yields alone. With one cpu its yields must let the reader see its data: 10 ms for
// each of so many turns would take longer than the test may.
static void* read_byte(void* arg) {
  char c;
  CHECK(read(*(int*)arg, &c, 1) == 1);
  return NULL;
}
enum { kTurns = 8000 };
static int turns[2];
static volatile int turn;
static void* read_in_turn(void* arg) {
  for (int i = 1; i <= kTurns; i++) {
    char c;
    turn = i;
    CHECK(read(turns[0], &c, 1) == 1);
  }
  return NULL;
}
static void yields_let_a_reader_have_its_data(void) {
  CHECK(pipe(turns) == 0);
  pthread_t t = start(read_in_turn, NULL);
  for (int i = 1; i <= kTurns; i++) {
    while (turn < i) sched_yield();
    if (i % 3 == 0) sched_yield();
    CHECK(write(turns[1], "x", 1) == 1);
  }
  finish(t);
  printf("%d turns\n", turn);
}


// The edge of what was just written has not been fetched, and the last read took all there was.
static void nonblocking_read_sees_what_was_just_written(void) {
  int fds[2], seen = 0;
  char c;
  CHECK(pipe(fds) == 0 && pipe(turns) == 0);
  pthread_t t = start(read_byte, &fds[0]);  // parks: the descriptor is watched from now on
  settle();
  CHECK(write(fds[1], "x", 1) == 1);
  finish(t);
  pthread_t other = start(read_byte, &turns[0]);  // so that there are two
  fcntl(fds[0], F_SETFL, O_NONBLOCK);
  for (int i = 0; i < 1000; i++) {
    CHECK(write(fds[1], "x", 1) == 1);
    seen += read(fds[0], &c, 1) == 1;
    CHECK(read(fds[0], &c, 1) == -1 && errno == EAGAIN);
  }
  CHECK(write(turns[1], "x", 1) == 1);
  finish(other);
  printf("%d of 1000\n", seen);
}

static const struct test_case cases[] = {
    CASE(small_writes_are_atomic), CASE(nonblocking_small_write_is_all_or_nothing), CASE(packet_mode),
    CASE(reader_sees_the_end_of_the_last_writer), CASE(fifo_open_waits_for_the_peer), CASE(eventfd_counts),
    CASE(semaphore_eventfd_wakes_one_each), CASE(full_eventfd_makes_writers_wait),
    CASE(timerfd_expires_under_its_reader), CASE(many_timerfds), CASE(signalfd_under_a_thread),
    CASE(signal_pending_before_its_signalfd), CASE(tty_reads_a_line), CASE(tty_without_lines),
    CASE(splice_waits_for_both), CASE(tee_and_splice_flags), CASE(sendfile_to_a_slow_reader),
    CASE(yields_let_a_reader_have_its_data), CASE(nonblocking_read_sees_what_was_just_written),
};
CASE_MAIN(cases)
