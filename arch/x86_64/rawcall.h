// Raw traps (../rawcall.h).
#pragma once

#include <stdint.h>

namespace cr {

[[gnu::always_inline]] inline long raw6(long nr, long a, long b, long c, long d, long e, long f) {
  long ret;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(ret)
               : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory", "cc");
  return ret;
}

[[gnu::always_inline]] inline long raw4(long nr, long a, long b, long c, long d) {
  long ret;
  register long r10 asm("r10") = d;
  asm volatile("syscall"
               : "=a"(ret)
               : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
               : "rcx", "r11", "memory", "cc");
  return ret;
}

[[gnu::always_inline]] inline long raw3(long nr, long a, long b, long c) {
  long ret;
  asm volatile("syscall"
               : "=a"(ret)
               : "a"(nr), "D"(a), "S"(b), "d"(c)
               : "rcx", "r11", "memory", "cc");
  return ret;
}

[[gnu::always_inline]] inline long raw_mmap(long addr, long length, long prot, long flags, long fd,
                                            uint64_t offset) {
  return raw6(9, addr, length, prot, flags, fd, static_cast<long>(offset));
}

// clone(CLONE_VM | CLONE_VFORK) with no exit signal, on the caller's stack. The syscall must be
// inlined into the function that goes on: a return from a function of its own would be made
// twice, the second time over what the child left.
[[gnu::always_inline]] inline long raw_vfork() {
  return raw6(56, 0x4100, 0, 0, 0, 0, 0);
}

}  // namespace cr
