// Signals of the program, served by libcr.
//
// What is whose: mask, pending set and alternate stack are the LWKT's (td_sig*), dispositions
// the process's (the table here). The kernel knows one handler of libcr's for each signal that
// the program catches, runs it on the rfork's own alternate stack with everything blocked, and
// is told nothing of masks, with exceptions that keep other dispositions right:
//   - a signal whose default action ends or stops the process is *captured* (libcr's handler
//     is installed) the first time any LWKT blocks it; if it comes while blocked it waits here,
//     and when it is unblocked with the default action still set it is raised again for real;
//   - a signal that is ignored by default is blocked in the kernel the first time an LWKT blocks it, one that the
//     program ignores the first time the program itself does (not its libc for a moment), and stays so
//     until it is caught or waited for. What comes while it is blocked waits there, for a handler or a sigwait to
//     come; what is stale by then, since somebody was open for it, is dropped. SIGPIPE and SIGXFSZ, which are for one
//     thread, are the kernel's to drop at once; SIGCONT is captured together with the stop signals, and with them
//     SIGTSTP, ignored or not: it discards those that wait here, and they discard it;
//   - one that a signalfd reads is the kernel's to keep while no LWKT takes it.
// So rt_sigprocmask needs no trap, which pthread_create calls twice.
//
// A signal from the kernel becomes an entry in the inbox (lock-free: the handler may have
// interrupted anything). It is taken from there at the user boundary, or at once if the
// handler interrupted program text: sig_route finds an LWKT that does not block it and makes
// that one deliver it: by itself, by ending its sleep with EINTR, or by an IPI to its rfork.
//
// Locks: siglock over dispositions, pending sets and queues, and over the use of an LWKT found by
// its tid: sig_thread_gone takes a dead one out of the table under it. Never taken by the kernel's
// handler while it interrupted libcr.
#pragma once

#include <signal.h>
#include <stdint.h>

#include "../../arch/sigframe.h"
#include "../lwkt/sched.h"
#include "../lwkt/spinlock.h"
#include "../lwkt/thread.h"
#include "sigqueue.h"

