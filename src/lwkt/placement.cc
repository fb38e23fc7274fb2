#include "placement.h"

#include <sys/syscall.h>

#include "../../arch/guest.h"
#include "../../arch/rawcall.h"
#include "atomic.h"
#include "sched.h"
#include "spinlock.h"

namespace cr {

namespace {

enum State : uint32_t { kOff, kAllowed, kOn };
uint32_t state;
uint32_t active;   // masks that lack a processor, or are about to
bool whole;        // the process may use whatever its cpuset has,
AffinityMask all;  // which is this; whoever has it is given all there are, since a cpuset may grow

bool read_mask(int32_t ktid, AffinityMask* m) {
  *m = {};
  return !raw_failed(raw3(SYS_sched_getaffinity, ktid, sizeof *m, reinterpret_cast<long>(m)));
}

bool write_mask(int32_t ktid, const AffinityMask& m) {
  return !raw_failed(raw3(SYS_sched_setaffinity, ktid, sizeof m, reinterpret_cast<long>(&m)));
}

AffinityMask every_processor() {
  AffinityMask m;
  for (uint64_t& word : m.words) word = ~uint64_t{0};
  return m;
}

bool same(const AffinityMask& a, const AffinityMask& b) {
  uint64_t differ = 0;
  for (uint32_t i = 0; i < kMaskWords; i++) differ |= a.words[i] ^ b.words[i];
  return differ == 0;
}

int processors(const AffinityMask& m) {
  int n = 0;
  for (uint64_t word : m.words) {
    for (; word != 0; word &= word - 1) n++;
  }
  return n;
}

// m without processor p; false: it has no other, or not p.
bool without(AffinityMask* m, uint32_t p) {
  if (p >= kMaskWords * 64) return false;
  uint64_t bit = 1ull << p % 64, rest = 0;
  if ((m->words[p / 64] & bit) == 0) return false;
  m->words[p / 64] &= ~bit;
  for (uint64_t word : m->words) rest |= word;
  return rest != 0;
}

// Takes its own processor from gd's mask.
bool narrow(const globaldata* gd, AffinityMask* before) {
  uint32_t p = 0;
  if (raw_failed(raw3(SYS_getcpu, reinterpret_cast<long>(&p), 0, 0))) return false;
  if (!read_mask(gd->gd_ktid, before)) return false;
  AffinityMask m = *before;
  return without(&m, p) && write_mask(gd->gd_ktid, m);
}

bool is_on() { return __atomic_load_n(&state, __ATOMIC_SEQ_CST) == kOn; }
void set(uint32_t to) { __atomic_store_n(&state, to, __ATOMIC_SEQ_CST); }

}  // namespace

void placement_allow() { set(kAllowed); }

void placement_begin() {
  if (state != kAllowed) return;
  set(kOff);
  AffinityMask now;
  if (!read_mask(0, &all) || ncpus > processors(all) || !guest_with_stolen_time()) return;
  whole = write_mask(0, every_processor()) && read_mask(0, &now) && same(all, now);
  if (whole || write_mask(0, all)) set(kOn);
}

bool placement_avoid(const globaldata* gd, AffinityMask* before) {
  if (!is_on() || gd == nullptr || load_acquire(&gd->gd_ktid) <= 0) return false;
  __atomic_add_fetch(&active, 1, __ATOMIC_SEQ_CST);
  if (is_on()) {
    if (narrow(gd, before)) return true;
    set(kOff);  // forbidden, or one processor
  }
  __atomic_sub_fetch(&active, 1, __ATOMIC_SEQ_CST);
  return false;
}

void placement_give_back(const globaldata* gd, const AffinityMask& before) {
  bool every = whole && same(before, all);
  // It fails if the cpuset has just lost all of them: then what that has now.
  if (every || !write_mask(gd->gd_ktid, before)) write_mask(gd->gd_ktid, every_processor());
  __atomic_sub_fetch(&active, 1, __ATOMIC_SEQ_CST);
}

void placement_stop() {
  set(kOff);
  spin_until([] { return __atomic_load_n(&active, __ATOMIC_SEQ_CST) == 0; });
}

void placement_atfork_child() { active = 0; }

}  // namespace cr
