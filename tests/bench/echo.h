// What the echo servers share. A server listens on a loopback port that the kernel chooses, prints
// the port's number on one line of stdout and echoes until it is killed; bench_echo runs it. All of
// them answer whatever arrives, in any pieces; a message is of ECHO_BYTES only for the load
// generator and for the sizes of buffers.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

enum { ECHO_BYTES = 64, ECHO_BACKLOG = 4096 };

// A listening socket whose port has been told. `flags`: SOCK_NONBLOCK or 0.
static inline int echo_listen(int flags) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  if (listener < 0) {
    bench_fail("socket", errno);
  }
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof(address);
  if (bind(listener, (struct sockaddr *)&address, size) != 0 ||
      listen(listener, ECHO_BACKLOG) != 0 ||
      getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
    bench_fail("listen", errno);
  }
  printf("%u\n", ntohs(address.sin_port));
  fflush(stdout);
  return listener;
}

// Nagle's delay would be measured in place of the server.
static inline void echo_set_nodelay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}
