// Delivery: a frame for the program's handler, from one of two places.
//
//   at the gate      the context is a trap frame. The frame is written below the code that is
//                    running now (both live on the LWKT's stack), or on the alternate stack. A call
//                    that has a stack of its own (src/sysport/callstack.h) leaves that.
//   from the kernel  the context is the kernel's own frame on the rfork's alternate stack. It
//                    is copied to the LWKT's stack, then made to enter the handler.
//
// In both cases the handler returns to cr_restore_rt, which ends in sig_return. A signal that waits by then has the
// same frame again, if that is where it belongs, or one of its own. An LWKT that was preempted comes back there, too
// (preempt.h); its frame is no handler's place.

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>

#include "../../arch/rawcall.h"
#include "../gate/object.h"
#include "../lwkt/assert.h"
#include "../lwkt/clock.h"
#include "../lwkt/rfork.h"
#include "../sysport/callstack.h"
#include "kernelmask.h"
#include "preempt.h"

extern "C" {
[[noreturn]] void gate_leave(cr::trapframe* tf);
void cr_call_reenter();
}

namespace cr {

void sig_kernel_default(int sig);
void sig_kernel_recapture(int sig);

namespace {

inline constexpr uint64_t kOwnRoom = 1024;  // of the delivery code itself, below its caller
inline constexpr uintptr_t kEflagsCleared = 0x400 | 0x100 | 0x10000;  // DF, TF, RF
inline constexpr int32_t kSsOnstack = 1, kSsDisable = 2;
inline constexpr uint32_t kSsAutodisarm = 1u << 31;

bool on_altstack(const thread* td, uint64_t sp) {
  return td->td_altsize != 0 && sp > td->td_altsp && sp - td->td_altsp <= td->td_altsize;
}

void report_altstack(const thread* td, uint64_t sp, kstack* out) {
  int32_t flags = td->td_altsize == 0 ? kSsDisable
                                      : static_cast<int32_t>(td->td_altflags) |
                                            (on_altstack(td, sp) ? kSsOnstack : 0);
  *out = make_kstack(td->td_altsp, flags, td->td_altsize);
}

// The disposition, and whether a handler is to run.
bool handler_for(thread* td, int sig, ksigaction* act) {
  Guard g(siglock);
  *act = sigactions[sig];
  if (act->handler <= 1) return false;
  if ((act->flags & SA_RESETHAND) != 0) sig_reset_to_default(sig);
  return true;
}

uint64_t handler_stack(thread* td, const ksigaction& act, uint64_t sp, uint64_t lowest) {
  if ((act.flags & SA_ONSTACK) != 0 && td->td_altsize != 0 && !on_altstack(td, sp)) {
    return td->td_altsp + td->td_altsize;
  }
  return lowest;
}

// What both ways share: everything but the registers.
void fill(thread* td, rt_sigframe* f, uint64_t fp, const ksigaction& act, int sig, uint64_t sp,
          const siginfo_t* info) {
  f->pretcode = reinterpret_cast<uintptr_t>(&cr_restore_rt);
  f->uc.flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
  f->uc.link = 0;
  report_altstack(td, sp, &f->uc.stack);
  f->uc.mc.fpstate = fp;
  sigframe_mark(&f->uc, false);
  uint64_t mask = td->td_sigmask;
  if ((td->td_flags & TDF_SUSPENDMASK) != 0) {
    mask = td->td_savedmask;
    td->td_flags &= ~TDF_SUSPENDMASK;
  }
  f->uc.sigmask = mask;
  f->uc.mc.oldmask = mask;
  if (info != nullptr) f->info = *info;
  if ((td->td_altflags & kSsAutodisarm) != 0) td->td_altsize = 0;
  uint64_t now = td->td_sigmask | act.mask;
  if ((act.flags & SA_NODEFER) == 0 && sig != 0) now |= sigbit(sig);
  sig_setmask(td, now);
}

void restart(trapframe* tf) {
  tf->result = tf->nr;
  if (tf->desc->rule == 0) {
    frame_undo_call(tf);
    tf->pc = tf->unwindpc = reinterpret_cast<uintptr_t>(&cr_call_reenter);
    return;
  }
  uint64_t trap = tf->desc->unwindpc - 2;
  const PatchedSite* site = site_by_trap(trap);
  CR_CHECK(site != nullptr);
  tf->pc = site->reenter;
  tf->unwindpc = trap;
}

bool was_interrupted(const trapframe* tf) {
  auto r = static_cast<intptr_t>(tf->result);
  return r <= -kErestartsys && r >= -516;
}

// A call that was interrupted: what the program sees, now that a handler will run.
void settle_interrupted(trapframe* tf, const ksigaction& act) {
  if (!was_interrupted(tf)) return;
  auto r = static_cast<intptr_t>(tf->result);
  bool again = r == -kErestartnointr || (r == -kErestartsys && (act.flags & SA_RESTART) != 0);
  if (again) {
    restart(tf);
  } else {
    tf->result = static_cast<uintptr_t>(-EINTR);
  }
}

void deliver_frame(thread* td, trapframe* tf, const ksigaction& act, siginfo_t* info) {
  int sig = info->si_signo;
  uint64_t here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) - kOwnRoom;
  if (callstack_holds(td, here)) here = tf->sp - kRedZone;
  FramePlace p = sigframe_place(handler_stack(td, act, tf->sp, here));
  sigframe_from_trapframe(&p.frame->uc, tf);
  sigframe_save_fpu(p.fp, site_vector(tf->desc) == SiteVector::kXsave);
  fill(td, p.frame, p.fp, act, sig, tf->sp, info);
  sig_release_open();
  uint64_t at = sigframe_enter(p.frame, sig, act.flags);
  auto* out = reinterpret_cast<trapframe*>((at - sizeof(trapframe) - 256) & ~15ull);
  *out = *tf;
  sigframe_arguments(out, p.frame, sig);
  out->pc = act.handler;
  out->unwindpc = act.handler;
  out->sp = at;
  out->flags &= ~kEflagsCleared;
  gate_leave(out);
}

}  // namespace

