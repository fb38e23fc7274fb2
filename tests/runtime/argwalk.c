/* Random walks (walk.h) through calls that may block, with arguments at the edges of what the kernel takes: descriptors
 * that are none or of the wrong kind, buffers that end in the middle or are not there, lengths, counts, flags and times
 * out of all range. A signal ends what would sleep for ever. */
#include "walk.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

enum { PAGE = 4096, AREA = 4 * PAGE, ROOM = 1 << 20 /* that is not there */, FIRST = 20 };
enum {
  PIPE_IN = FIRST,
  PIPE_OUT,
  STREAM_A,
  STREAM_B,
  DGRAM_A,
  DGRAM_B,
  SEQ_A,
  SEQ_B,
  TCP_A,
  TCP_B,
  UDP,
  EVENT,
  TIMER,
  REGULAR,
  EPOLL,
  LISTENER,
  CLOSED_END,
  LAST
};

static char* area;  /* AREA bytes, and nothing before or behind */
static char* fixed; /* a page that can't be written */

static void on_alarm(int sig) { (void)sig; }

static int place(int fd, int at) {
  CHECK(fd >= 0 && dup2(fd, at) == at && close(fd) == 0);
  return at;
}
static void place_pair(int fds[2], int a) { place(fds[0], a), place(fds[1], a + 1); }

static void* idle(void* arg) {
  for (;;) pause();
  return arg;
}

static void tcp_pair(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  int l = place(socket(AF_INET, SOCK_STREAM, 0), LISTENER);
  CHECK(bind(l, (struct sockaddr*)&at, size) == 0 && listen(l, 5) == 0 &&
        getsockname(l, (struct sockaddr*)&at, &size) == 0);
  int c = place(socket(AF_INET, SOCK_STREAM, 0), TCP_A);
  CHECK(connect(c, (struct sockaddr*)&at, size) == 0);
  place(accept(l, NULL, NULL), TCP_B);
  int on = 1; /* what waits to be sent arrives by time */
  for (int fd = TCP_A; fd <= TCP_B; fd++) CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
}

static void begin(void) {
  fixed = (char*)mmap(NULL, PAGE + ROOM + AREA + ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  area = fixed + PAGE + ROOM;
  CHECK(fixed != MAP_FAILED && mprotect(fixed, PAGE, PROT_READ) == 0 &&
        mprotect(area, AREA, PROT_READ | PROT_WRITE) == 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  if (beside) {
    pthread_t t;
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0 && pthread_create(&t, NULL, idle, NULL) == 0);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
  }
  signal(SIGPIPE, SIG_IGN);
  sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm}, NULL);
  int p[2];
  CHECK(pipe(p) == 0);
  place_pair(p, PIPE_IN);
  static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
  for (int i = 0; i < 3; i++) {
    CHECK(socketpair(AF_UNIX, types[i], 0, p) == 0);
    place_pair(p, STREAM_A + 2 * i);
  }
  tcp_pair();
  place(socket(AF_INET, SOCK_DGRAM, 0), UDP);
  place(eventfd(1, 0), EVENT);
  place(timerfd_create(CLOCK_MONOTONIC, 0), TIMER);
  place(memfd_create("walk", 0), REGULAR);
  CHECK(ftruncate(REGULAR, 10000) == 0);
  place(epoll_create1(0), EPOLL);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0 && close(p[1]) == 0);
  place(p[0], CLOSED_END);
}

#define PICK(...)                             \
  ({                                          \
    static const long from[] = {__VA_ARGS__}; \
    from[draw(sizeof from / sizeof *from)];   \
  })

