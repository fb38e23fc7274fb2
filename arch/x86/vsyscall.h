// The kernel's entry in the vdso (__kernel_vsyscall), and what it means when a signal hits there.
//
// It saves three registers, makes the trap by whatever the processor has for it, and returns to its
// caller; its program counter says nothing of whose call it is. So the caller is looked up on the
// stack: libcr's own calls are libcr, wherever they are in there.
#pragma once

#include <stdint.h>

#include "../sigframe.h"

namespace cr {

void vsyscall_init(const void* vdso, uint32_t sysinfo);
void (*vsyscall_entry())();  // int $0x80 in a function of libcr's if the vdso's is none that we know
void (*vsyscall_sigreturn())();  // which of sigreturn.S's traps the entry's kind is

struct VsyscallPlace {
  bool inside = false;     // the context is in the entry
  uint32_t depth = 0;      // bytes it has pushed so far
  bool before = false;     // the trap is still to be made, or to be made again
  bool at_trap = false;    // at the int $0x80: made again, if trap_tells()
  uint32_t caller = 0;     // where it returns to
};
VsyscallPlace vsyscall_place(const kucontext* uc);

}  // namespace cr