uint32_t sig_stopping;

namespace {

void wait_a_moment() { clock_nap(1'000'000); }

// `sig` becomes the kernel's, pending for this kernel thread: from then on a SIGCONT discards it there. Whether one
// came before, since the signal was taken here.
//
// Sending a stop signal discards a SIGCONT that no kernel thread has taken yet: one that comes between the check and
// the sending, 0.2 us, is lost, and the process stops for good. Who sends both one right after the
// other would meet that in one of 10,000 cases; hence the moment before it.
bool hand_over_stop(int sig, long pid, long tid) {
  sig_kernel_mask_set(kBlockAll);
  wait_a_moment();
  siginfo_t info;
  if (kmask_take(sigbit(SIGCONT), &info) != 0) sig_inbox_put(&info);
  raw3(SYS_tgkill, pid, tid, sig);
  sig_kernel_mask_set(~sigbit(SIGCONT));
  // One that the first kernel thread has taken is in the inbox when that has run its handler.
  if (mygd()->gd_next != nullptr) wait_a_moment();
  return sig_continued();
}

}  // namespace

void sig_default_action(int sig) {
  if ((kIgnoredByDefault & sigbit(sig)) != 0) return;
  // One stop is the whole process's, and what makes it go on discards the stop signals that are pending:
  // another that was taken meanwhile would stop it for good.
  bool stop = (kStopsByDefault & sigbit(sig)) != 0;
  if (stop && __atomic_exchange_n(&sig_stopping, 1u, __ATOMIC_ACQ_REL) != 0) return;
  long pid = raw0(SYS_getpid), tid = raw0(SYS_gettid);
  sig_kernel_default(sig);
  if (!stop) {
    sig_kernel_mask_set(~sigbit(sig));
    raw3(SYS_tgkill, pid, tid, sig);  // ends the process here
  } else if (hand_over_stop(sig, pid, tid)) {
    kmask_take(sigbit(sig), nullptr);
  } else {
    sig_kernel_mask_set(~sigbit(sig));  // stops the process here
  }
  sig_set_rfork_mask();
  {
    Guard g(siglock);
    sig_kernel_recapture(sig);
  }
  if (!stop) return;
  sig_discard(kStopsByDefault);
  __atomic_store_n(&sig_stopping, 0u, __ATOMIC_RELEASE);
}