namespace cr {

inline constexpr int kNsig = 64;
inline constexpr uint64_t sigbit(int sig) { return 1ull << (sig - 1); }
// fn(sig) for each of them, by number.
template <typename F>
inline void sig_each(uint64_t set, F fn) {
  for (; set != 0; set &= set - 1) fn(__builtin_ctzll(set) + 1);
}
inline constexpr uint64_t kUnblockable = sigbit(SIGKILL) | sigbit(SIGSTOP);
inline constexpr uint64_t kSynchronous = sigbit(SIGSEGV) | sigbit(SIGBUS) | sigbit(SIGFPE) |
                                         sigbit(SIGILL) | sigbit(SIGTRAP) | sigbit(SIGSYS);
inline constexpr uint64_t kIgnoredByDefault = sigbit(SIGCHLD) | sigbit(SIGURG) |
                                              sigbit(SIGWINCH) | sigbit(SIGCONT);
// NPTL's own: SIGCANCEL and SIGSETXID. pthread_sigmask and sigprocmask take them out of the program's masks, so one that
// has any of them is libc's, for a moment in pthread_create or for the rest of a thread that ends.
inline constexpr uint64_t kNptlSignals = sigbit(32) | sigbit(33);
inline constexpr uint64_t kStopsByDefault = sigbit(SIGTSTP) | sigbit(SIGTTIN) | sigbit(SIGTTOU);
inline constexpr uint64_t kJobs = kStopsByDefault | sigbit(SIGCONT);  // each discards others
// What the kernel sends, or not, by the mask of who uses the terminal (sysport_trap_terminal).
inline constexpr uint64_t kTerminalSignals = sigbit(SIGTTIN) | sigbit(SIGTTOU);

// The kernel's struct sigaction.
struct ksigaction {
  uintptr_t handler;
  uintptr_t flags;
  uintptr_t restorer;
  uint64_t mask;
};

extern GlobalLock siglock;
extern ksigaction sigactions[kNsig + 1];

inline bool sig_ignores(int sig, const ksigaction& act) {
  return act.handler == 1 || (act.handler == 0 && (kIgnoredByDefault & sigbit(sig)) != 0);
}

// ---- start, rforks, fork -------------------------------------------------------------------
// `terminal_masked` is called when the program blocks one of kTerminalSignals (the terminal's calls are sysport's).
void sig_init(thread* main_td, void (*terminal_masked)());
extern void (*sig_terminal_masked)();
void sig_threads_start();   // before the second rfork
void sig_install_ipi();     // the IPI signal's handler, which the alarms of posixtimer.cc need, too
void sig_atfork_child(thread* td);
// Before exec or a vfork child: the kernel's mask of this rfork becomes the LWKT's own; and
// back.
void sig_kernel_mask_set(uint64_t mask);
void sig_kernel_mask_restore();
void sig_set_rfork_mask();
void sig_follow_mask();  // the same, if it has changed since the calling rfork was here last
extern uint32_t sig_mask_changes;
// Before a look at what is pending: what another rfork that runs has taken though the last change keeps it for
// the kernel is in the inbox after it. Those in traps are not awaited, nor one that can't run for 20 ms.
void sig_await_followers();
uint64_t sig_kernel_mask();  // what this rfork blocks in the kernel while it runs LWKTs
// The same two for an rfork that has come by a cpu, which looks into the inbox, too; and for one that has none now.
void sig_begin_with_cpu();
void sig_go_on_with_cpu();
void sig_go_on_without_cpu();
// exec: LWKT's mask and what is pending go into the kernel.
void sig_prepare_exec(thread* td);
void sig_unprepare_exec();
// In a vfork's child, whose dispositions are the kernel's copy of ours. Its rt_sigaction; and before its exec.
long sig_child_action(const uint64_t* args);
void sig_child_exec();

// ---- dispositions (action.cc) -----------------------------------------------------------------
int sig_action(int sig, const ksigaction* act, ksigaction* old);  // 0 or errno
// Some LWKT begins to block these.
void sig_capture(uint64_t set);
bool sig_captured(uint64_t set);  // nothing is to be done for them
// Somebody waits for these (sigtimedwait): the kernel must hand them over.
void sig_want(uint64_t set);
void sig_waits(uint64_t set);  // once td_sigwait says so: what has changed meanwhile
// A signalfd reads these: while no LWKT takes them, all blocking them, they are the kernel's to keep, where that looks.
extern uint64_t sig_fd_reads;
void sig_fd_begins(uint64_t set);
// Of these perhaps nobody takes some any more; and somebody takes them.
void sig_leave(uint64_t set);
void sig_take_back(uint64_t set);
bool sig_is_left(int sig);
bool sig_waits_in_kernel(int sig);  // left, or ignored and blocked
// The program, not its libc for a moment, begins to block these: what of them is ignored waits from now on.
void sig_capture_own(uint64_t set);
// Blocking these is a matter of the mask alone.
extern uint64_t sig_plain;
// Signals that came again before their LWKT could get rid of the first are held in the kernel until that LWKT
// takes them: one that comes faster than libcr puts it away (a timer of 1 us) would keep it from ever
// going on. Only while the process has one kernel thread: others would have to be told.
extern uint64_t sig_held;
bool sig_one_kernel_thread();
bool sig_hold(const thread* td, const siginfo_t* info);  // true: the context's mask must have it from now on
uint64_t sig_open_again();        // what is held and no longer blocked, for the context's mask; not held now
void sig_release(uint64_t set);   // outside the kernel's handler
void sig_collect(uint64_t set);   // likewise: what is held of these comes here, under the masks as they are
void sig_release_open();          // ... what is no longer blocked
void sig_drop_held(int sig);      // of a standard one that is taken only one was to be pending
// Sends on to the kernel what came here before it was left there. Without siglock.
void sig_pass_on_left();
void sig_reset_to_default(int sig);  // SA_RESETHAND
// The signal comes to libcr (else the kernel ignores it, or holds it back because it was blocked).
bool sig_comes_here(int sig);
// Drops what the kernel holds back of these: for an LWKT that has not blocked them they were ignored.
void sig_drop_ignored(uint64_t set);
// Drops what the kernel holds of these, also for a signalfd.
void sig_discard_in_kernel(uint64_t set);
// Some site is an int3 (rule X): libcr's handler takes SIGTRAP from now on, whatever the program's
// disposition, and no mask that the kernel knows may hold it.
void sig_keep_sigtrap();
uint64_t sig_never_blocked();  // in the kernel: SIGTRAP's bit then

// ---- masks and pending sets (pending.cc) --------------------------------------------------------
extern uint64_t sig_process_pend;  // pending for the process. Bits: read without a lock
bool sig_before_change(uint64_t added, uint64_t removed, uint64_t mask);  // not all are plain. False: all is done
void sig_after_change(thread* td, uint64_t added, uint64_t removed);  // some of these are held or pending, or were noted
// What of these is pending for the process may be somebody else's, now that the caller is not open for them any more.
void sig_pass_to_takers(uint64_t set);

// Inlined, and few instructions where nothing is held or pending: it is most of the answer to rt_sigprocmask.
inline void sig_setmask(thread* td, uint64_t mask) {
  mask &= ~kUnblockable;
  uint64_t old = td->td_sigmask, changed = mask ^ old;
  bool noted = (changed & (~load_bits(&sig_plain) | sig_held)) != 0;
  if (__builtin_expect(noted, 0)) noted = sig_before_change(mask & ~old, old & ~mask, mask);
  td->td_sigmask = mask;
  if (smp) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);  // who posts, or begins to read, sees the mask, or is seen here
    noted = true;
  }
  if (noted) noted = (changed & load_bits(&sig_fd_reads)) != 0;
  if (__builtin_expect(noted || (changed & (sig_held | td->td_sigpend | load_bits(&sig_process_pend))) != 0, 0)) {
    sig_after_change(td, mask & ~old, old & ~mask);
  }
}
uint64_t sig_pending_for(thread* td);  // own and process's, blocked or not
// Queues `info` for td, or for the process (null), and sees that it is delivered. 0 or errno.
// Needs a cpu.
int sig_post(thread* td, int sig, const siginfo_t* info);
// The same for the LWKT that has this tid: ESRCH if there is none.
int sig_post_tid(int32_t tid, int sig, const siginfo_t* info);
// Takes the next signal of `set` for td. False if none.
bool sig_take(thread* td, uint64_t set, siginfo_t* info);
// Empties the inbox and wakes whoever must deliver. Needs a cpu.
void sig_route();
// A filter may turn libcr's own calls down from now on (seccomp).
void sig_expect_filters();
// Of a filter that turned a call down.
inline bool sig_is_filters(const siginfo_t* info) {
  constexpr int kSysSeccomp = 1;  // asm-generic/siginfo.h
  return info->si_signo == SIGSYS && info->si_code == kSysSeccomp;
}
void sig_inbox_put(const siginfo_t* info, int32_t tid = 0);  // async-signal-safe. tid: for that LWKT alone
bool sig_inbox_empty();
// What waits of these anywhere is gone: the process went on after a stop.
void sig_discard(uint64_t set);
void sig_discard_locked(uint64_t set);  // siglock held
// Whether a SIGCONT has been seen since the last stop signal was taken: then that must not stop anybody.
bool sig_continued();
// Makes the call of a worker (src/sysport/worker.h) end early, as a signal for it would, until `end`.
// It is one: SIGKILL, which nobody else has pending, since the kernel keeps it to itself.
void sig_interrupt(thread* td);
void sig_interrupt_end(thread* td);
// Recomputes AST_SIGNAL for the current LWKT.
void sig_recalc(thread* td);
// Whether a signal ends the wait of td, the current LWKT. One whose default action stops the process does not: it is
// carried out here, and the wait goes on.
bool sig_interrupts(thread* td);
// td is dead: gives up its tid, and what the process got while td might have taken it goes to
// another. After this nobody holds td who found it by its tid or in sig_choose.
void sig_thread_gone(thread* td);
// Who takes it: an LWKT that does not block it, or waits for it. Null: nobody.
thread* sig_choose(int sig);
uint64_t sig_takers(uint64_t set);  // those of them that somebody takes