static long a_fd(void) {
  uint32_t k = draw(24);
  if (k < 20) return FIRST + (long)draw(LAST - FIRST);
  return PICK(-1, 999, 0x7fffffff, -100, 0x100000000 + STREAM_A, 0x7fffffff00000016);
}
static long a_buffer(void) {
  switch (draw(12)) {
    case 0:
      return 0;
    case 1:
      return 1;
    case 2:
      return (long)fixed;
    case 3:
      return (long)(area + AREA - PICK(1, 7, 64));
    case 4:
      return -4096;
    case 5:
      return (long)(area + AREA);
    default:
      return (long)(area + draw(PAGE));
  }
}
static long a_length(void) {
  return PICK(0, 1, 7, 64, 64, 100, 1000, 4096, 9000, 70000, 0x7ffff000, 0x7fffffff, 0x80000000, 0xffffffff,
              0x100000001, 0x7fffffffffffffff, -1, -64);
}
static long short_length(void) { return PICK(0, 1, 7, 64, 64, 100, 1000, 4096); }
static long message_flags(void) {
  return PICK(0, 0, 0, MSG_DONTWAIT, MSG_PEEK, MSG_PEEK | MSG_DONTWAIT, MSG_TRUNC, MSG_WAITALL, MSG_WAITALL | MSG_PEEK,
              MSG_OOB, MSG_NOSIGNAL, MSG_CTRUNC, MSG_EOR, MSG_ERRQUEUE, 0x80000000, -1,
              MSG_WAITALL | MSG_DONTWAIT);
}
static long vector_flags(void) { return PICK(0, 0, 8, 1, 2, 4, 16, 32, 64, 0x80, -1, 0x80000000); }
static long an_offset(void) {
  return PICK(0, 0, 1, 100, 9999, 10000, 1 << 20, -1, -2, 0x7fffffffffffffff, 0x7fffffffffff0000);
}

static struct iovec vectors[1030];
static long some_vectors(void) {
  for (int i = 0; i < 8; i++)
    vectors[i] = (struct iovec){(void*)a_buffer(), (size_t)(draw(4) ? short_length() : a_length())};
  for (int i = 8; i < 1030; i++) vectors[i] = (struct iovec){area, 1};
  return draw(10) ? (long)vectors : a_buffer();
}
static long vector_count(void) { return PICK(0, 1, 1, 2, 3, 8, 1024, 1025, -1, 0x7fffffff, 0x100000001); }

static struct timespec a_time;
static long time_at(void) {
  static const long seconds[] = {0, 0, 0, -1, 0x7fffffffffffffff, 0x4000000000000000, 1};
  uint32_t k = draw(12);
  if (k == 0) return 0;
  if (k == 1) return PICK(1, -4096);
  a_time.tv_sec = seconds[draw(7)];
  a_time.tv_nsec = PICK(0, 1, 1000, 999999999, 1000000000, -1, 0x7fffffffffffffff);
  if (a_time.tv_sec == 1) a_time.tv_sec = 0, a_time.tv_nsec = 2000000;
  return (long)&a_time;
}

static struct msghdr message;
static struct mmsghdr many[8];
static char control[256];
static void fill_message(struct msghdr* h) {
  memset(control, 0, sizeof control);
  *h = (struct msghdr){.msg_iov = (struct iovec*)some_vectors(), .msg_iovlen = (size_t)vector_count()};
  if (draw(4) == 0)
    h->msg_control = draw(3) ? control : (void*)a_buffer(),
    h->msg_controllen = (size_t)PICK(0, 1, 16, 24, 256, 0x7fffffff, -1);
  if (draw(6) == 0) h->msg_name = (void*)a_buffer(), h->msg_namelen = (socklen_t)PICK(0, 1, 16, 110, 128, 200, -1);
}
static long a_message(void) {
  fill_message(&message);
  return draw(12) ? (long)&message : a_buffer();
}
static long some_messages(void) {
  for (int i = 0; i < 8; i++) {
    many[i] = (struct mmsghdr){.msg_len = 77};
    many[i].msg_hdr = (struct msghdr){.msg_iov = vectors, .msg_iovlen = 1};
  }
  vectors[0] = (struct iovec){(void*)a_buffer(), (size_t)short_length()};
  return draw(12) ? (long)many : a_buffer();
}

