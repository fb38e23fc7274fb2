// A call of the runtime's own on behalf of the program, through the gate: pending signals and the
// shims see it.
#pragma once

namespace cr {

[[gnu::always_inline]] inline long gate_call(long nr, long arg = 0, long arg2 = 0) {
  long result;
  asm volatile("call cr_call"
               : "=a"(result)
               : "a"(nr), "b"(arg), "c"(arg2), "d"(0L)
               : "memory", "cc");
  return result;
}

}  // namespace cr