void sig_deliver_at_gate(thread* td, trapframe* tf) {
  siginfo_t info;
  while (sig_take(td, ~td->td_sigmask, &info)) {
    ksigaction act;
    if (handler_for(td, info.si_signo, &act)) {
      sig_recalc(td);
      if (sig_is_filters(&info) && (td->td_flags & TDF_TURNEDDOWN) != 0) {
        td->td_flags &= ~TDF_TURNEDDOWN;  // as if the program's own trap were the one
        info.si_call_addr = reinterpret_cast<void*>(tf->unwindpc);
        tf->result = tf->nr;
      }
      settle_interrupted(tf, act);
      deliver_frame(td, tf, act, &info);
    } else if (act.handler == 0) {
      sig_default_action(info.si_signo);
    }
  }
  sig_recalc(td);
  sig_release_open();
  // Nobody's handler ran, whose frame would bring the mask back.
  if ((td->td_flags & TDF_SUSPENDMASK) != 0) {
    td->td_flags &= ~TDF_SUSPENDMASK;
    sig_setmask(td, td->td_savedmask);
  }
  if (was_interrupted(tf)) restart(tf);
}

namespace {
// A frame below `top` that goes back to uc, which has a handler's flags and FPU then.
rt_sigframe* push_frame(thread* td, kucontext* uc, const ksigaction& act, int sig, uint64_t top, const siginfo_t* info) {
  FramePlace p = sigframe_place(top);
  p.frame->uc.mc = uc->mc;
  sigframe_copy_fpu(p.fp, uc->mc.fpstate);
  fill(td, p.frame, p.fp, act, sig, uc->mc.sp, info);
  uc->mc.flags &= ~kEflagsCleared;
  sigframe_clear_fpu(uc->mc.fpstate);
  return p.frame;
}

void enter_handler(thread* td, kucontext* uc, const ksigaction& act, const siginfo_t* info) {
  int sig = info->si_signo;
  uint64_t sp = uc->mc.sp;
  rt_sigframe* f = push_frame(td, uc, act, sig, handler_stack(td, act, sp, sp - kRedZone), info);
  uc->mc.sp = sigframe_enter(f, sig, act.flags);
  uc->mc.ip = act.handler;
  sigframe_arguments(&uc->mc, f, sig);
}
}  // namespace

bool sig_deliver_to_context(thread* td, kucontext* uc, const siginfo_t* info) {
  ksigaction act;
  if (!handler_for(td, info->si_signo, &act)) {
    if (act.handler == 0) sig_default_action(info->si_signo);
    return false;
  }
  enter_handler(td, uc, act, info);
  return true;
}

rt_sigframe* sig_push_frame(thread* td, kucontext* uc, uint64_t top) {
  return push_frame(td, uc, ksigaction{}, 0, top, nullptr);
}

