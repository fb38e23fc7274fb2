// Raw traps (../rawcall.h), by the kernel's entry in the vdso, which the per-cpu area names: int $0x80 costs
// 5 us here, the entry 0.16. Six arguments take every register there is, so those calls are a function's
// (rawcall.S).
#pragma once

#include <stdint.h>

#include "frame.h"

extern "C" {
[[gnu::visibility("hidden")]] long cr_raw6(long nr, long a, long b, long c, long d, long e, long f);
}

namespace cr {

[[gnu::always_inline]] inline long raw6(long nr, long a, long b, long c, long d, long e, long f) {
  return cr_raw6(nr, a, b, c, d, e, f);
}

[[gnu::always_inline]] inline long raw4(long nr, long a, long b, long c, long d) {
  long ret;
  asm volatile("call *%%fs:%c[entry]"
               : "=a"(ret)
               : [entry] "i"(GD_VSYSCALL), "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d)
               : "memory", "cc");
  return ret;
}

[[gnu::always_inline]] inline long raw3(long nr, long a, long b, long c) {
  long ret;
  asm volatile("call *%%fs:%c[entry]"
               : "=a"(ret)
               : [entry] "i"(GD_VSYSCALL), "a"(nr), "b"(a), "c"(b), "d"(c)
               : "memory", "cc");
  return ret;
}

[[gnu::always_inline]] inline long raw_mmap(long addr, long length, long prot, long flags, long fd,
                                            uint64_t offset) {
  return raw6(192, addr, length, prot, flags, fd, static_cast<long>(offset / 4096));  // mmap2
}

// clone(CLONE_VM | CLONE_VFORK) with no exit signal, on the caller's stack. The trap must be inlined
// into the function that goes on: a return from a function of its own, the vdso's too, would be made
// twice, the second time over what the child left.
[[gnu::always_inline]] inline long raw_vfork() {
  long ret;
  asm volatile("int $0x80" : "=a"(ret) : "a"(120L), "b"(0x4100L), "c"(0L), "d"(0L) : "memory", "cc");
  return ret;
}

}  // namespace cr
