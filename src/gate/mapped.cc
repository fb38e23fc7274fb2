// The object's headers are read from the file itself: the loader may have mapped only this
// segment so far. Its path, for the analyser, is what /proc says of the descriptor.

#include "mapped.h"

#include <elf.h>
#include <sys/syscall.h>

#include "../../arch/abi.h"
#include "../../arch/rawcall.h"
#include "../lwkt/slab.h"
#include "cache.h"
#include "object.h"
#include "start.h"

namespace cr {

namespace {

inline constexpr int kMaxPhdr = 32;
inline constexpr size_t kMaxNote = 512;

bool read_at(int fd, void* buf, size_t n, uint64_t offset) {
  return raw_pread(fd, buf, n, offset) == static_cast<long>(n);
}

void put_number(char* out, int fd) {
  char digits[12];
  int n = 0;
  do {
    digits[n++] = static_cast<char>('0' + fd % 10);
    fd /= 10;
  } while (fd != 0);
  while (n > 0) *out++ = digits[--n];
  *out = '\0';
}

// What is too much for the stack: that may be the smallest one of a thread that loads a library.
struct Work {
  ElfW(Phdr) ph[kMaxPhdr];
  uint8_t note[kMaxNote];
  char path[4096];
};

void attach(uint64_t addr, int fd, uint64_t offset, Work& w) {
  ElfW(Ehdr) eh;
  if (!read_at(fd, &eh, sizeof eh, 0)) return;
  if (eh.e_ident[0] != 0x7f || eh.e_ident[1] != 'E' || eh.e_ident[2] != 'L' ||
      eh.e_ident[3] != 'F' || eh.e_ident[EI_CLASS] != kElfClass || eh.e_machine != kElfMachine ||
      eh.e_phentsize != sizeof(ElfW(Phdr)) || eh.e_phnum > kMaxPhdr) {
    return;
  }
  ElfW(Phdr)* ph = w.ph;
  if (!read_at(fd, ph, sizeof(ElfW(Phdr)) * eh.e_phnum, eh.e_phoff)) return;
  // The PT_LOAD that this mapping is.
  const ElfW(Phdr)* load = nullptr;
  for (int i = 0; i < eh.e_phnum; i++) {
    if (ph[i].p_type == PT_LOAD && (ph[i].p_flags & PF_X) != 0 &&
        (ph[i].p_offset & ~4095ull) == offset) {
      load = &ph[i];
    }
  }
  if (load == nullptr) return;
  ObjectView o{};
  o.bias = addr - (load->p_vaddr & ~4095ull);
  // Only this segment is sure to be there.
  o.phdr = load;
  o.phnum = 1;
  for (int i = 0; i < eh.e_phnum && o.build_id == nullptr; i++) {
    if (ph[i].p_type != PT_NOTE || ph[i].p_filesz > kMaxNote) continue;
    if (!read_at(fd, w.note, ph[i].p_filesz, ph[i].p_offset)) continue;
    ElfW(Phdr) in_memory = ph[i];
    in_memory.p_memsz = ph[i].p_filesz;
    ObjectView view{};
    view.bias = reinterpret_cast<uintptr_t>(w.note) - in_memory.p_vaddr;
    view.phdr = &in_memory;
    view.phnum = 1;
    object_find_build_id(&view);
    o.build_id = view.build_id;
    o.build_id_len = view.build_id_len;
  }
  // Who has a table made must know where the object is.
  long n = 0;
  if (!cache_makes_no_more()) {
    char link[32] = "/proc/self/fd/";
    put_number(link + 14, fd);
    n = raw3(SYS_readlink, reinterpret_cast<long>(link), reinterpret_cast<long>(w.path), sizeof w.path - 1);
    if (raw_failed(n)) return;
  } else if (o.build_id == nullptr) {
    return;
  }
  w.path[n] = '\0';
  o.path = w.path;
  object_attach(o);
}

}  // namespace

void gate_object_mapped(uint64_t addr, uint64_t, int fd, uint64_t offset) {
  void* memory = slab_alloc(sizeof(Work));
  if (memory == nullptr) return;
  attach(addr, fd, offset, *static_cast<Work*>(memory));
  slab_free(memory, sizeof(Work));
}

void gate_object_unmapped(uint64_t addr, uint64_t length) { object_forget(addr, length); }

}  // namespace cr
