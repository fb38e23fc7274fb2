// A call of the runtime's own on behalf of the program, through the gate: pending signals and the
// shims see it.
#pragma once

namespace cr {

[[gnu::always_inline]] inline long gate_call(long nr, long arg = 0, long arg2 = 0) {
  long result;
  asm volatile(
      "leaq 1f(%%rip), %%rbx\n\t"
      "jmp cr_call\n"
      "1:"
      : "=a"(result), "+S"(arg2)
      : "a"(nr), "D"(arg)
      : "rbx", "rcx", "r11", "rdx", "r10", "r8", "r9", "memory", "cc");
  return result;
}

}  // namespace cr
