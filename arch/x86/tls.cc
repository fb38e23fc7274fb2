#include "tls.h"

#include <asm/ldt.h>
#include <errno.h>
#include <sys/syscall.h>

#include "../../src/lwkt/rfork.h"
#include "../../src/lwkt/spinlock.h"
#include "../usercopy.h"
#include "vsyscall.h"

extern "C" {
void gate_sysinfo();
void gate_sysinfo_entry();
void gate_passthru_sysinfo();
[[gnu::visibility("hidden")]] void cr_percpu_write(const void* gd);
[[gnu::visibility("hidden")]] void cr_tls_share(uint32_t base);
[[gnu::visibility("hidden")]] extern const uintptr_t* cr_doors;
}

namespace cr {

namespace {

inline constexpr uint32_t kEntries = 8192;      // of an LDT; the first stays free: selector 7 is no TLS
inline constexpr uint32_t kBuckets = 4096;
inline constexpr uint32_t kTcbSysinfo = 0x10;   // tcbhead_t.sysinfo of glibc's i386 thread block
inline constexpr uint32_t kNone = 0;

struct Entry {
  uint32_t base;
  uint16_t next;   // in the bucket
  uint16_t users;  // LWKTs that live; 0: free for another address
};

SpinLock lock;
Entry entries[kEntries];
uint16_t buckets[kBuckets];
uint32_t used = 1;   // entries ever written follow from 1
uint32_t hand = 1;   // where the search for an unused one goes on
bool no_ldt;

uint32_t percpu_entry = ~0u;  // global descriptors: of %fs, and the one that LWKTs share
uint32_t shared_entry = ~0u;
sitedesc sysdesc;

// What %fs points at until the scheduler has an area: raw traps need the kernel's entry.
struct {
  globaldata gd;
} boot;

user_desc descriptor(uint32_t entry, uint32_t base) {
  user_desc d{};
  d.entry_number = entry;
  d.base_addr = base;
  d.limit = 0xfffff;
  d.seg_32bit = 1;
  d.limit_in_pages = 1;
  d.useable = 1;
  return d;
}

bool write_ldt(uint32_t entry, uint32_t base) {
  user_desc d = descriptor(entry, base);
  return raw3(SYS_modify_ldt, 0x11, reinterpret_cast<long>(&d), sizeof d) == 0;
}

uint16_t* bucket_of(uint32_t base) { return &buckets[(base >> 6) * 0x9e3779b1u >> 20]; }

// An entry that no live LWKT has; kNone: all are taken.
uint32_t find_unused() {
  for (uint32_t i = 1; i < kEntries; i++) {
    uint32_t at = hand;
    hand = hand + 1 < kEntries ? hand + 1 : 1;
    if (entries[at].users == 0) return at;
  }
  return kNone;
}

void unlink(uint32_t at) {
  for (uint16_t* p = bucket_of(entries[at].base); *p != kNone; p = &entries[*p].next) {
    if (*p == at) {
      *p = entries[at].next;
      return;
    }
  }
}

// With the lock. The entry for `base`, one more user of it; kNone: there is none.
uint32_t entry_for(uint32_t base) {
  if (no_ldt) return kNone;
  for (uint16_t at = *bucket_of(base); at != kNone; at = entries[at].next) {
    if (entries[at].base != base) continue;
    entries[at].users++;
    return at;
  }
  uint32_t at = used < kEntries ? used : find_unused();
  if (at == kNone) return kNone;
  if (!write_ldt(at, base)) {
    no_ldt = used == 1;  // not this one, or none at all
    return kNone;
  }
  if (at == used) {
    used++;
  } else {
    unlink(at);
  }
  uint16_t* b = bucket_of(base);
  entries[at] = {base, *b, 1};
  *b = static_cast<uint16_t>(at);
  return at;
}

bool set_global(uint32_t entry, uint32_t base) {
  user_desc d = descriptor(entry, base);
  return raw1(SYS_set_thread_area, reinterpret_cast<long>(&d)) == 0;
}

void load_fs(uint32_t entry) { asm volatile("movl %0, %%fs" ::"r"(entry << 3 | 3) : "memory"); }
void load_gs(uint32_t entry) { asm volatile("movl %0, %%gs" ::"r"(entry << 3 | 3) : "memory"); }

uint32_t read_tcb(uint32_t offset) {
  uint32_t v;
  asm volatile("movl %%gs:(%1), %0" : "=r"(v) : "r"(offset));
  return v;
}

}  // namespace

bool percpu_arch_make(percpu_arch* of, void*) {
  *of = {gate_sysinfo_entry, &sysdesc, &cr_doors, vsyscall_entry(), vsyscall_sigreturn(), 0};
  return true;
}

bool percpu_arch_passthru(percpu_arch* of, void* area) {
  percpu_arch_make(of, area);
  of->sysgate = gate_passthru_sysinfo;
  return true;
}

// The thread block's own address stands at its start.
tlsreg tls_read() {
  uint32_t selector;
  asm volatile("movl %%gs, %0" : "=r"(selector));
  return {read_tcb(0), selector};
}

int tls_from_clone(uint64_t argument, tlsreg* out) {
  user_desc d;
  if (user_copy(&d, reinterpret_cast<const void*>(static_cast<uintptr_t>(argument)), sizeof d) != 0) {
    return EFAULT;
  }
  Guard g(lock);
  uint32_t at = entry_for(d.base_addr);
  *out = {d.base_addr, at == kNone ? 0 : at << 3 | 7};
  return 0;
}

// The descriptor stays as it is: a stack that is used again has its thread block where it was.
void tls_release(const tlsreg& tls) {
  if ((tls.selector & 4) == 0) return;
  Guard g(lock);
  entries[tls.selector >> 3].users--;
}

// The kernel has copied the table. Who is left keeps its entry.
void tls_atfork_child(const tlsreg& mine) {
  lock = SpinLock{};
  for (uint32_t i = 1; i < used; i++) entries[i].users = 0;
  if ((mine.selector & 4) != 0) entries[mine.selector >> 3].users = 1;
}

void percpu_write(const void* gd) {
  set_global(percpu_entry, reinterpret_cast<uintptr_t>(gd));
  load_fs(percpu_entry);
}

const char* arch_init(const ArchStart& s) {
  vsyscall_init(s.vdso, static_cast<uint32_t>(s.sysinfo));
  sysdesc.unwindpc = 0;
  sysdesc.trappc = reinterpret_cast<uintptr_t>(vsyscall_entry());
  boot.gd.gd_self = &boot.gd;
  percpu_arch_make(&boot.gd.gd_arch, &boot.gd);
  user_desc d = descriptor(~0u, reinterpret_cast<uintptr_t>(&boot.gd));
  long r;
  asm volatile("int $0x80" : "=a"(r) : "a"(SYS_set_thread_area), "b"(&d) : "memory");
  percpu_entry = d.entry_number;
  load_fs(percpu_entry);
  // The one that is left: glibc's, ours and this one are all there are.
  uint32_t gs;
  asm volatile("movl %%gs, %0" : "=r"(gs));
  shared_entry = 3 * ((gs >> 3) / 3) + 3 - 1;
  if (shared_entry == percpu_entry) shared_entry--;
  return nullptr;
}

void arch_open_gate() {
  asm volatile("movl %0, %%gs:%c1" ::"r"(&gate_sysinfo), "i"(kTcbSysinfo) : "memory");
}

}  // namespace cr

extern "C" void cr_percpu_write(const void* gd) { cr::percpu_write(gd); }

// The switch: `base` is an LWKT's that has no descriptor of its own.
extern "C" void cr_tls_share(uint32_t base) {
  using namespace cr;
  globaldata* gd = mygd();
  if (gd->gd_arch.tlsbase != base && set_global(shared_entry, base)) gd->gd_arch.tlsbase = base;
  load_gs(shared_entry);
}
