// How much address space there is, and libcr takes: on x86_64 there is enough.
#pragma once

#include <stdint.h>

namespace cr {

inline constexpr uint64_t kUserEnd = 0x7ffffffff000;  // of a program's addresses
inline constexpr uint64_t kMaxRegion = 1ull << 30;   // of stacks (src/mem/arena.cc)
inline constexpr uint32_t kTidSlots = 1u << 23;      // LWKTs with a tid, 8 bytes each
inline constexpr uint32_t kFds = 1u << 20;           // descriptors that are remembered, 64 bytes each
inline constexpr int64_t kReach = 0x7ff00000;        // of a jump to a stub: a little under 2 GiB

}  // namespace cr
