/* Sockets and pipes under threads that block: what goes over, what is lost, who wakes. */
#include "blocking.h"

#include <semaphore.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/uio.h>

static int pair_fds[2];

/* ---- plain transfers, in every family and by every call ---------------------------------------- */

enum { ROUNDS = 300 };
static ssize_t by_msg(int fd, int write_side, struct iovec* iov, size_t n) {
  struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};
  return write_side ? sendmsg(fd, &msg, 0) : recvmsg(fd, &msg, 0);
}
static ssize_t by_mmsg(int fd, int write_side, struct iovec* iov, size_t n) {
  struct mmsghdr msg = {.msg_hdr = {.msg_iov = iov, .msg_iovlen = n}};
  int r = write_side ? sendmmsg(fd, &msg, 1, 0) : recvmmsg(fd, &msg, 1, 0, NULL);
  return r == 1 ? (ssize_t)msg.msg_len : -1;
}
static ssize_t transfer(int how, int fd, int write_side, char* p, size_t n) {
  struct iovec iov[2] = {{p, n / 2}, {p + n / 2, n - n / 2}};
  switch (how) {
    case 0: return write_side ? write(fd, p, n) : read(fd, p, n);
    case 1: return write_side ? writev(fd, iov, 2) : readv(fd, iov, 2);
    case 2: return write_side ? send(fd, p, n, 0) : recv(fd, p, n, 0);
    case 3: return write_side ? sendto(fd, p, n, 0, NULL, 0) : recvfrom(fd, p, n, 0, NULL, NULL);
    case 4: return by_msg(fd, write_side, iov, 2);
    default: return by_mmsg(fd, write_side, iov, 2);
  }
}
struct echo {
  int how, in, out;
};
static void* echo(void* arg) {
  struct echo* e = arg;
  char c[16];
  for (int i = 0; i < ROUNDS; i++) {
    CHECK(transfer(e->how, e->in, 0, c, sizeof c) == sizeof c);
    CHECK(transfer(e->how, e->out, 1, c, sizeof c) == sizeof c);
  }
  return arg;
}
/* A message there and back over one family by one call: each end sleeps each time. */
static void ping_pong(enum family family, int how) {
  int there[2], back[2];
  make_pair(family, there);
  make_pair(family, back);
  struct echo e = {how, there[0], back[1]};
  pthread_t t = start(echo, &e);
  for (int i = 0; i < ROUNDS; i++) {
    char c[16], d[16];
    memset(c, i, sizeof c);
    CHECK(transfer(how, there[1], 1, c, sizeof c) == sizeof c);
    CHECK(transfer(how, back[0], 0, d, sizeof d) == sizeof d);
    CHECK(memcmp(c, d, sizeof c) == 0);
  }
  finish(t);
  close_pair(there);
  close_pair(back);
}
static void ping_pongs(void) {
  for (int family = 0; family < FAMILIES; family++) {
    for (int how = 0; how < (family == PIPE ? 2 : 6); how++) ping_pong(family, how);
  }
  puts("ok");
}

static struct echo crowd[64];
static void crowd_of_ping_pongs(void) {
  pthread_t t[64][2];
  struct echo other[64];
  int there[2], back[2];
  char c[16] = "first";
  for (int i = 0; i < 64; i++) {
    make_pair(i % FAMILIES, there);
    make_pair((i + 1) % FAMILIES, back);
    int how = i % 2;
    crowd[i] = (struct echo){how, there[0], back[1]};
    other[i] = (struct echo){how, back[0], there[1]};
    CHECK(write(there[1], c, sizeof c) == sizeof c);
    t[i][0] = start(echo, &crowd[i]);
    t[i][1] = start(echo, &other[i]);
  }
  for (int i = 0; i < 64; i++) {
    finish(t[i][0]);
    finish(t[i][1]);
    CHECK(read(crowd[i].in, c, sizeof c) == sizeof c && strcmp(c, "first") == 0);
  }
  puts("ok");
}

/* ---- calls that must not sleep ------------------------------------------------------------------- */

