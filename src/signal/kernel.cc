// The one handler that the kernel knows. It runs on the rfork's alternate stack with every
// signal blocked but SIGSYS (kBlockAll), and may have interrupted anything:
//
//   an int3 of ours  a site that no jump fits over (rule X): on to its stub, in a vfork's child,
//                    too;
//   program text     nothing of libcr is held: route and deliver right away;
//   the gate's exit  the frame is whole: roll back to the check (gate.S);
//   before a trap    make the call return "not begun", or "interrupted" if the kernel is to
//                    restart it (cr_trap_check, gate_sleep_window, cr_call_window);
//   libcr, a shim, the idle thread, a stub
//                    the signal stays in the inbox; gd_ast makes the way out look.
//
// "libcr" is a range of text: everything below the boundary is linked into one section
// (src/libcr-text.ld).

#include <errno.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../gate/object.h"
#include "../gate/sitetable.h"
#include "../lwkt/rfork.h"
#include "../sysport/tid.h"
#include "broadcast.h"
#include "preempt.h"
#include "signal.h"

extern "C" {
[[gnu::visibility("hidden")]] extern char __start_crtext[], __stop_crtext[];
void gate_exit_check();
void gate_exit_last();
void gate_fast_check();
void gate_fast_last();
void gate_sleep_window();
void gate_sleep_insn();
void gate_sleep_unbegun();
void gate_sleep_begun();
void cr_call_window();
void cr_call_insn();
void cr_call_unbegun();
void cr_call_begun();
void cr_call_check();
void cr_call_last();
void cr_trap_window();
void cr_trap_insn();
void cr_trap_unbegun();
void cr_trap_begun();
void cr_sigreturn_check();
void cr_sigreturn_insn();
void usercopy_start();
void usercopy_end();
void usercopy_fault();
}

