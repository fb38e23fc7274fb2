/* Random walks (walk.h) through calls on descriptors: pipes, sockets, files, counters, timers, poll, select and epoll, with
 * descriptors duplicated, replaced, passed, shared with children and switched to O_NONBLOCK and back. Whoever would sleep
 * gets what it waits for from the other thread, where there is one. */
#include "walk.h"

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
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>

enum kind { NONE, PIPE_IN, PIPE_OUT, STREAM, DGRAM, SEQ, TCP, EVENT, TIMER, REGULAR, EPOLL, LISTENER, KINDS };
static const char* const names[] = {"none", "pipe-in", "pipe-out", "stream", "dgram", "seq", "tcp", "event", "timer", "file", "epoll", "listener"};
enum { SLOTS = 20, FIRST = 20, MOST = 8192 };
/* Slot i is descriptor FIRST + i. `peer`: whose writes arrive here, or where ours do. */
static struct slot {
  enum kind kind;
  int peer;
} slots[SLOTS];

static int fd_of(int i) { return FIRST + i; }
static int free_slot(void) {
  for (int k = 0; k < 8; k++) {
    int i = (int)draw(SLOTS);
    if (slots[i].kind == NONE) return i;
  }
  return -1;
}
static int some(void) {
  for (int k = 0; k < 20; k++) {
    int i = (int)draw(SLOTS);
    if (slots[i].kind != NONE) return i;
  }
  return -1;
}
static int put(int fd, enum kind kind, int i) {
  CHECK(fd >= 0 && dup2(fd, fd_of(i)) == fd_of(i) && close(fd) == 0);
  slots[i] = (struct slot){kind, -1};
  return i;
}
static void put_pair(const int fds[2], enum kind a, enum kind b, int i) {
  put(fds[0], a, i);
  int k = free_slot();
  if (k < 0) {
    CHECK(close(fds[1]) == 0);
    return;
  }
  put(fds[1], b, k);
  slots[i].peer = k;
  slots[k].peer = i;
}

static int nonblocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_NONBLOCK) != 0;
}
static int ready(int fd, short events) {
  struct pollfd p = {fd, events, 0};
  CHECK(poll(&p, 1, 0) >= 0);
  return p.revents != 0;
}
/* A call that takes only if something is there, gives only if there is room, or says so at once. */
static int may(int fd, short events) { return nonblocking(fd) || ready(fd, events); }

static unsigned char bytes[MOST];
static unsigned sum(const unsigned char* at, ssize_t n) {
  unsigned s = 0;
  for (ssize_t i = 0; i < n; i++) s = s * 31 + at[i];
  return s;
}
static void fill(size_t n) {
  for (size_t i = 0; i < n; i++) bytes[i] = (unsigned char)draw(256);
}
static void result(ssize_t r) { printf(" -> %zd%s%s", r, r < 0 ? " " : "", r < 0 ? strerrorname_np(errno) : ""); }
static void got(ssize_t r) {
  result(r);
  if (r > 0) printf(" sum %x", sum(bytes, r));
}

/* ---- the second thread ---- */
static sem_t asked, served;
static struct {
  int fd, close_it;
  size_t n;
} errand;
static void* second(void* p) {
  static const unsigned char text[64] = "0123456789abcdefghijklmnopqrstuvwxyz";
  for (;;) {
    while (sem_wait(&asked) != 0) {
    }
    usleep(1500);
    if (errand.close_it) {
      shutdown(errand.fd, SHUT_WR);
    } else {
      ssize_t r = write(errand.fd, text, errand.n);
      (void)r;
    }
    CHECK(sem_post(&served) == 0);
  }
  return p;
}

/* ---- steps ---- */

