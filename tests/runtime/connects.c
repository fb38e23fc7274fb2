/* connect from many threads, and one that takes its time.
 *
 * A connection takes as long as one likes where the listener's backlog is full: its SYN is not answered.
 * libcr serves the loopback and what is elsewhere in different ways; an address of the loopback that is written as
 * IPv6's is "elsewhere" to it (where there is no IPv6, both are one).
 */
#include "blocking.h"

static void* nap(void* p) {
  for (;;) sleep_ms(1);
  return NULL;
}
static void begin(void) {
  alarm(50);
  pthread_detach(start(nap, NULL));
  settle();
}

enum way { NEAR, FAR, WAYS };
static struct sockaddr_in near;
static struct sockaddr_in6 far;
static int listener;

/* A socket for a way; the address to connect to with connect_by. */
static int have_ipv6(void) {
  static int known;
  if (known == 0) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    known = fd >= 0 ? 1 : -1;
    if (fd >= 0) close(fd);
  }
  return known > 0;
}
static int new_socket(enum way way) {
  int fd = socket(way == FAR && have_ipv6() ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0);
  return fd;
}
static void set_port(in_port_t port) {
  near.sin_family = AF_INET;
  near.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  near.sin_port = port;
  memset(&far, 0, sizeof far);
  far.sin6_family = AF_INET6;
  far.sin6_addr.s6_addr[10] = far.sin6_addr.s6_addr[11] = 0xff;
  memcpy(far.sin6_addr.s6_addr + 12, &near.sin_addr, 4);
  far.sin6_port = port;
}
static void begin_listening(int backlog) {
  struct sockaddr_in address;
  listener = listen_on_loopback(&address, backlog);
  set_port(address.sin_port);
}
static int connect_by(enum way way, int fd) {
  if (way == FAR && have_ipv6()) return connect(fd, (struct sockaddr*)&far, sizeof far);
  return connect(fd, (struct sockaddr*)&near, sizeof near);
}
/* From now on nobody gets through. */
static int full_backlog(void) {
  begin_listening(0);
  int fd = new_socket(NEAR);
  CHECK(connect_by(NEAR, fd) == 0);
  for (int i = 0; i < 2; i++) { /* whether one or two fit is the kernel's */
    int more = new_socket(NEAR);
    nonblocking(more, 1);
    CHECK(connect_by(NEAR, more) == -1 && errno == EINPROGRESS);
  }
  return fd;
}

/* ---- many ---- */

enum { MANY = 60 };
static void* connect_and_echo(void* p) {
  enum way way = (intptr_t)p % WAYS;
  char c = 'a' + (char)((intptr_t)p % 26), got = 0;
  int fd = new_socket(way);
  CHECK(connect_by(way, fd) == 0 && write(fd, &c, 1) == 1 && read(fd, &got, 1) == 1 && got == c);
  CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
  CHECK(connect_by(way, fd) == -1 && errno == EISCONN);
  close(fd);
  return NULL;
}
static void* echo_all(void* p) {
  for (int i = 0; i < MANY; i++) {
    char c;
    int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0 && read(fd, &c, 1) == 1 && write(fd, &c, 1) == 1);
    close(fd);
  }
  return NULL;
}
static void many_threads_connect_and_echo(void) {
  pthread_t t[MANY];
  begin();
  begin_listening(MANY);
  pthread_t server = start(echo_all, NULL);
  for (int i = 0; i < MANY; i++) t[i] = start(connect_and_echo, (void*)(intptr_t)i);
  for (int i = 0; i < MANY; i++) finish(t[i]);
  finish(server);
  puts("all");
}

/* ---- errors ---- */

static void a_refused_socket_connects_elsewhere(void) {
  begin();
  for (int way = 0; way < WAYS; way++) {
    begin_listening(4);
    in_port_t good = near.sin_port;
    struct sockaddr_in gone;
    int dead = listen_on_loopback(&gone, 1), fd = new_socket(way);
    close(dead);
    set_port(gone.sin_port);
    for (int i = 0; i < 3; i++) {
      CHECK(connect_by(way, fd) == -1);
      printf("%s ", strerrorname_np(errno));
    }
    set_port(good);
    printf("%s\n", outcome(connect_by(way, fd)));
    CHECK(connect_by(way, fd) == -1 && errno == EISCONN);
    close(fd);
    close(listener);
  }
}

