// Processes under libcr that may share locks: whose a virtual tid is, whether it lives, and a bell
// that rings when one of its threads gives a lock up.
//
// The ids above the kernel's come in blocks. A process takes its blocks from a table in shared
// memory (/dev/shm, one for each user and pid namespace), so that no two of them write the same
// tid into a lock they share, and a waiter can see that the owner's process is gone: the kernel
// marks the robust locks of its own tids alone. Without the table (no /dev/shm, a sandbox) a
// block is picked by the pid, owners count as living, and the bell is this process's own.
//
// Needs only raw traps; none of it before the first second LWKT or contended shared lock.
#pragma once

#include <stdint.h>

namespace cr {

inline constexpr int32_t kTidBase = 4194304 + 1;  // the lowest virtual id
inline constexpr uint32_t kTidBlock = 1u << 16;   // ids in a block
// NPTL's mutex words hold 30 bits.
inline constexpr uint32_t kTidBlocks = ((1u << 30) - kTidBase) / kTidBlock;

inline bool tid_is_virtual(int32_t tid) { return tid >= kTidBase; }

void peers_init(long seccomp_mode);  // at start, before the program may forbid calls: what forbids some already
uint32_t peers_claim(uint32_t nth);  // a block for this process, its nth
void peers_release(uint32_t block);
bool peers_alive(int32_t tid);  // false: the virtual tid's process has ended. Some traps
// Rings when `tid` unlocks: a futex in shared memory (not a private one).
uint32_t* peers_bell(int32_t tid);
void peers_ring(int32_t tid);

}  // namespace cr
