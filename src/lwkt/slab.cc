// The slab allocator (see slab.h).
//
//   batch      2 MB from mmap, cut into zones
//   zone       64 KB, aligned, chunks of one size class, owned by one cpu's front for ever or
//              until it is all free; a header in its first 128 bytes
//   front      slab_cpu, one for each cpu: for each class two magazines, the zones that have
//              free chunks, and the list of chunks that others freed
//   magazine   a list of free chunks through their first word. Alloc and free touch `loaded`;
//              when it is empty or full, it changes places with `prev`; only when that does
//              not help are zones touched, a whole magazine at a time. So a program that
//              allocates and frees around a boundary doesn't ping-pong (Bonwick, 2001).
//   remote     a chunk that is freed by somebody else than its zone's owner goes to the
//              owner's list for that class by compare-and-swap; the owner takes the whole list
//              with one exchange when its magazines are empty. Pushing many and taking all has
//              no ABA problem.
//
// An rfork without a cpu allocates from a front that all of those share under a GlobalLock,
// and frees by the remote list always.
//
// The runtime is not preempted here and a front is the holder's alone, so its operations need
// neither atomics nor a critical section.
//
// Magazines as arrays of pointers (nmalloc, Solaris) would not touch the chunks; 96 classes
// of them cost 50 KB a cpu, and what is freed last is in the cache anyway. Giving remote
// chunks to the freeing cpu's magazines instead of their owner would save the list; zones
// would then never become whole again in a program whose threads end on another cpu.
#include "slab.h"

#include <asm/unistd.h>
#include <linux/mman.h>

#include "assert.h"
#include "reserve.h"
#include "spinlock.h"
#include "thread.h"

