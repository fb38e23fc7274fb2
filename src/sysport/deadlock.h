// Deadlock: every LWKT waits on a lock of the process's own and nothing can wake any of them.
//
// Looked for where it costs nothing: when a cpu goes idle and no other runs, no timer is pending
// and nobody waits for an event of the kernel, that cpu sleeps for a second instead of for ever. If
// nothing has run by then, the LWKTs are looked at one by one, and a deadlock is said on standard
// error, once, with each thread's backtrace. The process then goes on waiting, as POSIX has it, or is
// aborted: LIBCR_ON_DEADLOCK=report (default), abort, ignore. A process with one LWKT never goes idle;
// a lock that it will wait for without end in the kernel is waited for a second first.
//
// A false report would be worse than a missed one. So it is none if
//   - some LWKT is anywhere but in a private futex without a timeout: in a trap, in sigwait, in the
//     engine, on a port of libcr's own API;
//   - a signal that some LWKT doesn't block has a handler of the program's, which could unlock
//     (NPTL's own two don't count);
//   - an interval timer or alarm is armed;
//   - a child process runs on our memory for good.
// What remains is somebody outside who sends a signal that ends the process, or writes into it.
//
// The backtraces are made by `cr backtrace` in a process of its own (deadlock_report.h): an
// unwinder has no place in somebody's address space. Without it the threads are listed without.
#pragma once

#include <stdint.h>

namespace cr {

enum class OnDeadlock : uint8_t { kReport, kAbort, kIgnore };

// `text`: report, abort or ignore; null: the default. False: none of these.
bool deadlock_init(const char* text);

// A cpu has nothing to do and no timer to wait for. When it is to look again, or ~0.
uint64_t deadlock_idle_until();

// A child that is no thread shares our memory from now on.
void deadlock_shared_memory();

// The only LWKT will wait for `addr` in the kernel, without a timeout. True if that can't be reported
// as a deadlock (now, or any more).
bool deadlock_alone_excluded();
// It has waited in vain for kDeadlockPatience.
void deadlock_alone_report(uint64_t addr);
inline constexpr uint64_t kDeadlockPatience = 1'000'000'000;  // ns

void deadlock_atfork_child();

}  // namespace cr
