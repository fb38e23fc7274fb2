// %es as the per-cpu register, in the library that leaves %gs to the program (percpu.h).
#include <asm/ldt.h>
#include <sys/syscall.h>

#include "../../src/lwkt/spinlock.h"
#include "../rawcall.h"
#include "context.h"

extern "C" {
// What a selector says: PERCPU_BIAS less is the area's place in the table.
[[gnu::visibility("hidden"), gnu::used]] void* cr_percpu_areas[PERCPU_ENTRIES];
[[gnu::visibility("hidden"), gnu::used]] uintptr_t cr_percpu_table;
}

namespace cr {

namespace {

// A program may forbid itself the call that makes more of them (seccomp).
inline constexpr uint32_t kAtStart = 64;

GlobalLock lock;
uint32_t made;  // entries of the LDT, from PERCPU_FIRST

bool make_entry() {
  if (made == PERCPU_ENTRIES) return false;
  user_desc d{};
  d.entry_number = PERCPU_FIRST + made;
  d.limit = 0xfffff;
  d.seg_32bit = 1;
  d.limit_in_pages = 1;
  d.useable = 1;
  if (raw3(SYS_modify_ldt, 0x11, reinterpret_cast<long>(&d), sizeof d) != 0) return false;
  made++;
  return true;
}

}  // namespace

const char* percpu_init() {
  if (!cr_have_fsgsbase) return "leaving %gs to the program takes the FSGSBASE instructions";
  cr_percpu_table = reinterpret_cast<uintptr_t>(cr_percpu_areas) - PERCPU_BIAS;
  for (uint32_t i = 0; i < kAtStart; i++) {
    if (!make_entry()) return "leaving %gs to the program takes modify_ldt, which the kernel refuses";
  }
  return nullptr;
}

bool percpu_arch_make(percpu_arch* of, void* area) {
  Guard g(lock);
  uint32_t i = 0;
  while (i < made && cr_percpu_areas[i] != nullptr) i++;
  if (i == made && !make_entry()) return false;
  cr_percpu_areas[i] = area;
  of->selector = 8 * i + PERCPU_BIAS;
  return true;
}

void percpu_arch_release(const percpu_arch& of) {
  Guard g(lock);
  cr_percpu_areas[(of.selector - PERCPU_BIAS) / 8] = nullptr;
}

void percpu_arch_atfork_child(const percpu_arch& mine) {
  lock = GlobalLock{};
  uint32_t own = (mine.selector - PERCPU_BIAS) / 8;
  for (uint32_t i = 0; i < made; i++) {
    if (i != own) cr_percpu_areas[i] = nullptr;
  }
}

}  // namespace cr
