#include "lookout.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/atomic.h"
#include "engine.h"
#include "epoll.h"

namespace cr {

namespace {

int lookfd = -1;
int bellfd = -1;
uint32_t stands;  // something was kept once
uint32_t kept;    // the next event will be told

enum : uint64_t { kEvents, kBell };

long control(int op, int fd, uint64_t which, uint32_t events) {
  epoll_event ev;
  ev.events = events;
  ev.data.u64 = which;
  return raw4(SYS_epoll_ctl, lookfd, op, fd, reinterpret_cast<long>(&ev));
}

}  // namespace

void lookout_open() {
  auto look = static_cast<int>(raw1(SYS_epoll_create1, EPOLL_CLOEXEC));
  auto bell = static_cast<int>(raw2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
  lookfd = look;
  if (look < 0 || bell < 0 || raw_failed(control(EPOLL_CTL_ADD, bell, kBell, EPOLLIN))) {
    if (look >= 0) raw1(SYS_close, look);
    if (bell >= 0) raw1(SYS_close, bell);
    lookfd = -1;
    return;
  }
  bellfd = bell;
  engine_hide_fd(&bellfd);
  engine_hide_fd(&lookfd);
}

void lookout_keep() {
  if (lookfd < 0 || engine_retired() || !epoll_is_exact()) return;
  if (__atomic_exchange_n(&kept, 1u, __ATOMIC_SEQ_CST) != 0) return;
  constexpr uint32_t kOnce = EPOLLIN | EPOLLONESHOT;
  long r = control(EPOLL_CTL_MOD, epoll_instance(), kEvents, kOnce);
  // It is not in there yet, or has another number since (engine_move_fd).
  if (r == -ENOENT) r = control(EPOLL_CTL_ADD, epoll_instance(), kEvents, kOnce);
  // Where the kernel refuses (the depth of nesting, the user's watches) it is not asked again.
  if (!raw_failed(r) && load_acquire(&stands) == 0) store_release(&stands, 1u);
}

bool lookout_stands() { return load_acquire(&stands) != 0 && !engine_retired() && epoll_is_exact(); }

bool lookout_sleep(uint64_t until) {
  constexpr int kBoth = 2;
  epoll_event ev[kBoth];
  constexpr uint64_t kFar = 50'000'000;
  if (until != kNever && until > clock_monotonic() + kFar) until = epoll_before(until);
  long n = epoll_wait_until(lookfd, ev, kBoth, until);
  if (n < 0 && n != -EINTR) store_release(&stands, 0u);  // or it would not sleep at all
  bool events = false;
  for (long i = 0; i < n; i++) {
    if (ev[i].data.u64 == kEvents) {
      events = true;
      __atomic_store_n(&kept, 0u, __ATOMIC_SEQ_CST);
    } else {
      uint64_t count;
      raw3(SYS_read, bellfd, reinterpret_cast<long>(&count), sizeof count);
    }
  }
  return events;
}

void lookout_rouse() {
  uint64_t one = 1;
  raw3(SYS_write, bellfd, reinterpret_cast<long>(&one), sizeof one);
}

void lookout_atfork_child() {
  if (lookfd >= 0) raw1(SYS_close, lookfd);
  if (bellfd >= 0) raw1(SYS_close, bellfd);
  lookfd = bellfd = -1;
  stands = kept = 0;
}

}  // namespace cr
