// A sorted array of disjoint ranges. Programs have a handful; a lookup is a binary search that
// takes no lock: writers make a new array and publish it, the old one is kept (they are small
// and few).

#include "shared.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/slab.h"
#include "../lwkt/spinlock.h"

namespace cr {

namespace {

struct Range {
  uint64_t start, end;
};
struct Set {
  uint32_t count;
  uint32_t capacity;
  Range ranges[];
};

Set* current;
GlobalLock lock;

Set* fresh(uint32_t capacity) {
  auto* s = static_cast<Set*>(slab_alloc(sizeof(Set) + capacity * sizeof(Range)));
  if (s != nullptr) {
    s->count = 0;
    s->capacity = capacity;
  }
  return s;
}

void put(Set* s, uint64_t start, uint64_t end) {
  if (start >= end) return;
  if (s->count > 0 && s->ranges[s->count - 1].end == start) {
    s->ranges[s->count - 1].end = end;
    return;
  }
  s->ranges[s->count++] = {start, end};
}

// A copy of the set in which [start, end) is in (or out of) it.
void replace(uint64_t start, uint64_t end, bool in) {
  Set* old = current;
  uint32_t n = old != nullptr ? old->count : 0;
  Set* s = fresh(n + 2);
  if (s == nullptr) return;  // no memory: a wrong "private" only costs a cross-process wake
  bool placed = !in;
  for (uint32_t i = 0; i < n; i++) {
    Range r = old->ranges[i];
    if (!placed && start <= r.start) {
      put(s, start, end);
      placed = true;
    }
    if (r.end <= start || r.start >= end) {
      put(s, r.start, r.end);
      continue;
    }
    if (r.start < start) put(s, r.start, start);
    if (!placed) {
      put(s, start, end);
      placed = true;
    }
    if (r.end > end) put(s, end, r.end);
  }
  if (!placed) put(s, start, end);
  store_release(&current, s);
}

}  // namespace

void shared_add(uint64_t start, uint64_t length) {
  Guard g(lock);
  replace(start, (start + length + 4095) & ~4095ull, true);
}

bool shared_touches(uint64_t start, uint64_t length) {
  const Set* s = load_acquire(&current);
  for (uint32_t i = 0; s != nullptr && i < s->count; i++) {
    if (s->ranges[i].start < start + length && s->ranges[i].end > start) return true;
  }
  return false;
}

void shared_remove(uint64_t start, uint64_t length) {
  uint64_t end = (start + length + 4095) & ~4095ull;
  if (!shared_touches(start, end - start)) return;
  Guard g(lock);
  replace(start, end, false);
}

bool shared_contains(uint64_t addr) {
  const Set* s = load_acquire(&current);
  if (s == nullptr) return false;
  uint32_t lo = 0, hi = s->count;
  while (lo < hi) {
    uint32_t mid = (lo + hi) / 2;
    if (s->ranges[mid].end <= addr) {
      lo = mid + 1;
    } else {
      hi = mid;
    }
  }
  return lo < s->count && s->ranges[lo].start <= addr;
}

void shared_atfork_child() { lock = GlobalLock{}; }

}  // namespace cr
