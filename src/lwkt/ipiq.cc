// IPI rings (see ipiq.h for the rules and costs).
//
// Order. The source writes the slot, then ip_windex (release), then its bit in the target's
// inbox, then c_ipipending. The target takes them back in the opposite order, each with an
// exchange, so a send that it misses has left the flag set for the next look. ip_windex is
// read once for each ring and look: a source that never stops sending does not keep the
// target here.
#include "ipiq.h"

#include <asm/unistd.h>

#include "assert.h"
#include "sched.h"
#include "slab.h"
#include "spinlock.h"

namespace cr {

namespace {

constexpr uint32_t kSlots = 256;
constexpr uint32_t kLimit = kSlots / 2;          // a send waits above this,
constexpr uint32_t kLow = kSlots / 4;            // until it is down to this
constexpr uint32_t kWords = kMaxCpus / 64;

struct alignas(32) Slot {
  ipifunc fn;
  void* arg1;
  uint64_t arg2;
};
static_assert(sizeof(Slot) == 32);

struct Ring {
  alignas(kCacheLine) uint32_t ip_rindex;  // the target's
  alignas(kCacheLine) uint32_t ip_windex;  // the source's
  alignas(kCacheLine) Slot ip_info[kSlots];
};

// A send from inside an IPI function that found the ring full.
struct Deferred {
  Deferred* next;
  cpu* target;
  Slot slot;
};

}  // namespace

// A cpu's inbox: c_ipiq.
struct ipiq {
  uint64_t from[kWords];   // bit n: something in ring[n]
  Deferred* deferred;      // the target's own sends, oldest first
  Deferred** deferred_end; // where the next one is linked; null while there is none
  bool inside;             // the target is running IPI functions
  Ring* ring[kMaxCpus];    // by source; null until its first send
};

namespace {

uint32_t used(const Ring* r) { return load_acquire(&r->ip_windex) - load_acquire(&r->ip_rindex); }

template <typename T>
T* make_zeroed() {
  void* p = slab_alloc(sizeof(T));
  CR_CHECK(p != nullptr);
  void* at = p;  // not memset: libc's uses vector registers
  size_t bytes = sizeof(T);
  asm volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(0) : "memory");
  return static_cast<T*>(p);
}

// Two sources may meet here for the same target; one of them wins.
ipiq* inbox_of(cpu* target) {
  ipiq* box = load_acquire(&target->c_ipiq);
  if (box != nullptr) return box;
  ipiq* fresh = make_zeroed<ipiq>();
  if (__atomic_compare_exchange_n(&target->c_ipiq, &box, fresh, false, __ATOMIC_ACQ_REL,
                                  __ATOMIC_ACQUIRE)) {
    return fresh;
  }
  slab_free(fresh, sizeof(ipiq));
  return box;
}

Ring* ring_to(ipiq* box, int source) {
  if (box->ring[source] == nullptr) store_release(&box->ring[source], make_zeroed<Ring>());
  return box->ring[source];
}

// Runs what is in the ring now.
void run_ring(Ring* r) {
  uint32_t windex = load_acquire(&r->ip_windex);
  while (r->ip_rindex != windex) {
    Slot s = r->ip_info[r->ip_rindex % kSlots];
    store_release(&r->ip_rindex, r->ip_rindex + 1);
    s.fn(s.arg1, s.arg2);
  }
}

void process_inbox(ipiq* box) {
  for (uint32_t w = 0; w < kWords; w++) {
    if (load_acquire(&box->from[w]) == 0) continue;
    uint64_t bits = __atomic_exchange_n(&box->from[w], 0, __ATOMIC_ACQ_REL);
    for (; bits != 0; bits &= bits - 1) run_ring(box->ring[w * 64 + __builtin_ctzll(bits)]);
  }
}

void announce(cpu* target, bool kick) {
  uint32_t flags = kick ? IPI_QUEUED | IPI_KICKED : IPI_QUEUED;
  uint32_t old = __atomic_fetch_or(&target->c_ipipending, flags, __ATOMIC_ACQ_REL);
  if (kick && (old & IPI_KICKED) == 0) ipiq_kick(target);
}

void put(cpu* self, cpu* target, Ring* r, const Slot& slot, bool passive) {
  r->ip_info[r->ip_windex % kSlots] = slot;
  store_release(&r->ip_windex, r->ip_windex + 1);
  __atomic_fetch_or(&load_acquire(&target->c_ipiq)->from[self->c_id / 64], uint64_t{1} << (self->c_id % 64),
                    __ATOMIC_ACQ_REL);
  announce(target, !passive || used(r) > kLow);
}

void defer(ipiq* mine, cpu* target, const Slot& slot) {
  auto* d = static_cast<Deferred*>(slab_alloc(sizeof(Deferred)));
  CR_CHECK(d != nullptr);
  *d = Deferred{nullptr, target, slot};
  *(mine->deferred_end != nullptr ? mine->deferred_end : &mine->deferred) = d;
  mine->deferred_end = &d->next;
}

// Sends what was deferred, up to the first whose ring is full.
void flush_deferred(cpu* self, ipiq* mine) {
  while (Deferred* d = mine->deferred) {
    Ring* r = ring_to(inbox_of(d->target), self->c_id);
    if (used(r) >= kSlots) {
      announce(d->target, true);
      return;
    }
    put(self, d->target, r, d->slot, false);
    mine->deferred = d->next;
    if (mine->deferred == nullptr) mine->deferred_end = nullptr;
    slab_free(d, sizeof(Deferred));
  }
}

// Until the ring has room and nothing older is still to be sent.
[[gnu::noinline]] void wait_for_room(cpu* target, Ring* r, const ipiq* mine) {
  for (int n = 1; used(r) > kLow || (mine != nullptr && mine->deferred != nullptr); n++) {
    announce(target, true);
    process_ipiq();
    spin_round(n);
  }
}

void send(cpu* target, const Slot& slot, bool passive) {
  cpu* self = mycpu();
  CR_CHECK(self != nullptr);
  if (self == target) {
    slot.fn(slot.arg1, slot.arg2);
    return;
  }
  Ring* r = ring_to(inbox_of(target), self->c_id);
  ipiq* mine = load_acquire(&self->c_ipiq);  // null: never been sent to, so not inside and nothing deferred
  if (mine != nullptr && mine->inside) {
    if (mine->deferred != nullptr || used(r) >= kSlots) {
      defer(mine, target, slot);
      return;
    }
  } else if (used(r) >= kLimit || (mine != nullptr && mine->deferred != nullptr)) {
    wait_for_room(target, r, mine);
  }
  put(self, target, r, slot, passive);
}

}  // namespace