static void wrong_arguments_are_refused_at_once(void) {
  int fd[2], s = new_socket(FAR), closed = dup(s);
  struct sockaddr_in6 other;
  begin();
  begin_listening(4);
  CHECK(pipe(fd) == 0 && close(closed) == 0);
  other = far;
  other.sin6_family = AF_BLUETOOTH;
  printf("%s ", outcome(connect(s, (struct sockaddr*)&other, sizeof other)));
  printf("%s ", outcome(connect(s, (struct sockaddr*)&far, 3)));
  printf("%s ", outcome(connect(s, (struct sockaddr*)&far, 4000)));
  printf("%s ", outcome(connect(s, (struct sockaddr*)-1l, sizeof far)));
  printf("%s ", outcome(connect(closed, (struct sockaddr*)&far, sizeof far)));
  printf("%s ", outcome(connect(fd[0], (struct sockaddr*)&far, sizeof far)));
  printf("%s\n", outcome(connect(listener, (struct sockaddr*)&near, sizeof near)));
  CHECK(connect_by(FAR, s) == 0);
  struct sockaddr none = {.sa_family = AF_UNSPEC};
  CHECK(connect(s, &none, sizeof none) == 0 && connect_by(FAR, s) == 0);
}

static void what_does_not_block_does_not(void) {
  int first;
  begin();
  first = full_backlog();
  for (int way = 0; way < WAYS; way++) {
    int s = new_socket(way);
    nonblocking(s, 1);
    printf("%s ", outcome(connect_by(way, s)));
    printf("%s\n", outcome(connect_by(way, s)));
    int u = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(connect(u, (struct sockaddr*)&near, sizeof near) == 0);
  }
  close(first);
}

/* ---- one that takes its time ---- */

