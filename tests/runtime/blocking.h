/* What the tests of blocking calls share: two ends of everything that data goes through, and threads
 * that are about to block.
 *
 * Nothing tells a program on libcr that another thread of it sleeps in a call, so settle() waits for it:
 * until the thread runs, natively until the kernel says that it sleeps, and a little longer. Where it can be, a
 * case is right also when the thread was late.
 */
#ifndef CR_TESTS_BLOCKING_H
#define CR_TESTS_BLOCKING_H

#include "case.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

enum family { TCP, UNIX_STREAM, UNIX_SEQPACKET, UNIX_DGRAM, PIPE, FAMILIES };
static const char* const family_names[] = {"tcp", "unix stream", "unix seqpacket", "unix dgram", "pipe"};

struct beginning {
  void* (*fn)(void*);
  void* arg;
};
static int begun = -1; /* the tid of the thread that was started last, once it runs */
static inline void* begin_thread(void* p) {
  struct beginning b = *(struct beginning*)p;
  free(p);
  __atomic_store_n(&begun, gettid(), __ATOMIC_SEQ_CST);
  return b.fn(b.arg);
}
static inline pthread_t start(void* (*fn)(void*), void* arg) {
  pthread_t t;
  struct beginning* b = malloc(sizeof *b);
  *b = (struct beginning){fn, arg};
  __atomic_store_n(&begun, 0, __ATOMIC_SEQ_CST);
  CHECK(pthread_create(&t, NULL, begin_thread, b) == 0);
  return t;
}
/* Also true of a thread that is gone or that the kernel does not know. */
static inline int kernel_says_asleep(int tid) {
  char path[64], line[256] = "";
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
  FILE* f = fopen(path, "re");
  if (f == NULL) return 1;
  fgets(line, sizeof line, f);
  fclose(f);
  const char* state = strrchr(line, ')');
  return state == NULL || state[2] != 'R';
}
static inline void settle(void) {
  int tid = -1;
  for (int i = 0; i < 2000 && (tid = __atomic_load_n(&begun, __ATOMIC_SEQ_CST)) == 0; i++) sleep_ms(1);
  for (int i = 0; i < 2000 && tid > 0 && !kernel_says_asleep(tid); i++) sleep_ms(1);
  sleep_ms(40);
}
static inline void* finish(pthread_t t) {
  void* r;
  CHECK(pthread_join(t, &r) == 0);
  return r;
}
static inline int wait_for(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR);
  return status;
}
static inline void handle(int sig, void (*fn)(int), int flags) {
  struct sigaction sa = {0};
  sa.sa_handler = fn;
  sa.sa_flags = flags;
  CHECK(sigaction(sig, &sa, NULL) == 0);
}
static volatile sig_atomic_t signals_got;
static inline void count_signal(int sig) { __atomic_add_fetch(&signals_got, 1, __ATOMIC_SEQ_CST); }

static inline void nonblocking(int fd, int on) {
  int flags = fcntl(fd, F_GETFL);
  CHECK(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) == 0);
}

static inline int listen_on_loopback(struct sockaddr_in* address, int backlog) {
  socklen_t length = sizeof *address;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  memset(address, 0, sizeof *address);
  address->sin_family = AF_INET;
  address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(fd >= 0 && bind(fd, (struct sockaddr*)address, length) == 0 && listen(fd, backlog) == 0);
  CHECK(getsockname(fd, (struct sockaddr*)address, &length) == 0);
  return fd;
}
static inline int connect_to(const struct sockaddr_in* address) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int one = 1;
  CHECK(fd >= 0 && connect(fd, (const struct sockaddr*)address, sizeof *address) == 0);
  CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
  return fd;
}
/* An address in the abstract name space: `n` and the process make it unique. */
static inline socklen_t abstract(struct sockaddr_un* address, int n) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  int length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "cr-test-%d-%d", getpid(), n);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

/* What is written to fd[1] is read from fd[0]; all but pipes go both ways. */
static inline void make_pair(enum family family, int fd[2]) {
  static const int types[] = {0, SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
  if (family == PIPE) {
    CHECK(pipe(fd) == 0);
  } else if (family == TCP) {
    struct sockaddr_in address;
    int listener = listen_on_loopback(&address, 4);
    fd[1] = connect_to(&address);
    fd[0] = accept(listener, NULL, NULL);
    CHECK(fd[0] >= 0 && close(listener) == 0);
  } else {
    CHECK(socketpair(AF_UNIX, types[family], 0, fd) == 0);
  }
}
static inline void close_pair(int fd[2]) {
  close(fd[0]);
  close(fd[1]);
}

static inline void read_all(int fd, void* buffer, size_t size) {
  for (size_t got = 0; got < size;) {
    ssize_t n = read(fd, (char*)buffer + got, size - got);
    if (n < 0 && errno == EINTR) continue;
    CHECK(n > 0);
    got += (size_t)n;
  }
}
static inline void write_all(int fd, const void* buffer, size_t size) {
  for (size_t put = 0; put < size;) {
    ssize_t n = write(fd, (const char*)buffer + put, size - put);
    if (n < 0 && errno == EINTR) continue;
    CHECK(n > 0);
    put += (size_t)n;
  }
}
/* Fills what lies between the ends; how much went in. */
static inline size_t fill(int fd) {
  char block[4096];
  size_t sum = 0;
  memset(block, 'f', sizeof block);
  nonblocking(fd, 1);
  for (;;) {
    ssize_t n = write(fd, block, sizeof block);
    if (n < 0) break;
    sum += (size_t)n;
  }
  CHECK(errno == EAGAIN);
  nonblocking(fd, 0);
  return sum;
}

/* A byte stream that tells where it is wrong. */
static inline void pattern(unsigned char* p, size_t size, size_t from) {
  for (size_t i = 0; i < size; i++) p[i] = (unsigned char)((from + i) * 31 >> 3);
}
static inline int is_pattern(const unsigned char* p, size_t size, size_t from) {
  for (size_t i = 0; i < size; i++) {
    if (p[i] != (unsigned char)((from + i) * 31 >> 3)) return 0;
  }
  return 1;
}

static inline const char* outcome(ssize_t result) {
  static _Thread_local char text[64];
  if (result >= 0) snprintf(text, sizeof text, "%zd", result);
  else snprintf(text, sizeof text, "%s", strerrorname_np(errno));
  return text;
}

#endif
