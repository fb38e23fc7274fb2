// mlockall and munlockall. What is mapped now is locked stretch by stretch, all but libcr's store (reserve.h); what
// will be mapped is the kernel's to lock, stacks too, which then come from no arena (memory.cc).

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "../src/lwkt/reserve.h"
#include "../src/lwkt/rfork.h"
#include "../src/lwkt/slab.h"
#include "../src/mem/arena.h"
#include "../src/sysport/sysport.h"
#include "cred.h"
#include "sysent.h"

namespace cr {

namespace {

inline constexpr uint64_t kCurrent = MCL_CURRENT, kFuture = MCL_FUTURE, kOnFault = MCL_ONFAULT;

bool hex(const char** s, uint64_t* out) {
  const char* from = *s;
  *out = 0;
  for (;; ++*s) {
    char c = **s;
    if (c >= '0' && c <= '9') {
      *out = *out << 4 | static_cast<uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      *out = *out << 4 | static_cast<uint64_t>(c - 'a' + 10);
    } else {
      return *s != from;
    }
  }
}

// A line of /proc/self/maps begins "from-to ".
void take_line(const char* line, void (*fn)(uint64_t from, uint64_t to, void* arg), void* arg) {
  uint64_t from, to;
  if (!hex(&line, &from) || *line++ != '-' || !hex(&line, &to)) return;
  reserve_skip(from, to, fn, arg);
}

// Calls fn for each stretch of the program's memory, its stacks too. False: there is no asking.
bool each_mapping(void (*fn)(uint64_t from, uint64_t to, void* arg), void* arg) {
  constexpr size_t kBuffer = 4096, kLineBegins = 40;
  long fd = raw3(SYS_open, reinterpret_cast<long>("/proc/self/maps"), O_CLOEXEC, 0);
  if (raw_failed(fd)) return false;
  auto* buffer = static_cast<char*>(slab_alloc(kBuffer));
  char line[kLineBegins + 1];
  size_t length = 0;
  long n = buffer == nullptr ? -ENOMEM : 1;
  while (n > 0 && (n = raw3(SYS_read, fd, reinterpret_cast<long>(buffer), kBuffer)) > 0) {
    for (long i = 0; i < n; i++) {
      if (buffer[i] != '\n') {
        if (length < kLineBegins) line[length++] = buffer[i];
        continue;
      }
      line[length] = '\0';
      take_line(line, fn, arg);
      length = 0;
    }
  }
  if (buffer != nullptr) slab_free(buffer, kBuffer);
  raw1(SYS_close, fd);
  for (uint64_t from = 0, to = 0; arena_next_stack(&from, &to);) fn(from, to, arg);
  return n == 0;
}

void add_up(uint64_t from, uint64_t to, void* arg) { *static_cast<uint64_t*>(arg) += to - from; }

// As the kernel's: what can't be locked is no error. It is filled meanwhile.
void lock_stretch(uint64_t from, uint64_t to, void* arg) {
  constexpr uint64_t kSmall = 64 * 1024;
  bool offers = to - from > kSmall && sched_others();
  if (offers) sched_trap_enter(mygd());
  raw3(SYS_mlock2, static_cast<long>(from), static_cast<long>(to - from), *static_cast<int*>(arg));
  if (offers) sched_trap_leave();
}

// The limit is none for who has the right in the first user namespace.
bool is_exempt() {
  constexpr uint64_t kFirst = 0xeffffffd;  // PROC_USER_INIT_INO
  struct stat st;
  return cred_capable(CAP_IPC_LOCK) &&
         (raw2(kSysStat, reinterpret_cast<long>("/proc/self/ns/user"), reinterpret_cast<long>(&st)) != 0 ||
          st.st_ino == kFirst);
}

// EAGAIN: there is no asking. How much it is matters only to who has a limit.
int within_limit() {
  if (is_exempt()) return 0;
  rlimit64 limit{};
  raw4(SYS_prlimit64, 0, RLIMIT_MEMLOCK, 0, reinterpret_cast<long>(&limit));
  uint64_t all = 0;
  if (!each_mapping(add_up, &all)) return EAGAIN;
  if (all <= limit.rlim_cur) return 0;
  return limit.rlim_cur == 0 ? EPERM : ENOMEM;
}

int lock_current(union sysunion* m, uint64_t flags) {
  int error = within_limit();
  if (error == EAGAIN) return sysport_trap_whole(m);
  if (error != 0) return error;
  // Without MCL_FUTURE an earlier one ends, and only that call says so.
  bool future = (flags & kFuture) != 0;
  if (!future && reserve_stays_unlocked()) raw0(SYS_munlockall);
  if (future) raw1(SYS_mlockall, static_cast<long>(flags & ~kCurrent));
  int how = (flags & kOnFault) != 0 ? MLOCK_ONFAULT : 0;
  if (!each_mapping(lock_stretch, &how)) return sysport_trap_whole(m);
  m->sm.sm_result = 0;
  return 0;
}

}  // namespace

int sys_mlockall(union sysunion* m) {
  uint64_t flags = static_cast<uint32_t>(m->raw.arg[0]);
  bool valid = (flags & ~(kCurrent | kFuture | kOnFault)) == 0;
  bool apart = valid && (flags & kCurrent) != 0 && reserve_known();
  bool before = reserve_stays_unlocked();
  // First, or libcr's own would be locked that is mapped meanwhile.
  if ((flags & kFuture) != 0) reserve_beside_locks(true);
  int error = apart ? lock_current(m, flags) : sysport_trap_whole(m);
  reserve_beside_locks(error == 0 ? (flags & kFuture) != 0 : before);
  return error;
}

int sys_munlockall(union sysunion* m) {
  int error = sysport_trap_whole(m);
  if (error == 0) reserve_beside_locks(false);
  return error;
}

}  // namespace cr
