// Robust lists (get_robust_list(2)): what an LWKT's death does to the locks it holds.
//
// The kernel does this for a kernel thread that dies, for words with that thread's own tid. So it
// is right by itself for the main thread, whose list is registered where its tid is the kernel
// thread's. For every other LWKT libcr does it:
//
//   the LWKT ends           when it is reaped (clone.cc)
//   the process calls exit  before the exit, once no other LWKT can run any more
//   the process is killed   nobody is left to do it and the kernel does not know the tid
//                           (futex_death compares it with the dying task's). A waiter under libcr
//                           finds out that the owner's process has gone (futex_shared.cc); a
//                           native one waits on, as for a process that set no robust list. (Nor is
//                           an exec seen that ends the owner: its process lives.)

#include "robust.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/lwkt/sched.h"
#include "../src/mem/shared.h"
#include "../src/signal/broadcast.h"
#include "../src/sysport/tid.h"
#include "futex.h"

namespace cr {

namespace {

// As in the kernel: a circular list must end some time.
inline constexpr int kLimit = 2048;

bool read_head(const thread* td, robust_list_head* head) {
  return td->td_robust != 0 &&
         user_copy(head, reinterpret_cast<const void*>(td->td_robust), sizeof *head) == 0;
}

uint64_t pending_entry(const robust_list_head& head) {
  return reinterpret_cast<uintptr_t>(head.list_op_pending);
}

void wake_one(uint64_t word) {
  futex_wake_all(word, 1);
  raw3(SYS_futex, static_cast<long>(word), FUTEX_WAKE, 1);  // waiters in other processes
}

// 1: the word named `tid` and is marked. 0: it did not, *seen is what it holds. -EFAULT.
int mark(uint64_t addr, int32_t tid, uint32_t* seen) {
  auto* word = reinterpret_cast<uint32_t*>(addr);
  if ((addr & 3) != 0 || user_load32(seen, word) != 0) return -EFAULT;
  while ((*seen & FUTEX_TID_MASK) == static_cast<uint32_t>(tid)) {
    int r = user_cas32(word, seen, (*seen & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
    if (r != 0) return r;
  }
  return 0;
}

// Bit 0 of an entry marks a PI lock: its waiters own it when they wake. False: there is no word, which
// ends the walk.
bool death(uint64_t entry, int64_t offset, int32_t tid, bool pending) {
  uint64_t word = (entry & ~1ull) + static_cast<uint64_t>(offset);
  bool pi = (entry & 1) != 0;
  if (pi && !shared_contains(word)) {
    return (word & 3) == 0 && futex_pi_owner_died(word, tid);
  }
  uint32_t seen;
  int r = mark(word, tid, &seen);
  if (r < 0) return false;
  if (pi) {
    if (r == 1) peers_ring(tid);
    return true;
  }
  // Free, and pending: it may have died between the unlock and the wake that it owes.
  bool owes_wake = r == 0 && pending && seen == 0;
  if (owes_wake || (r == 1 && (seen & FUTEX_WAITERS) != 0)) wake_one(word);
  return true;
}

bool holds_any(const thread* td) {
  robust_list_head head;
  return read_head(td, &head) &&
         (reinterpret_cast<uintptr_t>(head.list.next) != td->td_robust || pending_entry(head) != 0);
}

}  // namespace

void robust_walk(const thread* td) {
  robust_list_head head;
  if (!read_head(td, &head)) return;
  uint64_t entry = reinterpret_cast<uintptr_t>(head.list.next);
  uint64_t pending = pending_entry(head);
  for (int i = 0; (entry & ~1ull) != td->td_robust && i < kLimit; i++) {
    uintptr_t next = 0;
    int failed = user_copy(&next, reinterpret_cast<const void*>(entry & ~1ull), sizeof next);
    if ((entry & ~1ull) != (pending & ~1ull) &&
        !death(entry, head.futex_offset, td->td_tid, false)) {
      return;
    }
    if (failed != 0) return;
    entry = next;
  }
  if (pending != 0) death(pending, head.futex_offset, td->td_tid, true);
}

void robust_process_exit() {
  bool any = false;
  tid_each([&](thread* td) { return any = (td->td_flags & TDF_MAIN) == 0 && holds_any(td); });
  if (any) {
    broadcast_stop();
    tid_each([](thread* td) {
      if ((td->td_flags & TDF_MAIN) == 0) robust_walk(td);
      return false;
    });
  }
  if (any || sched_program_threads() <= 1) tid_give_back();
}

bool robust_pending(const thread* td, uint64_t addr) {
  robust_list_head head;
  if (!read_head(td, &head)) return false;
  uint64_t entry = pending_entry(head) & ~1ull;
  return entry != 0 && entry + static_cast<uint64_t>(head.futex_offset) == addr;
}

void robust_mark_dead(uint64_t addr, uint32_t seen) {
  auto tid = static_cast<int32_t>(seen & FUTEX_TID_MASK);
  if (mark(addr, tid, &seen) == 1) {
    raw3(SYS_futex, static_cast<long>(addr), FUTEX_WAKE, 1);
    peers_ring(tid);
  }
}

}  // namespace cr