namespace cr {

void sig_kernel_default(int sig);

namespace {

template <typename T>
uint64_t addr(T* p) {
  return reinterpret_cast<uintptr_t>(p);
}

bool is_fault(int sig, const siginfo_t* info) {
  return (kSynchronous & sigbit(sig)) != 0 && info->si_code > 0;
}

bool in_libcr(uint64_t pc) { return pc >= addr(__start_crtext) && pc < addr(__stop_crtext); }

// Traps that a signal just before must not let sleep, and where they go on instead.
struct TrapWindow {
  void (*first)();
  void (*insn)();
  void (*unbegun)();
  void (*begun)();
};
constexpr TrapWindow kTrapWindows[] = {
    {gate_sleep_window, gate_sleep_insn, gate_sleep_unbegun, gate_sleep_begun},
    {cr_call_window, cr_call_insn, cr_call_unbegun, cr_call_begun},
    {cr_trap_window, cr_trap_insn, cr_trap_unbegun, cr_trap_begun},
};

void leave_trap_window(kucontext* uc) {
  for (const TrapWindow& w : kTrapWindows) {
    if (uc->mc.ip < addr(w.first) || uc->mc.ip > addr(w.insn)) continue;
    uc->mc.ip = context_restarts_trap(uc, addr(w.insn)) ? addr(w.begun) : addr(w.unbegun);
    return;
  }
}

// Moves the context to where it may stop. True if it is then the program's.
bool settle(thread* td, kucontext* uc) {
  auto& pc = uc->mc.ip;
  if (pc == addr(gate_exit_last) || pc == addr(gate_fast_last)) {
    context_finish_exit(uc);
    return true;
  }
  if ((td->td_flags & TDF_IDLE) != 0) {
    // Asleep, or about to be: the kernel restarts the wait, but its word has changed by then.
    cpu* c = mygd()->gd_cpu;
    if (c != nullptr) {
      __atomic_add_fetch(&c->c_wake, 1, __ATOMIC_SEQ_CST);
      sched_hooks.engine_kick(c);  // it looks at the word only before it sleeps there
    } else {
      rfork_interrupt_holder();  // the first one, without a cpu, has taken a job signal
    }
    return false;
  }
  if (context_in_entry(uc)) return false;
  if (context_in_return(uc)) return false;
  if (in_libcr(pc)) {
    if (pc >= addr(gate_exit_check) && pc < addr(gate_exit_last)) {
      pc = addr(gate_exit_check);
    } else if (pc >= addr(gate_fast_check) && pc < addr(gate_fast_last)) {
      pc = addr(gate_fast_check);
    } else if (pc >= addr(cr_call_check) && pc <= addr(cr_call_last)) {
      pc = addr(cr_call_check);
    } else if (pc >= addr(cr_sigreturn_check) && pc <= addr(cr_sigreturn_insn)) {
      pc = addr(cr_sigreturn_check);
    } else {
      leave_trap_window(uc);
    }
    return false;
  }
  if ((td->td_flags & TDF_INPORT) != 0 || td->td_critcount != 0) return false;
  return !pc_in_stub(pc);
}

bool at_trap_site(int sig, const siginfo_t* info, kucontext* uc) {
  if (sig != SIGTRAP || info->si_code != SI_KERNEL) return false;
  const PatchedSite* site = site_by_trap(uc->mc.ip - 1);
  if (site == nullptr || site->desc->rule != static_cast<uint8_t>(SiteRule::kX)) return false;
  uc->mc.ip = site->reenter;
  return true;
}

bool is_refusal(const siginfo_t* info, const kucontext* uc) {
  return sig_is_filters(info) && (in_libcr(uc->mc.ip) || context_in_own_entry(uc));
}

// Whether the trap is the call that td makes. Of some calls libcr changes arguments.
bool is_call_of(const thread* td, const siginfo_t* info, const kucontext* uc) {
  const sysmsg_raw& m = td->td_sysmsg.raw;
  auto nr = static_cast<uint32_t>(info->si_syscall);
  if ((td->td_flags & TDF_IDLE) != 0 || m.sm.sm_nr != nr) return false;
  switch (nr) {
    case SYS_fork:
    case SYS_vfork: return true;
    case SYS_clone:
    case SYS_clone3:
    case SYS_seccomp: return m.arg[0] == context_arg(uc, 0);
    default: return m.arg[0] == context_arg(uc, 0) && m.arg[1] == context_arg(uc, 1);
  }
}

// To be delivered on the way out, to a handler that looks at the call and may say its result. False: there is none.
bool leave_refusal(thread* td, const siginfo_t* info) {
  int sig = info->si_signo;
  if ((td->td_sigmask & sigbit(sig)) != 0 || sigactions[sig].handler <= 1) return false;
  sig_inbox_put(info, td->td_tid);
  td->td_flags |= TDF_TURNEDDOWN;
  __atomic_or_fetch(&td->td_ast, AST_SIGNAL, __ATOMIC_SEQ_CST);
  return true;
}

// A filter (seccomp) has turned down a call that libcr's text made: the kernel goes on behind the trap, with the number
// in place of a result. If it is not the program's, libcr wanted something that it has to do without.
bool turned_down(const siginfo_t* info, kucontext* uc, thread* td) {
  if (!is_refusal(info, uc)) return false;
  if (is_call_of(td, info, uc) && !leave_refusal(td, info)) return false;
  context_set_result(uc, -ENOSYS);
  return true;
}

void fault(int sig, siginfo_t* info, kucontext* uc, thread* td) {
  uint64_t pc = uc->mc.ip;
  if (pc >= addr(usercopy_start) && pc < addr(usercopy_end)) {
    uc->mc.ip = addr(usercopy_fault);
    return;
  }
  if (turned_down(info, uc, td)) return;
  bool blocked = (td->td_sigmask & sigbit(sig)) != 0;
  bool ours = in_libcr(pc) && pc != addr(gate_exit_last) && pc != addr(gate_fast_last);
  if (blocked || ours || sigactions[sig].handler <= 1) {
    // The kernel ends the process with the genuine context when the instruction is run again. An
    // int3 is behind us and would not be, nor would a trap that a filter turned down.
    if (sig == SIGTRAP || sig_is_filters(info)) sig_default_action(sig);
    sig_kernel_default(sig);
    return;
  }
  info->si_signo = sig;
  sig_deliver_to_context(td, uc, info);
}

// The kernel sends these to the thread whose call does not succeed. What the program sends itself comes from there only
// after it was left for a signalfd.
bool is_callers(int sig, const siginfo_t* info) {
  return (sig == SIGPIPE || sig == SIGXFSZ) && info->si_code == SI_USER && info->si_pid == tid_process() &&
         (sig_fd_reads & sigbit(sig)) == 0;
}

// What the kernel is to block has changed: it takes that from the context.
void follow_masks(globaldata* gd, kucontext* uc) {
  gd->gd_maskseen = __atomic_load_n(&sig_mask_changes, __ATOMIC_ACQUIRE);
  uc->sigmask = sig_kernel_mask() | sig_held;
}

// Ends the process once the handler returns. Not every instruction would do it again.
void end_by(int sig) {
  sig_kernel_default(sig);
  raw3(SYS_tgkill, raw0(SYS_getpid), raw0(SYS_gettid), sig);
}

// A vfork is in progress. In the child, its parent's handlers are not its own: what it does wrong ends it. In the
// parent (the kernel has just let it go on) the signal waits for the way out.
void passthru(int sig, const siginfo_t* info, kucontext* uc, globaldata* gd) {
  if (raw0(SYS_getpid) != tid_process()) {
    if (is_fault(sig, info)) end_by(sig);
    return;
  }
  if (sig == kIpiSignal) {
    rfork_interrupted(gd->gd_pt_parent);
    gd->gd_pt_parent->gd_ast = 1;  // what it is to look at
    if (!sig_is_timers(info)) return;
  }
  if (is_refusal(info, uc)) {  // of the child
    context_set_result(uc, -ENOSYS);
    if (!leave_refusal(gd->gd_pt_parent->gd_curthread, info)) end_by(sig);
    return;
  }
  sig_inbox_put(info);
  gd->gd_pt_parent->gd_ast = 1;
}

}  // namespace

extern "C" [[gnu::visibility("hidden")]] void sig_kernel_handler(int sig, siginfo_t* info,
                                                                 kucontext* uc) {
  globaldata* gd = mygd();
  if (at_trap_site(sig, info, uc)) return;
  if ((gd->gd_flags & GDF_PASSTHRU) != 0) {
    passthru(sig, info, uc, gd);
    return;
  }
  thread* td = gd->gd_curthread;
  if (is_fault(sig, info)) {
    fault(sig, info, uc, td);
    return;
  }
  bool ipi = sig == kIpiSignal;
  uint32_t masks = gd->gd_maskseen;
  if (ipi) {
    rfork_interrupted(gd);
    broadcast_serve();
    if ((gd->gd_flags & GDF_MASKLENT) == 0) {
      uc->sigmask |= sig_kernel_mask();  // what was served may have been a change of it
      if (masks != __atomic_load_n(&sig_mask_changes, __ATOMIC_ACQUIRE)) follow_masks(gd, uc);
    }
  }
  bool again = !sig_inbox_empty();
  if (!ipi || sig_is_timers(info)) sig_inbox_put(info, is_callers(sig, info) ? td->td_tid : 0);
  if (!ipi && sig_is_left(sig)) uc->sigmask |= sigbit(sig);  // it passes this one on, and no more of them
  if (!settle(td, uc)) {
    bool blocked = (td->td_flags & TDF_IDLE) == 0 && (td->td_sigmask & sigbit(sig)) != 0;
    if (!ipi && (again || blocked) && sig_hold(td, info)) uc->sigmask |= sigbit(sig);
    if (ipi) __atomic_or_fetch(&td->td_ast, AST_RESCHED, __ATOMIC_SEQ_CST);
    gd->gd_ast = 1;
    return;
  }
  if (!sig_inbox_empty()) sig_route();
  siginfo_t next;
  while ((td->td_ast & AST_SIGNAL) != 0) {
    if (!sig_take(td, ~td->td_sigmask, &next)) {
      sig_recalc(td);
      break;
    }
    sig_deliver_to_context(td, uc, &next);
    sig_recalc(td);
  }
  if (masks != gd->gd_maskseen && (gd->gd_flags & GDF_MASKLENT) == 0) follow_masks(gd, uc);
  if (!ipi && (td->td_sigmask & sigbit(sig)) != 0 && sig_hold(td, info)) uc->sigmask |= sigbit(sig);
  if (__builtin_expect(sig_held != 0, 0)) uc->sigmask &= ~(sig_open_again() & ~sig_kernel_mask());
  if (ipi && gd->gd_cpu != nullptr &&
      (sched_cpu_has_work(gd->gd_cpu) || sched_global_count() != 0 || sched_timer_due() ||
       load_acquire(&gd->gd_cpu->c_ipipending) != 0 || sched_hooks.engine_unattended())) {
    sig_push_preempt(td, uc);
  }
}

}  // namespace cr
