// RLIMIT_NPROC, for LWKTs: the kernel would count them if they were its threads.
#pragma once

#include <stdint.h>

namespace cr {

extern uint64_t nproc_limit;  // the limit; 0: not asked for yet

// The process has `n` threads and is to get another one.
bool nproc_allows_slow(uint64_t n);
inline bool nproc_allows(uint64_t n) {
  return __builtin_expect(n < nproc_limit, 1) || nproc_allows_slow(n);
}

}  // namespace cr
