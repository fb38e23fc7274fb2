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

// m is the call as the program made it, its second and third argument the buffer and its length: what can't
// wait here is trapped as it is. `address`: sendto's and recvfrom's, 0 otherwise. By registers and for tail
// calls: after a trap the processor predicts no return, and a waiting thread's stack is not in the cache.
int socket_receive(union sysunion* m, fdentry* e, int flags, uint64_t address, uint64_t address_len);
int socket_send(union sysunion* m, fdentry* e, int flags, uint64_t address, uint64_t address_len);
// readv and writev: `msg` is ours, m the call.
int socket_receive_iov(union sysunion* m, fdentry* e, int fd, kmsghdr* msg);
int socket_send_iov(union sysunion* m, fdentry* e, int fd, kmsghdr* msg, int flags);

}  // namespace cr
