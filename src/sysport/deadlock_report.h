// What the runtime hands to `cr backtrace` about a process that stands still: a description of its
// threads, in its own memory. The helper reads it, the stacks and the locks with process_vm_readv.
#pragma once

#include <stdint.h>

namespace cr {

inline constexpr uint32_t kDeadlockVersion = 1;
inline constexpr uint32_t kDeadlockMost = 1000;  // threads listed; the others are counted

struct DeadlockThread {
  uint64_t pc, sp, bp, bx, r12, r13, r14, r15;  // where it is, inside libcr
  uint64_t waits_on;   // address of the word it sleeps on
  uint64_t clear_tid;  // the word that a joiner of this thread sleeps on; 0: none
  int32_t tid;
  uint32_t first;      // 1: the process's first thread
  char name[16];       // empty: the process's
};

struct DeadlockReport {
  uint32_t version;
  int32_t pid;
  uint32_t total;   // threads of the process
  uint32_t listed;  // entries that follow
  uint32_t aborts;  // 1: the process will be aborted
  uint32_t unused;
};

}  // namespace cr
