// %gs, the TLS register, and %fs, the per-cpu one.
//
// An LWKT's thread block is behind a descriptor of the process's LDT, which all rforks share: its
// selector is good on every one of them, and the switch is one `mov %gs`. The kernel copies the whole
// table for every entry that is written (1 to 5 us), so an entry stays bound to its address when its
// LWKT ends: NPTL makes the next one on the same stack. Only when all 8,191 are taken is an
// entry of a dead LWKT given another address, and where there is none (or the kernel has no
// modify_ldt) an LWKT shares the one global descriptor that is left, which the switch has to set by
// a trap (0.17 us).
//
// The first thread keeps the global descriptor that glibc asked for: rforks inherit it.
#pragma once

#include "frame.h"

struct thread;

namespace cr {

tlsreg tls_read();
int tls_from_clone(uint64_t argument, tlsreg* out);  // argument: a struct user_desc of the program's
void tls_release(const tlsreg& tls);                 // its LWKT is gone
void tls_atfork_child(const tlsreg& mine);           // only this LWKT is left

void percpu_write(const void* gd);

// What the kernel and the user say at start.
struct ArchStart {
  unsigned long hwcap2;
  const void* vdso;
  unsigned long sysinfo;  // the kernel's entry in the vdso
  bool no_fsgsbase;       // x86_64's
  bool no_trap_rcx;       // x86_64's
};
// Before anything else: finds the kernel's entry and the descriptors. Null, or what is missing.
const char* arch_init(const ArchStart& s);

// libc's calls go to the gate from now on.
void arch_open_gate();

}  // namespace cr