static void* asleep_in_read(void* arg) {
  char c[16];
  ssize_t n = read(*(int*)arg, c, sizeof c);
  return (void*)n;
}
static void nonblocking_says_eagain(void) {
  int idle[2];
  make_pair(PIPE, idle);
  pthread_t t = start(asleep_in_read, &idle[0]); /* another LWKT exists, and sleeps */
  for (int family = 0; family < FAMILIES; family++) {
    int fd[2];
    char c[4096] = "";
    make_pair(family, fd);
    nonblocking(fd[0], 1);
    ssize_t r = read(fd[0], c, 1);
    printf("%s: read %s", family_names[family], outcome(r));
    nonblocking(fd[0], 0);
    if (family != PIPE) {
      printf(", recv %s", outcome(recv(fd[0], c, 1, MSG_DONTWAIT)));
      struct iovec iov = {c, 1};
      struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
      printf(", recvmsg %s", outcome(recvmsg(fd[0], &msg, MSG_DONTWAIT)));
      struct mmsghdr many = {.msg_hdr = msg};
      printf(", recvmmsg %s", outcome(recvmmsg(fd[0], &many, 1, MSG_DONTWAIT, NULL)));
    }
    nonblocking(fd[1], 1);
    while ((r = write(fd[1], c, sizeof c)) > 0) {
    }
    printf(", write %s", outcome(r));
    nonblocking(fd[1], 0);
    if (family != PIPE) {
      while ((r = send(fd[1], c, sizeof c, MSG_DONTWAIT)) > 0) { /* TCP's buffers grow */
      }
      printf(", send %s", outcome(r));
    }
    puts("");
    close_pair(fd);
  }
  CHECK(write(idle[1], "x", 1) == 1 && finish(t) == (void*)1);
}
static void nonblocking_write_is_partial(void) {
  static const enum family streams[] = {TCP, UNIX_STREAM, PIPE};
  size_t size = 32 << 20;
  char* big = calloc(1, size);
  for (int i = 0; i < 3; i++) {
    int fd[2];
    make_pair(streams[i], fd);
    nonblocking(fd[1], 1);
    ssize_t n = write(fd[1], big, size);
    CHECK(n > 0 && n < (ssize_t)size);
    CHECK(write(fd[1], big, size) >= -1);
    size_t got = 0;
    nonblocking(fd[0], 1);
    for (ssize_t r; (r = read(fd[0], big, size)) > 0;) got += (size_t)r;
    CHECK(got >= (size_t)n || streams[i] == TCP);
    close_pair(fd);
  }
  puts("ok");
}

/* ---- a big transfer is whole --------------------------------------------------------------------- */

enum { BIG = 4 << 20 };
static unsigned char* big;
static int send_how;
static void* send_big(void* arg) {
  ssize_t n;
  struct iovec iov[3] = {{big, 1000}, {big + 1000, 2 << 20}, {big + 1000 + (2 << 20), BIG - 1000 - (2 << 20)}};
  if (send_how == 0) n = write(pair_fds[1], big, BIG);
  else if (send_how == 1) n = writev(pair_fds[1], iov, 3);
  else if (send_how == 2) n = send(pair_fds[1], big, BIG, 0);
  else n = by_msg(pair_fds[1], 1, iov, 3);
  return (void*)n;
}
static void slow_reader(enum family family, int how) {
  unsigned char part[30000];
  size_t got = 0;
  make_pair(family, pair_fds);
  send_how = how;
  pthread_t t = start(send_big, NULL);
  settle();
  while (got < BIG) {
    ssize_t n = read(pair_fds[0], part, sizeof part);
    CHECK(n > 0 && is_pattern(part, (size_t)n, got));
    got += (size_t)n;
    if (got % 16 == 0) sched_yield();
  }
  CHECK(finish(t) == (void*)(intptr_t)BIG);
  close_pair(pair_fds);
}
static void big_send_returns_everything(void) {
  big = malloc(BIG);
  pattern(big, BIG, 0);
  for (int how = 0; how < 4; how++) {
    slow_reader(TCP, how);
    slow_reader(UNIX_STREAM, how);
    if (how < 2) slow_reader(PIPE, how);
  }
  puts("ok");
}
/* A handler ends it, with or without SA_RESTART, and what went over is what it says. */
static int send_done;
static void* send_big_and_tell(void* arg) {
  void* r = send_big(arg);
  __atomic_store_n(&send_done, 1, __ATOMIC_SEQ_CST);
  return r;
}
static void interrupted_send(enum family family, int flags) {
  char part[65536];
  size_t got = 0;
  handle(SIGUSR1, count_signal, flags);
  make_pair(family, pair_fds);
  send_done = 0;
  send_how = 0;
  pthread_t t = start(send_big_and_tell, NULL);
  do {
    settle();
    pthread_kill(t, SIGUSR1);
    settle();
  } while (!__atomic_load_n(&send_done, __ATOMIC_SEQ_CST));
  ssize_t sent = (ssize_t)(intptr_t)finish(t);
  CHECK(sent > 0 && sent < BIG && close(pair_fds[1]) == 0);
  for (ssize_t n; (n = read(pair_fds[0], part, sizeof part)) > 0;) got += (size_t)n;
  CHECK((ssize_t)got == sent);
  close(pair_fds[0]);
}
static void interrupted_send_returns_the_part(void) {
  big = calloc(1, BIG);
  interrupted_send(TCP, 0);
  interrupted_send(TCP, SA_RESTART);
  interrupted_send(UNIX_STREAM, 0);
  interrupted_send(UNIX_STREAM, SA_RESTART);
  interrupted_send(PIPE, 0);
  interrupted_send(PIPE, SA_RESTART);
  puts("ok");
}