namespace {
// What was held in the kernel when a context was handed to it: if a signal comes before the kernel takes the
// context over, it still is.
uint64_t held_until_return;

rt_sigframe* frame_of(kucontext* uc) {
  return reinterpret_cast<rt_sigframe*>(reinterpret_cast<uintptr_t>(uc) - offsetof(rt_sigframe, uc));
}

// The next signal's frame would stand where that of uc does, from which it is to go on to uc.
bool same_place(thread* td, kucontext* uc, const ksigaction& act) {
  uint64_t sp = uc->mc.sp;
  auto next = reinterpret_cast<uintptr_t>(sigframe_place(handler_stack(td, act, sp, sp - kRedZone)).frame);
  auto last = reinterpret_cast<uintptr_t>(frame_of(uc));
  return next < last + sigframe_size() && last < next + sigframe_size();
}

// The same frame again, with the next signal.
[[noreturn]] void enter_in_place(thread* td, kucontext* uc, const ksigaction& act, const siginfo_t* info) {
  rt_sigframe* f = frame_of(uc);
  int sig = info->si_signo;
  fill(td, f, uc->mc.fpstate, act, sig, uc->mc.sp, info);
  sig_release_open();
  uint64_t at = sigframe_enter(f, sig, act.flags);
  auto* out = reinterpret_cast<trapframe*>(
      (reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) - kOwnRoom) & ~15ull);
  *out = trapframe{};
  sigframe_arguments(out, f, sig);
  out->pc = act.handler;
  out->unwindpc = act.handler;
  out->sp = at;
  out->flags = 0x202;
  gate_leave(out);
}
}  // namespace

// The program's handler (or run_preempt) has returned: `uc` is what it goes back to.
// True: by cr_sigreturn_jump.
extern "C" [[gnu::visibility("hidden")]] int sig_return(kucontext* uc) {
  thread* td = curthread();
  bool preempted = preempt_stands_at(td, uc);
  if (mygd()->gd_ast != 0) sig_route();
  // A signal in the last moment brings us here again with the same context, whose mask is the
  // kernel's by then.
  if (!sigframe_marked(uc)) {
    sigframe_mark(uc, true);
    uint64_t held = sig_held;
    sig_held = 0;  // what is held goes with this frame's mask: no trap for it
    sig_setmask(td, uc->sigmask);
    sig_held = held;
    if (held_until_return != 0) held_until_return = 0;
    if ((uc->stack.flags & kSsDisable) != 0) {
      td->td_altsize = 0;
    } else {
      td->td_altsp = uc->stack.sp;
      td->td_altsize = uc->stack.size;
      td->td_altflags = static_cast<uint32_t>(uc->stack.flags) & kSsAutodisarm;
    }
  } else if (held_until_return != 0) {
    sig_held |= held_until_return;
    held_until_return = 0;
  }
  sig_recalc(td);
  siginfo_t info;
  while ((td->td_ast & AST_SIGNAL) != 0 && sig_take(td, ~td->td_sigmask, &info)) {
    ksigaction act;
    if (!handler_for(td, info.si_signo, &act)) {
      if (act.handler == 0) sig_default_action(info.si_signo);
      continue;
    }
    sig_recalc(td);
    if (same_place(td, uc, act)) enter_in_place(td, uc, act, &info);
    enter_handler(td, uc, act, &info);
    sig_recalc(td);
  }
  if ((td->td_ast & AST_RESCHED) != 0) {
    __atomic_and_fetch(&td->td_ast, ~AST_RESCHED, __ATOMIC_SEQ_CST);
    sched_run_timers();
    sched_preempt_cpu();
  }
  // A site that was displaced goes on in its stub, one that is to be restarted enters anew.
  if (const PatchedSite* s = site_by_trap(uc->mc.ip); s != nullptr) {
    uc->mc.ip = s->reenter;
  } else if (const PatchedSite* d = site_by_trap(uc->mc.ip - 2); d != nullptr) {
    uc->mc.ip = d->desc->retpc;
  }
  bool same_stack = on_altstack(td, reinterpret_cast<uintptr_t>(uc)) == on_altstack(td, uc->mc.sp);
  if (!preempted && sig_held == 0 && same_stack && sigframe_can_jump(uc)) {
    sig_follow_mask();
    return 1;
  }
  held_until_return = sig_held;
  sig_held = 0;
  uc->sigmask = sig_kernel_mask();
  // The kernel's own alternate stack is the rfork's.
  uc->stack = make_kstack(reinterpret_cast<uintptr_t>(mygd()->gd_altstack), 0, 64 * 1024);
  if (preempted) preempt_leave(td, uc);
  return 0;
}

}  // namespace cr
