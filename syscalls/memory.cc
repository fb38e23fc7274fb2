// Memory calls but mlockall (memlock.cc). Four things are watched as they pass: thread stacks (served from arenas),
// shared mappings (their futexes belong to the kernel) and executable file mappings (their
// trap sites are rewritten before they can run), and memory that others may write (libc gets its
// bus locks back: src/gate/buslock.h).

#include <asm/shmbuf.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include "../arch/rawcall.h"
#include "../src/gate/buslock.h"
#include "../src/gate/mapped.h"
#include "../src/lwkt/reserve.h"
#include "../src/mem/arena.h"
#include "../src/mem/shared.h"
#include "../src/sysport/sysport.h"
#include "sysent.h"

namespace cr {

namespace {

// `offset` in bytes.
int map(union sysunion* m, uint64_t offset) {
  const uint64_t* a = m->raw.arg;
  uint64_t length = a[1];
  auto prot = static_cast<int>(a[2]);
  auto flags = static_cast<int>(a[3]);
  constexpr int kStackMask = MAP_STACK | MAP_ANONYMOUS | MAP_PRIVATE;
  if ((flags & (kStackMask | MAP_SHARED | MAP_FIXED | MAP_GROWSDOWN)) == kStackMask && a[0] == 0 &&
      (prot & PROT_EXEC) == 0 && !reserve_stays_unlocked()) {
    uint64_t stack = arena_alloc((length + 4095) & ~4095ull, prot);
    if (stack != 0) {
      m->sm.sm_result = static_cast<long>(stack);
      return 0;
    }
  }
  int error = (flags & MAP_ANONYMOUS) != 0 ? sysport_trap(m) : sysport_trap_whole(m);
  if (error != 0) return error;
  auto at = static_cast<uintptr_t>(m->sm.sm_result);
  if ((flags & MAP_FIXED) != 0) arena_replaced(at, length);
  bool file = (flags & MAP_ANONYMOUS) == 0;
  if ((flags & MAP_TYPE) != MAP_PRIVATE) {
    shared_add(at, length);
    if ((prot & PROT_WRITE) != 0) buslock_restore();
  } else {
    if ((flags & MAP_FIXED) != 0) shared_remove(at, length);
    if (file && (prot & PROT_EXEC) != 0) {
      gate_object_mapped(at, length, static_cast<int>(a[4]), offset);
    }
  }
  m->sm.sm_result = static_cast<long>(at);
  return 0;
}

}  // namespace

int sys_mmap(union sysunion* m) { return map(m, m->raw.arg[5]); }
int sys_mmap2(union sysunion* m) { return map(m, m->raw.arg[5] * 4096); }  // i386's

int sys_munmap(union sysunion* m) {
  uint64_t at = m->raw.arg[0], length = (m->raw.arg[1] + 4095) & ~4095ull;
  // Before the trap: from then on somebody else's mapping may stand there.
  shared_remove(at, length);
  if (arena_free(at, length)) {
    m->sm.sm_result = 0;
    return 0;
  }
  gate_object_unmapped(at, length);
  return sysport_trap(m);
}

int sys_mprotect(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  int r = arena_protect(a[0], (a[1] + 4095) & ~4095ull, static_cast<int>(a[2]));
  if (r < 0) return -r;
  if (r == 1) {
    m->sm.sm_result = 0;
    return 0;
  }
  if ((a[2] & PROT_WRITE) != 0 && shared_touches(a[0], a[1])) buslock_restore();
  return sysport_trap(m);
}

int sys_mremap(union sysunion* m) {
  uint64_t from = m->raw.arg[0], old = m->raw.arg[1], length = m->raw.arg[2];
  bool shared = shared_contains(from);
  int error = sysport_trap(m);
  if (error == 0) {
    arena_replaced(from, old);
    if ((m->raw.arg[3] & MREMAP_FIXED) != 0) arena_replaced(m->raw.arg[4], length);
  }
  if (error == 0 && shared) {
    if (old != 0) shared_remove(from, old);
    shared_add(static_cast<uintptr_t>(m->sm.sm_result), length);
  }
  return error;
}

int sys_madvise(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (static_cast<int>(a[2]) == MADV_DONTNEED && arena_dontneed(a[0], a[1])) {
    m->sm.sm_result = 0;
    return 0;
  }
  return sysport_trap(m);
}

int sys_shmat(union sysunion* m) {
  int error = sysport_trap(m);
  if (error != 0) return error;
  long at = m->sm.sm_result;
  struct shmid64_ds ds;
  if (raw3(SYS_shmctl, static_cast<long>(m->raw.arg[0]), IPC_STAT, reinterpret_cast<long>(&ds)) == 0) {
    shared_add(static_cast<uintptr_t>(at), ds.shm_segsz);
  }
  buslock_restore();
  return 0;
}

// The range stays marked: whatever is mapped there next says anew what it is if it is shared,
// and a private futex taken for a shared one still works within the process through the kernel.
int sys_shmdt(union sysunion* m) { return sysport_trap(m); }

}  // namespace cr
