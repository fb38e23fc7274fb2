#include "tid.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/reserve.h"
#include "../lwkt/spinlock.h"

namespace cr {

namespace {

// A slot holds an LWKT's address, or (odd) the next free slot's number.
uintptr_t* slots;
uint32_t used;  // slots ever handed out
uint32_t free_first, free_last, free_count;
SpinLock lock;
thread* main_thread;
int32_t process;

inline constexpr uint32_t kMaxBlocks = kTidSlots / kTidBlock;
uint32_t blocks[kMaxBlocks];  // the ids of slots [i * kTidBlock, (i + 1) * kTidBlock)
uint32_t nblocks;

inline constexpr uint32_t kReuseAfter = 512;  // keep a freed id unused for this many others

int32_t id_of(uint32_t slot) {
  return kTidBase + static_cast<int32_t>(blocks[slot / kTidBlock] * kTidBlock + slot % kTidBlock);
}

uintptr_t free_link(uint32_t next) { return static_cast<uintptr_t>(next) << 1 | 1; }
static_assert(kTidSlots <= 1u << 30);

}  // namespace

int32_t tid_process() { return process; }

void tid_init(thread* td) {
  main_thread = td;
  process = static_cast<int32_t>(raw0(SYS_getpid));
  td->td_tid = process;
  td->td_slot = kTidSlots;
}

bool tid_assign(thread* td) {
  Guard g(lock);
  if (slots == nullptr) {
    long p = reserve(kTidSlots * sizeof *slots);
    if (raw_failed(p)) return false;
    slots = reinterpret_cast<uintptr_t*>(p);
  }
  uint32_t slot;
  if (free_count > kReuseAfter || (used == kTidSlots && free_count > 0)) {
    slot = free_first;
    free_first = static_cast<uint32_t>(slots[slot] >> 1);
    free_count--;
  } else if (used < kTidSlots) {
    slot = used;
    if (slot / kTidBlock == nblocks) {
      blocks[nblocks] = peers_claim(nblocks);
      store_release(&nblocks, nblocks + 1);
    }
    store_release(&used, used + 1);
  } else {
    return false;
  }
  td->td_slot = slot;
  td->td_tid = id_of(slot);
  store_release(&slots[slot], reinterpret_cast<uintptr_t>(td));
  return true;
}

void tid_release(thread* td) {
  if (td == main_thread) {
    main_thread = nullptr;
    return;
  }
  Guard g(lock);
  uint32_t slot = td->td_slot;
  store_release(&slots[slot], free_link(0));
  if (free_count == 0) {
    free_first = slot;
  } else {
    slots[free_last] = free_link(slot);
  }
  free_last = slot;
  free_count++;
}

uint32_t tid_slots_used() { return load_acquire(&used); }

thread* tid_at(uint32_t slot) {
  uintptr_t v = load_acquire(&slots[slot]);
  return (v & 1) != 0 ? nullptr : reinterpret_cast<thread*>(v);
}

thread* tid_main() { return load_acquire(&main_thread); }

thread* tid_find(int32_t tid) {
  thread* m = tid_main();
  if (m != nullptr && m->td_tid == tid) return m;
  if (!tid_is_virtual(tid)) return nullptr;
  auto at = static_cast<uint32_t>(tid - kTidBase);
  uint32_t n = load_acquire(&nblocks);
  for (uint32_t i = 0; i < n; i++) {
    if (blocks[i] != at / kTidBlock) continue;
    uint32_t slot = i * kTidBlock + at % kTidBlock;
    return slot < tid_slots_used() ? tid_at(slot) : nullptr;
  }
  return nullptr;
}

bool tid_is_ours(int32_t tid) {
  if (!tid_is_virtual(tid)) return tid == process;
  uint32_t block = static_cast<uint32_t>(tid - kTidBase) / kTidBlock;
  uint32_t n = load_acquire(&nblocks);
  for (uint32_t i = 0; i < n; i++) {
    if (blocks[i] == block) return true;
  }
  return false;
}

void tid_give_back() {
  for (uint32_t i = 0; i < nblocks; i++) peers_release(blocks[i]);
}

void tid_atfork_child(thread* td) {
  lock = SpinLock{};
  if (slots != nullptr) {
    raw3(SYS_madvise, reinterpret_cast<long>(slots),
         static_cast<long>(kTidSlots * sizeof *slots), MADV_DONTNEED);
  }
  used = free_count = nblocks = 0;
  tid_init(td);
}

}  // namespace cr