static void create(void) {
  int i = free_slot();
  if (i < 0) return;
  int fds[2], extra = draw(3) == 0 ? O_NONBLOCK : 0;
  enum kind kind = (enum kind)(PIPE_IN + draw(KINDS - 1));
  printf("new %s %d %d", names[kind], i, extra != 0);
  switch (kind) {
    case PIPE_IN:
    case PIPE_OUT:
      CHECK(pipe2(fds, extra) == 0);
      put_pair(fds, PIPE_IN, PIPE_OUT, i);
      break;
    case STREAM:
    case DGRAM:
    case SEQ:
      CHECK(socketpair(AF_UNIX, (kind == STREAM ? SOCK_STREAM : kind == DGRAM ? SOCK_DGRAM : SOCK_SEQPACKET) | (extra ? SOCK_NONBLOCK : 0), 0, fds) == 0);
      put_pair(fds, kind, kind, i);
      break;
    case TCP: {
      int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
      struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
      socklen_t size = sizeof name;
      CHECK(listener >= 0 && bind(listener, (struct sockaddr*)&name, size) == 0 && listen(listener, 1) == 0);
      CHECK(getsockname(listener, (struct sockaddr*)&name, &size) == 0);
      fds[0] = socket(AF_INET, SOCK_STREAM, 0);
      CHECK(connect(fds[0], (struct sockaddr*)&name, size) == 0);
      fds[1] = accept4(listener, NULL, NULL, extra ? SOCK_NONBLOCK : 0);
      for (int k = 0; k < 2; k++) CHECK(setsockopt(fds[k], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
      CHECK(close(listener) == 0);
      put_pair(fds, TCP, TCP, i);
      break;
    }
    case EVENT: put(eventfd(draw(3), (draw(2) ? EFD_SEMAPHORE : 0) | (extra ? EFD_NONBLOCK : 0)), EVENT, i); break;
    case TIMER: put(timerfd_create(CLOCK_MONOTONIC, extra ? TFD_NONBLOCK : 0), TIMER, i); break;
    case REGULAR: put(memfd_create("walk", 0), REGULAR, i); break;
    case EPOLL: put(epoll_create1(0), EPOLL, i); break;
    case LISTENER: {
      int fd = socket(AF_UNIX, SOCK_STREAM | (extra ? SOCK_NONBLOCK : 0), 0);
      struct sockaddr_un name = {.sun_family = AF_UNIX};
      CHECK(bind(fd, (struct sockaddr*)&name, sizeof(sa_family_t)) == 0 && listen(fd, 2) == 0);
      put(fd, LISTENER, i);
      break;
    }
    default: break;
  }
}

static void close_one(int i) {
  printf("close %d %s", i, names[slots[i].kind]);
  result(close(fd_of(i)));
  slots[i].kind = NONE;
}

static void duplicate(int i) {
  int k = draw(3) == 0 ? some() : free_slot();
  if (k < 0 || k == i) return;
  printf("dup %d %s over %d %s", i, names[slots[i].kind], k, names[slots[k].kind]);
  result(draw(2) ? dup2(fd_of(i), fd_of(k)) : dup3(fd_of(i), fd_of(k), O_CLOEXEC));
  slots[k] = slots[i];
}

static void set_nonblocking(int i) {
  int fd = fd_of(i), on = (int)draw(2);
  printf("nonblock %d %d", i, on);
  if (draw(3) == 0) {
    result(ioctl(fd, FIONBIO, &on));
  } else {
    int flags = fcntl(fd, F_GETFL);
    result(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
  }
  printf(" flags %x", (unsigned)fcntl(fd, F_GETFL) & (unsigned)(O_NONBLOCK | O_APPEND | O_ACCMODE));
}

static void do_write(int i) {
  int fd = fd_of(i);
  size_t n = draw(4) == 0 ? draw(MOST) + 1 : draw(40) + 1;
  enum kind kind = slots[i].kind;
  printf("write %d %s", i, names[kind]);
  if (kind == EVENT) {
    uint64_t add = draw(5);
    if (!may(fd, POLLOUT)) return;
    printf(" add %u", (unsigned)add);
    result(write(fd, &add, draw(8) == 0 ? 4 : 8));
    return;
  }
  if (kind == EPOLL || kind == LISTENER || kind == TIMER || kind == PIPE_IN) n = 8;
  if (!may(fd, POLLOUT)) {
    printf(" full");
    return;
  }
  fill(n);
  printf(" %zu", n);
  struct iovec iov[3] = {{bytes, n / 3}, {bytes + n / 3, 0}, {bytes + n / 3, n - n / 3}};
  switch (draw(6)) {
    case 0: result(writev(fd, iov, 3)); break;
    case 1: result(send(fd, bytes, n, (draw(2) ? MSG_DONTWAIT : 0) | MSG_NOSIGNAL)); break;
    case 2: {
      struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 3};
      result(sendmsg(fd, &msg, MSG_NOSIGNAL));
      break;
    }
    case 3: result(pwrite(fd, bytes, n, draw(100))); break;
    default: result(write(fd, bytes, n));
  }
}

static void do_read(int i) {
  int fd = fd_of(i);
  size_t n = draw(3) == 0 ? MOST : draw(60) + 1;
  enum kind kind = slots[i].kind;
  printf("read %d %s %zu", i, names[kind], n);
  memset(bytes, 0, sizeof bytes);
  if (kind == EVENT || kind == TIMER) {
    uint64_t v = 0;
    if (!may(fd, POLLIN)) return;
    result(read(fd, &v, draw(8) == 0 ? 4 : 8));
    printf(" value %u", (unsigned)v);
    return;
  }
  if (!may(fd, POLLIN)) {
    printf(" empty");
    return;
  }
  struct iovec iov[3] = {{bytes, n / 3}, {bytes + n / 3, 0}, {bytes + n / 3, n - n / 3}};
  unsigned how = draw(9);
  if (kind == LISTENER || kind == EPOLL) how = 8;
  switch (how) {
    case 0: got(readv(fd, iov, 3)); break;
    case 1: got(recv(fd, bytes, n, MSG_PEEK)); break;
    case 2: got(recv(fd, bytes, n, MSG_DONTWAIT)); break;
    case 3: got(recv(fd, bytes, n, MSG_TRUNC | MSG_DONTWAIT)); break;
    case 4: {
      char control[64];
      struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 3, .msg_control = control, .msg_controllen = sizeof control};
      got(recvmsg(fd, &msg, MSG_CMSG_CLOEXEC));
      printf(" flags %x control %d", (unsigned)msg.msg_flags, (int)msg.msg_controllen);
      if (msg.msg_controllen == sizeof control) break; /* it has failed */
      struct cmsghdr* c = CMSG_FIRSTHDR(&msg);
      if (c != NULL && c->cmsg_type == SCM_RIGHTS) {
        int passed, k = free_slot();
        memcpy(&passed, CMSG_DATA(c), sizeof passed);
        struct stat st;
        CHECK(fstat(passed, &st) == 0);
        printf(" passed %o", st.st_mode & S_IFMT);
        if (k >= 0 && S_ISFIFO(st.st_mode)) {
          int flags = fcntl(passed, F_GETFL);
          put(passed, (flags & O_ACCMODE) == O_RDONLY ? PIPE_IN : PIPE_OUT, k);
          printf(" to %d", k);
        } else {
          CHECK(close(passed) == 0);
        }
      }
      break;
    }
    case 5: got(pread(fd, bytes, n, draw(100))); break;
    default: got(read(fd, bytes, n));
  }
}

static void pass(int i) {
  int k = some();
  if (k < 0 || slots[i].kind < STREAM || slots[i].kind > SEQ) return;
  printf("pass %d by %d", k, i);
  if (slots[k].kind != PIPE_IN && slots[k].kind != PIPE_OUT) return;
  if (!may(fd_of(i), POLLOUT)) return;
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct iovec iov = {"p", 1};
  struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space};
  control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  int fd = fd_of(k);
  memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  result(sendmsg(fd_of(i), &msg, MSG_NOSIGNAL));
}

