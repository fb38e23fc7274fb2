#include "beat.h"

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "../../arch/rawcall.h"
#include "../lwkt/clock.h"
#include "engine.h"
#include "epoll.h"
#include "timer.h"

namespace cr {

namespace {

struct Beat {
  int fd = -1;
  uint64_t due = 0;  // ns of CLOCK_MONOTONIC: when it comes, or came
};

// The poller's, but for the descriptors' numbers (engine_move_fd).
Beat beats[2];
bool refused;  // no descriptors, or the kernel may not let us (seccomp)

bool set(Beat& b, uint64_t due) {
  itimerspec when{};
  when.it_value = clock_timespec(due);
  int fd = __atomic_load_n(&b.fd, __ATOMIC_SEQ_CST);
  if (raw_failed(raw4(SYS_timerfd_settime, fd, TFD_TIMER_ABSTIME, reinterpret_cast<long>(&when), 0))) return false;
  b.due = due;
  return true;
}

bool open(Beat& b) {
  long fd = raw2(SYS_timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (raw_failed(fd)) return false;
  b.fd = static_cast<int>(fd);
  engine_hide_fd(&b.fd);
  epoll_event ev;
  ev.events = EPOLLIN | EPOLLET;
  ev.data.u64 = kBeatEvent;
  return !raw_failed(raw4(SYS_epoll_ctl, epoll_instance(), EPOLL_CTL_ADD, b.fd, reinterpret_cast<long>(&ev)));
}

bool made(Beat& b) {
  if (b.fd >= 0) return true;
  engine_lock();  // no fork, and nobody moves what is open, in between
  bool ok = open(b);
  engine_unlock();
  return ok;
}

}  // namespace

bool beat_by(uint64_t deadline) {
  if (!timer_crowded() || deadline == kNever || refused || engine_retired()) return false;
  uint64_t now = clock_monotonic();
  Beat& first = beats[0].due <= beats[1].due ? beats[0] : beats[1];
  Beat& last = &first == &beats[0] ? beats[1] : beats[0];
  if (first.due > now) return first.due <= deadline;
  // The first has gone off; if the last has, too, they begin anew.
  refused = !made(first) || !made(last);
  if (refused) return false;
  if (last.due <= now) {
    if (deadline <= now) return false;
    refused = !set(last, deadline);
  }
  if (refused || last.due > deadline) return false;
  refused = !set(first, last.due + kBeat);
  return !refused;
}

void beat_came() { timer_expire(clock_monotonic()); }

void beat_atfork_child() {
  for (Beat& b : beats) {
    if (b.fd >= 0) raw1(SYS_close, b.fd);
    b = Beat{};
  }
  refused = false;
}

}  // namespace cr
