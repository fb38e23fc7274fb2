#include "callstack.h"

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

// Slots that are used again keep theirs.
bool fill(uint64_t* at) {
  if (load_acquire(at) != 0) return true;
  uint64_t base = arena_alloc_own(kStack, kGuard);
  if (base == 0) return false;
  uint64_t top = base + kStack;
  if (!atomic_cas<uint64_t>(at, 0, top)) arena_free(base, kStack);
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
  // Before a look at who is there: who comes later sees the table (callstack_assign).
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (!fill(&cr_callstacks[kTidSlots])) return false;
  uint32_t n = tid_slots_used();
  for (uint32_t i = 0; i < n; i++) {
    if (tid_at(i) != nullptr && !fill(&cr_callstacks[i])) return false;
  }
  return true;
}

bool callstack_assign(const thread* td) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  uint64_t* stacks = load_acquire(&cr_callstacks);
  return stacks == nullptr || fill(&stacks[td->td_slot]);
}

void callstack_atfork_child(const thread* td) {
  if (cr_callstacks == nullptr || td->td_slot == kNoSlot || td->td_slot == kTidSlots) return;
  uint64_t first = cr_callstacks[kTidSlots];
  cr_callstacks[kTidSlots] = cr_callstacks[td->td_slot];
  cr_callstacks[td->td_slot] = first;
}

uint64_t callstack_top(const thread* td) {
  return cr_callstacks == nullptr || td->td_slot == kNoSlot ? 0 : cr_callstacks[td->td_slot];
}

bool callstack_holds(const thread* td, uint64_t addr) {
  uint64_t top = callstack_top(td);
  return top != 0 && top - addr <= kStack;
}

}  // namespace cr
