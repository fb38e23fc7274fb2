// The environment by which cr hands its options to the runtime inside the program.
//
//   LD_PRELOAD        our entry first, then what was there
//   LIBCR_CPUS        number of rforks, 1 to 1024
//   LIBCR_STACK_SIZE  default stack of a thread, bytes
//   LIBCR_SHIM        absolute paths of shims, colon separated, the first one nearest to the program
//   LIBCR_ENGINE      how blocking calls wait: auto, uring, epoll or none
//   LIBCR_STATS       1: counters on standard error at exit
//   LIBCR_ON_DEADLOCK report, abort or ignore
//   GLIBC_TUNABLES    two of ld.so's for --small-tls; it reads them before any library is loaded
//
// An option that is not given leaves its variable as it was found. docs/cr.1 lists the variables that
// have no option.
#pragma once

#include <string>
#include <string_view>

namespace cr::tool {

// LD_PRELOAD entries are separated by colons and spaces. Returns `value` without those that name a
// libcr.so, so that a native run is native and a nested `cr run` does not load the preload twice.
std::string without_preload(std::string_view value);

// Puts `entry` before what LD_PRELOAD holds.
void set_preload(const std::string& entry);

// `value` of GLIBC_TUNABLES (empty: not set) with what makes glibc's thread blocks small. Each thread
// has room for the thread-local data of libraries that are loaded later and must have it at a fixed
// place (initial-exec): 1,664 bytes by default in glibc 2.36. That and the block itself fill
// the first page of a stack, so that every thread begins a second one. 256 bytes are left.
// Other tunables stay as they are.
std::string with_small_tls(std::string_view value);

// Makes the environment that of a native run: no preload, no LIBCR_ variable.
void clear_libcr_environment();

}  // namespace cr::tool