/* A read that sleeps, while the second thread is about to write, or to hang up. */
static void sleep_for_it(int i) {
  int fd = fd_of(i), peer = slots[i].peer;
  if (!beside || peer < 0 || slots[peer].kind == NONE || slots[i].kind < PIPE_IN || slots[i].kind > TCP || slots[i].kind == PIPE_OUT) return;
  printf("sleep in %d %s", i, names[slots[i].kind]);
  if (nonblocking(fd) || nonblocking(fd_of(peer)) || ready(fd, POLLIN) || !ready(fd_of(peer), POLLOUT)) return;
  struct pollfd p = {fd_of(peer), POLLOUT, 0};
  CHECK(poll(&p, 1, 0) >= 0);
  if (p.revents != POLLOUT) return;
  errand.fd = fd_of(peer);
  errand.n = draw(36) + 1;
  errand.close_it = slots[i].kind != PIPE_IN && slots[i].kind != DGRAM && draw(8) == 0;
  unsigned how = draw(6);
  printf(" for %zu%s how %u", errand.n, errand.close_it ? " end" : "", how);
  CHECK(sem_post(&asked) == 0);
  memset(bytes, 0, sizeof bytes);
  struct pollfd in = {fd, POLLIN, 0};
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fd, &set);
  struct timeval most = {0, 200000};
  switch (how) {
    case 0: result(poll(&in, 1, 200)), printf(" %x", (unsigned)in.revents); break;
    case 1: result(select(fd + 1, &set, NULL, NULL, &most)), printf(" %d", FD_ISSET(fd, &set) != 0); break;
    case 2: {
      int events = epoll_create1(0);
      struct epoll_event e = {.events = EPOLLIN | (draw(2) ? EPOLLET : 0), .data = {.u32 = (unsigned)i}};
      CHECK(epoll_ctl(events, EPOLL_CTL_ADD, fd, &e) == 0);
      result(epoll_wait(events, &e, 1, 200)), printf(" %x", e.events);
      CHECK(close(events) == 0);
      break;
    }
    case 3: got(slots[i].kind == PIPE_IN ? read(fd, bytes, 100) : recv(fd, bytes, 100, MSG_PEEK)); break;
    case 4: {
      struct iovec iov[2] = {{bytes, 10}, {bytes + 10, 90}};
      got(readv(fd, iov, 2));
      break;
    }
    default: got(read(fd, bytes, 100));
  }
  while (sem_wait(&served) != 0) {
  }
}

