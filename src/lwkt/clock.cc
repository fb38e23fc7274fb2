// The vdso symbol table is read by hand: dlsym would take libc's locks and its malloc.
//
// The vdso is not libcr's text, so by its place alone a signal that hits there looks as if it hit
// the program. The scheduler reads the clock with its caller blocked or dead: a handler or a
// preemption run there would queue that LWKT once more. Hence the critical section around it.

#include "clock.h"

#include <elf.h>
#include <linux/futex.h>
#include <link.h>

#include "../../arch/abi.h"
#include "../../arch/rawcall.h"
#include "thread.h"

namespace cr {

namespace {

using ClockGettime = int (*)(int, __kernel_timespec*);
ClockGettime vdso_clock_gettime;

bool same(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) a++, b++;
  return *a == *b;
}

}  // namespace

void* vdso_function(const void* vdso, const char* name) {
  if (vdso == nullptr) return nullptr;
  auto base = reinterpret_cast<uintptr_t>(vdso);
  auto* eh = static_cast<const ElfW(Ehdr)*>(vdso);
  auto* ph = reinterpret_cast<const ElfW(Phdr)*>(base + eh->e_phoff);
  const ElfW(Dyn)* dyn = nullptr;
  uint64_t bias = 0;
  bool have_load = false;
  for (int i = 0; i < eh->e_phnum; i++) {
    if (ph[i].p_type == PT_LOAD && !have_load) {
      bias = base + ph[i].p_offset - ph[i].p_vaddr;
      have_load = true;
    } else if (ph[i].p_type == PT_DYNAMIC) {
      dyn = reinterpret_cast<const ElfW(Dyn)*>(base + ph[i].p_offset);
    }
  }
  if (dyn == nullptr || !have_load) return nullptr;
  const char* strtab = nullptr;
  const ElfW(Sym)* symtab = nullptr;
  const uint32_t* hash = nullptr;
  for (; dyn->d_tag != DT_NULL; dyn++) {
    uint64_t p = bias + dyn->d_un.d_ptr;
    if (dyn->d_tag == DT_STRTAB) strtab = reinterpret_cast<const char*>(p);
    if (dyn->d_tag == DT_SYMTAB) symtab = reinterpret_cast<const ElfW(Sym)*>(p);
    if (dyn->d_tag == DT_HASH) hash = reinterpret_cast<const uint32_t*>(p);
  }
  if (strtab == nullptr || symtab == nullptr) return nullptr;
  // Without DT_HASH (newer vdsos) the symbols end where the strings begin.
  uint64_t n = hash != nullptr
                   ? hash[1]
                   : (reinterpret_cast<uintptr_t>(strtab) - reinterpret_cast<uintptr_t>(symtab)) /
                         sizeof(ElfW(Sym));
  for (uint64_t i = 0; i < n; i++) {
    if (symtab[i].st_shndx != SHN_UNDEF && ELF64_ST_TYPE(symtab[i].st_info) == STT_FUNC &&
        same(strtab + symtab[i].st_name, name)) {
      return reinterpret_cast<void*>(bias + symtab[i].st_value);
    }
  }
  return nullptr;
}

void clock_init(const void* vdso) {
  vdso_clock_gettime = reinterpret_cast<ClockGettime>(vdso_function(vdso, kVdsoClockGettime));
}

int clock_read(int clockid, __kernel_timespec* ts) {
  if (vdso_clock_gettime != nullptr) {
    thread* td = curthread();
    td->td_critcount++;
    cpu_ccfence();
    int r = vdso_clock_gettime(clockid, ts);
    cpu_ccfence();
    td->td_critcount--;
    return r;
  }
  return static_cast<int>(raw2(kSysClockGettime, clockid, reinterpret_cast<long>(ts)));
}

namespace {
uint64_t read_ns(int clockid) {
  __kernel_timespec ts{};
  clock_read(clockid, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * kSecond + static_cast<uint64_t>(ts.tv_nsec);
}
}  // namespace

void clock_nap(uint64_t ns) {
  static const uint32_t word = 0;
  timespec ts{0, static_cast<long>(ns)};
  raw4(SYS_futex, reinterpret_cast<long>(&word), FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, reinterpret_cast<long>(&ts));
}

uint64_t clock_monotonic() { return read_ns(CLOCK_MONOTONIC); }
uint64_t clock_realtime() { return read_ns(CLOCK_REALTIME); }

}  // namespace cr
