// Start-up of the runtime in a process.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace cr {

// What the environment asked for (cr run sets it; docs/cr.1 lists the variables).
struct Options {
  int cpus = 0;              // LIBCR_CPUS; 0: the affinity mask
  uint64_t stack_size = 0;   // LIBCR_STACK_SIZE; 0: the program's
  const char* shims = nullptr;   // LIBCR_SHIM
  const char* cache = nullptr;   // LIBCR_CACHE: directory of the site tables
  const char* home = nullptr;
  const char* xdg_cache = nullptr;
  const char* engine = nullptr;  // LIBCR_ENGINE; null: auto
  const char* on_deadlock = nullptr;  // LIBCR_ON_DEADLOCK; null: report
  bool stats = false;        // LIBCR_STATS
  bool verbose = false;      // LIBCR_VERBOSE: say on stderr what was attached
  bool no_guard = false;     // LIBCR_NO_GUARD_INSTALL: guards by mprotect
  bool no_fsgsbase = false;  // LIBCR_NO_FSGSBASE: arch_prctl instead
  bool no_trap_rcx = false;  // LIBCR_NO_TRAP_RCX: a trap not begun is not told from one that is restarted
  bool no_placement = false; // LIBCR_NO_PLACEMENT: the kernel alone says where the kernel threads run
  bool keep_locks = false;   // LIBCR_KEEP_LOCKS: bus locks stay in libc on one cpu, too
};
extern Options options;

extern const char* analyser_path;  // null: there is none

}  // namespace cr
