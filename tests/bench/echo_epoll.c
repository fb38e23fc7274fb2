// The echo server as one writes it by hand: one thread, one epoll, non-blocking sockets.
//
//   bench_echo_epoll [edge|level]
//
// Two calls for an echo, a read and a write, besides epoll_wait's share: a read that comes back
// short has emptied the socket (epoll(7)), so that edge-triggered operation needs no second one.
#define _GNU_SOURCE
#include <sys/epoll.h>

#include "echo.h"

enum { BATCH = 512, BUFFER = 4096 };

static uint32_t trigger = EPOLLET;

static void watch(int epoll, int fd, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
    bench_fail("epoll_ctl", errno);
  }
}

static void accept_all(int epoll, int listener) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    echo_set_nodelay(fd);
    watch(epoll, fd, EPOLLIN | trigger);
  }
  if (errno != EAGAIN) {
    bench_fail("accept4", errno);
  }
}

// Echoes what there is. A peer that doesn't read its answers is closed: the load generator has one
// message under way, and a queue for more would be no part of the measure.
static void serve(int fd) {
  static char buffer[BUFFER];
  for (;;) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EAGAIN) {
      return;
    }
    if (got <= 0 || write(fd, buffer, (size_t)got) != got) {
      close(fd);
      return;
    }
    if ((size_t)got < sizeof(buffer)) {
      return;
    }
  }
}

int main(int argc, char **argv) {
  if (argc > 1) {
    trigger = strcmp(argv[1], "level") == 0 ? 0 : EPOLLET;
  }
  const int listener = echo_listen(SOCK_NONBLOCK);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) {
    bench_fail("epoll_create1", errno);
  }
  watch(epoll, listener, EPOLLIN);
  for (;;) {
    struct epoll_event events[BATCH];
    const int ready = epoll_wait(epoll, events, BATCH, -1);
    if (ready < 0 && errno != EINTR) {
      bench_fail("epoll_wait", errno);
    }
    for (int i = 0; i < ready; i++) {
      if (events[i].data.fd == listener) {
        accept_all(epoll, listener);
      } else {
        serve(events[i].data.fd);
      }
    }
  }
}
