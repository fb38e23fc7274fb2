// Calls that i386 multiplexes: socketcall, ipc, and the first mmap and select, which take a pointer to
// their arguments. Each becomes the call that it stands for, as the message that shims and handlers know.
// What can't be read or is no known kind stays as it is: the kernel says what is wrong. Linux has the
// single calls since 4.3 (sockets) and 5.1 (System V IPC). Two kinds of ipc are no single call and are
// served here under ipc's own number: shmat, which stores its result, and semtimedop, whose single call
// has 64-bit times.

#include <errno.h>
#include <libcr/sysunion.h>
#include <linux/net.h>
#include <sys/syscall.h>

#include "../../src/sysport/sysport.h"
#include "abi.h"
#include "sysent.h"

namespace cr {

int sys_semtimedop(union sysunion* m);

namespace {

bool words(uint64_t from, uint64_t* to, uint32_t n) {
  uint32_t w[6];
  if (user_copy(w, reinterpret_cast<const void*>(static_cast<uintptr_t>(from)), 4 * n) != 0) {
    return false;
  }
  for (uint32_t i = 0; i < n; i++) to[i] = w[i];
  return true;
}

struct Kind {
  uint16_t nr;
  uint8_t nargs;  // those that the caller gives; the others are 0
};

constexpr Kind kSocketCalls[] = {
    {0, 0},
    {SYS_socket, 3},      {SYS_bind, 3},        {SYS_connect, 3},  {SYS_listen, 2},
    {SYS_accept4, 3},     {SYS_getsockname, 3}, {SYS_getpeername, 3}, {SYS_socketpair, 4},
    {SYS_sendto, 4},      {SYS_recvfrom, 4},    {SYS_sendto, 6},   {SYS_recvfrom, 6},
    {SYS_shutdown, 2},    {SYS_setsockopt, 5},  {SYS_getsockopt, 5}, {SYS_sendmsg, 3},
    {SYS_recvmsg, 3},     {SYS_accept4, 4},     {SYS_recvmmsg, 5}, {SYS_sendmmsg, 4},
};
static_assert(sizeof kSocketCalls / sizeof(Kind) == SYS_SENDMMSG + 1);

bool unfold_socketcall(union sysunion* m) {
  uint64_t which = m->raw.arg[0];
  uint64_t a[6] = {};
  if (which == 0 || which > SYS_SENDMMSG) return false;
  const Kind& k = kSocketCalls[which];
  if (!words(m->raw.arg[1], a, k.nargs)) return false;
  m->sm.sm_nr = k.nr;
  for (int i = 0; i < 6; i++) m->raw.arg[i] = a[i];
  return true;
}

// ipc(call, first, second, third, ptr, fifth): include/uapi/linux/ipc.h.
enum IpcCall : uint32_t {
  kSemop = 1, kSemget = 2, kSemctl = 3, kSemtimedop = 4,
  kMsgsnd = 11, kMsgrcv = 12, kMsgget = 13, kMsgctl = 14,
  kShmat = 21, kShmdt = 22, kShmget = 23, kShmctl = 24,
};

void set(union sysunion* m, uint32_t nr, uint64_t a, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0,
         uint64_t e = 0) {
  m->sm.sm_nr = nr;
  uint64_t* arg = m->raw.arg;
  arg[0] = a, arg[1] = b, arg[2] = c, arg[3] = d, arg[4] = e, arg[5] = 0;
}

// The single calls know the new form of their structs alone, which the old ones ask for by a flag.
inline constexpr uint64_t kIpc64 = 0x100;

bool unfold_ipc(union sysunion* m) {
  const uint64_t* arg = m->raw.arg;
  uint64_t first = arg[1], second = arg[2], third = arg[3], ptr = arg[4], fifth = arg[5];
  uint32_t version = static_cast<uint32_t>(arg[0]) >> 16;
  uint64_t w[2];
  switch (arg[0] & 0xffff) {
    case kSemop: set(m, SYS_semtimedop_time64, first, ptr, second); return true;
    case kSemget: set(m, SYS_semget, first, second, third); return true;
    case kSemctl:
      if ((third & kIpc64) == 0 || ptr == 0 || !words(ptr, w, 1)) return false;
      set(m, SYS_semctl, first, second, third & ~kIpc64, w[0]);
      return true;
    case kMsgsnd: set(m, SYS_msgsnd, first, ptr, second, third); return true;
    case kMsgrcv:
      if (version == 0) {  // the pointer and the type stand in a struct of their own
        if (!words(ptr, w, 2)) return false;
        set(m, SYS_msgrcv, first, w[0], second, w[1], third);
      } else {
        set(m, SYS_msgrcv, first, ptr, second, fifth, third);
      }
      return true;
    case kMsgget: set(m, SYS_msgget, first, second); return true;
    case kMsgctl:
      if ((second & kIpc64) == 0) return false;
      set(m, SYS_msgctl, first, second & ~kIpc64, ptr);
      return true;
    case kShmdt: set(m, SYS_shmdt, ptr); return true;
    case kShmget: set(m, SYS_shmget, first, second, third); return true;
    case kShmctl:
      if ((second & kIpc64) == 0) return false;
      set(m, SYS_shmctl, first, second & ~kIpc64, ptr);
      return true;
    default: return false;
  }
}

int serve_shmat(union sysunion* m) {
  uint64_t id = m->raw.arg[1], flags = m->raw.arg[2], result = m->raw.arg[3], at = m->raw.arg[4];
  if (static_cast<uint32_t>(m->raw.arg[0]) >> 16 == 1) return EINVAL;  // iBCS2's, of old
  set(m, SYS_shmat, id, at, flags);
  int error = sys_shmat(m);
  if (error != 0) return error;
  auto where = static_cast<uint32_t>(m->sm.sm_result);
  m->sm.sm_result = 0;
  return user_store32(reinterpret_cast<uint32_t*>(static_cast<uintptr_t>(result)), where) != 0 ? EFAULT
                                                                                               : 0;
}

int serve_semtimedop(union sysunion* m) {
  uint64_t id = m->raw.arg[1], n = m->raw.arg[2], ops = m->raw.arg[4], timeout = m->raw.arg[5];
  __kernel_timespec ts;
  if (timeout != 0 && user_timespec(SYS_ipc, timeout, &ts) != 0) return EFAULT;
  set(m, SYS_semtimedop_time64, id, ops, n, timeout != 0 ? reinterpret_cast<uintptr_t>(&ts) : 0);
  return sys_semtimedop(m);
}

bool unfold_mmap(union sysunion* m) {
  uint64_t a[6];
  if (!words(m->raw.arg[0], a, 6) || a[5] % 4096 != 0) return false;
  m->sm.sm_nr = SYS_mmap2;
  for (int i = 0; i < 5; i++) m->raw.arg[i] = a[i];
  m->raw.arg[5] = a[5] / 4096;
  return true;
}

bool unfold_select(union sysunion* m) {
  uint64_t a[5];
  if (!words(m->raw.arg[0], a, 5)) return false;
  m->sm.sm_nr = SYS__newselect;
  for (int i = 0; i < 5; i++) m->raw.arg[i] = a[i];
  return true;
}

}  // namespace

bool unfold_call(union sysunion* m) {
  switch (m->sm.sm_nr) {
    case SYS_socketcall: return unfold_socketcall(m);
    case SYS_ipc: return unfold_ipc(m);
    case SYS_mmap: return unfold_mmap(m);
    case SYS_select: return unfold_select(m);
    default: return false;
  }
}

int serve_folded(union sysunion* m) {
  if (m->sm.sm_nr == SYS_ipc) {
    uint32_t kind = static_cast<uint32_t>(m->raw.arg[0]) & 0xffff;
    if (kind == kShmat) return serve_shmat(m);
    if (kind == kSemtimedop) return serve_semtimedop(m);
  }
  return sysport_trap_block(m);
}

}  // namespace cr