static struct pollfd polled[4];
static long some_polled(void) {
  for (int i = 0; i < 4; i++)
    polled[i] =
        (struct pollfd){(int)a_fd(), (short)PICK(POLLIN, POLLOUT, POLLIN | POLLOUT, POLLPRI, POLLRDHUP, 0, -1), 0x55};
  return draw(12) ? (long)polled : a_buffer();
}
static fd_set sets[3];
static long a_set(int i) {
  FD_ZERO(&sets[i]);
  for (int k = 0; k < 3; k++) FD_SET(FIRST + (int)draw(draw(8) ? LAST - FIRST : 43), &sets[i]);
  return draw(3) ? (draw(16) ? (long)&sets[i] : a_buffer()) : 0;
}

static uint64_t sum(const void* p, size_t n) {
  const unsigned char* c = p;
  uint64_t h = 1469598103934665603ull;
  for (size_t i = 0; i < n; i++) h = (h ^ c[i]) * 1099511628211ull;
  return h >> 40;
}

/* Something new to read for somebody, now and then, and nothing else. */
static void feed(void) {
  static const int ways[][2] = {{PIPE_OUT, PIPE_IN}, {STREAM_A, STREAM_B}, {STREAM_B, STREAM_A},
                                {DGRAM_A, DGRAM_B},  {DGRAM_B, DGRAM_A},   {SEQ_A, SEQ_B},
                                {SEQ_B, SEQ_A},      {TCP_A, TCP_B},       {TCP_B, TCP_A}};
  static char data[65536];
  const int* way = ways[draw(9)];
  for (int i = 0; i < 2; i++) CHECK(fcntl(way[i], F_SETFL, fcntl(way[i], F_GETFL) | O_NONBLOCK) == 0);
  while (read(way[1], data, sizeof data) >= 0) continue;
  size_t length = 1 + draw(300);
  memset(data, 'a' + (int)draw(26), length);
  printf("feed %d %zd", way[0], write(way[0], data, length));
  for (int i = 0; i < 2; i++) CHECK(fcntl(way[i], F_SETFL, fcntl(way[i], F_GETFL) & ~O_NONBLOCK) == 0);
  if (way[0] == TCP_A || way[0] == TCP_B) usleep(300);
}

/* Of several reasons to refuse a call it matters little which the kernel sees first. */
static long refused(int error) {
  static const int reasons[] = {EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EMSGSIZE, EBADF, ESPIPE};
  for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
    if (error == reasons[i]) return -1000;
  }
  return -error;
}

/* What would sleep for ever ends 60 ms from now; other times are far shorter, or longer. */
static void ring_in_time(void) {
  struct itimerval t = {{0, 60000}, {0, 60000}};
  CHECK(setitimer(ITIMER_REAL, &t, NULL) == 0);
}

/* The call with these arguments: its name and its answer. */
static struct answer {
  const char* name;
  long value, more; /* what else it told */
} answer;
static void call(const char* name, long nr, const long a[6]) {
  ring_in_time();
  errno = 0;
  long r = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
  answer = (struct answer){name, r == -1 && errno != 0 ? refused(errno) : r, 0};
}
#define CALL(name, ...) call(#name, SYS_##name, (long[6]){__VA_ARGS__})

static void move_bytes(long fd) {
  switch (draw(9)) {
    case 0:
      CALL(read, fd, a_buffer(), a_length());
      break;
    case 1:
      CALL(write, fd, a_buffer(), draw(3) ? short_length() : a_length());
      break;
    case 2:
      CALL(readv, fd, some_vectors(), vector_count());
      break;
    case 3:
      CALL(writev, fd, some_vectors(), vector_count());
      break;
    case 4:
      CALL(pread64, fd, a_buffer(), a_length(), an_offset());
      break;
    case 5:
      CALL(pwrite64, fd, a_buffer(), short_length(), an_offset());
      break;
    case 6:
      CALL(preadv, fd, some_vectors(), vector_count(), an_offset(), 0);
      break;
    case 7:
      CALL(preadv2, fd, some_vectors(), vector_count(), an_offset(), 0, vector_flags());
      break;
    case 8:
      CALL(pwritev2, fd, some_vectors(), PICK(0, 1, 2, 1025, -1), an_offset(), 0, vector_flags());
      break;
  }
}