static void time_out(int i) {
  int fd = fd_of(i);
  struct timeval t = {0, 3000}, none = {0, 0};
  if (slots[i].kind < STREAM || slots[i].kind > TCP || nonblocking(fd)) return;
  printf("time-out %d %s", i, names[slots[i].kind]);
  CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0);
  memset(bytes, 0, sizeof bytes);
  got(draw(2) ? recv(fd, bytes, 30, draw(2) ? MSG_WAITALL : 0) : read(fd, bytes, 30));
  CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none) == 0);
}

static void poll_some(void) {
  struct pollfd p[6];
  nfds_t n = draw(6) + 1;
  int wait = draw(4) == 0 ? 2 : 0;
  for (nfds_t k = 0; k < n; k++) {
    static const short wanted[] = {POLLIN, POLLOUT, POLLIN | POLLOUT, POLLRDHUP | POLLIN, POLLPRI, 0};
    p[k] = (struct pollfd){draw(12) == 0 ? -1 : fd_of((int)draw(SLOTS)), wanted[draw(6)], 0};
  }
  printf("poll");
  result(poll(p, n, wait));
  for (nfds_t k = 0; k < n; k++) printf(" %d:%x=%x", p[k].fd, (unsigned)p[k].events, (unsigned)p[k].revents);
}
static void select_some(void) {
  fd_set in, out, except;
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_ZERO(&except);
  int nfds = 0, bad = draw(10) == 0;
  for (int k = 0; k < 5; k++) {
    int i = (int)draw(SLOTS);
    if (slots[i].kind == NONE && !bad) continue;
    FD_SET(fd_of(i), draw(5) == 0 ? &except : draw(2) ? &in : &out);
    if (fd_of(i) >= nfds) nfds = fd_of(i) + 1;
  }
  struct timeval t = {0, draw(4) == 0 ? 2000 : 0};
  printf("select");
  result(select(nfds, &in, &out, &except, &t));
  for (int fd = 0; fd < nfds; fd++) {
    int bits = (FD_ISSET(fd, &in) != 0) | (FD_ISSET(fd, &out) != 0) << 1 | (FD_ISSET(fd, &except) != 0) << 2;
    if (bits != 0) printf(" %d:%d", fd, bits);
  }
}

