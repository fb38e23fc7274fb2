// Atomic operations that cost a bus lock only when the process has more than one cpu.
//
// While `smp` is false only one rfork runs LWKTs, and a signal that hits it inside libcr touches none
// of these words: plain loads and stores are atomic enough. That saves 5 ns for each, four of them in
// a condition-variable hand-over. Words that rforks without a cpu, the monitor or the kernel's signal
// handler touch (the global queue, spare rforks, c_state, td_ast) use bus_cas or __atomic directly.
#pragma once

#include <stdint.h>

namespace cr {

// True from just before the second cpu starts; never goes back but in a fork child.
extern bool smp;

// By a bus lock whatever `smp` says.
template <typename T>
[[gnu::always_inline]] inline bool bus_cas(T* p, T expect, T desired) {
  return __atomic_compare_exchange_n(p, &expect, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

template <typename T>
[[gnu::always_inline]] inline bool atomic_cas(T* p, T expect, T desired) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  if (smp) return bus_cas(p, expect, desired);
  if (__atomic_load_n(p, __ATOMIC_RELAXED) != expect) return false;
  __atomic_store_n(p, desired, __ATOMIC_RELEASE);
  return true;
}

// The new value.
template <typename T>
[[gnu::always_inline]] inline T atomic_add(T* p, T n) {
  if (smp) return __atomic_add_fetch(p, n, __ATOMIC_SEQ_CST);
  return *p += n;
}

template <typename T>
[[gnu::always_inline]] inline T load_acquire(const T* p) {
  return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

// A set of bits that others change, each of them by itself. On i386 the halves may be of different moments: as
// one word they would take a bus lock, 8 ns.
[[gnu::always_inline]] inline uint64_t load_bits(const uint64_t* p) {
  if constexpr (sizeof(long) == sizeof *p) return __atomic_load_n(p, __ATOMIC_RELAXED);
  auto* half = reinterpret_cast<const uint32_t*>(p);
  return __atomic_load_n(half, __ATOMIC_RELAXED) |
         uint64_t{__atomic_load_n(half + 1, __ATOMIC_RELAXED)} << 32;
}
[[gnu::always_inline]] inline void store_bits(uint64_t* p, uint64_t bits) {
  if constexpr (sizeof(long) == sizeof *p) {
    __atomic_store_n(p, bits, __ATOMIC_RELAXED);
    return;
  }
  auto* half = reinterpret_cast<uint32_t*>(p);
  __atomic_store_n(half, static_cast<uint32_t>(bits), __ATOMIC_RELAXED);
  __atomic_store_n(half + 1, static_cast<uint32_t>(bits >> 32), __ATOMIC_RELAXED);
}

// A time in ns, or ~0 for none: the upper half alone tells that. On i386 a locked instruction less where there is none.
[[gnu::always_inline]] inline uint64_t load_deadline(const uint64_t* p) {
  if constexpr (sizeof(long) != sizeof *p) {
    constexpr uint32_t kNone = ~0u;
    if (__atomic_load_n(reinterpret_cast<const uint32_t*>(p) + 1, __ATOMIC_RELAXED) == kNone) return ~uint64_t{0};
  }
  return __atomic_load_n(p, __ATOMIC_RELAXED);
}

template <typename T, typename U>
[[gnu::always_inline]] inline void store_release(T* p, U v) {
  __atomic_store_n(p, static_cast<T>(v), __ATOMIC_RELEASE);
}

}  // namespace cr
