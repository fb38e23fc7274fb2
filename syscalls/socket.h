// Sending and receiving on sockets, for read and write too.
#pragma once

#include "blocking.h"

namespace cr {

struct kmsghdr {  // the kernel's struct user_msghdr
  uintptr_t name;
  uint32_t namelen;
  uintptr_t iov;
  size_t iovlen;
  uintptr_t control;
  size_t controllen;
  uint32_t flags;
};

struct kmmsghdr {
  kmsghdr msg;
  uint32_t len;
};

struct SocketBuffer {
  uint64_t at;
  uint64_t len;
  int flags;         // MSG_
  uint64_t address;  // sendto's and recvfrom's, 0 otherwise
  uint64_t address_len;
};

// m is the call as the program made it: what can't wait here is trapped as it is.
int socket_receive(union sysunion* m, fdentry* e, int fd, const SocketBuffer& b);
int socket_send(union sysunion* m, fdentry* e, int fd, const SocketBuffer& b);
// readv and writev: `msg` is ours, m the call.
int socket_receive_iov(union sysunion* m, fdentry* e, int fd, kmsghdr* msg);
int socket_send_iov(union sysunion* m, fdentry* e, int fd, kmsghdr* msg, int flags);

}  // namespace cr
