// Regions by stack size. A slot's state is kept beside the region, never in it: a stack of a
// million must cost its own touched pages and 16 bytes here.

#include "arena.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "../../arch/limits.h"
#include "../../arch/rawcall.h"
#include "../lwkt/large.h"
#include "../lwkt/reserve.h"
#include "../lwkt/spinlock.h"

namespace cr {

namespace {

inline constexpr uint64_t kPage = 4096;
inline constexpr int kMadvGuardInstall = 102;
inline constexpr int kMadvGuardRemove = 103;
inline constexpr int kMaxRegions = 4096;
inline constexpr uint64_t kFirstRegion = 16ull << 20;
inline constexpr uint64_t kLargestStack = 64ull << 20;
inline constexpr uint32_t kNone = ~0u;
inline constexpr uint32_t kPutOff = 64;  // thread exits whose DONTNEED is put off
inline constexpr uint32_t kAhead = 128;  // guards installed in one trap, at most
inline constexpr int kPidfdSelf = -10000;  // PIDFD_SELF_THREAD: ourselves without a descriptor

enum SlotFlags : uint32_t {
  kUsed = 1,
  kDirty = 2,    // was used before: must be emptied before it is handed out
  kPending = 4,  // has a DONTNEED that was put off
  kClosed = 8,   // is to be PROT_NONE until its owner has opened what is not the guard
  kChanged = 16, // the program has mapped or protected parts for real: the kernel knows better
  kOwn = 32,     // libcr's, not a thread of the program's
};

struct Slot {
  uint32_t next;        // free list
  uint32_t guard;       // pages at the low end that are guarded
  uint32_t flags;
  uint32_t pend_pages;  // pages from the low end that the DONTNEED covers
};

struct Region {
  uint64_t base, end;
  uint64_t stack;  // bytes a slot
  Slot* slots;
  uint32_t nslots;
  uint32_t fresh;  // slots from here on were never used
  uint32_t free;   // list
};

// In words of the machine's size: i386 divides 64-bit ones by a function.
uint32_t slot_of(const Region& r, uint64_t addr) {
  return static_cast<uint32_t>(static_cast<uintptr_t>(addr - r.base) / static_cast<uintptr_t>(r.stack));
}

CR_LARGE Region regions[kMaxRegions];
uint32_t nregions;
SpinLock lock;
bool stacks_locked;  // some, once
bool guard_install;
bool guard_ahead;

struct PutOff {
  Region* region;
  uint32_t slot;
};
PutOff put_off[kPutOff];
uint32_t nput_off;

Region* region_of(uint64_t addr) {
  uint32_t n = load_acquire(&nregions);
  for (uint32_t i = n; i-- > 0;) {
    if (addr >= regions[i].base && addr < regions[i].end) return &regions[i];
  }
  return nullptr;
}

Region* region_make(uint64_t stack) {
  if (nregions == kMaxRegions) return nullptr;
  // Each region of a size is twice the one before: few regions, little reserved by small
  // programs.
  uint64_t size = kFirstRegion;
  for (uint32_t i = 0; i < nregions; i++) {
    if (regions[i].stack == stack && size < kMaxRegion) size *= 2;
  }
  if (size < stack * 16) size = stack * 16;
  if (size > kMaxRegion && stack * 16 <= kMaxRegion) size = kMaxRegion;
  uint64_t n = size / stack;
  long base = reserve(n * stack);
  if (raw_failed(base)) return nullptr;
  long slots = reserve(n * sizeof(Slot));
  if (raw_failed(slots)) return nullptr;  // base is left: the process has no more addresses
  // One huge page would make 32 small stacks resident at a touch.
  raw3(SYS_madvise, base, static_cast<long>(n * stack), MADV_NOHUGEPAGE);
  Region& r = regions[nregions];
  r.base = static_cast<uintptr_t>(base);
  r.end = r.base + n * stack;
  r.stack = stack;
  r.slots = reinterpret_cast<Slot*>(slots);
  r.nslots = static_cast<uint32_t>(n);
  r.fresh = 0;
  r.free = kNone;
  store_release(&nregions, nregions + 1);
  return &r;
}

uint64_t slot_base(const Region& r, uint32_t i) { return r.base + i * r.stack; }

// The guard of slot i, the newest, and of the fresh slots after it: up to a quarter of what is in
// use, so that a program with few threads has nothing installed in vain. False: not done.
bool guards_ahead(Region& r, uint32_t i) {
  static iovec v[kAhead];  // the arena's lock is held, and the stack may be a small one
  uint32_t n = i / 4 < kAhead ? i / 4 : kAhead;
  if (n > r.nslots - i) n = r.nslots - i;
  if (!guard_ahead || i + 1 != r.fresh || n < 2) return false;
  for (uint32_t k = 0; k < n; k++) {
    v[k] = {reinterpret_cast<void*>(slot_base(r, i + k)), kPage};
  }
  long done = raw6(SYS_process_madvise, kPidfdSelf, reinterpret_cast<long>(v), n, kMadvGuardInstall,
                   0, 0);
  if (raw_failed(done)) {
    guard_ahead = false;
    return false;
  }
  n = static_cast<uint32_t>(static_cast<uint64_t>(done) / kPage);  // fewer if memory ran out
  for (uint32_t k = 0; k < n; k++) r.slots[i + k].guard = 1;
  return n > 0;
}

// Opens n guarded pages. Where a filter of the program's forbids that (seccomp), by new ones: nothing is in them.
int unguard(long base, uint64_t n, long protection = PROT_READ | PROT_WRITE) {
  auto length = static_cast<long>(n * kPage);
  if (n == 0 || raw3(SYS_madvise, base, length, kMadvGuardRemove) == 0) return 0;
  long p = raw_mmap(base, length, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  return raw_failed(p) ? static_cast<int>(p) : 0;
}

// A stack that takes no light guard: a real one. The program has locked it into memory, or forbids the call.
int guard_by_kernel(Region& r, uint32_t i, uint32_t pages) {
  Slot& s = r.slots[i];
  auto base = static_cast<long>(slot_base(r, i));
  unguard(base, s.guard);
  s.guard = 0;
  s.flags |= kChanged;
  return static_cast<int>(raw3(SYS_mprotect, base, static_cast<long>(pages * kPage), PROT_NONE));
}

int set_guard(Region& r, uint32_t i, uint32_t pages) {
  Slot& s = r.slots[i];
  if (s.guard == pages) return 0;
  if (pages == 1 && s.guard == 0 && guards_ahead(r, i)) return 0;
  auto base = static_cast<long>(slot_base(r, i));
  if (guard_install) {
    long e = 0;
    if (s.guard > pages) e = unguard(base, s.guard);
    if (e == 0 && pages > 0) {
      e = raw3(SYS_madvise, base, static_cast<long>(pages * kPage), kMadvGuardInstall);
      if (raw_failed(e) && e != -ENOMEM) return guard_by_kernel(r, i, pages);
    }
    if (raw_failed(e)) return static_cast<int>(e);
  } else {
    long e = 0;
    if (s.guard > pages) {
      e = raw3(SYS_mprotect, base + static_cast<long>(pages * kPage),
               static_cast<long>((s.guard - pages) * kPage), PROT_READ | PROT_WRITE);
    } else {
      e = raw3(SYS_mprotect, base, static_cast<long>(pages * kPage), PROT_NONE);
    }
    if (raw_failed(e)) return static_cast<int>(e);
  }
  s.guard = pages;
  return 0;
}

// The program has mapped something upon pages [from, to), or gives them another protection: no guard
// of ours may be left there (`replaced`: none is), and the kernel is asked from now on. What was
// guarded beyond stays out of reach.
int hand_to_kernel(Region& r, uint32_t i, uint32_t from, uint32_t to, bool replaced) {
  Slot& s = r.slots[i];
  s.flags |= kChanged;
  if (from >= s.guard) return 0;
  auto base = static_cast<long>(slot_base(r, i));
  uint32_t beyond = to < s.guard ? s.guard - to : 0;
  auto rest = base + static_cast<long>(to * kPage);
  auto rest_length = static_cast<long>(beyond * kPage);
  if (beyond != 0) {
    long e = raw3(SYS_mprotect, rest, rest_length, PROT_NONE);
    if (raw_failed(e)) return static_cast<int>(e);
  }
  if (guard_install) {
    unguard(rest, beyond, PROT_NONE);
    if (!replaced) unguard(base + static_cast<long>(from * kPage), s.guard - beyond - from);
  }
  s.guard = from;
  return 0;
}

// The slot as it was mapped first. False: no memory for the kernel's books.
bool renew(Region& r, uint32_t i) {
  auto base = static_cast<long>(slot_base(r, i));
  auto length = static_cast<long>(r.stack);
  if (raw_failed(raw_mmap(base, length, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0))) {
    return false;
  }
  raw3(SYS_madvise, base, length, MADV_NOHUGEPAGE);
  r.slots[i].guard = 0;
  r.slots[i].flags &= ~kChanged;
  return true;
}

// Calls fn(region, slot, first page, last page + 1) for each slot that [addr, addr+length) touches.
template <class Fn>
void each_slot(uint64_t addr, uint64_t length, Fn fn) {
  for (uint32_t k = load_acquire(&nregions); k-- > 0;) {
    Region& r = regions[k];
    uint64_t from = addr > r.base ? addr : r.base;
    uint64_t to = addr + length < r.end ? addr + length : r.end;
    while (from < to) {
      auto i = slot_of(r, from);
      uint64_t base = slot_base(r, i);
      uint64_t end = to < base + r.stack ? to : base + r.stack;
      fn(r, i, static_cast<uint32_t>((from - base) / kPage),
         static_cast<uint32_t>((end - base + kPage - 1) / kPage));
      from = base + r.stack;
    }
  }
}

// False: the program has locked some of it into memory.
bool empty(const Region& r, uint32_t i, uint32_t pages) {
  return raw3(SYS_madvise, static_cast<long>(slot_base(r, i)), static_cast<long>(pages * kPage),
              MADV_DONTNEED) == 0;
}

void put_back(Region& r, uint32_t i) {
  Slot& s = r.slots[i];
  s.flags = kDirty;
  s.next = r.free;
  r.free = i;
}

void do_put_off() {
  for (uint32_t k = 0; k < nput_off; k++) {
    Slot& s = put_off[k].region->slots[put_off[k].slot];
    if ((s.flags & kPending) == 0) continue;
    empty(*put_off[k].region, put_off[k].slot, s.pend_pages);
    store_release(&s.flags, s.flags & ~kPending);  // not before: arena_stack_in_use
  }
  nput_off = 0;
}

}  // namespace

void arena_init(bool no_guard_install) {
  if (no_guard_install) return;
  long p = raw_mmap(0, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw_failed(p)) return;
  guard_install = raw3(SYS_madvise, p, kPage, kMadvGuardInstall) == 0;
  guard_ahead = guard_install;  // until the kernel refuses once
  raw2(SYS_munmap, p, kPage);
}

void arena_lock() { lock.lock(); }
void arena_unlock() { lock.unlock(); }

uint64_t arena_alloc(uint64_t length, int prot) {
  if (length == 0 || length % kPage != 0 || length > kLargestStack) return 0;
  Guard g(lock);
  Region* r = nullptr;
  for (uint32_t i = 0; i < nregions && r == nullptr; i++) {
    if (regions[i].stack != length) continue;
    if (regions[i].free != kNone || regions[i].fresh < regions[i].nslots) r = &regions[i];
  }
  if (r == nullptr) r = region_make(length);
  if (r == nullptr) return 0;
  uint32_t i;
  if (r->free != kNone) {
    i = r->free;
    r->free = r->slots[i].next;
  } else {
    i = r->fresh++;
  }
  Slot& s = r->slots[i];
  if ((s.flags & kDirty) != 0 && !empty(*r, i, static_cast<uint32_t>(length / kPage)) && !renew(*r, i)) {
    put_back(*r, i);
    return 0;
  }
  s.flags = prot == PROT_NONE ? kUsed | kClosed : kUsed;
  // A guard of its last user's, or installed ahead.
  if (prot != PROT_NONE && set_guard(*r, i, 0) != 0) {
    put_back(*r, i);
    return 0;
  }
  return slot_base(*r, i);
}

uint64_t arena_alloc_own(uint64_t length, uint64_t guard) {
  // As NPTL asks for one, so that guards installed ahead count.
  uint64_t addr = arena_alloc(length, PROT_NONE);
  if (addr == 0) return 0;
  {
    Guard g(lock);
    Region* r = region_of(addr);
    r->slots[slot_of(*r, addr)].flags |= kOwn;
  }
  if (arena_protect(addr + guard, length - guard, PROT_READ | PROT_WRITE) == 1) return addr;
  arena_free(addr, length);
  return 0;
}

bool arena_free(uint64_t addr, uint64_t length) {
  Region* r = region_of(addr);
  if (r == nullptr || length != r->stack) return false;
  auto i = slot_of(*r, addr);
  if (slot_base(*r, i) != addr) return false;
  Guard g(lock);
  Slot& s = r->slots[i];
  if ((s.flags & kUsed) == 0) return false;
  // Not renewed, it is unmapped for real, and never used again. The kernel would lock and fill what is mapped now.
  if ((s.flags & kChanged) != 0 && (reserve_stays_unlocked() || !renew(*r, i))) return false;
  if (stacks_locked) {
    raw2(SYS_munlock, static_cast<long>(addr), static_cast<long>(length));
    empty(*r, i, static_cast<uint32_t>(length / kPage));
  }
  put_back(*r, i);
  return true;
}

void arena_replaced(uint64_t addr, uint64_t length) {
  each_slot(addr, length, [](Region& r, uint32_t i, uint32_t from, uint32_t to) {
    Guard g(lock);
    hand_to_kernel(r, i, from, to, true);
  });
}

int arena_protect(uint64_t addr, uint64_t length, int prot) {
  Region* r = region_of(addr);
  if (r == nullptr || (addr | length) % kPage != 0) return 0;
  auto i = slot_of(*r, addr);
  uint64_t from = addr - slot_base(*r, i);
  if (from + length > r->stack) return 0;
  auto first = static_cast<uint32_t>(from / kPage);
  auto last = static_cast<uint32_t>((from + length) / kPage);
  Guard g(lock);
  Slot& s = r->slots[i];
  if ((s.flags & kChanged) == 0) {
    if (prot == (PROT_READ | PROT_WRITE) && from + length == r->stack) {
      // All but the low end is opened: what is left is the guard.
      bool closed = (s.flags & kClosed) != 0;
      s.flags &= ~static_cast<uint32_t>(kClosed);
      int e = set_guard(*r, i, closed || first < s.guard ? first : s.guard);
      return e < 0 ? e : 1;
    }
    if (prot == PROT_NONE && from == 0 && length < r->stack) {
      int e = set_guard(*r, i, last > s.guard ? last : s.guard);
      return e < 0 ? e : 1;
    }
  }
  // An executable stack, say, or an inner part: for real, at the price of a VMA.
  if (prot == PROT_NONE) {
    s.flags |= kChanged;
    return 0;
  }
  return hand_to_kernel(*r, i, first, last, false);
}

bool arena_dontneed(uint64_t addr, uint64_t length) {
  Region* r = region_of(addr);
  if (r == nullptr || length >= r->stack) return false;
  auto i = slot_of(*r, addr);
  if (slot_base(*r, i) != addr) return false;
  Guard g(lock);
  Slot& s = r->slots[i];
  s.pend_pages = static_cast<uint32_t>(length / kPage);
  if ((s.flags & kPending) != 0) return true;
  if (nput_off == kPutOff) do_put_off();
  s.flags |= kPending;
  put_off[nput_off++] = {r, i};
  return true;
}

bool arena_next_stack(uint64_t* from, uint64_t* to) {
  Guard g(lock);
  uint64_t after = *to;
  bool found = false;
  for (uint32_t k = 0; k < nregions; k++) {
    const Region& r = regions[k];
    if (r.end <= after || (found && r.base > *from)) continue;
    uint32_t i = after > r.base ? slot_of(r, after + r.stack - 1) : 0;
    while (i < r.fresh && (r.slots[i].flags & (kUsed | kClosed | kOwn)) != kUsed) i++;
    if (i >= r.fresh) continue;
    *from = slot_base(r, i) + r.slots[i].guard * kPage;
    *to = slot_base(r, i) + r.stack;
    found = true;
  }
  stacks_locked = stacks_locked || found;
  return found;
}

void arena_stack_in_use(uint64_t sp) {
  Region* r = region_of(sp - 1);
  if (r == nullptr) return;
  auto i = slot_of(*r, sp - 1);
  // Without the lock: what is no longer pending has been done.
  if ((load_acquire(&r->slots[i].flags) & kPending) == 0) return;
  Guard g(lock);
  r->slots[i].flags &= ~kPending;
}

}  // namespace cr
