/* Blocking calls on descriptors: what parks, what wakes it, and what the caller is told. Every case
 * has a second thread, so that under libcr the calls go through the engine.
 */
#include "case.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

static pthread_t start(void* (*fn)(void*), void* arg) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, fn, arg) == 0);
  return t;
}
static void* finish(pthread_t t) {
  void* r;
  CHECK(pthread_join(t, &r) == 0);
  return r;
}

/* A second thread for the length of a case, parked in a semaphore. */
static sem_t parked_end;
static void* parked(void* arg) {
  while (sem_wait(&parked_end) != 0) {
  }
  return arg;
}
static pthread_t beside(void) {
  CHECK(sem_init(&parked_end, 0, 0) == 0);
  return start(parked, NULL);
}
static void end_beside(pthread_t t) {
  sem_post(&parked_end);
  finish(t);
}

struct pair {
  int a, b;
};

static int listen_on(int type, struct sockaddr_in* at) {
  int l = socket(AF_INET, type, 0), on = 1;
  socklen_t n = sizeof *at;
  memset(at, 0, sizeof *at);
  at->sin_family = AF_INET;
  at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(l >= 0 && setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  CHECK(bind(l, (struct sockaddr*)at, sizeof *at) == 0);
  CHECK(getsockname(l, (struct sockaddr*)at, &n) == 0);
  if (type == SOCK_STREAM) CHECK(listen(l, 128) == 0);
  return l;
}
static struct pair tcp_pair(void) {
  struct sockaddr_in at;
  int on = 1, l = listen_on(SOCK_STREAM, &at);
  struct pair p;
  p.a = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(p.a, (struct sockaddr*)&at, sizeof at) == 0);
  p.b = accept(l, NULL, NULL);
  CHECK(p.b >= 0 && close(l) == 0);
  setsockopt(p.a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(p.b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return p;
}
static struct pair unix_pair(void) {
  int fd[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0);
  return (struct pair){fd[0], fd[1]};
}
static struct pair pipe_pair(void) {
  int fd[2];
  CHECK(pipe(fd) == 0);
  return (struct pair){fd[1], fd[0]};
}

static unsigned long sum_of(const unsigned char* p, size_t n) {
  unsigned long sum = 0;
  for (size_t i = 0; i < n; i++) sum = sum * 31 + p[i];
  return sum;
}
static void report(const char* what, ssize_t n) {
  printf("%s %zd %s\n", what, n, n < 0 ? strerrorname_np(errno) : "");
}

/* ---- echo over each kind, message by message and in bulk ---------------------------------- */

static void* echo(void* arg) {
  int fd = *(int*)arg;
  char buf[64];
  ssize_t n;
  while ((n = read(fd, buf, sizeof buf)) > 0) CHECK(write(fd, buf, (size_t)n) == n);
  CHECK(n == 0);
  return NULL;
}
static void echo_rounds(struct pair p, int rounds, size_t size) {
  char out[64], in[64];
  pthread_t t = start(echo, &p.b);
  for (int i = 0; i < rounds; i++) {
    memset(out, i, sizeof out);
    CHECK(send(p.a, out, size, 0) == (ssize_t)size);
    for (size_t got = 0; got < size;) {
      ssize_t n = recv(p.a, in + got, size - got, 0);
      CHECK(n > 0);
      got += (size_t)n;
    }
    CHECK(memcmp(in, out, size) == 0);
  }
  CHECK(shutdown(p.a, SHUT_WR) == 0);
  finish(t);
  puts("echoed");
}
static void tcp_echo_short_reads(void) { echo_rounds(tcp_pair(), 500, 10); }
static void tcp_echo_full_reads(void) { echo_rounds(tcp_pair(), 500, 64); }
static void unix_echo_short_reads(void) { echo_rounds(unix_pair(), 500, 10); }
static void unix_echo_full_reads(void) { echo_rounds(unix_pair(), 500, 64); }

/* Two messages at once for a reader that has learned to expect one at a time. */
static void tcp_pipelined_after_pingpong(void) {
  struct pair p = tcp_pair();
  char buf[256];
  pthread_t t = start(echo, &p.b);
  for (int round = 0; round < 50; round++) {
    for (int i = 0; i < 10; i++) {
      CHECK(send(p.a, buf, 64, 0) == 64 && recv(p.a, buf, 64, MSG_WAITALL) == 64);
    }
    CHECK(send(p.a, buf, 192, 0) == 192 && recv(p.a, buf, 192, MSG_WAITALL) == 192);
  }
  shutdown(p.a, SHUT_WR);
  finish(t);
  puts("all came back");
}

enum { BULK = 4 << 20 };
static unsigned char bulk[BULK], taken[BULK];
static void fill_bulk(void) {
  for (size_t i = 0; i < BULK; i++) bulk[i] = (unsigned char)(i * 2654435761u >> 24);
}
static void* take_bulk(void* arg) {
  int fd = *(int*)arg;
  size_t got = 0;
  sleep_ms(30); /* let the sender fill the buffers first */
  while (got < BULK) {
    ssize_t n = read(fd, taken + got, BULK - got > 50000 ? 50000 : BULK - got);
    CHECK(n > 0);
    got += (size_t)n;
  }
  return NULL;
}
/* A blocking write takes all of it however small the buffers are. */
static void bulk_through(struct pair p, int vectors) {
  fill_bulk();
  pthread_t t = start(take_bulk, &p.b);
  if (vectors) {
    struct iovec v[4];
    for (int i = 0; i < 4; i++) v[i] = (struct iovec){bulk + i * (BULK / 4), BULK / 4};
    CHECK(writev(p.a, v, 4) == BULK);
  } else {
    CHECK(write(p.a, bulk, BULK) == BULK);
  }
  finish(t);
  printf("%d\n", sum_of(bulk, BULK) == sum_of(taken, BULK));
}
static void tcp_bulk_write(void) { bulk_through(tcp_pair(), 0); }
static void tcp_bulk_writev(void) { bulk_through(tcp_pair(), 1); }
static void unix_bulk_write(void) { bulk_through(unix_pair(), 0); }
static void unix_bulk_writev(void) { bulk_through(unix_pair(), 1); }
static void pipe_bulk_write(void) { bulk_through(pipe_pair(), 0); }
static void pipe_bulk_writev(void) { bulk_through(pipe_pair(), 1); }

static void* send_parts(void* arg) {
  int fd = *(int*)arg;
  for (int i = 0; i < 8; i++) {
    sleep_ms(5);
    CHECK(send(fd, "0123456789", 10, 0) == 10);
  }
  return NULL;
}
static void waitall_and_peek(void) {
  struct pair p = tcp_pair();
  char buf[128] = "";
  pthread_t t = start(send_parts, &p.a);
  CHECK(recv(p.b, buf, 1, MSG_PEEK) == 1 && buf[0] == '0');
  CHECK(recv(p.b, buf, 1, MSG_PEEK) == 1 && buf[0] == '0');
  report("waitall", recv(p.b, buf, 75, MSG_WAITALL));
  report("rest", recv(p.b, buf, sizeof buf, 0));
  report("dontwait", recv(p.b, buf, sizeof buf, MSG_DONTWAIT));
  finish(t);
  shutdown(p.a, SHUT_WR);
  report("waitall at the end", recv(p.b, buf, 75, MSG_WAITALL));
}

static void* readv_of(void* arg) {
  char x[3], y[100];
  struct iovec v[2] = {{x, sizeof x}, {y, sizeof y}};
  return (void*)readv(*(int*)arg, v, 2);
}
static void readv_parks(void) {
  struct pair kinds[3] = {tcp_pair(), unix_pair(), pipe_pair()};
  for (int i = 0; i < 3; i++) {
    pthread_t t = start(readv_of, &kinds[i].b);
    sleep_ms(20);
    CHECK(write(kinds[i].a, "12345", 5) == 5);
    printf("%zd\n", (ssize_t)finish(t));
  }
}
static void read_of_nothing_returns_at_once(void) {
  pthread_t t = beside();
  struct pair kinds[3] = {tcp_pair(), unix_pair(), pipe_pair()};
  char c;
  for (int i = 0; i < 3; i++) {
    struct iovec v = {&c, 0};
    report("read", read(kinds[i].b, &c, 0));
    report("readv", readv(kinds[i].b, &v, 1));
    report("write", write(kinds[i].a, &c, 0));
  }
  end_beside(t);
}

/* ---- ends, errors, modes --------------------------------------------------------------------- */

static void* read_one(void* arg) {
  char c;
  ssize_t n = read(*(int*)arg, &c, 1);
  return (void*)(n < 0 ? (ssize_t)-errno : n);
}
static void end_of_file_wakes(void) {
  struct pair kinds[3] = {tcp_pair(), unix_pair(), pipe_pair()};
  for (int i = 0; i < 3; i++) {
    pthread_t t = start(read_one, &kinds[i].b);
    sleep_ms(20);
    CHECK(close(kinds[i].a) == 0);
    printf("%zd\n", (ssize_t)finish(t));
    char c;
    report("again", read(kinds[i].b, &c, 1));
  }
}
static void reset_wakes(void) {
  struct pair p = tcp_pair();
  struct linger now = {1, 0};
  pthread_t t = start(read_one, &p.b);
  sleep_ms(20);
  setsockopt(p.a, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(p.a);
  printf("%s\n", strerrorname_np(-(int)(ssize_t)finish(t)));
}
static volatile int pipes_broken;
static void on_pipe(int sig) { pipes_broken++; }
static void* write_much(void* arg) {
  ssize_t n = write(*(int*)arg, bulk, BULK);
  if (n < 0) return (void*)(ssize_t)-errno;
  return (void*)(ssize_t)(n > 0 && n < BULK);
}
/* A writer that has moved a part when its reader goes away is told of the part. */
static void writer_is_told_of_its_part(void) {
  signal(SIGPIPE, on_pipe);
  struct pair kinds[2] = {unix_pair(), pipe_pair()};
  for (int i = 0; i < 2; i++) {
    pthread_t t = start(write_much, &kinds[i].a);
    sleep_ms(50);
    CHECK(close(kinds[i].b) == 0);
    printf("part %zd\n", (ssize_t)finish(t));
    report("then", write(kinds[i].a, "x", 1));
  }
  printf("signalled %d\n", pipes_broken >= 2);
}
static void nonblocking_says_eagain(void) {
  pthread_t t = beside();
  struct pair kinds[3] = {tcp_pair(), unix_pair(), pipe_pair()};
  char c;
  for (int i = 0; i < 3; i++) {
    int on = 1, off = 0;
    CHECK(fcntl(kinds[i].b, F_SETFL, O_NONBLOCK) == 0);
    report("F_SETFL", read(kinds[i].b, &c, 1));
    CHECK(ioctl(kinds[i].b, FIONBIO, &off) == 0);
    CHECK(write(kinds[i].a, "x", 1) == 1);
    report("blocking", read(kinds[i].b, &c, 1));
    CHECK(ioctl(kinds[i].b, FIONBIO, &on) == 0);
    report("FIONBIO", read(kinds[i].b, &c, 1));
    /* Set through a duplicate, it holds for the description. */
    CHECK(ioctl(kinds[i].b, FIONBIO, &off) == 0);
    int d = dup(kinds[i].b);
    CHECK(fcntl(d, F_SETFL, O_NONBLOCK) == 0);
    report("through a dup", read(kinds[i].b, &c, 1));
  }
  end_beside(t);
}
/* A child that shares the description makes it non-blocking behind the parent's back. */
static void mode_set_by_a_child(void) {
  pthread_t t = beside();
  struct pair p = unix_pair();
  char c;
  CHECK(write(p.a, "x", 1) == 1 && read(p.b, &c, 1) == 1);
  pid_t pid = fork();
  if (pid == 0) {
    fcntl(p.b, F_SETFL, O_NONBLOCK);
    _exit(0);
  }
  CHECK(waitpid(pid, NULL, 0) == pid);
  report("read", read(p.b, &c, 1));
  end_beside(t);
}

static void timeouts(void) {
  pthread_t t = beside();
  struct pair p = tcp_pair();
  struct timeval tv = {0, 60000};
  char c;
  CHECK(setsockopt(p.b, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
  for (int i = 0; i < 2; i++) {
    int64_t from = now_ms();
    report("read", read(p.b, &c, 1));
    printf("in time %d\n", now_ms() - from >= 55);
  }
  CHECK(setsockopt(p.a, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
  /* The kernel gives the buffers more room for some time. */
  ssize_t n = 0, now;
  int parts = 0;
  while ((now = write(p.a, bulk, BULK)) > 0) {
    n += now;
    parts += now < BULK;
  }
  report("full", now);
  printf("a part %d\n", parts > 0);
  tv.tv_usec = 0;
  CHECK(setsockopt(p.b, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
  for (ssize_t left = n; left > 0;) {
    ssize_t got = recv(p.b, taken, BULK, 0);
    CHECK(got > 0);
    left -= got;
  }
  end_beside(t);
}
static void listener_gives_its_timeout_on(void) {
  pthread_t t = beside();
  struct sockaddr_in at;
  int l = listen_on(SOCK_STREAM, &at);
  struct timeval tv = {0, 50000};
  char c;
  CHECK(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
  report("accept", accept(l, NULL, NULL));
  int a = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(a, (struct sockaddr*)&at, sizeof at) == 0);
  int b = accept(l, NULL, NULL);
  report("read", read(b, &c, 1));
  end_beside(t);
}
static void low_water_mark(void) {
  struct pair p = tcp_pair();
  int want = 5;
  char buf[64];
  CHECK(setsockopt(p.b, SOL_SOCKET, SO_RCVLOWAT, &want, sizeof want) == 0);
  pthread_t t = start(send_parts, &p.a);
  CHECK(write(p.a, "abc", 3) == 3);
  ssize_t n = read(p.b, buf, sizeof buf);
  printf("at least five %d\n", n >= 5);
  finish(t);
}

/* ---- signals --------------------------------------------------------------------------------- */

static volatile int signalled;
static pthread_t victim;
static void on_usr1(int sig) { signalled++; }
static void handle_usr1(int flags) {
  struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = flags};
  CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
}
static void* hit_then_feed(void* arg) {
  sleep_ms(40);
  pthread_kill(victim, SIGUSR1);
  sleep_ms(40);
  CHECK(write(*(int*)arg, "x", 1) == 1);
  return NULL;
}
static void interrupted_reads(int flags) {
  struct pair kinds[3] = {tcp_pair(), unix_pair(), pipe_pair()};
  char c;
  victim = pthread_self();
  handle_usr1(flags);
  for (int i = 0; i < 3; i++) {
    pthread_t t = start(hit_then_feed, &kinds[i].a);
    report("read", read(kinds[i].b, &c, 1));
    finish(t);
  }
  printf("%d\n", signalled);
}
static void read_interrupted(void) { interrupted_reads(0); }
static void read_restarted(void) { interrupted_reads(SA_RESTART); }
/* With a time-out nothing is restarted. */
static void timed_read_is_not_restarted(void) {
  struct pair p = tcp_pair();
  struct timeval tv = {20, 0};
  char c;
  victim = pthread_self();
  handle_usr1(SA_RESTART);
  CHECK(setsockopt(p.b, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
  pthread_t t = start(hit_then_feed, &p.a);
  report("read", read(p.b, &c, 1));
  finish(t);
}
static void* hit_once_begun(void* arg) {
  int there = 0;
  while (there == 0) {
    sleep_ms(1);
    CHECK(ioctl(*(int*)arg, FIONREAD, &there) == 0);
  }
  sleep_ms(40);
  pthread_kill(victim, SIGUSR1);
  return NULL;
}
static void write_interrupted_in_the_middle(void) {
  struct pair kinds[3] = {tcp_pair(), unix_pair(), pipe_pair()};
  int room = 100000; /* or both sides' buffers may grow until they hold all */
  CHECK(setsockopt(kinds[0].a, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
  CHECK(setsockopt(kinds[0].b, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) == 0);
  victim = pthread_self();
  handle_usr1(SA_RESTART);
  for (int i = 0; i < 3; i++) {
    pthread_t t = start(hit_once_begun, &kinds[i].b);
    ssize_t n = write(kinds[i].a, bulk, BULK);
    printf("a part %d\n", n > 0 && n < BULK);
    finish(t);
  }
}
static void poll_is_never_restarted(void) {
  struct pair p = pipe_pair();
  struct pollfd f = {p.b, POLLIN, 0};
  victim = pthread_self();
  handle_usr1(SA_RESTART);
  pthread_t t = start(hit_then_feed, &p.a);
  report("poll", poll(&f, 1, 5000));
  finish(t);
  fd_set in;
  FD_ZERO(&in);
  FD_SET(p.b, &in);
  report("select", select(p.b + 1, &in, NULL, NULL, NULL));
}
/* A signal that runs no handler does not end a sleep. */
static void ignored_signal_does_not_wake(void) {
  struct pair p = pipe_pair();
  struct pollfd f = {p.b, POLLIN, 0};
  victim = pthread_self();
  signal(SIGUSR1, SIG_IGN);
  pthread_t t = start(hit_then_feed, &p.a);
  report("poll", poll(&f, 1, 5000));
  finish(t);
}
static void ppoll_with_a_mask(void) {
  struct pair p = pipe_pair();
  struct pollfd f = {p.b, POLLIN, 0};
  sigset_t block, old;
  victim = pthread_self();
  handle_usr1(0);
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &block, &old);
  pthread_t t = start(hit_then_feed, &p.a);
  report("poll", poll(&f, 1, 5000));
  finish(t);
  printf("%d\n", signalled);
  char c;
  CHECK(read(p.b, &c, 1) == 1);
  report("ppoll", ppoll(&f, 1, NULL, &old));
  printf("%d\n", signalled);
}

/* ---- close and duplicates under a sleeper ------------------------------------------------------ */

/* The sleeper keeps the file: its read goes on, and the number may be something else by then. */
static void close_under_a_reader(void) {
  struct pair kinds[3] = {tcp_pair(), unix_pair(), pipe_pair()};
  for (int i = 0; i < 3; i++) {
    int number = kinds[i].b;
    pthread_t t = start(read_one, &kinds[i].b);
    sleep_ms(200);
    CHECK(close(number) == 0);
    int other = open("/dev/null", O_RDONLY);
    CHECK(other == number);
    sleep_ms(50);
    CHECK(write(kinds[i].a, "x", 1) == 1);
    printf("%zd\n", (ssize_t)finish(t));
    if (i != 2) {
      /* The last reader is gone, and with it the file. */
      char c;
      report("peer", read(kinds[i].a, &c, 1));
    }
  }
}
static void dup2_over_a_reader(void) {
  struct pair p = tcp_pair(), q = pipe_pair();
  pthread_t t = start(read_one, &p.b);
  sleep_ms(200);
  CHECK(dup2(q.b, p.b) == p.b);
  char c;
  CHECK(write(q.a, "q", 1) == 1 && read(p.b, &c, 1) == 1 && c == 'q');
  CHECK(write(p.a, "x", 1) == 1);
  printf("%zd\n", (ssize_t)finish(t));
}
static void close_while_polled(void) {
  struct pair p = pipe_pair();
  struct pollfd f = {p.b, POLLIN, 0};
  pthread_t t = beside();
  CHECK(close(p.b) == 0);
  report("poll of a closed one", poll(&f, 1, 100));
  printf("%d\n", f.revents == POLLNVAL);
  end_beside(t);
}
/* A duplicate keeps the file alive after the watched number is closed and used anew. */
static void number_used_anew(void) {
  pthread_t t = beside();
  char c;
  for (int i = 0; i < 20; i++) {
    struct pair p = tcp_pair();
    pthread_t r = start(read_one, &p.b);
    sleep_ms(2);
    CHECK(write(p.a, "x", 1) == 1);
    CHECK((ssize_t)finish(r) == 1);
    int keep = dup(p.b);
    int number = p.b;
    CHECK(close(p.b) == 0);
    CHECK(write(p.a, "old", 3) == 3);
    struct pair q = unix_pair();
    CHECK(q.a == number || q.b == number || 1);
    pthread_t s = start(read_one, &q.b);
    sleep_ms(2);
    CHECK(write(q.a, "n", 1) == 1);
    CHECK((ssize_t)finish(s) == 1);
    CHECK(read(keep, &c, 1) == 1 && c == 'o');
    close(keep), close(p.a), close(q.a), close(q.b);
  }
  end_beside(t);
  puts("ok");
}
/* What is known of a number that was only ever polled goes with it, too. */
static void polled_number_used_anew(void) {
  pthread_t t = beside();
  for (int i = 0; i < 3; i++) {
    struct pair p = pipe_pair();
    struct pollfd f = {p.b, POLLIN, 0};
    if (i == 2) CHECK(write(p.a, "x", 1) == 1);
    report("poll", poll(&f, 1, 20));
    close(p.a), close(p.b);
  }
  end_beside(t);
}
static void all_descriptors_closed(void) {
  struct pair p = tcp_pair();
  pthread_t t = start(echo, &p.b);
  char c = 'x';
  CHECK(write(p.a, &c, 1) == 1 && read(p.a, &c, 1) == 1);
  CHECK(p.a < 100 && p.b < 100);
  CHECK(syscall(SYS_close_range, 100, ~0u, 0) == 0);
  for (int fd = 100; fd < 2000; fd++) CHECK(close(fd) < 0 && errno == EBADF);
  for (int i = 0; i < 20; i++) CHECK(write(p.a, &c, 1) == 1 && read(p.a, &c, 1) == 1);
  for (int fd = 1000; fd < 1010; fd++) CHECK(dup2(1, fd) == fd);
  for (int i = 0; i < 20; i++) CHECK(write(p.a, &c, 1) == 1 && read(p.a, &c, 1) == 1);
  shutdown(p.a, SHUT_WR);
  finish(t);
  puts("still served");
}

/* ---- fork, descriptors that are passed ---------------------------------------------------------- */

static void fork_beside_sleepers(void) {
  struct pair p = tcp_pair(), q = unix_pair();
  pthread_t t = start(read_one, &p.b), s = start(read_one, &q.b);
  sleep_ms(20);
  for (int i = 0; i < 5; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      /* Its own threads, its own engine, on descriptors that the parent's sleep on. */
      struct pair r = tcp_pair();
      pthread_t u = start(echo, &r.b);
      char c = 'c';
      for (int k = 0; k < 10; k++) CHECK(write(r.a, &c, 1) == 1 && read(r.a, &c, 1) == 1);
      shutdown(r.a, SHUT_WR);
      finish(u);
      close(p.b), close(q.b);
      _exit(7);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  }
  CHECK(write(p.a, "x", 1) == 1 && write(q.a, "y", 1) == 1);
  printf("%zd %zd\n", (ssize_t)finish(t), (ssize_t)finish(s));
}
static void send_fd(int over, int fd) {
  char c = 'f';
  struct iovec v = {&c, 1};
  union {
    struct cmsghdr h;
    char room[CMSG_SPACE(sizeof(int))];
  } u;
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u};
  struct cmsghdr* h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET;
  h->cmsg_type = SCM_RIGHTS;
  h->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(h), &fd, sizeof fd);
  CHECK(sendmsg(over, &m, 0) == 1);
}
static int receive_fd(int over) {
  char c[16];
  struct iovec v = {c, sizeof c};
  union {
    struct cmsghdr h;
    char room[CMSG_SPACE(sizeof(int))];
  } u;
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof u};
  CHECK(recvmsg(over, &m, 0) == 1);
  struct cmsghdr* h = CMSG_FIRSTHDR(&m);
  CHECK(h != NULL && h->cmsg_type == SCM_RIGHTS);
  int fd;
  memcpy(&fd, CMSG_DATA(h), sizeof fd);
  return fd;
}
static void* receiver(void* arg) { return (void*)(ssize_t)receive_fd(*(int*)arg); }
static void descriptors_are_passed(void) {
  struct pair p = unix_pair(), q = tcp_pair();
  char c;
  pthread_t t = start(receiver, &p.b);
  sleep_ms(20);
  CHECK(write(q.a, "1", 1) == 1 && read(q.b, &c, 1) == 1);
  send_fd(p.a, q.b);
  int fd = (int)(ssize_t)finish(t);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  report("the other's mode", read(q.b, &c, 1));
  CHECK(close(q.b) == 0 && write(q.a, "2", 1) == 1);
  struct pollfd f = {fd, POLLIN, 0};
  CHECK(poll(&f, 1, 1000) == 1);
  report("passed", read(fd, &c, 1));
  /* A byte with rights is a message of its own for a reader with room for more. */
  for (int i = 0; i < 3; i++) send_fd(p.a, q.a);
  for (int i = 0; i < 3; i++) close(receive_fd(p.b));
  puts("three");
}

/* ---- accept, datagrams, other files ------------------------------------------------------------ */

static int listener;
static void* accept_one(void* arg) {
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  CHECK(fd >= 0);
  return (void*)(ssize_t)fd;
}
static void many_accept_on_one_socket(void) {
  struct sockaddr_in at;
  pthread_t t[20];
  int c[20];
  listener = listen_on(SOCK_STREAM, &at);
  for (int i = 0; i < 20; i++) t[i] = start(accept_one, NULL);
  sleep_ms(30);
  for (int i = 0; i < 20; i++) {
    c[i] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(c[i], (struct sockaddr*)&at, sizeof at) == 0);
  }
  for (int i = 0; i < 20; i++) close((int)(ssize_t)finish(t[i]));
  puts("twenty");
}
static void* take_datagrams(void* arg) {
  int fd = *(int*)arg;
  char buf[100];
  long total = 0;
  for (int i = 0; i < 50; i++) {
    ssize_t n = recvfrom(fd, buf, sizeof buf, 0, NULL, NULL);
    CHECK(n >= 0);
    total += n;
  }
  return (void*)total;
}
static void datagrams(void) {
  struct sockaddr_in at;
  int b = listen_on(SOCK_DGRAM, &at), a = socket(AF_INET, SOCK_DGRAM, 0);
  pthread_t t = start(take_datagrams, &b);
  for (int i = 0; i < 50; i++) {
    if (i % 10 == 0) sleep_ms(5);
    CHECK(sendto(a, bulk, (size_t)i, 0, (struct sockaddr*)&at, sizeof at) == i);
  }
  printf("%ld\n", (long)finish(t));
  int u[2];
  CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, u) == 0);
  t = start(take_datagrams, &u[1]);
  for (int i = 0; i < 50; i++) CHECK(send(u[0], bulk, (size_t)i, 0) == i);
  printf("%ld\n", (long)finish(t));
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, u) == 0);
  t = start(take_datagrams, &u[1]);
  for (int i = 0; i < 50; i++) CHECK(write(u[0], bulk, (size_t)i + 1) == i + 1);
  printf("%ld\n", (long)finish(t));
}
static void* take_many(void* arg) {
  struct mmsghdr m[8];
  char buf[8][16];
  struct iovec v[8];
  memset(m, 0, sizeof m);
  for (int i = 0; i < 8; i++) {
    v[i] = (struct iovec){buf[i], sizeof buf[i]};
    m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1};
  }
  ssize_t n = recvmmsg(*(int*)arg, m, 8, 0, NULL);
  CHECK(n == 8);
  return (void*)(ssize_t)(m[0].msg_len * 100 + m[7].msg_len);
}
static void recvmmsg_waits_for_all(void) {
  struct sockaddr_in at;
  int b = listen_on(SOCK_DGRAM, &at), a = socket(AF_INET, SOCK_DGRAM, 0);
  pthread_t t = start(take_many, &b);
  for (int i = 0; i < 8; i++) {
    sleep_ms(3);
    CHECK(sendto(a, "12345678", (size_t)i + 1, 0, (struct sockaddr*)&at, sizeof at) == i + 1);
  }
  printf("%zd\n", (ssize_t)finish(t));
}
static void* read_word(void* arg) {
  uint64_t v = 0;
  CHECK(read(*(int*)arg, &v, sizeof v) == sizeof v);
  return (void*)v;
}
static void eventfd_and_timerfd(void) {
  int e = eventfd(0, 0);
  pthread_t t = start(read_word, &e);
  sleep_ms(20);
  uint64_t five = 5;
  CHECK(write(e, &five, sizeof five) == sizeof five);
  printf("%zu\n", (size_t)finish(t));
  int f = timerfd_create(CLOCK_MONOTONIC, 0);
  struct itimerspec in = {{0, 0}, {0, 30000000}};
  CHECK(timerfd_settime(f, 0, &in, NULL) == 0);
  int64_t from = now_ms();
  t = start(read_word, &f);
  printf("%zu %d\n", (size_t)finish(t), now_ms() - from >= 28);
  uint64_t most = ~0ull - 1;
  CHECK(write(e, &most, sizeof most) == sizeof most);
  CHECK(fcntl(e, F_SETFL, O_NONBLOCK) == 0);
  report("full", write(e, &five, sizeof five));
}
static void* read_signal(void* arg) {
  struct signalfd_siginfo si;
  CHECK(read(*(int*)arg, &si, sizeof si) == sizeof si);
  return (void*)(ssize_t)si.ssi_signo;
}
static void signalfd_parks(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  int fd = signalfd(-1, &set, 0);
  pthread_t t = start(read_signal, &fd);
  sleep_ms(20);
  CHECK(kill(getpid(), SIGUSR2) == 0);
  printf("%d\n", (int)(ssize_t)finish(t) == SIGUSR2);
}
static void packets_in_a_pipe(void) {
  int p[2];
  char buf[100];
  pthread_t t = beside();
  CHECK(pipe2(p, O_DIRECT) == 0);
  for (int i = 1; i <= 3; i++) CHECK(write(p[1], bulk, (size_t)i * 10) == i * 10);
  for (int i = 1; i <= 3; i++) report("packet", read(p[0], buf, sizeof buf));
  end_beside(t);
}

/* ---- poll, select, epoll ------------------------------------------------------------------------- */

static void* write_later(void* arg) {
  sleep_ms(30);
  CHECK(write(*(int*)arg, "x", 1) == 1);
  return NULL;
}
static void poll_of_several(void) {
  struct pair p[12];
  struct pollfd f[12];
  for (int i = 0; i < 12; i++) {
    p[i] = i % 3 == 0 ? tcp_pair() : i % 3 == 1 ? unix_pair() : pipe_pair();
    f[i] = (struct pollfd){i == 5 ? -1 : p[i].b, POLLIN, 99};
  }
  pthread_t t = start(write_later, &p[9].a);
  report("poll", poll(f, 12, 5000));
  for (int i = 0; i < 12; i++) printf("%d ", f[i].revents);
  puts("");
  finish(t);
  char c;
  CHECK(read(p[9].b, &c, 1) == 1);
  int64_t from = now_ms();
  report("in vain", poll(f, 12, 50));
  printf("in time %d\n", now_ms() - from >= 49);
  CHECK(close(p[0].a) == 0);
  report("hang-up", poll(f, 12, 5000));
  printf("%x\n", f[0].revents);
  report("nothing", poll(NULL, 0, 20));
}
static void* drain_later(void* arg) {
  sleep_ms(30);
  for (ssize_t left = 1 << 20; left > 0;) {
    ssize_t n = read(*(int*)arg, taken, 65536);
    CHECK(n > 0);
    left -= n;
  }
  return NULL;
}
static void poll_for_room(void) {
  struct pair p = unix_pair();
  CHECK(fcntl(p.a, F_SETFL, O_NONBLOCK) == 0);
  ssize_t in = 0, n;
  while ((n = write(p.a, bulk, 4096)) > 0) in += n;
  struct pollfd f = {p.a, POLLOUT | POLLIN, 0};
  pthread_t t = start(drain_later, &p.b);
  report("poll", poll(&f, 1, 5000));
  printf("%x\n", f.revents);
  CHECK(fcntl(p.a, F_SETFL, 0) == 0);
  for (ssize_t left = (1 << 20) - in; left > 0; left -= n) {
    n = write(p.a, bulk, left > 65536 ? 65536 : (size_t)left);
    CHECK(n > 0);
  }
  finish(t);
}
static void select_of_several(void) {
  struct pair p = tcp_pair(), q = pipe_pair();
  fd_set in, out, ex;
  for (int round = 0; round < 2; round++) {
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&ex);
    FD_SET(p.b, &in);
    FD_SET(q.b, &in);
    FD_SET(p.b, &ex);
    if (round == 1) FD_SET(p.a, &out);
    struct timeval tv = {5, 0};
    pthread_t t = start(write_later, &q.a);
    int n = select(100, &in, &out, &ex, &tv);
    printf("%d %d %d %d %d, time is left %d\n", n, FD_ISSET(p.b, &in) != 0, FD_ISSET(q.b, &in) != 0,
           FD_ISSET(p.a, &out) != 0, FD_ISSET(p.b, &ex) != 0, tv.tv_sec == 4);
    finish(t);
    char c;
    CHECK(read(q.b, &c, 1) == 1);
  }
  FD_ZERO(&in);
  FD_SET(p.b, &in);
  struct timeval tv = {0, 30000};
  int n = select(100, &in, NULL, NULL, &tv);
  printf("%d %d\n", n, FD_ISSET(p.b, &in) != 0);
  /* The kernel passes over numbers that its table of descriptors never reached: make it reach. */
  CHECK(dup2(p.b, 90) == 90 && close(90) == 0);
  FD_SET(90, &in);
  report("a closed one", select(100, &in, NULL, NULL, &tv));
}
static void urgent_data(void) {
  struct pair p = tcp_pair();
  struct pollfd f = {p.b, POLLPRI, 0};
  pthread_t t = beside();
  char buf[16];
  CHECK(send(p.a, "ab", 2, 0) == 2 && send(p.a, "!", 1, MSG_OOB) == 1 && send(p.a, "cd", 2, 0) == 2);
  report("poll", poll(&f, 1, 5000));
  sleep_ms(20);
  report("to the mark", read(p.b, buf, sizeof buf));
  report("behind it", read(p.b, buf, sizeof buf));
  report("urgent", recv(p.b, buf, 1, MSG_OOB));
  end_beside(t);
}
static int inner;
static void* loop_of_epoll(void* arg) {
  struct epoll_event e[8];
  long n = 0;
  while (n < 100) {
    int got = epoll_wait(inner, e, 8, -1);
    CHECK(got > 0);
    for (int i = 0; i < got; i++) {
      char c;
      CHECK(read(e[i].data.fd, &c, 1) == 1);
      n++;
    }
  }
  return (void*)n;
}
static void epoll_of_the_program(void) {
  struct pair p[4];
  inner = epoll_create1(0);
  for (int i = 0; i < 4; i++) {
    p[i] = tcp_pair();
    struct epoll_event e = {EPOLLIN, {.fd = p[i].b}};
    CHECK(epoll_ctl(inner, EPOLL_CTL_ADD, p[i].b, &e) == 0);
  }
  struct epoll_event e[4];
  pthread_t t = beside();
  int64_t from = now_ms();
  report("in vain", epoll_wait(inner, e, 4, 40));
  printf("in time %d\n", now_ms() - from >= 39);
  end_beside(t);
  t = start(loop_of_epoll, NULL);
  for (int i = 0; i < 100; i++) {
    if (i % 16 == 0) sleep_ms(2);
    CHECK(write(p[i % 4].a, "x", 1) == 1);
  }
  printf("%ld\n", (long)finish(t));
}
static void* poll_both(void* arg) {
  struct pair* p = arg;
  struct pollfd f[2] = {{p[0].b, POLLIN, 0}, {p[1].b, POLLIN, 0}};
  long n = 0;
  while (n < 200) {
    CHECK(poll(f, 2, -1) > 0);
    for (int i = 0; i < 2; i++) {
      char c;
      if (f[i].revents != 0 && recv(f[i].fd, &c, 1, MSG_DONTWAIT) == 1) n++;
    }
  }
  return NULL;
}
/* Edges, time-outs and signals that come together must not be lost: many rounds. */
static void poll_many_rounds(void) {
  struct pair p[2] = {tcp_pair(), unix_pair()};
  pthread_t t = start(poll_both, p);
  for (int i = 0; i < 200; i++) {
    CHECK(write(p[i % 2].a, "x", 1) == 1);
    if (i % 7 == 0) sched_yield();
    if (i % 50 == 0) sleep_ms(1);
  }
  finish(t);
  puts("ok");
}

static void* pass_round(void* arg) {
  int* fd = arg;
  char c;
  for (int i = 0; i < 50; i++) {
    CHECK(read(fd[0], &c, 1) == 1);
    CHECK(write(fd[1], &c, 1) == 1);
  }
  return NULL;
}
/* A ring of threads, each reads from the one before: one token goes round. */
static void ring_of_pipes(void) {
  enum { N = 40 };
  int p[N + 1][2], ends[N][2];
  pthread_t t[N];
  for (int i = 0; i <= N; i++) CHECK(i % 2 == 0 ? pipe(p[i]) == 0 : socketpair(AF_UNIX, SOCK_STREAM, 0, p[i]) == 0);
  for (int i = 0; i < N; i++) {
    ends[i][0] = p[i][0];
    ends[i][1] = p[i + 1][1];
    t[i] = start(pass_round, ends[i]);
  }
  char c = 't';
  for (int i = 0; i < 50; i++) CHECK(write(p[0][1], &c, 1) == 1 && read(p[N][0], &c, 1) == 1);
  for (int i = 0; i < N; i++) finish(t[i]);
  puts("fifty rounds");
}

/* Wakes between threads beside events: an idle cpu that sleeps for events must hear of both, also
 * when another cpu looks for events at the same moment. */
static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static int turn;
static void* take_turns(void* arg) {
  int me = (int)(intptr_t)arg;
  for (int i = 0; i < 2000; i++) {
    pthread_mutex_lock(&turn_lock);
    while (turn != me) pthread_cond_wait(&turn_changed, &turn_lock);
    turn = (turn + 1) % 3;
    pthread_cond_broadcast(&turn_changed);
    pthread_mutex_unlock(&turn_lock);
  }
  return NULL;
}
static void* ask_echo(void* arg) {
  char c = 'x';
  for (int i = 0; i < 2000; i++) CHECK(write(*(int*)arg, &c, 1) == 1 && read(*(int*)arg, &c, 1) == 1);
  shutdown(*(int*)arg, SHUT_WR);
  return NULL;
}
static void wakes_between_threads_beside_events(void) {
  struct pair p[3] = {tcp_pair(), unix_pair(), tcp_pair()};
  pthread_t t[9];
  for (int i = 0; i < 3; i++) {
    t[i] = start(take_turns, (void*)(intptr_t)i);
    t[3 + i] = start(echo, &p[i].b);
    t[6 + i] = start(ask_echo, &p[i].a);
  }
  for (int i = 0; i < 9; i++) finish(t[i]);
  puts("ok");
}

/* A thread that computes must not keep others from their events. */
static volatile int stop_computing;
static void* compute(void* arg) {
  while (!stop_computing) {
  }
  return NULL;
}
static void events_beside_a_busy_thread(void) {
  struct pair p = tcp_pair();
  pthread_t busy = start(compute, NULL), t = start(echo, &p.b);
  char c = 'x';
  for (int i = 0; i < 20; i++) CHECK(write(p.a, &c, 1) == 1 && read(p.a, &c, 1) == 1);
  stop_computing = 1;
  finish(busy);
  shutdown(p.a, SHUT_WR);
  finish(t);
  puts("served");
}
/* Nor one that sleeps in a call which the kernel alone can wait in. */
static void* wait_for_child(void* arg) {
  CHECK(waitpid(*(pid_t*)arg, NULL, 0) == *(pid_t*)arg);
  return NULL;
}
static void events_beside_a_waiting_thread(void) {
  struct pair p = tcp_pair();
  pid_t pid = fork();
  if (pid == 0) {
    sleep_ms(300);
    _exit(0);
  }
  pthread_t w = start(wait_for_child, &pid), t = start(echo, &p.b);
  char c = 'x';
  for (int i = 0; i < 20; i++) CHECK(write(p.a, &c, 1) == 1 && read(p.a, &c, 1) == 1);
  shutdown(p.a, SHUT_WR);
  finish(t);
  finish(w);
  puts("served");
}

static const struct test_case cases[] = {
    CASE(tcp_echo_short_reads), CASE(tcp_echo_full_reads), CASE(unix_echo_short_reads),
    CASE(unix_echo_full_reads), CASE(tcp_pipelined_after_pingpong), CASE(tcp_bulk_write),
    CASE(tcp_bulk_writev), CASE(unix_bulk_write), CASE(unix_bulk_writev), CASE(pipe_bulk_write),
    CASE(pipe_bulk_writev), CASE(waitall_and_peek), CASE(readv_parks),
    CASE(read_of_nothing_returns_at_once), CASE(end_of_file_wakes), CASE(reset_wakes),
    CASE(writer_is_told_of_its_part), CASE(nonblocking_says_eagain), CASE(mode_set_by_a_child),
    CASE(timeouts), CASE(listener_gives_its_timeout_on), CASE(low_water_mark),
    CASE(read_interrupted), CASE(read_restarted), CASE(timed_read_is_not_restarted),
    CASE(write_interrupted_in_the_middle), CASE(poll_is_never_restarted),
    CASE(ignored_signal_does_not_wake), CASE(ppoll_with_a_mask), CASE(close_under_a_reader),
    CASE(dup2_over_a_reader), CASE(close_while_polled), CASE(number_used_anew),
    CASE(polled_number_used_anew), CASE(all_descriptors_closed), CASE(fork_beside_sleepers), CASE(descriptors_are_passed),
    CASE(many_accept_on_one_socket), CASE(datagrams), CASE(recvmmsg_waits_for_all),
    CASE(eventfd_and_timerfd), CASE(signalfd_parks), CASE(packets_in_a_pipe), CASE(poll_of_several),
    CASE(poll_for_room), CASE(select_of_several), CASE(urgent_data), CASE(epoll_of_the_program),
    CASE(wakes_between_threads_beside_events), CASE(poll_many_rounds), CASE(ring_of_pipes), CASE(events_beside_a_busy_thread),
    CASE(events_beside_a_waiting_thread),
};
CASE_MAIN(cases)