static int slow; /* the socket that a thread connects */
static enum way slow_way;
static void* connect_slowly(void* p) {
  int r = connect_by(slow_way, slow);
  return (void*)(intptr_t)(r == 0 ? 0 : errno);
}
static void a_send_timeout_ends_it_in_progress(void) {
  begin();
  for (int way = 0; way < WAYS; way++) {
    struct timeval tv = {0, 80000};
    int first = full_backlog();
    slow = new_socket(way);
    CHECK(setsockopt(slow, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
    slow_way = way;
    int64_t begun_at = now_ms();
    pthread_t t = start(connect_slowly, NULL);
    printf("%s ", strerrorname_np((int)(intptr_t)finish(t)));
    /* in ticks, which a virtual machine may make up for: it is 80 ms, but for two */
    CHECK(now_ms() - begun_at >= 71);
    begun_at = now_ms();
    printf("%s ", outcome(connect_by(way, slow))); /* it waits for the same time again */
    CHECK(now_ms() - begun_at >= 71);
    nonblocking(slow, 1);
    printf("%s\n", outcome(connect_by(way, slow)));
    close(slow);
    close(first);
    close(listener);
  }
}

static void a_signal_without_sa_restart_ends_it_and_it_goes_on_in_the_background(void) {
  begin();
  handle(SIGUSR1, count_signal, 0);
  for (int i = 0; i < 2 * WAYS; i++) {
    struct timeval tv = {30, 0};
    int first = full_backlog();
    slow_way = i % WAYS;
    slow = new_socket(slow_way);
    if (i >= WAYS) CHECK(setsockopt(slow, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
    pthread_t t = start(connect_slowly, NULL);
    settle();
    void* result;
    while (pthread_tryjoin_np(t, &result) != 0) {
      pthread_kill(t, SIGUSR1);
      sleep_ms(10);
    }
    printf("%s ", strerrorname_np((int)(intptr_t)result));
    nonblocking(slow, 1);
    printf("%s\n", outcome(connect_by(slow_way, slow)));
    close(slow);
    close(first);
    close(listener);
  }
}

/* With a time-out no handler makes it restart; without one it goes on until the listener takes it. */
static void* accept_all(void* p) {
  for (;;) CHECK(accept(listener, NULL, NULL) >= 0);
  return NULL;
}
static void with_sa_restart_it_goes_on_until_it_is_connected(void) {
  pthread_t t;
  begin();
  handle(SIGUSR1, count_signal, SA_RESTART);
  full_backlog();
  slow_way = FAR;
  slow = new_socket(FAR);
  t = start(connect_slowly, NULL);
  settle();
  for (int i = 0; i < 5; i++) {
    pthread_kill(t, SIGUSR1);
    sleep_ms(5);
  }
  pthread_detach(start(accept_all, NULL));
  printf("%s ", (int)(intptr_t)finish(t) == 0 ? "connected" : "not");
  printf("%s\n", outcome(connect_by(FAR, slow)));
  CHECK(signals_got >= 1);
}
static void a_timed_one_is_not_restarted(void) {
  struct timeval tv = {30, 0};
  begin();
  handle(SIGUSR1, count_signal, SA_RESTART);
  full_backlog();
  slow_way = FAR;
  slow = new_socket(FAR);
  CHECK(setsockopt(slow, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
  pthread_t t = start(connect_slowly, NULL);
  settle();
  void* result;
  while (pthread_tryjoin_np(t, &result) != 0) {
    pthread_kill(t, SIGUSR1);
    sleep_ms(10);
  }
  puts(strerrorname_np((int)(intptr_t)result));
}

static void it_can_be_cancelled(void) {
  begin();
  for (int way = 0; way < WAYS; way++) {
    int first = full_backlog();
    slow_way = way;
    slow = new_socket(way);
    pthread_t t = start(connect_slowly, NULL);
    settle();
    CHECK(pthread_cancel(t) == 0);
    CHECK(finish(t) == PTHREAD_CANCELED);
    nonblocking(slow, 1);
    printf("%s\n", outcome(connect_by(way, slow)));
    close(slow);
    close(first);
    close(listener);
  }
}

static void a_close_by_another_thread_leaves_it_alone(void) {
  begin();
  for (int way = 0; way < WAYS; way++) {
    struct timeval tv = {0, 200000};
    int first = full_backlog();
    slow_way = way;
    slow = new_socket(way);
    CHECK(setsockopt(slow, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
    pthread_t t = start(connect_slowly, NULL);
    settle();
    CHECK(close(slow) == 0);
    int other = new_socket(way); /* takes the number */
    printf("%d %s\n", other == slow, strerrorname_np((int)(intptr_t)finish(t)));
    nonblocking(other, 1);
    printf("%s\n", outcome(connect_by(way, other)));
    close(other);
    close(first);
    close(listener);
  }
}

static void a_fork_meanwhile_leaves_it_alone(void) {
  begin();
  for (int way = 0; way < WAYS; way++) {
    struct timeval tv = {0, 200000};
    int first = full_backlog();
    slow_way = way;
    slow = new_socket(way);
    CHECK(setsockopt(slow, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
    pthread_t t = start(connect_slowly, NULL);
    settle();
    pid_t pid = fork();
    if (pid == 0) {
      CHECK((fcntl(slow, F_GETFL) & O_NONBLOCK) == 0);
      pthread_detach(start(nap, NULL));
      struct timeval shorter = {0, 30000};
      CHECK(setsockopt(slow, SOL_SOCKET, SO_SNDTIMEO, &shorter, sizeof shorter) == 0);
      _exit(connect_by(way, slow) == -1 ? errno : 0);
    }
    printf("child: %s ", strerrorname_np(WEXITSTATUS(wait_for(pid))));
    printf("here: %s\n", strerrorname_np((int)(intptr_t)finish(t)));
    close(slow);
    close(first);
    close(listener);
  }
}

/* ---- unix ---- */

static struct sockaddr_un local;
static socklen_t local_size;
static void* connect_local(void* p) {
  int r = connect(slow, (struct sockaddr*)&local, local_size);
  return (void*)(intptr_t)(r == 0 ? 0 : errno);
}
static void a_full_unix_listener_is_waited_for(void) {
  struct timeval tv = {0, 50000}, none = {0, 0};
  int queued = 0;
  begin();
  local_size = abstract(&local, 1);
  listener = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(bind(listener, (struct sockaddr*)&local, local_size) == 0 && listen(listener, 1) == 0);
  for (;; queued++) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(fd, (struct sockaddr*)&local, local_size) == 0) continue;
    CHECK(errno == EAGAIN);
    close(fd);
    break;
  }
  slow = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(setsockopt(slow, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
  printf("%d, then %s\n", queued, outcome(connect(slow, (struct sockaddr*)&local, local_size)));
  CHECK(setsockopt(slow, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none) == 0);
  pthread_t t = start(connect_local, NULL);
  settle();
  CHECK(accept(listener, NULL, NULL) >= 0);
  printf("%d\n", (int)(intptr_t)finish(t));
}

static const struct test_case cases[] = {
    CASE(many_threads_connect_and_echo),
    CASE(a_refused_socket_connects_elsewhere),
    CASE(wrong_arguments_are_refused_at_once),
    CASE(what_does_not_block_does_not),
    CASE(a_send_timeout_ends_it_in_progress),
    CASE(a_signal_without_sa_restart_ends_it_and_it_goes_on_in_the_background),
    CASE(with_sa_restart_it_goes_on_until_it_is_connected),
    CASE(a_timed_one_is_not_restarted),
    CASE(it_can_be_cancelled),
    CASE(a_close_by_another_thread_leaves_it_alone),
    CASE(a_fork_meanwhile_leaves_it_alone),
    CASE(a_full_unix_listener_is_waited_for),
};
CASE_MAIN(cases)
