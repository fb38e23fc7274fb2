#include "vdso.h"

#include <link.h>
#include <linux/time_types.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "../../arch/abi.h"
#include "../../arch/call.h"
#include "../lwkt/clock.h"

namespace cr {

namespace {

using ClockCall = int (*)(clockid_t, void*);
ClockCall vdso_gettime, vdso_getres;

// The others are processes', threads' and devices': negative, but for those of threads whose tid has
// 30 bits.
inline bool is_the_vdsos(clockid_t id) {
  constexpr uint32_t kStatic = 16;
  return static_cast<uint32_t>(id) < kStatic && id != CLOCK_THREAD_CPUTIME_ID;
}

int gettime(clockid_t id, void* ts) {
  if (__builtin_expect(is_the_vdsos(id), 1)) return vdso_gettime(id, ts);
  return static_cast<int>(gate_call(kSysClockGettime, id, reinterpret_cast<long>(ts)));
}

int getres(clockid_t id, void* ts) {
  if (__builtin_expect(is_the_vdsos(id), 1)) return vdso_getres(id, ts);
  return static_cast<int>(gate_call(SYS_clock_getres, id, reinterpret_cast<long>(ts)));
}

void replace(uintptr_t begin, uintptr_t end, ClockCall from, ClockCall to) {
  if (from == nullptr) return;
  for (auto* word = reinterpret_cast<ClockCall*>(begin); word < reinterpret_cast<ClockCall*>(end); word++) {
    if (*word == from) *word = to;
  }
}

// glibc's words are in ld.so, or in the program if there is none. Nobody says where ld.so is when it is the program
// that was started (`ld.so prog`): in any of them, then.
int redirect_in(dl_phdr_info* info, size_t, void* arg) {
  uintptr_t base = getauxval(AT_BASE);
  if (base != 0 && info->dlpi_addr != base) return 0;
  const auto page = static_cast<uintptr_t>(getauxval(AT_PAGESZ));
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& p = info->dlpi_phdr[i];
    if (p.p_type != PT_GNU_RELRO) continue;
    uintptr_t begin = (info->dlpi_addr + p.p_vaddr + sizeof(long) - 1) & ~(sizeof(long) - 1);
    uintptr_t end = (info->dlpi_addr + p.p_vaddr + p.p_memsz) & ~(sizeof(long) - 1);
    // As ld.so protects it: whole pages.
    uintptr_t first = begin & ~(page - 1), last = end & ~(page - 1);
    auto* at = reinterpret_cast<void*>(first);
    if (last <= first || mprotect(at, last - first, PROT_READ | PROT_WRITE) != 0) continue;
    replace(begin, end, vdso_gettime, gettime);
    replace(begin, end, vdso_getres, getres);
    mprotect(at, last - first, PROT_READ);
  }
  return base != 0 ? 1 : 0;
}

}  // namespace

void vdso_redirect() {
  const auto* vdso = reinterpret_cast<const void*>(getauxval(AT_SYSINFO_EHDR));
  vdso_gettime = reinterpret_cast<ClockCall>(vdso_function(vdso, kVdsoClockGettime));
  vdso_getres = reinterpret_cast<ClockCall>(vdso_function(vdso, "__vdso_clock_getres"));
  if (vdso_gettime != nullptr) dl_iterate_phdr(redirect_in, nullptr);
}

}  // namespace cr
