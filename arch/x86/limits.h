// How much address space there is, and libcr takes: a program has 4 GB for everything, so nothing is reserved
// in pieces that it would miss.
#pragma once

#include <stdint.h>

namespace cr {

inline constexpr uint64_t kUserEnd = 0x7ffffffff000;  // of a program's addresses, as a 64-bit kernel looks at them
inline constexpr uint64_t kMaxRegion = 64ull << 20;  // of stacks (src/mem/arena.cc)
inline constexpr uint32_t kTidSlots = 1u << 18;      // LWKTs with a tid, 8 bytes each
inline constexpr uint32_t kFds = 1u << 16;           // descriptors that are remembered, 64 bytes each
inline constexpr int64_t kReach = 1ll << 32;         // of a jump to a stub: everywhere

}  // namespace cr
