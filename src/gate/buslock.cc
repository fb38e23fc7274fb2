// The text is made writable and not executable for the change: nobody is in it, since the caller is
// the one LWKT that could be, and the runtime's other kernel threads run libcr's own text alone.

#include "buslock.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/sched.h"
#include "start.h"

namespace cr {

namespace {

inline constexpr uint8_t kLock = 0xf0;
// A ds: override: 64-bit code ignores it, and in 32-bit code, where the other segment it could stand for is the
// stack's, both are the same flat one.
inline constexpr uint8_t kNothing = 0x3e;

LockedText libc;
enum { kAsFound, kDropped, kForGood } state;

bool rewrite(uint8_t from, uint8_t to) {
  auto at = static_cast<long>(libc.lo), size = static_cast<long>(libc.hi - libc.lo);
  if (raw_failed(raw3(SYS_mprotect, at, size, PROT_READ | PROT_WRITE))) return false;
  for (uint32_t i = 0; i < libc.n; i++) {
    uint64_t a = libc.bias + libc.at[i];
    if (a < libc.lo || a >= libc.hi) continue;
    auto* p = reinterpret_cast<uint8_t*>(a);
    if (*p == from) *p = to;
  }
  raw3(SYS_mprotect, at, size, libc.prot);
  return true;
}

}  // namespace

bool buslock_note(const LockedText& text) {
  if (libc.n != 0 || ncpus != 1 || options.keep_locks) return false;
  libc = text;
  return true;
}

void buslock_drop() {
  if (state == kAsFound && libc.n != 0 && rewrite(kLock, kNothing)) state = kDropped;
}

void buslock_restore() {
  if (state == kDropped) rewrite(kNothing, kLock);
  state = kForGood;
}

}  // namespace cr
