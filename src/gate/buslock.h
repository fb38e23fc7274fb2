// libc without bus locks, for a process whose LWKTs all run on one cpu.
//
// A locked instruction costs 5 ns here, an unlocked one next to nothing, and glibc's condition
// variables take 17 of them for a hand-over. The prefix orders an instruction against other
// processors. While one cpu runs all LWKTs only one of them is in program text at a time and
// whatever interrupts it does so between instructions, so the prefix does nothing. Hence what the
// Linux kernel does on a machine with one processor: the prefix bytes in libc's text become
// another prefix that means nothing there (f0 lock, 3e ds:), and come back for good before anybody
// else could write the same memory:
//
//   - a shared mapping that can be written (mmap, shmat, mprotect): another process may be there;
//   - a child that runs on our memory beside other LWKTs (vfork, posix_spawn, clone).
//
// With more than one cpu nothing is changed. LIBCR_KEEP_LOCKS=1 keeps them in any case.
#pragma once

#include <stdint.h>

namespace cr {

struct LockedText {
  uint64_t lo, hi;      // the segment
  int prot;
  uint64_t bias;
  const uint32_t* at;   // addresses of the prefixes, without the bias; stays mapped
  uint32_t n;
};

// At attach, before there are threads. False if it is not wanted (it is copied if it is).
bool buslock_note(const LockedText& text);
// The second LWKT is about to be made.
void buslock_drop();
// Somebody else may write our memory from now on.
void buslock_restore();

}  // namespace cr