static void move_files(long fd) {
  long other = a_fd();
  switch (draw(3)) {
    case 0:
      CALL(sendfile, fd == LISTENER ? EVENT : fd, draw(3) ? REGULAR : other, draw(2) ? 0 : a_buffer(),
           draw(3) ? short_length() : a_length());
      break;
    case 1:
      CALL(splice, fd, draw(3) ? 0 : a_buffer(), other, draw(3) ? 0 : a_buffer(), short_length(),
           PICK(0, 1, 2, 3, 4, 16, -1));
      break;
    case 2:
      CALL(fcntl, fd,
           PICK(F_GETFL, F_GETFD, F_GETLK, F_SETLK, F_SETLKW, F_GETPIPE_SZ, F_OFD_GETLK, F_OFD_SETLKW, 999, -1),
           a_buffer());
      break;
  }
}

static void receive_with_address(long fd) {
  char* name = area + 2 * PAGE;
  int* size = (int*)(area + 3 * PAGE);
  *size = (int)PICK(0, 1, 16, 128, -1, 0x7fffffff);
  CALL(recvfrom, fd, a_buffer(), a_length(), message_flags(), (long)name, draw(6) ? (long)size : a_buffer());
  answer.more = *size;
  memset(name, 0, 2 * PAGE);
}
static void receive_several(long fd) {
  long at = some_messages(), time = draw(2) ? time_at() : 0;
  CALL(recvmmsg, fd, at, PICK(0, 1, 2, 8, 1025), message_flags() | (draw(3) ? MSG_DONTWAIT : 0), time);
  answer.more = many[0].msg_len;
}
static void accept_one(long fd) {
  CALL(accept4, fd, draw(4) ? 0 : a_buffer(), draw(4) ? 0 : a_buffer(), PICK(0, SOCK_NONBLOCK, SOCK_CLOEXEC, 1, -1));
  if (answer.value < 0) return;
  close((int)answer.value);
  answer.value = 0;
}
static void use_sockets(long fd) {
  switch (draw(10)) {
    case 0:
    case 1:
      CALL(recvfrom, fd, a_buffer(), a_length(), message_flags(), 0, 0);
      break;
    case 2:
      receive_with_address(fd);
      break;
    case 3:
    case 4:
      CALL(sendto, fd, a_buffer(), draw(3) ? short_length() : a_length(), message_flags(), draw(5) ? 0 : a_buffer(),
           PICK(0, 0, 16, 128, 129, -1));
      break;
    case 5:
      CALL(recvmsg, fd, a_message(), message_flags());
      answer.more = message.msg_flags + (long)(message.msg_controllen << 8);
      break;
    case 6:
      CALL(sendmsg, fd, a_message(), message_flags());
      break;
    case 7:
      receive_several(fd);
      break;
    case 8:
      CALL(sendmmsg, fd, some_messages(), PICK(0, 1, 2, 8), message_flags());
      answer.more = many[0].msg_len;
      break;
    case 9:
      accept_one(fd);
      break;
  }
}

