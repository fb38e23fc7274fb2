// A lock for a few instructions below the boundary. Never held over a trap, a switch or a
// fault. Signals that arrive under it are deferred because their handler sees libcr's text.
//
// On one cpu it is a plain store (see atomic.h): use GlobalLock for what rforks without a cpu
// may take.
#pragma once

#include <stdint.h>

#include "../../arch/percpu.h"
#include "../../arch/rawcall.h"
#include "atomic.h"

namespace cr {

inline constexpr int kSpinLimit = 200;  // then let the kernel run the holder

[[gnu::noinline]] void spin_contended(uint32_t* word);
// Lets the kernel run whoever is waited for: a kernel thread that was taken off its processor. `turn`: how often that
// was tried for the same.
void spin_yield(uint32_t turn);
// Round n of a wait, from 1.
inline void spin_round(int n) {
  if (n % kSpinLimit != 0) {
    cpu_pause();
  } else {
    spin_yield(static_cast<uint32_t>(n / kSpinLimit - 1));
  }
}

// Spins for what another cpu is about to do: a handful of instructions, unless the kernel has
// taken that cpu's rfork off its processor.
template <typename Pred>
inline void spin_until(Pred done) {
  for (int n = 1; !done(); n++) spin_round(n);
}

struct SpinLock {
  uint32_t word = 0;
  void lock() {
    if (!smp) {
      word = 1;
      return;
    }
    if (__builtin_expect(__atomic_exchange_n(&word, 1u, __ATOMIC_ACQUIRE) != 0, 0)) {
      spin_contended(&word);
    }
  }
  void unlock() { store_release(&word, 0u); }
};

struct GlobalLock {
  uint32_t word = 0;
  void lock() {
    if (__builtin_expect(__atomic_exchange_n(&word, 1u, __ATOMIC_ACQUIRE) != 0, 0)) {
      spin_contended(&word);
    }
  }
  void unlock() { store_release(&word, 0u); }
};

template <typename L>
class Guard {
 public:
  explicit Guard(L& l) : lock_(l) { lock_.lock(); }
  ~Guard() { lock_.unlock(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  L& lock_;
};

}  // namespace cr
