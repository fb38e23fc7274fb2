#include "callstack.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/atomic.h"
#include "../lwkt/reserve.h"
#include "../mem/arena.h"
#include "tid.h"

// The upper ends by td_slot. Null: no such site. The gate reads it.
extern "C" [[gnu::visibility("hidden")]] uint64_t* cr_callstacks;
uint64_t* cr_callstacks;

namespace cr {

namespace {

inline constexpr uint64_t kStack = 64 * 1024;  // shims run on it, too
inline constexpr uint64_t kGuard = 4096;
inline constexpr uint64_t kTableSize = (uint64_t{kTidSlots} + 1) * sizeof(uint64_t);  // the last: the first thread's

uint64_t make() {
  uint64_t base = arena_alloc(kStack, PROT_NONE);
  if (base == 0) return 0;
  if (arena_protect(base + kGuard, kStack - kGuard, PROT_READ | PROT_WRITE) == 1) return base + kStack;
  arena_free(base, kStack);
  return 0;
}

// Slots that are used again keep theirs.
bool fill(uint64_t* at) {
  if (load_acquire(at) != 0) return true;
  uint64_t top = make();
  if (top == 0) return false;
  if (!atomic_cas<uint64_t>(at, 0, top)) arena_free(top - kStack, kStack);
  return true;
}

}  // namespace

bool callstack_begin() {
  if (load_acquire(&cr_callstacks) == nullptr) {
    long p = reserve(kTableSize);
    if (raw_failed(p)) return false;
    if (!atomic_cas<uint64_t*>(&cr_callstacks, nullptr, reinterpret_cast<uint64_t*>(p))) {
      raw2(SYS_munmap, p, static_cast<long>(kTableSize));
    }
  }
  bool all = true;
  tid_each([&](thread* td) {
    all = fill(&cr_callstacks[td->td_slot]);
    return !all;
  });
  return all;
}

bool callstack_assign(const thread* td) {
  uint64_t* stacks = load_acquire(&cr_callstacks);
  return stacks == nullptr || fill(&stacks[td->td_slot]);
}

uint64_t callstack_top(const thread* td) {
  return cr_callstacks == nullptr || td->td_slot == kNoSlot ? 0 : cr_callstacks[td->td_slot];
}

bool callstack_holds(const thread* td, uint64_t addr) {
  uint64_t top = callstack_top(td);
  return top != 0 && top - addr <= kStack;
}

}  // namespace cr
