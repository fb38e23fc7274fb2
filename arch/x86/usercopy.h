#pragma once

#include <stddef.h>
#include <stdint.h>

// The value, or -EFAULT. The call leaves all other registers alone.
[[gnu::always_inline]] inline int64_t user_fetch32(const uint32_t* from) {
  int64_t seen;
  asm volatile("call user_fetch32_entry" : "=A"(seen) : "a"(from) : "memory", "cc");
  return seen;
}

// The same for 64 bits: 0, or anything else where the address is bad.
[[gnu::always_inline]] inline int user_fetch64(uint64_t* out, const uint64_t* from) {
  int bad;
  asm volatile("call user_fetch64_entry" : "=A"(*out), "=c"(bad) : "a"(from) : "memory", "cc");
  return bad;
}
[[gnu::always_inline]] inline int user_store64(uint64_t* to, uint64_t value) {
  asm volatile("call user_store64_entry" : "+A"(value) : "c"(to) : "memory", "cc");
  return static_cast<int>(value);
}

extern "C" {
// 0, or -EFAULT where the kernel would say so.
int user_load32(uint32_t* out, const uint32_t* from);
int user_store32(uint32_t* to, uint32_t value);
int user_copy(void* to, const void* from, size_t n);
// 1: *at was *expect and is `desired`; 0: it was not, *expect says what it is; -EFAULT.
int user_cas32(uint32_t* at, uint32_t* expect, uint32_t desired);
}
