// Calls for which the kernel has no asynchronous form: locks on files, System V and POSIX message
// queues, semaphores, splices, and what waits for a disk to take what is cached.
//
// Their waiters stand in queues of the kernel's whose rules (who is next, who would deadlock, whom
// mq_notify passes over) can't be kept from outside, so they sleep in the kernel. But a call that
// is known to sleep gives its cpu away at once, where one on offer lets the other LWKTs wait for
// the monitor, 100 us and more. To know it
//   - a call that can be told not to wait is tried that way first, one trap more if it sleeps;
//   - the ends of a splice are polled;
//   - a call that waits for a disk is believed to: journals commit in milliseconds (file.cc says
//     what was measured for fsync).

#include "kernelwait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <time.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "blocking.h"
#include "sysent.h"
#include "timespec.h"

namespace cr {

namespace {

// m with argument `at` replaced. 0 or errno.
int try_with(union sysunion* m, int at, uint64_t value) {
  uint64_t kept = m->raw.arg[at];
  m->raw.arg[at] = value;
  int error = sysport_trap(m);
  m->raw.arg[at] = kept;
  return error;
}

// The call tried with argument `at` being `value`; where that says `would_wait`, or was interrupted
// by whatever, it is made as it is.
int try_then_sleep(union sysunion* m, int at, uint64_t value, int would_wait) {
  int error = try_with(m, at, value);
  return error == would_wait || error == EINTR ? sysport_trap_sleep(m) : error;
}

// While there is one LWKT the call sleeps at once. Where a signal just before the trap can't put it off, that does not
// end one that would not sleep.
int sleep_then_try(union sysunion* m, int at, uint64_t value, int would_wait) {
  int error = sysport_trap_first(m);
  if (__builtin_expect(error != ERESTARTSYS, 1)) return error;
  error = try_with(m, at, value);
  return error == would_wait || error == EINTR ? ERESTARTSYS : error;
}

int wait_for(union sysunion* m, int at, uint64_t value, int would_wait) {
  return sched_others() ? try_then_sleep(m, at, value, would_wait) : sleep_then_try(m, at, value, would_wait);
}

// One of the ends has no data, or no room: a splice of them will sleep. -1 is no end.
bool ends_sleep(int in, int out) {
  pollfd p[2] = {{in, POLLIN, 0}, {out, POLLOUT, 0}};
  return raw3(SYS_poll, reinterpret_cast<long>(p), 2, 0) < (in >= 0 ? 1 : 0) + (out >= 0 ? 1 : 0);
}

int splice_ends(union sysunion* m, int in, int out, uint64_t flags) {
  constexpr uint64_t kNonblock = 2;  // SPLICE_F_NONBLOCK
  bool sleeps = sched_others() && (flags & kNonblock) == 0 && ends_sleep(in, out);
  return sleeps ? sysport_trap_first_sleep(m) : sysport_trap_first(m);
}

bool valid_time(uint32_t nr, uint64_t at) {
  if (at == 0) return true;
  __kernel_timespec ts;
  return user_timespec(nr, at, &ts) == 0 && timespec_valid(ts);
}

// A time that has passed makes it a try; EINVAL of the program's own time comes first.
int message_queue(union sysunion* m) {
  const __kernel_timespec past{0, 0};
  if (!valid_time(m->sm.sm_nr, m->raw.arg[4])) return sysport_trap_first(m);
  return wait_for(m, 4, reinterpret_cast<uintptr_t>(&past), ETIMEDOUT);
}

}  // namespace

int kernelwait_fcntl(union sysunion* m) {
  uint32_t try_lock = lock_without_wait(static_cast<uint32_t>(m->raw.arg[1]));
  if (try_lock == 0) return sysport_trap_whole(m);
  return wait_for(m, 1, try_lock, EAGAIN);
}

// A conversion that would wait has lost its lock by then, as in the kernel.
int sys_flock(union sysunion* m) {
  uint64_t how = m->raw.arg[1];
  if ((how & LOCK_NB) != 0) return sysport_trap_whole(m);
  return wait_for(m, 1, how | LOCK_NB, EWOULDBLOCK);
}

int sys_msgrcv(union sysunion* m) {
  uint64_t flags = m->raw.arg[4];
  if ((flags & IPC_NOWAIT) != 0) return sysport_trap_whole(m);
  return wait_for(m, 4, flags | IPC_NOWAIT, ENOMSG);
}

int sys_msgsnd(union sysunion* m) {
  uint64_t flags = m->raw.arg[3];
  if ((flags & IPC_NOWAIT) != 0) return sysport_trap_whole(m);
  return wait_for(m, 3, flags | IPC_NOWAIT, EAGAIN);
}

int kernelwait_try_semop(union sysunion* m) {
  constexpr uint64_t kMost = 16;
  const uint64_t* a = m->raw.arg;
  sembuf ops[kMost];
  uint64_t n = a[2];
  if (n == 0 || n > kMost ||
      user_copy(ops, reinterpret_cast<const void*>(a[1]), n * sizeof(sembuf)) != 0) {
    return kWouldSleep;
  }
  bool waits = false;
  for (uint64_t i = 0; i < n; i++) {
    waits = waits || (ops[i].sem_flg & IPC_NOWAIT) == 0;
    ops[i].sem_flg |= IPC_NOWAIT;
  }
  int error = try_with(m, 1, reinterpret_cast<uintptr_t>(ops));
  return waits && (error == EAGAIN || error == EINTR) ? kWouldSleep : error;
}

int sys_semop(union sysunion* m) {
  bool others = sched_others();
  if (!others) {
    int error = sysport_trap_first(m);
    if (__builtin_expect(error != ERESTARTSYS, 1)) return error;
  }
  int error = kernelwait_try_semop(m);
  if (error != kWouldSleep) return error;
  return others ? sysport_trap_sleep(m) : ERESTARTSYS;
}

int sys_mq_timedsend(union sysunion* m) { return message_queue(m); }
int sys_mq_timedreceive(union sysunion* m) { return message_queue(m); }

int sys_splice(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  return splice_ends(m, static_cast<int>(a[0]), static_cast<int>(a[2]), a[5]);
}

int sys_tee(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  return splice_ends(m, static_cast<int>(a[0]), static_cast<int>(a[1]), a[3]);
}

// Into a pipe or out of one: an end is either readable or writable.
int sys_vmsplice(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto fd = static_cast<int>(a[0]);
  bool out = (raw2(SYS_fcntl, fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
  return splice_ends(m, out ? fd : -1, out ? -1 : fd, a[3]);
}

int sys_msync(union sysunion* m) {
  return (m->raw.arg[2] & MS_SYNC) != 0 ? sysport_trap_whole_sleep(m) : sysport_trap_whole(m);
}
int sys_sync(union sysunion* m) { return sysport_trap_whole_sleep(m); }
int sys_syncfs(union sysunion* m) { return sysport_trap_whole_sleep(m); }

}  // namespace cr