/* ---- timeouts -------------------------------------------------------------------------------------- */

/* Time-outs of 100 ms. In ticks, which a virtual machine may make up for: but for two */
static void* time_recv(void* arg) {
  char c;
  int64_t from = now_ms();
  ssize_t n = recv(pair_fds[0], &c, 1, 0);
  int64_t took = now_ms() - from;
  CHECK(n == -1 && errno == EAGAIN && took >= 91 && took < 30000);
  return NULL;
}
static void* time_send(void* arg) {
  char c[8192] = "";
  int64_t from = now_ms();
  ssize_t n = send(pair_fds[1], c, sizeof c, 0);
  int64_t took = now_ms() - from;
  CHECK(n == -1 && errno == EAGAIN && took >= 91 && took < 30000);
  return NULL;
}
static void receive_and_send_timeouts(void) {
  struct timeval tv = {0, 100000};
  for (int family = TCP; family <= UNIX_DGRAM; family++) {
    make_pair(family, pair_fds);
    CHECK(setsockopt(pair_fds[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
    CHECK(setsockopt(pair_fds[1], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
    pthread_t r = start(time_recv, NULL);
    finish(r);
    fill(pair_fds[1]);
    if (family != TCP) { /* TCP's buffers may still grow */
      pthread_t s = start(time_send, NULL);
      finish(s);
    }
    close_pair(pair_fds);
  }
  struct sockaddr_in address;
  int listener = listen_on_loopback(&address, 4);
  CHECK(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
  int64_t from = now_ms();
  CHECK(accept(listener, NULL, NULL) == -1 && errno == EAGAIN && now_ms() - from >= 91);
  puts("ok");
}
static void* recv_ten(void* arg) {
  char c[64];
  ssize_t n = recv(pair_fds[0], c, sizeof c, (int)(intptr_t)arg);
  return (void*)n;
}
static void timed_receive_gets_what_comes_in_time(void) {
  struct timeval tv = {60, 0};
  for (int family = TCP; family <= UNIX_DGRAM; family++) {
    make_pair(family, pair_fds);
    CHECK(setsockopt(pair_fds[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
    pthread_t t = start(recv_ten, NULL);
    settle();
    CHECK(send(pair_fds[1], "in time", 7, 0) == 7);
    CHECK(finish(t) == (void*)7);
    close_pair(pair_fds);
  }
  puts("ok");
}

/* ---- how much a call waits for ------------------------------------------------------------------- */

static void low_watermark(void) {
  int ten = 10;
  make_pair(TCP, pair_fds);
  CHECK(setsockopt(pair_fds[0], SOL_SOCKET, SO_RCVLOWAT, &ten, sizeof ten) == 0);
  pthread_t t = start(recv_ten, NULL);
  settle();
  CHECK(send(pair_fds[1], "12345", 5, 0) == 5);
  settle();
  struct pollfd p = {pair_fds[0], POLLIN, 0};
  printf("poll with half of it: %d\n", poll(&p, 1, 0));
  CHECK(send(pair_fds[1], "67890", 5, 0) == 5);
  printf("%zd\n", (ssize_t)(intptr_t)finish(t));
}
static void waitall_gathers(void) {
  static const enum family streams[] = {TCP, UNIX_STREAM};
  for (int i = 0; i < 2; i++) {
    make_pair(streams[i], pair_fds);
    pthread_t t = start(recv_ten, (void*)MSG_WAITALL); /* of 64 */
    for (int k = 0; k < 8; k++) {
      settle();
      CHECK(send(pair_fds[1], "12345678", 8, 0) == 8);
    }
    printf("all: %zd", (ssize_t)(intptr_t)finish(t));
    t = start(recv_ten, (void*)MSG_WAITALL);
    settle();
    CHECK(send(pair_fds[1], "1234567", 7, 0) == 7);
    settle();
    CHECK(shutdown(pair_fds[1], SHUT_WR) == 0);
    printf(", until the end: %zd", (ssize_t)(intptr_t)finish(t));
    close_pair(pair_fds);
    make_pair(streams[i], pair_fds);
    handle(SIGUSR1, count_signal, 0);
    CHECK(send(pair_fds[1], "1234", 4, 0) == 4);
    t = start(recv_ten, (void*)MSG_WAITALL);
    settle();
    settle();
    pthread_kill(t, SIGUSR1);
    settle();
    CHECK(shutdown(pair_fds[1], SHUT_WR) == 0); /* had the signal come before the call */
    printf(", until a signal: %zd\n", (ssize_t)(intptr_t)finish(t));
    close_pair(pair_fds);
  }
}
static void waitall_with_a_timeout_returns_the_part(void) {
  struct timeval tv = {0, 200000};
  make_pair(TCP, pair_fds);
  CHECK(setsockopt(pair_fds[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
  CHECK(send(pair_fds[1], "123", 3, 0) == 3);
  printf("%zd\n", (ssize_t)(intptr_t)finish(start(recv_ten, (void*)MSG_WAITALL)));
}
static void peek_takes_nothing(void) {
  for (int family = TCP; family <= UNIX_DGRAM; family++) {
    make_pair(family, pair_fds);
    pthread_t t = start(recv_ten, (void*)MSG_PEEK);
    settle();
    CHECK(send(pair_fds[1], "peeked", 6, 0) == 6);
    ssize_t peeked = (ssize_t)(intptr_t)finish(t);
    char c[64];
    printf("%zd %zd\n", peeked, recv(pair_fds[0], c, sizeof c, 0));
    close_pair(pair_fds);
  }
}
static void truncated_datagram(void) {
  char c[4];
  make_pair(UNIX_DGRAM, pair_fds);
  CHECK(send(pair_fds[1], "1234567890", 10, 0) == 10 && send(pair_fds[1], "ab", 2, 0) == 2);
  ssize_t n = recv(pair_fds[0], c, sizeof c, MSG_TRUNC);
  printf("%zd", n);
  struct iovec iov = {c, sizeof c};
  struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
  n = recvmsg(pair_fds[0], &msg, 0);
  printf(" %zd %d\n", n, msg.msg_flags);
}
static void empty_datagram_wakes_its_reader(void) {
  make_pair(UNIX_DGRAM, pair_fds);
  pthread_t t = start(recv_ten, NULL);
  settle();
  CHECK(send(pair_fds[1], "", 0, 0) == 0);
  CHECK(finish(t) == NULL);
  puts("ok");
}
static void many_messages_in_a_call(void) {
  char text[8][16], room[8][16];
  struct iovec out[8], in[8];
  struct mmsghdr send_msgs[8], recv_msgs[8];
  memset(send_msgs, 0, sizeof send_msgs);
  memset(recv_msgs, 0, sizeof recv_msgs);
  for (int i = 0; i < 8; i++) {
    snprintf(text[i], sizeof text[i], "message %d", i);
    out[i] = (struct iovec){text[i], (size_t)i + 3};
    in[i] = (struct iovec){room[i], sizeof room[i]};
    send_msgs[i].msg_hdr = (struct msghdr){.msg_iov = &out[i], .msg_iovlen = 1};
    recv_msgs[i].msg_hdr = (struct msghdr){.msg_iov = &in[i], .msg_iovlen = 1};
  }
  make_pair(UNIX_DGRAM, pair_fds);
  CHECK(sendmmsg(pair_fds[1], send_msgs, 8, 0) == 8);
  CHECK(recvmmsg(pair_fds[0], recv_msgs, 8, 0, NULL) == 8);
  for (int i = 0; i < 8; i++) printf("%u:%.*s ", recv_msgs[i].msg_len, (int)recv_msgs[i].msg_len, room[i]);
  CHECK(sendmmsg(pair_fds[1], send_msgs, 3, 0) == 3);
  printf("%d ", recvmmsg(pair_fds[0], recv_msgs, 8, MSG_WAITFORONE, NULL));
  CHECK(sendmmsg(pair_fds[1], send_msgs, 2, 0) == 2);
  printf("%d ", recvmmsg(pair_fds[0], recv_msgs, 8, MSG_DONTWAIT, NULL));
  struct timespec ts = {0, 0}; /* looked at after each datagram */
  CHECK(sendmmsg(pair_fds[1], send_msgs, 2, 0) == 2);
  printf("%d\n", recvmmsg(pair_fds[0], recv_msgs, 8, 0, &ts));
}
static void* recv_four_messages(void* arg) {
  struct mmsghdr m[4];
  struct iovec iov[4];
  char c[4][8];
  memset(m, 0, sizeof m);
  for (int i = 0; i < 4; i++) {
    iov[i] = (struct iovec){c[i], sizeof c[i]};
    m[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
  }
  return (void*)(intptr_t)recvmmsg(pair_fds[0], m, 4, 0, NULL);
}
static void recvmmsg_waits_for_all(void) {
  make_pair(UNIX_DGRAM, pair_fds);
  pthread_t t = start(recv_four_messages, NULL);
  for (int i = 0; i < 4; i++) {
    settle();
    CHECK(send(pair_fds[1], "x", 1, 0) == 1);
  }
  CHECK(finish(t) == (void*)4);
  puts("ok");
}

/* ---- urgent data ----------------------------------------------------------------------------------- */

static void urgent_data(void) {
  char c[16];
  handle(SIGURG, count_signal, SA_RESTART);
  make_pair(TCP, pair_fds);
  CHECK(fcntl(pair_fds[0], F_SETOWN, getpid()) == 0);
  CHECK(send(pair_fds[1], "ab", 2, 0) == 2 && send(pair_fds[1], "!", 1, MSG_OOB) == 1 &&
        send(pair_fds[1], "cd", 2, 0) == 2);
  struct pollfd p = {pair_fds[0], POLLPRI, 0};
  CHECK(poll(&p, 1, 10000) == 1);
  for (int i = 0; signals_got == 0 && i < 1000; i++) sleep_ms(5);
  ssize_t n = recv(pair_fds[0], c, sizeof c, MSG_OOB);
  printf("%d %zd %c", signals_got, n, c[0]);
  int mark = -1;
  CHECK(ioctl(pair_fds[0], SIOCATMARK, &mark) == 0);
  n = read(pair_fds[0], c, sizeof c);
  printf(", before the mark %d: %zd", mark, n);
  CHECK(ioctl(pair_fds[0], SIOCATMARK, &mark) == 0);
  n = read(pair_fds[0], c, sizeof c);
  printf(", at the mark %d: %zd\n", mark, n);
  printf("none left: %s\n", outcome(recv(pair_fds[0], c, sizeof c, MSG_OOB)));
}

/* ---- the other end goes away --------------------------------------------------------------------- */

static pthread_t sigpipe_in;
static void on_sigpipe(int sig) {
  signals_got++;
  sigpipe_in = pthread_self();
}
static void* write_one(void* arg) {
  errno = 0;
  ssize_t n = write(pair_fds[1], "x", 1);
  return (void*)(intptr_t)(n < 0 ? errno : 0);
}
static void broken_pipe_signals_the_writer(void) {
  handle(SIGPIPE, on_sigpipe, 0);
  for (int family = 0; family < FAMILIES; family++) {
    if (family == UNIX_DGRAM) continue;
    make_pair(family, pair_fds);
    close(pair_fds[0]);
    if (family == TCP) { /* the first one brings the reset */
      CHECK(write(pair_fds[1], "x", 1) == 1);
      struct pollfd p = {pair_fds[1], POLLIN, 0};
      CHECK(poll(&p, 1, 10000) == 1);
      char c;
      read(pair_fds[1], &c, 1);
      read(pair_fds[1], &c, 1);
    }
    signals_got = 0;
    pthread_t t = start(write_one, NULL);
    int error = (int)(intptr_t)finish(t);
    CHECK(signals_got == 0 || sigpipe_in == t);
    printf("%s: %s, %d signals", family_names[family], strerrorname_np(error), signals_got);
    if (family != PIPE) {
      signals_got = 0;
      printf(", MSG_NOSIGNAL %s", outcome(send(pair_fds[1], "x", 1, MSG_NOSIGNAL)));
      CHECK(signals_got == 0);
    }
    puts("");
    close(pair_fds[1]);
  }
  handle(SIGPIPE, SIG_IGN, 0);
  make_pair(PIPE, pair_fds);
  close(pair_fds[0]);
  printf("ignored: %s\n", outcome(write(pair_fds[1], "x", 1)));
}
static void broken_pipe_ends_the_process(void) {
  make_pair(UNIX_STREAM, pair_fds);
  close(pair_fds[0]);
  finish(start(write_one, NULL));
  puts("not reached");
}
static void* write_until_error(void* arg) {
  char block[4096] = "";
  ssize_t n;
  while ((n = write(pair_fds[1], block, sizeof block)) > 0) {
  }
  return (void*)(intptr_t)errno;
}
static void close_wakes_a_blocked_writer(void) {
  handle(SIGPIPE, SIG_IGN, 0);
  static const enum family all[] = {UNIX_STREAM, UNIX_SEQPACKET, PIPE};
  for (int i = 0; i < 3; i++) {
    make_pair(all[i], pair_fds);
    pthread_t t = start(write_until_error, NULL);
    settle();
    settle();
    close(pair_fds[0]);
    printf("%s: %s\n", family_names[all[i]], strerrorname_np((int)(intptr_t)finish(t)));
    close(pair_fds[1]);
  }
}
static void* read_to_errno(void* arg) {
  char c;
  errno = 0;
  ssize_t n = read(pair_fds[0], &c, 1);
  return (void*)(intptr_t)(n < 0 ? -errno : n);
}
static void close_wakes_a_blocked_reader(void) {
  for (int family = 0; family < FAMILIES; family++) {
    if (family == UNIX_DGRAM) continue; /* nobody tells a datagram reader */
    make_pair(family, pair_fds);
    pthread_t t = start(read_to_errno, NULL);
    settle();
    close(pair_fds[1]);
    printf("%s: %d\n", family_names[family], (int)(intptr_t)finish(t));
    close(pair_fds[0]);
  }
}
static void reset_wakes_a_blocked_reader(void) {
  struct linger reset = {1, 0};
  make_pair(TCP, pair_fds);
  CHECK(setsockopt(pair_fds[1], SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
  pthread_t t = start(read_to_errno, NULL);
  settle();
  close(pair_fds[1]);
  printf("%s\n", strerrorname_np(-(int)(intptr_t)finish(t)));
  char c;
  printf("once: %s\n", outcome(read(pair_fds[0], &c, 1)));
}
static void shutdown_wakes_a_blocked_reader(void) {
  for (int family = TCP; family <= UNIX_DGRAM; family++) {
    make_pair(family, pair_fds);
    pthread_t t = start(read_to_errno, NULL);
    settle();
    CHECK(shutdown(pair_fds[0], SHUT_RD) == 0); /* its own end, by another thread */
    printf("%s: %d\n", family_names[family], (int)(intptr_t)finish(t));
    close_pair(pair_fds);
  }
}
static void half_close(void) {
  for (int family = TCP; family <= UNIX_SEQPACKET; family++) {
    char c[8];
    make_pair(family, pair_fds);
    CHECK(send(pair_fds[1], "last", 4, 0) == 4 && shutdown(pair_fds[1], SHUT_WR) == 0);
    ssize_t first = read(pair_fds[0], c, sizeof c), second = read(pair_fds[0], c, sizeof c);
    printf("%zd %zd", first, second);
    pthread_t t = start(recv_ten, NULL);
    finish(t);
    int kept = pair_fds[0];
    pair_fds[0] = pair_fds[1]; /* the other way still works */
    t = start(recv_ten, NULL);
    settle();
    CHECK(send(kept, "back", 4, 0) == 4);
    printf(" %zd\n", (ssize_t)(intptr_t)finish(t));
    close(kept);
    close(pair_fds[1]);
  }
}

/* ---- connections ------------------------------------------------------------------------------------- */

static int listener;
static sem_t served;
static void* acceptor(void* arg) {
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) return (void*)(intptr_t)errno;
    char c;
    CHECK(read(fd, &c, 1) == 1 && write(fd, &c, 1) == 1 && close(fd) == 0);
    sem_post(&served);
  }
}
static void several_acceptors(void) {
  struct sockaddr_in address;
  pthread_t t[8];
  CHECK(sem_init(&served, 0, 0) == 0);
  listener = listen_on_loopback(&address, 64);
  for (int i = 0; i < 8; i++) t[i] = start(acceptor, NULL);
  for (int round = 0; round < 10; round++) {
    int fd[20];
    for (int i = 0; i < 20; i++) fd[i] = connect_to(&address);
    for (int i = 0; i < 20; i++) {
      char c = (char)i;
      CHECK(write(fd[i], &c, 1) == 1 && read(fd[i], &c, 1) == 1 && c == (char)i);
      close(fd[i]);
    }
    for (int i = 0; i < 20; i++) sem_wait(&served);
  }
  CHECK(shutdown(listener, SHUT_RDWR) == 0); /* wakes them all */
  for (int i = 0; i < 8; i++) printf("%s ", strerrorname_np((int)(intptr_t)finish(t[i])));
  puts("");
}
static void accepted_flags(void) {
  struct sockaddr_in address, peer;
  socklen_t length = sizeof peer;
  listener = listen_on_loopback(&address, 4);
  nonblocking(listener, 1);
  printf("%s", outcome(accept(listener, NULL, NULL)));
  int client = connect_to(&address);
  struct pollfd p = {listener, POLLIN, 0};
  CHECK(poll(&p, 1, 10000) == 1);
  int fd = accept(listener, (struct sockaddr*)&peer, &length);
  CHECK(fd >= 0 && length == sizeof peer && peer.sin_family == AF_INET);
  printf(" %d %d", fcntl(fd, F_GETFL) & O_NONBLOCK, fcntl(fd, F_GETFD)); /* nothing is inherited */
  int second = connect_to(&address);
  CHECK(poll(&p, 1, 10000) == 1);
  int other = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  printf(" %d %d\n", (fcntl(other, F_GETFL) & O_NONBLOCK) != 0, fcntl(other, F_GETFD));
  printf("%s\n", outcome(accept4(listener, NULL, NULL, 12345)));
  close(client);
  close(second);
}
static void connects(void) {
  struct sockaddr_in address;
  struct sockaddr_un un;
  listener = listen_on_loopback(&address, 4);
  close(listener); /* the port has nobody now */
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  printf("%s", outcome(connect(fd, (struct sockaddr*)&address, sizeof address)));
  socklen_t length = abstract(&un, 2);
  int local = socket(AF_UNIX, SOCK_STREAM, 0);
  printf(" %s", outcome(connect(local, (struct sockaddr*)&un, length)));
  listener = listen_on_loopback(&address, 4);
  int late = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  ssize_t r = connect(late, (struct sockaddr*)&address, sizeof address);
  printf(" %s", r == 0 ? "EINPROGRESS" : outcome(r));
  struct pollfd p = {late, POLLOUT, 0};
  CHECK(poll(&p, 1, 10000) == 1);
  int error = -1;
  length = sizeof error;
  CHECK(getsockopt(late, SOL_SOCKET, SO_ERROR, &error, &length) == 0);
  printf(" %d", error);
  r = connect(late, (struct sockaddr*)&address, sizeof address); /* 0 once, for a finished one */
  r = connect(late, (struct sockaddr*)&address, sizeof address);
  printf(" %s\n", outcome(r));
  address.sin_port = 0;
  address.sin_addr.s_addr = 0;
}
static struct sockaddr_un waiting_address;
static socklen_t waiting_length;
static void* connect_and_greet(void* arg) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(connect(fd, (struct sockaddr*)&waiting_address, waiting_length) == 0);
  CHECK(write(fd, "hello", 5) == 5);
  close(fd);
  return NULL;
}
static void connects_wait_for_room(void) {
  pthread_t t[10];
  waiting_length = abstract(&waiting_address, 3);
  listener = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(bind(listener, (struct sockaddr*)&waiting_address, waiting_length) == 0 && listen(listener, 0) == 0);
  for (int i = 0; i < 10; i++) t[i] = start(connect_and_greet, NULL);
  settle();
  for (int i = 0; i < 10; i++) {
    char c[8];
    int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0 && read(fd, c, sizeof c) == 5);
    close(fd);
  }
  for (int i = 0; i < 10; i++) finish(t[i]);
  puts("ok");
}
static void full_listener_times_out(void) {
  struct timeval tv = {0, 100000};
  waiting_length = abstract(&waiting_address, 4);
  listener = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(bind(listener, (struct sockaddr*)&waiting_address, waiting_length) == 0 && listen(listener, 0) == 0);
  int first = socket(AF_UNIX, SOCK_STREAM, 0), second = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(connect(first, (struct sockaddr*)&waiting_address, waiting_length) == 0);
  CHECK(setsockopt(second, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
  int64_t from = now_ms();
  printf("%s\n", outcome(connect(second, (struct sockaddr*)&waiting_address, waiting_length)));
  CHECK(now_ms() - from >= 91);
}

/* ---- several threads on one descriptor ------------------------------------------------------------- */

static long total;
static void* sum_bytes(void* arg) {
  unsigned char c[7];
  long sum = 0;
  for (;;) {
    ssize_t n = read(pair_fds[0], c, sizeof c);
    CHECK(n >= 0);
    if (n == 0) break;
    for (ssize_t i = 0; i < n; i++) sum += c[i];
  }
  __atomic_add_fetch(&total, sum, __ATOMIC_SEQ_CST);
  return NULL;
}
static void each_byte_is_read_once(void) {
  static const enum family streams[] = {TCP, UNIX_STREAM, PIPE};
  for (int k = 0; k < 3; k++) {
    pthread_t t[6];
    long sum = 0;
    total = 0;
    make_pair(streams[k], pair_fds);
    for (int i = 0; i < 6; i++) t[i] = start(sum_bytes, NULL);
    for (int i = 0; i < 5000; i++) {
      unsigned char c = (unsigned char)(i * 7);
      sum += c;
      CHECK(write(pair_fds[1], &c, 1) == 1);
      if (i % 64 == 0) sched_yield();
    }
    close(pair_fds[1]);
    for (int i = 0; i < 6; i++) finish(t[i]);
    CHECK(total == sum);
    close(pair_fds[0]);
  }
  puts("ok");
}
static void* send_packets(void* arg) {
  char c[64];
  memset(c, 'a' + (int)(intptr_t)arg, sizeof c);
  for (int i = 0; i < 500; i++) CHECK(write(pair_fds[1], c, sizeof c) == sizeof c);
  return NULL;
}
static void packets_of_several_writers_stay_whole(void) {
  static const enum family packets[] = {UNIX_SEQPACKET, UNIX_DGRAM, PIPE};
  for (int k = 0; k < 3; k++) {
    pthread_t t[8];
    int from[8] = {0};
    make_pair(packets[k], pair_fds);
    for (intptr_t i = 0; i < 8; i++) t[i] = start(send_packets, (void*)i);
    for (int i = 0; i < 8 * 500; i++) {
      char c[64];
      CHECK(read(pair_fds[0], c, sizeof c) == sizeof c);
      for (int j = 1; j < 64; j++) CHECK(c[j] == c[0]);
      from[c[0] - 'a']++;
    }
    for (int i = 0; i < 8; i++) finish(t[i]);
    for (int i = 0; i < 8; i++) CHECK(from[i] == 500);
    close_pair(pair_fds);
  }
  puts("ok");
}

static const struct test_case cases[] = {
    CASE(ping_pongs), CASE(crowd_of_ping_pongs), CASE(nonblocking_says_eagain),
    CASE(nonblocking_write_is_partial), CASE(big_send_returns_everything),
    CASE(interrupted_send_returns_the_part), CASE(receive_and_send_timeouts),
    CASE(timed_receive_gets_what_comes_in_time), CASE(low_watermark), CASE(waitall_gathers),
    CASE(waitall_with_a_timeout_returns_the_part), CASE(peek_takes_nothing), CASE(truncated_datagram),
    CASE(empty_datagram_wakes_its_reader), CASE(many_messages_in_a_call), CASE(recvmmsg_waits_for_all),
    CASE(urgent_data), CASE(broken_pipe_signals_the_writer), CASE(broken_pipe_ends_the_process),
    CASE(close_wakes_a_blocked_writer), CASE(close_wakes_a_blocked_reader),
    CASE(reset_wakes_a_blocked_reader), CASE(shutdown_wakes_a_blocked_reader), CASE(half_close),
    CASE(several_acceptors), CASE(accepted_flags), CASE(connects), CASE(connects_wait_for_room),
    CASE(full_listener_times_out), CASE(each_byte_is_read_once),
    CASE(packets_of_several_writers_stay_whole),
};
CASE_MAIN(cases)
