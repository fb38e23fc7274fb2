// What a guest may know of the machine that it runs on.
#pragma once

#include <cpuid.h>
#include <stdint.h>

namespace cr {

// A guest of KVM whose kernel is told of stolen time (KVM_FEATURE_STEAL_TIME). Each question takes some microseconds
// there.
inline bool guest_with_stolen_time() {
  constexpr uint32_t kHypervisor = 1u << 31, kFirst = 0x40000000, kStealTime = 1u << 5;
  constexpr uint32_t kName[] = {0x4b4d564b, 0x564b4d56, 0x4d};  // KVMKVMKVM
  uint32_t a = 0, b = 0, c = 0, d = 0;
  __cpuid(1, a, b, c, d);
  if ((c & kHypervisor) == 0) return false;
  __cpuid(kFirst, a, b, c, d);
  if (b != kName[0] || c != kName[1] || d != kName[2]) return false;
  __cpuid(kFirst + 1, a, b, c, d);
  return (a & kStealTime) != 0;
}

}  // namespace cr