// ---- timers of timer_create (posixtimer.cc) -------------------------------------------------------
// The kernel keeps the time and sends to the process; whom for, and what expired while the signal
// waited here, is kept here. All under siglock but the first seven, which take it.
bool sig_timer_add(int32_t id, int sig, int32_t tid);  // tid 0: signals the process. False: no memory
void sig_timer_remove(int32_t id);            // what it still has pending is gone with it
void sig_timer_rearm(int32_t id);             // timer_settime: likewise
// One that was added counts the processor time of the LWKT with this tid. The kernel's is its alarm.
void sig_timer_count(int32_t id, int32_t clock_tid, bool signals, sigval value);
struct TimerSetting {
  uint64_t value, interval;  // ns
};
// Of such a one. False: it is none.
bool sig_timer_get(int32_t id, TimerSetting* now);
// Likewise. *error: 0, or ESRCH if the LWKT has ended.
bool sig_timer_set(int32_t id, bool absolute, TimerSetting fresh, TimerSetting* old, int* error);
// Of the last signal taken. False: the kernel knows, since libcr does not see this timer's signal.
bool sig_timer_overrun(int32_t id, int* out);
// The kernel's signal in e: 0: queue it, for *target unless that is null. ESRCH: nobody's. EEXIST: one
// waits already and counts this one.
int sig_timer_expired(sigqueue_entry* e, thread** target);
void sig_timer_taken(sigqueue_entry* e);      // leaves its queue, delivered or not
void sig_timer_thread_gone(int32_t tid);      // what counts its time stands still
void sig_timer_atfork_child();
inline bool sig_is_timers(const siginfo_t* info) { return info->si_code == SI_TIMER; }
// siglock held. Takes e out of the queue that it is in.
void sig_unqueue(sigqueue_entry* e);

// ---- delivery (deliver.cc) ------------------------------------------------------------------------
// Enters the program's handler by changing the context in `uc`, which the caller will restore.
// False: nothing to deliver (ignored or default action done).
bool sig_deliver_to_context(thread* td, kucontext* uc, const siginfo_t* info);
// Delivers what is pending at the gate. May not return.
void sig_deliver_at_gate(thread* td, trapframe* tf);
void sig_default_action(int sig);
extern uint32_t sig_stopping;  // 1 while an LWKT stops the process
// The frame of a handler for no signal, below `top`, that goes back to uc; uc has a handler's flags and FPU then.
rt_sigframe* sig_push_frame(thread* td, kucontext* uc, uint64_t top);

// The bare rt_sigreturn call: the frame stands at `rsp`.
[[noreturn]] void signal_return_to(uint64_t rsp);

// ---- from the kernel (kernel.cc) -------------------------------------------------------------------
extern "C" void sig_kernel_handler(int sig, siginfo_t* info, kucontext* uc);
extern "C" void cr_kernel_restorer();

inline constexpr int kErestartsys = 512;       // SA_RESTART decides
inline constexpr int kErestartnointr = 513;    // always restarted

}  // namespace cr
