// Raw traps of the runtime itself: no errno, no TLS, the kernel's answer as it is
// (-4095..-1 is an error).
#pragma once
#if defined(__x86_64__)
#include "x86_64/rawcall.h"
#else
#include "x86/rawcall.h"
#endif

namespace cr {

[[gnu::always_inline]] inline long raw2(long nr, long a, long b) { return raw3(nr, a, b, 0); }
[[gnu::always_inline]] inline long raw1(long nr, long a) { return raw3(nr, a, 0, 0); }
[[gnu::always_inline]] inline long raw0(long nr) { return raw3(nr, 0, 0, 0); }

inline bool raw_failed(long r) { return static_cast<unsigned long>(r) >= static_cast<unsigned long>(-4095); }

}  // namespace cr
