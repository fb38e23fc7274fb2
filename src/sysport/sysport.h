// syscall_port: where every system call message ends that no shim answered.
//
// Its mp_beginmsg looks the call up in the table generated from syscalls.master and answers in
// userland, traps, or traps with the cpu on offer to other rforks (DESIGN §4.4). A call of the
// LWKT's own, which came by the gate, parks the LWKT inside and never returns EASYNC.
//
// A message that a program sends (libcr/async.h) comes in by the public syscall_port, goes through
// the shims like any other and ends in sysport_last. There it is refused, answered in the sender's
// context if it can't sleep or its sender waits anyway (lwkt_domsg), or taken over by a worker
// (worker.h).
#pragma once

#include <errno.h>
#include <libcr/sysunion.h>

#include "../../arch/frame.h"
#include "../lwkt/sched.h"

namespace cr {

// Answers of a handler beside 0 and a positive errno: the call was interrupted before it had
// an effect. The gate turns them into a restart or EINTR when it delivers the signal.
inline constexpr int ERESTARTSYS = 512;
inline constexpr int ERESTARTNOINTR = 513;  // with or without SA_RESTART
inline constexpr int ERESTARTNOHAND = 514;

// One trap that may sleep, made once: EINTR, ERESTARTSYS or (not begun) ERESTARTNOINTR, whoever is concerned. at_once:
// the cpu is given away if others want it.
int sysport_trap_once(union sysunion* m, bool at_once);
// After one: is there a signal for this LWKT? Sees to what else has interrupted it.
bool sysport_interrupted(thread* td);
// Before one: whether its call counts as begun (TDF_BEGUN). From then on no longer.
bool sysport_take_begun(thread* td);

// A plain trap that no signal interrupts, for a call that does not sleep.
int sysport_trap_undisturbed(union sysunion* m);
// A plain trap with the message's number and arguments. 0 or errno; the result in the message.
int sysport_trap(union sysunion* m);
// A trap that may sleep: interruptible by a signal for this LWKT, the cpu on offer meanwhile. ERESTARTSYS if the signal
// came before it, too.
int sysport_trap_block(union sysunion* m);
// The same with the cpu given away at once if others want it: the call will sleep.
int sysport_trap_sleep(union sysunion* m);
// The same two for a call that has not slept so far: a signal that comes before the trap comes before the call, as
// natively (ERESTARTNOINTR). It does not end what needn't sleep. With TDF_BEGUN they are the same.
int sysport_trap_first(union sysunion* m);
int sysport_trap_first_sleep(union sysunion* m);
// A trap that may take long, for a disk or a lock of the kernel's, and that no signal ends: it is made whatever is
// pending, and what comes meanwhile is delivered after it. EINTR if the kernel says so all the same and a signal is there.
int sysport_trap_whole(union sysunion* m);
// The same with the cpu given away at once.
int sysport_trap_whole_sleep(union sysunion* m);
// _first_sleep, or _first, on a terminal. The kernel answers these by the caller's mask: a process in the background
// that blocks SIGTTOU may change the terminal, one that blocks SIGTTIN reads EIO, and else its group gets the signal. So
// the LWKT's mask of these two is the kernel's for the time of the trap.
int sysport_trap_terminal(union sysunion* m, bool at_once);
// The program blocks one of them: from now on its reads and writes come to their handlers, also while it has one LWKT.
void sysport_terminal_masked();
// The program filters its calls: those that may block are made as they are, or no longer.
void sysport_literal(bool on);
// The same on this very kernel thread: interrupted, by whomever, it is not made again (as sysport_trap_once), since
// the LWKT may be on another one by then.
int sysport_trap_sleep_once(union sysunion* m);
// For a call that has not slept so far, with a time-out that counts from its beginning: what interrupts the trap and is
// no signal for this LWKT must not begin it anew. `renew(m)` puts what is left of the time into m before
// the trap is made again, and says whether anything is: a last look is had with all signals blocked, since a flood
// of them for others would interrupt that, too.
template <typename Renew>
int sysport_trap_timed(union sysunion* m, bool at_once, Renew renew) {
  for (bool begun = sysport_take_begun(curthread());; begun = true) {
    int error = sysport_trap_once(m, at_once);
    bool ended = error != EINTR && error != ERESTARTSYS && error != ERESTARTNOINTR;
    if (__builtin_expect(ended, 1)) return error;
    if (sysport_interrupted(curthread())) return begun ? EINTR : error;
    if (!renew(m)) return sysport_trap_undisturbed(m);
  }
}

inline int sysport_result(union sysunion* m, long raw) {
  if (__builtin_expect(static_cast<unsigned long>(raw) >= static_cast<unsigned long>(-4095), 0)) {
    return static_cast<int>(-raw);
  }
  m->sm.sm_result = raw;
  return 0;
}

inline trapframe* sysport_frame(union sysunion* m) {
  return static_cast<trapframe*>(m->sm.sm_frame);
}

// The first port a call goes to, the first shim or the end of the chain; and that end. syscall_port
// stands before the first: a message that is sent there passes the shims.
extern lwkt_port* sysport_head;
extern lwkt_port sysport_last;
// To be called after the head has changed: with a shim in front no call is a plain trap.
void sysport_head_changed();
// Whether there are several LWKTs: alone, calls that sleep are traps made in the gate.
void sysport_crowd(bool several);

void sysport_init();
// The dispatch itself, for a call that the caller of this makes.
int sysport_begin(union sysunion* m);
// The call in `m`, as a copy in `own` (handlers change their message), again for as long as what
// interrupted it was no signal for the LWKT. 0 or errno; the result in `own`.
int sysport_carry_out(const union sysunion* m, union sysunion* own);

const char* sysport_name(uint32_t nr);

}  // namespace cr