static int by_data(const void* a, const void* b) {
  const struct epoll_event *x = a, *y = b;
  return x->data.u32 < y->data.u32 ? -1 : x->data.u32 > y->data.u32;
}
static void use_epoll(int i) {
  if (slots[i].kind != EPOLL) {
    for (i = 0; i < SLOTS && slots[i].kind != EPOLL;) i++;
    if (i == SLOTS) return;
  }
  unsigned what = draw(5);
  if (what < 3) {
    int k = (int)draw(SLOTS), op = (int)draw(3);
    static const int ops[] = {EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL};
    struct epoll_event e = {.events = draw(4) | (draw(2) ? EPOLLIN : EPOLLOUT), .data = {.u32 = (unsigned)k}};
    if (draw(2)) e.events |= (uint32_t)EPOLLET;
    if (draw(5) == 0) e.events |= EPOLLONESHOT;
    if (draw(5) == 0) e.events |= EPOLLRDHUP;
    if (slots[k].kind == EPOLL && op == 0) return; /* no nests: their wake-ups are another matter */
    if (slots[k].kind == TCP) e.events &= ~(uint32_t)EPOLLET; /* an acknowledgement may come at any time, and be an edge */
    printf("epoll_ctl %d %d %d %x", i, ops[op], k, e.events);
    result(epoll_ctl(fd_of(i), ops[op], fd_of(k), &e));
    return;
  }
  struct epoll_event e[SLOTS];
  printf("epoll_wait %d", i);
  int n = epoll_wait(fd_of(i), e, SLOTS, draw(3) == 0 ? 2 : 0);
  result(n);
  if (n > 0) qsort(e, (size_t)n, sizeof *e, by_data);
  for (int k = 0; k < n; k++) printf(" %u=%x", e[k].data.u32, e[k].events);
}

static void use_timer(int i) {
  if (slots[i].kind != TIMER) return;
  struct itimerspec t = {{0, 0}, {0, draw(2) ? 1000 : 0}};
  printf("timer %d %ld", i, t.it_value.tv_nsec);
  result(timerfd_settime(fd_of(i), 0, &t, NULL));
  usleep(300);
}

static void use_file(int i) {
  int fd = fd_of(i);
  if (slots[i].kind != REGULAR) return;
  switch (draw(4)) {
    case 0: printf("seek %d", i), result(lseek(fd, draw(200), SEEK_SET)); break;
    case 1: printf("end %d", i), result(lseek(fd, 0, SEEK_END)); break;
    case 2: printf("truncate %d", i), result(ftruncate(fd, draw(300))); break;
    default: {
      int flags = fcntl(fd, F_GETFL);
      printf("append %d", i);
      result(fcntl(fd, F_SETFL, flags ^ O_APPEND));
    }
  }
}

static void transfer(int i) {
  int k = some();
  if (k < 0) return;
  size_t n = draw(60) + 1;
  unsigned how = draw(3);
  int from = fd_of(i), to = fd_of(k);
  if (how == 0 && slots[i].kind == REGULAR) {
    if (slots[k].kind == EPOLL || slots[k].kind == LISTENER || slots[k].kind == TIMER || slots[k].kind == EVENT || !may(to, POLLOUT)) return;
    printf("sendfile %d to %d %s", i, k, names[slots[k].kind]);
    result(sendfile(to, from, NULL, n));
  } else if (how == 1 && (slots[i].kind == PIPE_IN || slots[k].kind == PIPE_OUT)) {
    if (slots[i].kind == EPOLL || slots[k].kind == EPOLL || slots[i].kind == DGRAM || slots[k].kind == DGRAM) return;
    printf("splice %d %s to %d %s", i, names[slots[i].kind], k, names[slots[k].kind]);
    result(splice(from, NULL, to, NULL, n, SPLICE_F_NONBLOCK));
  } else if (slots[i].kind == PIPE_IN && slots[k].kind == PIPE_OUT) {
    printf("tee %d to %d", i, k);
    result(tee(from, to, n, SPLICE_F_NONBLOCK));
  }
}