namespace cr {

namespace {

constexpr size_t kZoneSize = size_t{64} << 10;
constexpr size_t kBatchSize = size_t{2} << 20;
constexpr size_t kHeaderSize = 128;
constexpr size_t kMaxSize = 8192;
constexpr size_t kPage = 4096;
constexpr uint32_t kZoneMagic = 0x7a6f6e65;
constexpr uint32_t kWarmZones = 64;  // free zones that keep their memory

// ---- size classes ---------------------------------------------------------------------------

constexpr uint32_t kLinear = 16;  // classes 16, 32 ... 256
constexpr uint32_t kPerDoubling = 16;
constexpr uint32_t kClasses = kLinear + 5 * kPerDoubling;

constexpr uint32_t class_of(size_t size) {
  if (size <= 256) return size == 0 ? 0 : static_cast<uint32_t>((size - 1) / 16);
  uint32_t top = 63 - static_cast<uint32_t>(__builtin_clzll(size - 1));  // 2^top < size
  uint32_t step = static_cast<uint32_t>((size - 1) >> (top - 4)) - kPerDoubling;
  return kLinear + (top - 8) * kPerDoubling + step;
}

constexpr size_t class_size(uint32_t c) {
  if (c < kLinear) return (c + 1) * size_t{16};
  uint32_t doubling = (c - kLinear) / kPerDoubling;
  uint32_t step = (c - kLinear) % kPerDoubling;
  return (size_t{256} << doubling) + ((step + 1) * (size_t{16} << doubling));
}

constexpr bool classes_are_tight() {
  for (size_t s = 1; s <= kMaxSize; s++) {
    uint32_t c = class_of(s);
    if (c >= kClasses || class_size(c) < s || (c > 0 && class_size(c - 1) >= s)) return false;
  }
  return true;
}
static_assert(classes_are_tight());

// Chunks in a magazine: about 16 KB of them, never less than 4 or more than 64. A table, since each free asks.
struct Rounds {
  uint8_t of[kClasses];
  constexpr Rounds() : of{} {
    for (uint32_t c = 0; c < kClasses; c++) {
      size_t n = 16384 / class_size(c);
      of[c] = static_cast<uint8_t>(n < 4 ? 4 : n > 64 ? 64 : n);
    }
  }
};
constexpr Rounds kRounds;
inline uint32_t rounds(uint32_t c) { return kRounds.of[c]; }

// ---- the structures -----------------------------------------------------------------------------

struct Chunk {
  Chunk* next;
};

struct Zone {
  uint32_t z_magic;
  uint32_t z_class;
  slab_cpu* z_owner;
  Zone* z_next;  // in the owner's list, or the pool's
  Zone* z_prev;
  Chunk* z_free;
  uint32_t z_nfree;    // on z_free
  uint32_t z_nfresh;   // never used yet: chunk lists are not built in advance
  uint32_t z_nmax;
};
static_assert(sizeof(Zone) <= kHeaderSize);

struct Magazine {
  Chunk* head;
  uint32_t n;
};

struct Front {
  Magazine loaded;
  Magazine prev;
  Zone* zones;  // those with free chunks
};

}  // namespace

struct slab_cpu {
  slab_cpu* s_next;  // every front there is
  Front s_front[kClasses];
  alignas(kCacheLine) Chunk* s_remote[kClasses];  // written by others
};

namespace {

constinit GlobalLock pool_lock;    // guards the next four
constinit Zone* pool_zones = nullptr;
constinit uint32_t pool_count = 0;
constinit char* batch_next = nullptr;
constinit size_t batch_left = 0;

// Guards shared_front's own part. The one lock here that may be held over a trap (for a new
// batch): rforks without a cpu rarely allocate, and have nothing better to do than to wait.
constinit GlobalLock shared_lock;
constinit slab_cpu shared_front{};
constinit slab_cpu* all_fronts = nullptr;  // but shared_front; pushed by compare-and-swap

// ---- zones ----------------------------------------------------------------------------------------

char* map_memory(size_t size) {
  long p = reserve(size);
  return raw_failed(p) ? nullptr : reinterpret_cast<char*>(p);
}

// With pool_lock. The kernel aligns to pages; the lost part of a batch costs addresses only.
Zone* pool_cut() {
  if (batch_left == 0) return nullptr;
  auto* z = reinterpret_cast<Zone*>(batch_next);
  batch_next += kZoneSize;
  batch_left -= kZoneSize;
  return z;
}

Zone* pool_take() {
  Guard g(pool_lock);
  if (pool_zones == nullptr) return pool_cut();
  Zone* z = pool_zones;
  pool_zones = z->z_next;
  store_release(&pool_count, pool_count - 1);
  return z;
}

// The trap is made without the lock. If another rfork did the same meanwhile, the batch that
// is displaced goes to the pool zone by zone.
Zone* zone_from_new_batch() {
  char* base = map_memory(kBatchSize + kZoneSize);
  if (base == nullptr) return nullptr;
  auto addr = reinterpret_cast<uintptr_t>(base);
  base += (kZoneSize - addr % kZoneSize) % kZoneSize;
  Guard g(pool_lock);
  while (Zone* z = pool_cut()) {
    z->z_next = pool_zones;
    pool_zones = z;
    store_release(&pool_count, pool_count + 1);
  }
  batch_next = base;
  batch_left = kBatchSize;
  return pool_cut();
}

// A zone with no chunk in use. Beyond a few its memory goes back to the kernel, but for the
// page that links it.
void pool_give(Zone* z) {
  if (load_acquire(&pool_count) >= kWarmZones) {
    raw3(__NR_madvise, reinterpret_cast<long>(z) + static_cast<long>(kPage),
         kZoneSize - kPage, MADV_DONTNEED);
  }
  z->z_magic = 0;
  Guard g(pool_lock);
  z->z_next = pool_zones;
  pool_zones = z;
  store_release(&pool_count, pool_count + 1);
}

Zone* zone_of(void* p) {
  auto* z = reinterpret_cast<Zone*>(reinterpret_cast<uintptr_t>(p) & ~(kZoneSize - 1));
  CR_CHECK(z->z_magic == kZoneMagic);
  return z;
}

void zone_link(Front* f, Zone* z) {
  z->z_prev = nullptr;
  z->z_next = f->zones;
  if (z->z_next != nullptr) z->z_next->z_prev = z;
  f->zones = z;
}

void zone_unlink(Front* f, Zone* z) {
  if (z->z_next != nullptr) z->z_next->z_prev = z->z_prev;
  (z->z_prev != nullptr ? z->z_prev->z_next : f->zones) = z->z_next;
}

Zone* zone_make(slab_cpu* s, uint32_t c) {
  Zone* z = pool_take();
  if (z == nullptr) z = zone_from_new_batch();
  if (z == nullptr) return nullptr;
  uint32_t n = static_cast<uint32_t>((kZoneSize - kHeaderSize) / class_size(c));
  *z = Zone{.z_magic = kZoneMagic, .z_class = c, .z_owner = s, .z_next = nullptr,
            .z_prev = nullptr, .z_free = nullptr, .z_nfree = 0, .z_nfresh = n, .z_nmax = n};
  zone_link(&s->s_front[c], z);
  return z;
}

Chunk* zone_take(Zone* z) {
  if (z->z_nfree != 0) {
    Chunk* k = z->z_free;
    z->z_free = k->next;
    z->z_nfree--;
    return k;
  }
  uint32_t index = z->z_nmax - z->z_nfresh--;
  return reinterpret_cast<Chunk*>(reinterpret_cast<char*>(z) + kHeaderSize +
                                  index * class_size(z->z_class));
}

void zone_put(slab_cpu* s, Chunk* k) {
  Zone* z = zone_of(k);
  Front* f = &s->s_front[z->z_class];
  if (z->z_nfree + z->z_nfresh == 0) zone_link(f, z);
  k->next = z->z_free;
  z->z_free = k;
  z->z_nfree++;
  // The last zone with room stays: the next alloc would fetch it back.
  bool only = f->zones == z && z->z_next == nullptr;
  if (z->z_nfree + z->z_nfresh == z->z_nmax && !only) {
    zone_unlink(f, z);
    pool_give(z);
  }
}

// ---- magazines ------------------------------------------------------------------------------------

void push(Magazine* m, Chunk* k) {
  k->next = m->head;
  m->head = k;
  m->n++;
}

Chunk* pop(Magazine* m) {
  Chunk* k = m->head;
  m->head = k->next;
  m->n--;
  return k;
}

void swap(Front* f) {
  Magazine m = f->loaded;
  f->loaded = f->prev;
  f->prev = m;
}

[[gnu::noinline]] void front_make_room(slab_cpu* s, uint32_t c) {
  Front* f = &s->s_front[c];
  swap(f);
  if (f->loaded.n < rounds(c)) return;
  while (f->loaded.n != 0) zone_put(s, pop(&f->loaded));
}

[[gnu::always_inline]] inline void front_free(slab_cpu* s, uint32_t c, Chunk* k) {
  Front* f = &s->s_front[c];
  if (__builtin_expect(f->loaded.n >= rounds(c), 0)) front_make_room(s, c);
  push(&f->loaded, k);
}

// Nothing is loaded. If both magazines are empty chunks that others freed come first, then zones.
[[gnu::noinline]] void front_refill(slab_cpu* s, uint32_t c) {
  swap(&s->s_front[c]);
  if (s->s_front[c].loaded.n != 0) return;
  Chunk* k = __atomic_exchange_n(&s->s_remote[c], nullptr, __ATOMIC_ACQUIRE);
  while (k != nullptr) {
    Chunk* next = k->next;
    front_free(s, c, k);
    k = next;
  }
  Front* f = &s->s_front[c];
  if (f->loaded.n != 0) return;
  for (uint32_t i = 0; i < rounds(c); i++) {
    Zone* z = f->zones != nullptr ? f->zones : zone_make(s, c);
    if (z == nullptr) return;
    push(&f->loaded, zone_take(z));
    if (z->z_nfree + z->z_nfresh == 0) zone_unlink(f, z);
  }
}

[[gnu::always_inline]] inline void* front_alloc(slab_cpu* s, uint32_t c) {
  Front* f = &s->s_front[c];
  if (__builtin_expect(f->loaded.n == 0, 0)) {
    front_refill(s, c);
    if (f->loaded.n == 0) return nullptr;
  }
  return pop(&f->loaded);
}

void remote_free(slab_cpu* owner, uint32_t c, Chunk* k) {
  Chunk* head = __atomic_load_n(&owner->s_remote[c], __ATOMIC_RELAXED);
  do {
    k->next = head;
  } while (!__atomic_compare_exchange_n(&owner->s_remote[c], &head, k, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED));
}

// ---- fronts -----------------------------------------------------------------------------------------

[[gnu::noinline]] slab_cpu* make_front(cpu* c) {
  auto* s = reinterpret_cast<slab_cpu*>(map_memory(sizeof(slab_cpu)));  // zeroed by the kernel
  if (s == nullptr) return nullptr;
  s->s_next = __atomic_load_n(&all_fronts, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(&all_fronts, &s->s_next, s, true, __ATOMIC_RELEASE,
                                      __ATOMIC_RELAXED)) {
  }
  c->c_slab = s;
  return s;
}

// This cpu's front; null without a cpu.
[[gnu::always_inline]] inline slab_cpu* my_front() {
  cpu* c = mycpu();
  if (c == nullptr) return nullptr;
  return __builtin_expect(c->c_slab != nullptr, 1) ? c->c_slab : make_front(c);
}

size_t page_round(size_t size) { return (size + kPage - 1) & ~(kPage - 1); }

void forget(slab_cpu* s) {
  for (Front& f : s->s_front) f = Front{};
}

}  // namespace

void* slab_alloc(size_t size) {
  if (size > kMaxSize) {  // it goes back as it is: nothing to be kept in store
    long p = raw_mmap(0, static_cast<long>(page_round(size)), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return raw_failed(p) ? nullptr : reinterpret_cast<void*>(p);
  }
  uint32_t c = class_of(size);
  slab_cpu* s = my_front();
  if (__builtin_expect(s != nullptr, 1)) return front_alloc(s, c);
  Guard g(shared_lock);
  return front_alloc(&shared_front, c);
}

void slab_free(void* p, size_t size) {
  if (p == nullptr) return;
  if (size > kMaxSize) {
    raw2(__NR_munmap, reinterpret_cast<long>(p), static_cast<long>(page_round(size)));
    return;
  }
  Zone* z = zone_of(p);
  uint32_t c = class_of(size);
  KASSERT(z->z_class == c);
  auto* k = static_cast<Chunk*>(p);
  slab_cpu* s = my_front();
  if (s != nullptr && z->z_owner == s) {
    front_free(s, c, k);
  } else {
    remote_free(z->z_owner, c, k);
  }
}

void slab_lock() {
  shared_lock.lock();
  pool_lock.lock();
}

void slab_unlock() {
  pool_lock.unlock();
  shared_lock.unlock();
}

// The fronts of other cpus have no lock and are given up. Their chunks that are in use stay valid,
// and go to remote lists nobody empties when freed.
void slab_atfork_child() {
  cpu* c = mycpu();
  slab_cpu* mine = c != nullptr ? c->c_slab : nullptr;
  for (slab_cpu* s = all_fronts; s != nullptr; s = s->s_next) {
    if (s != mine) forget(s);
  }
}

}  // namespace cr
