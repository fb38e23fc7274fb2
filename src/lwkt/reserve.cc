#include "reserve.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "large.h"
#include "spinlock.h"

namespace cr {

namespace {

struct Stretch {
  uintptr_t from, to;
};
inline constexpr uint32_t kMost = 512;
CR_LARGE Stretch store[kMost];
uint32_t count;  // more than kMost: some are missing
uint32_t locked;
constinit GlobalLock lock;  // over writing the above; readers see whole words

// Slabs come one below the other.
bool lengthen(uintptr_t from, uintptr_t to) {
  for (uint32_t i = 0; i < count && i < kMost; i++) {
    if (to != store[i].from) continue;
    __atomic_store_n(&store[i].from, from, __ATOMIC_RELEASE);
    return true;
  }
  return false;
}

void note(uintptr_t from, uintptr_t size) {
  Guard g(lock);
  if (lengthen(from, from + size)) return;
  if (count < kMost) store[count] = {from, from + size};
  if (count <= kMost) __atomic_store_n(&count, count + 1, __ATOMIC_RELEASE);
}

// The first stretch that ends after `at`; nowhere if there is none.
Stretch next_after(uint64_t at) {
  constexpr Stretch kNowhere{~uintptr_t{0}, ~uintptr_t{0}};
  Stretch first = kNowhere;
  uint32_t n = __atomic_load_n(&count, __ATOMIC_ACQUIRE);
  for (uint32_t i = 0; i < n && i < kMost; i++) {
    uintptr_t from = __atomic_load_n(&store[i].from, __ATOMIC_ACQUIRE);
    if (store[i].to > at && from < first.from) first = {from, store[i].to};
  }
  return first;
}

long map(long length, int prot) {
  return raw_mmap(0, length, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

// Where the kernel locks what is mapped it fills it at once, unless nothing may be there, and counts it. What an
// unlocked page grows by is not locked.
long map_unlocked(long length) {
  constexpr long kPage = 4096;
  long p = map(kPage, PROT_NONE);
  if (raw_failed(p)) return p;
  raw2(SYS_munlock, p, kPage);
  long whole = raw4(SYS_mremap, p, kPage, length, MREMAP_MAYMOVE);
  if (raw_failed(whole)) {
    raw2(SYS_munmap, p, kPage);
    return whole;
  }
  long r = raw3(SYS_mprotect, whole, length, PROT_READ | PROT_WRITE);
  return raw_failed(r) ? r : whole;
}

}  // namespace

long reserve(uint64_t size) {
  auto length = static_cast<long>((size + 4095) & ~4095ull);
  long p = reserve_stays_unlocked() ? map_unlocked(length) : map(length, PROT_READ | PROT_WRITE);
  if (!raw_failed(p)) note(static_cast<uintptr_t>(p), static_cast<uintptr_t>(length));
  return p;
}

void reserve_atfork_child() {
  lock = GlobalLock{};
  locked = 0;
}

void reserve_beside_locks(bool locks) { __atomic_store_n(&locked, locks ? 1u : 0u, __ATOMIC_RELEASE); }

bool reserve_stays_unlocked() { return __atomic_load_n(&locked, __ATOMIC_ACQUIRE) != 0; }

bool reserve_known() { return __atomic_load_n(&count, __ATOMIC_ACQUIRE) <= kMost; }

void reserve_skip(uint64_t from, uint64_t to, void (*fn)(uint64_t from, uint64_t to, void* arg), void* arg) {
  while (from < to) {
    Stretch s = next_after(from);
    uint64_t end = s.from < to ? s.from : to;
    if (end > from) fn(from, end, arg);
    from = end == to ? to : s.to;
  }
}

}  // namespace cr