static long told_by_poll(void) {
  long told = 0;
  for (int i = 0; i < 4; i++) told = told * 31 + polled[i].revents;
  return told;
}
static void use_select(void) {
  long s[3] = {a_set(0), a_set(1), a_set(2)}, n = PICK(0, 20, 36, 37, 64, -1);
  struct timeval tv = {PICK(0, 0, 0, -1, INT64_MAX), PICK(0, 1000, 2000, -1, 1000001, INT64_MAX)};
  if (tv.tv_sec == INT64_MAX && tv.tv_usec == INT64_MAX) tv.tv_usec = 0;
  CALL(select, n, s[0], s[1], s[2], draw(8) ? (long)&tv : (long)PICK(1, -4096));
  answer.more = (long)sum(sets, sizeof sets) + (tv.tv_sec > 1000000);
}
static void use_pselect(void) {
  long s[3] = {a_set(0), a_set(1), a_set(2)}, n = PICK(0, 20, 36, 37, 64, -1);
  long mask[2] = {draw(6) ? 0 : a_buffer(), PICK(8, 8, 0, 16)}, time = time_at();
  CALL(pselect6, n, s[0], s[1], s[2], time, draw(3) ? (long)mask : draw(3) ? 0 : a_buffer());
  answer.more = (long)sum(sets, sizeof sets);
}
static void use_epoll(long fd) {
  long epoll = draw(4) ? EPOLL : a_fd(), at = draw(6) ? (long)area : a_buffer();
  struct epoll_event event = {
      (uint32_t)PICK(EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLEXCLUSIVE, 0, -1),
      {.u64 = (uint64_t)fd}};
  switch (draw(3)) {
    case 0:
      CALL(epoll_ctl, epoll, PICK(1, 1, 2, 3, 0, 9), fd, draw(8) ? (long)&event : a_buffer());
      break;
    case 1:
      CALL(epoll_wait, epoll, at, PICK(0, 1, 3, 100, -1, INT32_MAX), PICK(0, 0, 1, 3, -1, -2));
      break;
    case 2:
      CALL(epoll_pwait2, epoll, at, PICK(0, 1, 3, 100, -1), time_at(), draw(6) ? 0 : a_buffer(), PICK(8, 8, 0));
      break;
  }
}
static void wait_for_descriptors(long fd) {
  switch (draw(7)) {
    case 0:
      CALL(poll, some_polled(), PICK(0, 1, 2, 4, 1000000, -1), PICK(0, 0, 1, 3, -1, -2, 0x80000000));
      answer.more = told_by_poll();
      break;
    case 1:
      CALL(ppoll, some_polled(), PICK(0, 1, 2, 4), time_at(), draw(8) ? 0 : a_buffer(), PICK(8, 8, 8, 0, 16));
      answer.more = told_by_poll();
      break;
    case 2:
    case 3:
      use_select();
      break;
    case 4:
      use_pselect();
      break;
    default:
      use_epoll(fd);
  }
}

static void wait_for_others(void) {
  static uint32_t word;
  word = 5;
  long time = time_at();
  switch (draw(4)) {
    case 0:
      if (time == (long)&a_time && a_time.tv_sec > 0) a_time.tv_sec = 0;
      CALL(clock_nanosleep, PICK(0, 1, 4, 7, 11, 99), PICK(0, 0, 1, 2, -1), time, draw(4) ? 0 : a_buffer());
      break;
    case 1:
      CALL(futex, (long)&word, PICK(128, 129, 9 | 128, 10 | 128, 256 | 9 | 128, 256), PICK(0, 4, 5, 1, -1), time,
           draw(2) ? (long)&word : a_buffer(), PICK(0, 1, 5, -1));
      break;
    case 2:
      CALL(wait4, PICK(-1, 0, 99999999, -99999999, 0x80000000), a_buffer(), PICK(0, 1, 2, 8, 64, -1),
           draw(3) ? 0 : a_buffer());
      break;
    case 3:
      CALL(waitid, PICK(0, 1, 2, 3, 4, -1), PICK(0, 1, 99999999, -1), a_buffer(),
           PICK(0, 1, 4, 5, 0x01000005, 0x20000005, -1), draw(3) ? 0 : a_buffer());
      break;
  }
}

static void step(void) {
  if (draw(4) == 0) {
    feed();
    return;
  }
  memset(area, 0x11, AREA);
  long fd = a_fd();
  switch (draw(10)) {
    case 0:
    case 1:
    case 2:
      move_bytes(fd);
      break;
    case 3:
      move_files(fd);
      break;
    case 4:
    case 5:
    case 6:
      use_sockets(fd);
      break;
    case 7:
    case 8:
      wait_for_descriptors(fd);
      break;
    case 9:
      wait_for_others();
      break;
  }
  printf("%s %ld: %ld %ld %llx", answer.name, fd, answer.value, answer.more, (unsigned long long)sum(area, AREA));
}

static void the_only_thread(void) { walks(0, 1, 15, 120); }
static void beside_another(void) { walks(1, 111, 125, 120); }
static const struct test_case cases[] = {CASE(the_only_thread), CASE(beside_another)};
WALK_MAIN(cases)