static void use_listener(int i) {
  if (slots[i].kind != LISTENER) return;
  int k = free_slot();
  if (k < 0) return;
  struct sockaddr_un name = {0};
  socklen_t size = sizeof name;
  CHECK(getsockname(fd_of(i), (struct sockaddr*)&name, &size) == 0);
  if (draw(2)) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    printf("connect to %d", i);
    result(connect(fd, (struct sockaddr*)&name, size));
    put(fd, STREAM, k);
    return;
  }
  printf("accept from %d", i);
  if (!may(fd_of(i), POLLIN)) return;
  int fd = accept4(fd_of(i), NULL, NULL, draw(2) ? SOCK_NONBLOCK : 0);
  printf(" %s", fd < 0 ? strerrorname_np(errno) : "one");
  if (fd >= 0) put(fd, STREAM, k);
}

static void hang_up(int i) {
  static const int how[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};
  unsigned k = draw(3);
  printf("shutdown %d %u", i, k);
  result(shutdown(fd_of(i), how[k]));
}

static void ask(int i) {
  int fd = fd_of(i), n = -1, type = 0, error = 0;
  socklen_t size = sizeof type;
  printf("ask %d %s", i, names[slots[i].kind]);
  if (slots[i].kind != TCP) printf(" %d", ioctl(fd, FIONREAD, &n)), printf(" %d", n); /* a segment may be on its way */
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0) printf(" type %d", type);
  if (slots[i].kind >= STREAM && slots[i].kind <= TCP) {
    size = sizeof error;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
    printf(" error %d", error);
  }
  printf(" cloexec %d", fcntl(fd, F_GETFD));
}

/* A child uses what it shares, and goes. */
static void use_elsewhere(int i) {
  fflush(stdout);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    static void (*const each[])(int) = {do_write, do_read, set_nonblocking, close_one};
    printf("[ ");
    each[draw(4)](i);
    printf(" ]");
    fflush(stdout);
    _exit(0);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid);
  draw(7);
  printf("child %x", (unsigned)status);
}

static void step(void) {
  int i = some();
  unsigned what = draw(30);
  if (i < 0 || what < 4) {
    create();
  } else if (what < 8) {
    do_write(i);
  } else if (what < 12) {
    do_read(i);
  } else {
    switch (what) {
      case 12: close_one(i); break;
      case 13: duplicate(i); break;
      case 14: set_nonblocking(i); break;
      case 15: pass(i); break;
      case 16:
      case 17:
      case 18: sleep_for_it(i); break;
      case 19: time_out(i); break;
      case 20: poll_some(); break;
      case 21: select_some(); break;
      case 22:
      case 23:
      case 24: use_epoll(i); break;
      case 25: use_timer(i), use_file(i); break;
      case 26: transfer(i); break;
      case 27: use_listener(i); break;
      case 28: draw(3) == 0 ? hang_up(i) : ask(i); break;
      default: draw(3) == 0 ? use_elsewhere(i) : ask(i);
    }
  }
}

static void begin(void) {
  setvbuf(stdout, NULL, _IOLBF, 0); /* what it printed is not lost when the alarm ends it */
  signal(SIGPIPE, SIG_IGN);
  alarm(4);
  if (!beside) return;
  pthread_t t;
  CHECK(sem_init(&asked, 0, 0) == 0 && sem_init(&served, 0, 0) == 0);
  CHECK(pthread_create(&t, NULL, second, NULL) == 0);
}

static void walks_alone(void) { walks(0, 1, 30, 250); }
static void walks_beside_a_thread(void) { walks(1, 101, 130, 250); }

static const struct test_case cases[] = {CASE(walks_alone), CASE(walks_beside_a_thread)};
WALK_MAIN(cases)
