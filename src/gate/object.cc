// Rewriting one object's trap sites.
//
// Order: table (from the cache, or made by the analyser in a process of its own), room for stubs near
// the text, then the text: made writable and not executable, each window compared with the
// table's bytes, its stub made, the stubs made executable, the windows written, the text made executable
// again. Nothing here uses libc: while libc's own text is not executable there is no libc.
//
// An object that holds this very code (a program linked with libcr.a) can't lose its execute
// permission while it is rewritten; it has both for that moment, and never after it.

#include "object.h"

#include <elf.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/limits.h"
#include "../../arch/rawcall.h"
#include "../lwkt/large.h"
#include "../lwkt/spinlock.h"
#include "../shim/report.h"
#include "../signal/signal.h"
#include "../sysport/callstack.h"
#include "buslock.h"
#include "cache.h"
#include "sitetable.h"
#include "start.h"
#include "stub.h"

extern "C" [[gnu::visibility("hidden")]] char __start_crtext[], __stop_crtext[];

namespace cr {

uint32_t sites_rewritten;

namespace {

inline constexpr uint64_t kPage = 4096;
inline constexpr auto kNativeTrap =
    static_cast<uint8_t>(kElfMachine == EM_386 ? TrapKind::kInt80 : TrapKind::kSyscall);
inline constexpr int kMaxBatches = 1024;       // objects with sites in one process

// What was rewritten in one object; sites ascend by trap.
struct Batch {
  uint64_t stub_start, stub_end;
  PatchedSite* sites;
  uint32_t nsites;
};
CR_LARGE Batch batches[kMaxBatches];
uint32_t nbatches;
GlobalLock batch_lock;

uint64_t page_down(uint64_t v) { return v & ~(kPage - 1); }
uint64_t page_up(uint64_t v) { return page_down(v + kPage - 1); }

bool near(uint64_t a, uint64_t b) {
  auto d = static_cast<int64_t>(a - b);
  return d > -kReach && d < kReach;
}

long map_at(uint64_t hint, size_t size) {
  return raw_mmap(static_cast<long>(hint), static_cast<long>(size), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

// Memory within reach of [lo, hi): where the kernel likes, else by hints around the object.
uint64_t map_near(uint64_t lo, uint64_t hi, size_t size) {
  for (int i = 0; i < 64; i++) {
    uint64_t step = static_cast<uint64_t>(i / 2) * 32 * 1024 * 1024;
    uint64_t hint = i == 0 ? 0 : (i % 2 != 0 ? page_down(lo - size - step) : page_up(hi + step));
    long p = map_at(hint, size);
    if (raw_failed(p)) return 0;
    auto a = static_cast<uintptr_t>(p);
    if (near(a, hi) && near(a + size, lo)) return a;
    raw2(SYS_munmap, p, static_cast<long>(size));
  }
  return 0;
}

struct TextRange {
  uint64_t lo = ~0ull, hi = 0;
  int prot = 0;
};

// The executable segment that holds `addr`.
TextRange segment_of(const ObjectView& o, uint64_t addr) {
  for (int i = 0; i < o.phnum; i++) {
    const auto& p = o.phdr[i];
    if (p.p_type != PT_LOAD || (p.p_flags & PF_X) == 0) continue;
    uint64_t lo = o.bias + p.p_vaddr;
    if (addr < lo || addr >= lo + p.p_memsz) continue;
    int prot = PROT_EXEC | ((p.p_flags & PF_R) != 0 ? PROT_READ : 0);
    return {page_down(lo), page_up(lo + p.p_memsz), prot};
  }
  return {};
}

bool patchable(const Site& s) {
  auto r = static_cast<SiteRule>(s.rule);
  if (s.pre + 2u + s.post > kMaxWindow) return false;
  if (r == SiteRule::kX) {
    return s.kind == kNativeTrap && s.pre == 0 && s.post == 0;
  }
  if (r != SiteRule::kP && r != SiteRule::kA && r != SiteRule::kB) return false;
  if (s.kind != kNativeTrap) return false;
  size_t n = site_window_size(s);
  if (n < 5 || s.nfixups > 4) return false;
  for (int i = 0; i < s.nfixups; i++) {
    if (s.fixups[i].at + 4u > n || s.fixups[i].end > n) return false;
  }
  return true;
}

// In a program that has libcr.a linked in, the traps that end all messages are among the sites.
bool in_runtime(uint64_t trap) {
  return trap >= reinterpret_cast<uintptr_t>(__start_crtext) &&
         trap < reinterpret_cast<uintptr_t>(__stop_crtext);
}

bool wanted(const ObjectView& o, const Site& s) { return patchable(s) && !in_runtime(o.bias + s.trap); }

bool same_bytes(const Site& s, const uint8_t* text) {
  size_t n = static_cast<size_t>(s.pre) + 2 + s.post;
  for (size_t i = 0; i < n; i++) {
    if (text[i] != s.bytes[i]) return false;
  }
  return true;
}

void say(const char* text) {
  size_t n = 0;
  while (text[n] != '\0') n++;
  raw3(SYS_write, report_fd(), reinterpret_cast<long>(text), static_cast<long>(n));
}

// Copies of the pages that the windows lie on, in few traps: by faults they would take twice the time. They do where
// the kernel does not know the call (before 5.14); a filter of the program's is not asked for it.
void populate_windows(const ObjectView& o, const Site* first, const Site* last) {
  uint64_t from = 0, to = 0;
  auto populate = [&] {
    raw3(SYS_madvise, static_cast<long>(from), static_cast<long>(to - from), MADV_POPULATE_WRITE);
  };
  for (const Site* s = first; s < last; s++) {
    if (!wanted(o, *s)) continue;
    uint64_t window = site_window(*s, o.bias + s->trap);
    uint64_t end = page_up(window + site_window_size(*s));
    if (page_down(window) > to) {
      if (to != 0) populate();
      from = page_down(window);
      to = end;
    } else if (end > to) {
      to = end;
    }
  }
  if (to != 0) populate();
}

// Rewrites sites [first, last), all in the segment t. Their descriptions and stubs are in one mapping.
int patch_segment(const ObjectView& o, const Site* first, const Site* last, TextRange t) {
  size_t n = 0, room = 0;
  for (const Site* s = first; s < last; s++) {
    if (!wanted(o, *s)) continue;
    n++;
    room += stub_room(*s);
  }
  if (n == 0) return 0;
  size_t data = stub_step(n * (sizeof(sitedesc) + sizeof(PatchedSite)));
  size_t size = page_up(data + room);
  uint64_t mem = map_near(t.lo, t.hi, size);
  if (mem == 0) return -ENOMEM;
  auto* descs = reinterpret_cast<sitedesc*>(mem);
  auto* patched = reinterpret_cast<PatchedSite*>(descs + n);
  auto* stub = reinterpret_cast<uint8_t*>(mem + data);

  auto self = reinterpret_cast<uintptr_t>(&object_attach);
  bool holds_self = self >= t.lo && self < t.hi;
  auto protect_text = [&](int prot) {
    return raw3(SYS_mprotect, static_cast<long>(t.lo), static_cast<long>(t.hi - t.lo), prot);
  };
  auto give_up = [&](long error) {
    protect_text(t.prot);
    raw2(SYS_munmap, static_cast<long>(mem), static_cast<long>(size));
    return static_cast<int>(error);
  };
  long r = protect_text(PROT_READ | PROT_WRITE | (holds_self ? PROT_EXEC : 0));
  if (raw_failed(r)) return give_up(r);
  // Not before it is writable: pages that were read first are mapped twice.
  if (!cache_makes_no_more()) populate_windows(o, first, last);

  // The stubs first, with the text still as it was.
  uint32_t done = 0;
  bool trapping = false;
  for (const Site* s = first; s < last; s++) {
    uint64_t trap = o.bias + s->trap;
    if (!wanted(o, *s) || !same_bytes(*s, reinterpret_cast<const uint8_t*>(trap - s->pre))) continue;
    StubResult w = stub_write(*s, trap, stub, &descs[done]);
    if (w.size == 0) continue;
    trapping = trapping || static_cast<SiteRule>(s->rule) == SiteRule::kX;
    patched[done] = {trap, &descs[done], reinterpret_cast<uintptr_t>(stub) + w.reenter};
    done++;
    stub += stub_step(w.size);
  }
  if (done == 0) return give_up(0);
  r = raw3(SYS_mprotect, static_cast<long>(mem), static_cast<long>(size), PROT_READ | PROT_EXEC);
  if (raw_failed(r)) return give_up(r);

  if (trapping) sig_keep_sigtrap();
  uint32_t k = 0;
  for (const Site* s = first; s < last && k < done; s++) {
    uint64_t trap = o.bias + s->trap;
    if (patched[k].trap != trap) continue;
    uint64_t start = patched[k].reenter - (static_cast<SiteRule>(s->rule) == SiteRule::kA ? 0 : s->pre);
    uint64_t window = site_window(*s, trap);
    stub_patch(*s, window, reinterpret_cast<uint8_t*>(window), start);
    k++;
  }
  protect_text(t.prot);

  Guard g(batch_lock);
  if (nbatches < kMaxBatches) {
    batches[nbatches] = {mem + data, mem + size, patched, done};
    store_release(&nbatches, nbatches + 1);
  }
  sites_rewritten += done;
  return static_cast<int>(done);
}

}  // namespace

void object_find_build_id(ObjectView* o) {
  for (int i = 0; i < o->phnum; i++) {
    const auto& p = o->phdr[i];
    if (p.p_type != PT_NOTE) continue;
    uint64_t at = o->bias + p.p_vaddr;
    uint64_t end = at + p.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      auto* n = reinterpret_cast<const ElfW(Nhdr)*>(at);
      uint64_t desc = at + sizeof(*n) + ((n->n_namesz + 3u) & ~3u);
      const auto* name = reinterpret_cast<const char*>(n + 1);
      if (desc + n->n_descsz > end) break;
      if (n->n_type == NT_GNU_BUILD_ID && n->n_namesz == 4 && name[0] == 'G' && name[1] == 'N' &&
          name[2] == 'U' && n->n_descsz > 0 && n->n_descsz <= 32) {
        o->build_id = reinterpret_cast<const uint8_t*>(desc);
        o->build_id_len = n->n_descsz;
        return;
      }
      at = desc + ((n->n_descsz + 3u) & ~3u);
    }
  }
}

int object_attach(const ObjectView& o) {
  SiteTable t;
  int error = cache_open(o, &t);
  if (error != 0) return -error;
  bool holds_self = segment_of(o, reinterpret_cast<uintptr_t>(&object_attach)).hi != 0;
  if (kPercpuGs && t.writes_gs && !holds_self) {
    say("libcr: ");
    say(o.path);
    say(": sets the %gs register, which is libcr's: the program will crash when it does. Use cr run --keep-gs.\n");
  }
  // The sites of one object are all narrow, or none is.
  if (t.nsites != 0 && t.sites[0].narrow != 0 && !callstack_begin()) {
    cache_close(&t);
    return -ENOMEM;
  }
  int total = 0;
  for (uint32_t i = 0; i < t.nsites;) {
    TextRange seg = segment_of(o, o.bias + t.sites[i].trap);
    if (seg.hi == 0) {
      i++;
      continue;
    }
    uint32_t j = i;
    while (j < t.nsites && o.bias + t.sites[j].trap < seg.hi) j++;
    int n = patch_segment(o, t.sites + i, t.sites + j, seg);
    if (n < 0) {
      cache_close(&t);
      return n;
    }
    total += n;
    i = j;
  }
  if (t.nlocks != 0) {
    TextRange seg = segment_of(o, o.bias + t.locks[0]);
    if (seg.hi != 0 && buslock_note({seg.lo, seg.hi, seg.prot, o.bias, t.locks, t.nlocks})) {
      return total;  // the list stays mapped
    }
  }
  cache_close(&t);
  return total;
}

// The stubs stay: a thread may be on its way through one. Only the lookup forgets.
void object_forget(uint64_t addr, uint64_t length) {
  uint32_t n = load_acquire(&nbatches);
  for (uint32_t b = 0; b < n; b++) {
    Batch& batch = batches[b];
    if (batch.nsites == 0 || batch.sites[0].trap < addr ||
        batch.sites[batch.nsites - 1].trap >= addr + length) {
      continue;
    }
    store_release(&batch.nsites, 0u);
  }
}

const PatchedSite* site_by_trap(uint64_t trap) {
  uint32_t n = load_acquire(&nbatches);
  for (uint32_t b = 0; b < n; b++) {
    const Batch& batch = batches[b];
    if (batch.nsites == 0) continue;
    if (trap < batch.sites[0].trap || trap > batch.sites[batch.nsites - 1].trap) continue;
    uint32_t lo = 0, hi = batch.nsites;
    while (lo < hi) {
      uint32_t mid = (lo + hi) / 2;
      if (batch.sites[mid].trap < trap) {
        lo = mid + 1;
      } else {
        hi = mid;
      }
    }
    if (lo < batch.nsites && batch.sites[lo].trap == trap) return &batch.sites[lo];
  }
  return nullptr;
}

bool pc_in_stub(uint64_t pc) {
  uint32_t n = load_acquire(&nbatches);
  for (uint32_t b = 0; b < n; b++) {
    if (pc >= batches[b].stub_start && pc < batches[b].stub_end) return true;
  }
  return false;
}

}  // namespace cr