void lwkt_send_ipiq(cpu* target, ipifunc fn, void* arg1, uint64_t arg2) {
  send(target, Slot{fn, arg1, arg2}, false);
}

void lwkt_send_ipiq_passive(cpu* target, ipifunc fn, void* arg1, uint64_t arg2) {
  send(target, Slot{fn, arg1, arg2}, true);
}

void process_ipiq() {
  cpu* self = mycpu();
  ipiq* box = nullptr;
  while (__atomic_exchange_n(&self->c_ipipending, 0u, __ATOMIC_ACQ_REL) != 0) {
    box = load_acquire(&self->c_ipiq);
    if (box == nullptr) continue;  // the scheduler's own wake, nobody ever sent here
    KASSERT(!box->inside);
    box->inside = true;
    process_inbox(box);
    box->inside = false;
  }
  if (box == nullptr || box->deferred == nullptr) return;
  flush_deferred(self, box);
  // What is left waits for the next safe point; the flag keeps this cpu from falling asleep.
  if (box->deferred != nullptr) {
    __atomic_fetch_or(&self->c_ipipending, IPI_QUEUED, __ATOMIC_ACQ_REL);
  }
}

void ipiq_atfork_child() {
  for (int i = 0; i < ncpus; i++) {
    if (cpus[i] == nullptr) continue;
    cpus[i]->c_ipipending = 0;
    ipiq* box = cpus[i]->c_ipiq;
    if (box == nullptr) continue;
    for (uint64_t& word : box->from) word = 0;
    box->inside = false;
    box->deferred = nullptr;
    box->deferred_end = nullptr;
    for (Ring* r : box->ring) {
      if (r != nullptr) r->ip_rindex = r->ip_windex;
    }
  }
}

}  // namespace cr
