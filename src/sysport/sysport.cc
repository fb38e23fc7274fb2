// The dispatch, from the gate's trap frame to the handler or the trap and back.
//
// Cost of a call that is a plain trap: about 25 instructions here, no atomic, no lock.

#include "sysport.h"

#include <errno.h>
#include <sys/syscall.h>

#include "../../arch/abi.h"
#include "../../arch/rawcall.h"
#include "../../arch/sigframe.h"
#include "../async/fdtable.h"
#include "../gate/object.h"
#include "../lwkt/assert.h"
#include "../lwkt/large.h"
#include "../lwkt/rfork.h"
#include "../signal/signal.h"
#include "../lwkt/export.h"
#include "process.h"
#include "sendable.h"
#include "sysent.h"
#include "worker.h"

extern "C" {
CR_API struct lwkt_port syscall_port;
long cr_trap_check(const uint64_t* args, long nr, const uint32_t* ast);
}

namespace cr {

#include "sysent.inc"

namespace {
constexpr bool sendable_knows_quick_calls() {
  for (uint32_t nr = 0; nr < kSysCount; nr++) {
    if (kSysEnt[nr].serve == Serve::quick && sendable_quick(nr) == Quick::kUnknown) return false;
  }
  return true;
}
}  // namespace
static_assert(sendable_knows_quick_calls(), "sendable.h must say whether the new `quick` call may sleep");

lwkt_port sysport_last;
lwkt_port* sysport_head = &sysport_last;

namespace {
// A door for each call number (gate.S): with one LWKT, with several, with a shim in the way.
CR_LARGE uintptr_t doors_alone[GATE_DOORS];
CR_LARGE uintptr_t doors_crowd[GATE_DOORS];
const uintptr_t doors_shimmed[GATE_DOORS] = {};
bool crowd;
bool literal;  // sysport_literal
bool terminal_masked;

// When the cpu goes to others: when asked for, but at once where nobody has tried the call; when asked for; at once.
enum class Offer { kByDefault, kWhenAsked, kAtOnce };
int trap_first(union sysunion* m, Offer offer, uint64_t masked = 0);

bool moves_data(uint32_t nr) {
  constexpr int kCalls[] = {SYS_read,     SYS_write,   SYS_readv,  SYS_writev,
                            SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg};
  for (int call : kCalls) {
    if (nr == static_cast<uint32_t>(call)) return true;
  }
  return false;
}

int trap_literally(union sysunion* m) {
  const fdentry* e = fd_entry(static_cast<int>(m->raw.arg[0]));
  // The name of another LWKT is libcr's to read and to change (syscalls/threadname.h).
  bool name = m->sm.sm_nr == SYS_open || m->sm.sm_nr == SYS_openat || (e != nullptr && (e->flags & FDF_COMM) != 0);
  if (__builtin_expect(name, 0)) return kSysHandlers[kSysEnt[m->sm.sm_nr].handler](m);
  if (e != nullptr && fd_known_nonblock(e) && moves_data(m->sm.sm_nr)) return trap_first(m, Offer::kWhenAsked);
  return (curthread()->td_sigmask & kTerminalSignals) != 0 ? sysport_trap_terminal(m, false) : sysport_trap_first(m);
}

uintptr_t door(const SysEnt& e, bool alone) {
  switch (e.serve) {
    case Serve::user:
    case Serve::fold: return DOOR_LONG;
    case Serve::quick: return reinterpret_cast<uintptr_t>(kSysHandlers[e.handler]);
    case Serve::block:
      return alone ? DOOR_SLEEP : reinterpret_cast<uintptr_t>(&sysport_trap_first);
    case Serve::whole:
      return alone ? DOOR_SLEEP : reinterpret_cast<uintptr_t>(&sysport_trap_whole);
    case Serve::async:
      if (alone) return DOOR_SLEEP;
      return reinterpret_cast<uintptr_t>(literal ? &trap_literally : kSysHandlers[e.handler]);
    default: return DOOR_PLAIN;
  }
}
}  // namespace

extern "C" {
[[gnu::visibility("hidden"), gnu::used]] const uintptr_t* cr_doors = doors_shimmed;
}

void sysport_head_changed() {
  const uintptr_t* open = crowd ? doors_crowd : doors_alone;
  store_release(&cr_doors, sysport_head == &sysport_last ? open : doors_shimmed);
}

void sysport_crowd(bool several) {
  crowd = several;
  sysport_head_changed();
}

int sysport_trap(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  return sysport_result(m, raw6(m->sm.sm_nr, static_cast<long>(a[0]), static_cast<long>(a[1]),
                                static_cast<long>(a[2]), static_cast<long>(a[3]),
                                static_cast<long>(a[4]), static_cast<long>(a[5])));
}

namespace {

// A signal hit this rfork inside libcr, or the one that td's trap left without a cpu.
void route_signals() {
  if (mygd()->gd_ast != 0 || !sig_inbox_empty()) sig_route();
}

// The kernel says EINTR also when the signal turned out to be another LWKT's, or blocked by
// this one: then the call is made again. It may be back on another rfork than the signal hit, so
// what counts is the inbox and not gd_ast.
bool interrupted_for_us(thread* td) {
  route_signals();
  return sig_interrupts(td);
}

void preempt_at_gate() {
  if (sched_timer_due()) sched_run_timers();
  sched_harvest();
  sched_preempt_cpu();
}

}  // namespace

bool sysport_interrupted(thread* td) {
  if (interrupted_for_us(td)) return true;
  if ((td->td_ast & AST_RESCHED) != 0) {
    __atomic_and_fetch(&td->td_ast, ~AST_RESCHED, __ATOMIC_SEQ_CST);
    preempt_at_gate();
  }
  return false;
}

bool sysport_take_begun(thread* td) {
  bool begun = (td->td_flags & TDF_BEGUN) != 0;
  td->td_flags &= ~TDF_BEGUN;
  return begun;
}

namespace {

// `masked`: what this kernel thread blocks for the time of the trap, beside what every rfork does.
inline long trap_masked(union sysunion* m, thread* td, uint64_t masked) {
  if (masked == 0) return cr_trap_check(m->raw.arg, m->sm.sm_nr, &td->td_ast);
  sig_kernel_mask_set(sig_kernel_mask() | masked);
  long r = cr_trap_check(m->raw.arg, m->sm.sm_nr, &td->td_ast);
  sig_kernel_mask_restore();  // before the LWKT may go on upon another rfork
  return r;
}

// trap() with the cpu on offer.
template <typename Trap>
inline long offered(Offer offer, Trap trap) {
  if (!sched_others()) return trap();
  if (offer == Offer::kAtOnce) {
    sched_trap_enter_handoff(mygd());
  } else {
    sched_trap_enter(mygd());
  }
  long r = trap();
  sched_trap_leave();
  return r;
}

inline long trap_once(union sysunion* m, thread* td, Offer offer, uint64_t masked = 0) {
  return offered(offer, [&] { return trap_masked(m, td, masked); });
}

// Until no other LWKT's signal and nothing of libcr's interrupts it. A signal for this one: ERESTARTNOINTR if it came
// before the first trap and TDF_BEGUN was not set.
int trap_first(union sysunion* m, Offer offer, uint64_t masked) {
  thread* td = curthread();
  bool begun = sysport_take_begun(td);
  if (__builtin_expect(literal, 0) && offer == Offer::kByDefault) offer = Offer::kAtOnce;
  for (;;) {
    long r = trap_once(m, td, offer, masked);
    bool interrupted = r == -EINTR || r == -ERESTARTSYS || r == -ERESTARTNOINTR;
    if (__builtin_expect(!interrupted, 1)) return sysport_result(m, r);
    begun = begun || r != -ERESTARTNOINTR;
    if (!sysport_interrupted(td)) continue;
    if (r == -EINTR) return EINTR;
    return begun ? ERESTARTSYS : ERESTARTNOINTR;
  }
}

int as_interrupted(int error) { return __builtin_expect(error == ERESTARTNOINTR, 0) ? ERESTARTSYS : error; }

// No look at what is pending: a signal that comes before the trap instruction is delivered on the way out, too.
int trap_whole(union sysunion* m, Offer offer) {
  thread* td = curthread();
  for (;;) {
    auto error = static_cast<int>(offered(offer, [m] { return sysport_trap(m); }));
    if (__builtin_expect(error != EINTR, 1) || interrupted_for_us(td)) return error;
  }
}

}  // namespace

int sysport_trap_whole(union sysunion* m) { return trap_whole(m, Offer::kWhenAsked); }
int sysport_trap_whole_sleep(union sysunion* m) { return trap_whole(m, Offer::kAtOnce); }

int sysport_trap_first(union sysunion* m) { return trap_first(m, Offer::kByDefault); }
int sysport_trap_first_sleep(union sysunion* m) { return trap_first(m, Offer::kAtOnce); }
int sysport_trap_block(union sysunion* m) { return as_interrupted(trap_first(m, Offer::kByDefault)); }
int sysport_trap_sleep(union sysunion* m) { return as_interrupted(trap_first(m, Offer::kAtOnce)); }

int sysport_trap_terminal(union sysunion* m, bool at_once) {
  return trap_first(m, at_once ? Offer::kAtOnce : Offer::kByDefault, curthread()->td_sigmask & kTerminalSignals);
}

void sysport_terminal_masked() {
  constexpr int kCalls[] = {SYS_read, SYS_write, SYS_readv, SYS_writev};
  terminal_masked = true;
  for (int nr : kCalls) {
    if (kSysEnt[nr].serve == Serve::async) store_release(&doors_alone[nr], door(kSysEnt[nr], false));
  }
}

void sysport_literal(bool on) {
  literal = on;
  for (uint32_t nr = 0; nr < kSysCount && nr < GATE_DOORS; nr++) {
    if (kSysEnt[nr].serve == Serve::async) store_release(&doors_crowd[nr], door(kSysEnt[nr], false));
  }
  if (terminal_masked) sysport_terminal_masked();
}

int sysport_trap_undisturbed(union sysunion* m) {
  sig_kernel_mask_set(kBlockAll);
  int error = sysport_trap(m);
  sig_kernel_mask_restore();
  return error;
}

int sysport_trap_once(union sysunion* m, bool at_once) {
  return sysport_result(m, trap_once(m, curthread(), at_once ? Offer::kAtOnce : Offer::kWhenAsked));
}
int sysport_trap_sleep_once(union sysunion* m) { return sysport_trap_once(m, true); }

namespace {
inline const SysEnt& entry(uint32_t nr) { return nr < kSysCount ? kSysEnt[nr] : kNosys; }
}  // namespace

int sysport_begin(union sysunion* m) {
  const SysEnt& e = entry(m->sm.sm_nr);
  switch (e.serve) {
    case Serve::user:
    case Serve::quick: return kSysHandlers[e.handler](m);
    case Serve::async:
      return __builtin_expect(literal, 0) ? trap_literally(m) : kSysHandlers[e.handler](m);
    case Serve::fold: return serve_folded(m);
    case Serve::block: return sysport_trap_first(m);
    case Serve::whole: return sysport_trap_whole(m);
    default: return sysport_trap(m);
  }
}

namespace {
// The dispatch of a call that can't be put off: nobody makes it again once what is pending was delivered.
int begin_for_good(union sysunion* m) {
  curthread()->td_flags |= TDF_BEGUN;
  int error = sysport_begin(m);
  curthread()->td_flags &= ~TDF_BEGUN;
  return error;
}
}  // namespace

int sysport_carry_out(const union sysunion* m, union sysunion* own) {
  for (;;) {
    own->sm.sm_nr = m->sm.sm_nr;
    own->sm.sm_frame = nullptr;
    for (int i = 0; i < 6; i++) own->raw.arg[i] = m->raw.arg[i];
    int error = begin_for_good(own);
    if (__builtin_expect(error < ERESTARTSYS || error > 516, 1)) return error;
    if (sysport_interrupted(curthread())) return EINTR;
  }
}

const char* sysport_name(uint32_t nr) {
  return nr < kSysCount ? kSysNames + kSysEnt[nr].name : "nosys";
}

namespace {

// TDF_INPORT says that the LWKT is in a shim's code: from the first shim's begin to its end, but
// for the time in syscall_port. Calls made meanwhile go straight down, and what is pending for
// the LWKT waits until the shims are through.
[[gnu::noinline]] int send_through_shims(lwkt_port* port, union sysunion* m) {
  thread* td = curthread();
  // A call that left by another way (rt_sigreturn, vfork) never came back to end its message.
  m->sm.sm_lmsg.ms_flags = MSGF_DONE;
  m->sm.sm_lmsg.ms_target_port = nullptr;
  td->td_flags |= TDF_INPORT;
  int error = lwkt_domsg(port, &m->sm.sm_lmsg, LWKT_PCATCH);
  curthread()->td_flags &= ~TDF_INPORT;  // in a fork's child, too
  return error;
}

inline int send(lwkt_port* port, union sysunion* m) {
  if (__builtin_expect(port == &sysport_last, 1)) return sysport_begin(m);
  return send_through_shims(port, m);
}

// A message that a program sends. It is EASYNC's: not to be touched then.
int begin_sent(union sysunion* m) {
  Sendable how = sysport_sendable(m, entry(m->sm.sm_nr).serve);
  if (how == Sendable::kNo) return EOPNOTSUPP;
  if (how == Sendable::kMaySleep && (m->sm.sm_lmsg.ms_flags & MSGF_SYNC) == 0) {
    return worker_take(&m->sm.sm_lmsg);
  }
  union sysunion own;
  int error = sysport_carry_out(m, &own);
  m->sm.sm_result = own.sm.sm_result;
  return error;
}

// The end of the chain, where a shim's forward arrives, too.
int last_begin(lwkt_port*, lwkt_msg* msg) {
  auto* m = reinterpret_cast<union sysunion*>(msg);
  uint32_t inport = curthread()->td_flags & TDF_INPORT;
  curthread()->td_flags &= ~TDF_INPORT;
  int error = m->sm.sm_frame == nullptr ? begin_sent(m) : sysport_begin(m);
  curthread()->td_flags |= inport;
  return error;
}

// syscall_port's mp_beginmsg. What a shim sends while it serves a call goes straight down.
int port_begin(lwkt_port*, lwkt_msg* msg) {
  reinterpret_cast<struct sysmsg*>(msg)->sm_frame = nullptr;
  lwkt_port* head = load_acquire(&sysport_head);
  thread* td = curthread();
  if (head == &sysport_last || (td->td_flags & TDF_INPORT) != 0) return last_begin(nullptr, msg);
  td->td_flags |= TDF_INPORT;
  int error = head->mp_beginmsg(head, msg);
  curthread()->td_flags &= ~TDF_INPORT;
  return error;
}

inline void fill(union sysunion* m, const trapframe* tf) {
  m->sm.sm_nr = static_cast<uint32_t>(tf->nr);
  m->sm.sm_frame = const_cast<trapframe*>(tf);
  frame_args(tf, m->raw.arg);
  unfold_call(m);
}

// A call from inside a shim: it must not pass the shims again, and td_sysmsg is in use.
[[gnu::noinline]] int nested(const trapframe* tf, long* result) {
  union sysunion m;
  lwkt_initmsg(&m.sm.sm_lmsg, &curthread()->td_msgport, 0);
  fill(&m, tf);
  int error = begin_for_good(&m);
  *result = m.sm.sm_result;
  return error >= ERESTARTSYS && error <= 516 ? EINTR : error;  // nobody restarts it here
}

}  // namespace

extern "C" [[gnu::visibility("hidden")]] void gate_syscall(trapframe* tf) {
  thread* td = curthread();
  if (__builtin_expect((td->td_flags & (TDF_INPORT | TDF_PASSTHRU)) != 0, 0)) {
    if ((td->td_flags & TDF_PASSTHRU) != 0) {
      tf->result = static_cast<uintptr_t>(process_passthru_call(tf));
      return;
    }
    long result = 0;
    int error = nested(tf, &result);
    tf->result = error != 0 ? static_cast<uintptr_t>(-error) : static_cast<uintptr_t>(result);
    return;
  }
  auto* m = reinterpret_cast<union sysunion*>(&td->td_sysmsg);
  fill(m, tf);
  int error = send(sysport_head, m);
  if (__builtin_expect((td->td_flags & TDF_BEGUN) != 0, 0)) td->td_flags &= ~TDF_BEGUN;
  // The kernel takes the whole of rax; a number above 2^32 is no call.
  if (__builtin_expect(error != 0, 0)) {
    tf->result = static_cast<uintptr_t>(-static_cast<long>(error));
    if (error >= ERESTARTSYS && error <= 516) {
      __atomic_or_fetch(&td->td_ast, AST_SIGNAL, __ATOMIC_SEQ_CST);
    }
    return;
  }
  tf->result = static_cast<uintptr_t>(m->sm.sm_result);
}

// The trap at DOOR_SLEEP was interrupted; the message's result says how. False: the call is to be made, or made again,
// by gate_syscall: no signal for this LWKT did it, or the call is one of those that are made whatever is pending. Where
// it is not known whether the trap was begun, its handler looks whether it would sleep.
extern "C" [[gnu::visibility("hidden")]] bool gate_sleep_interrupted(trapframe* tf) {
  thread* td = curthread();
  auto* m = reinterpret_cast<union sysunion*>(&td->td_sysmsg);
  long result = m->sm.sm_result;
  bool put_off = result == -ERESTARTNOINTR || (result == -ERESTARTSYS && trap_tells());
  bool made = (td->td_flags & TDF_INPORT) == 0 &&
              (result == -EINTR || (put_off && entry(m->sm.sm_nr).serve != Serve::whole));
  if (made && interrupted_for_us(td)) {
    if (result != -EINTR) __atomic_or_fetch(&td->td_ast, AST_SIGNAL, __ATOMIC_SEQ_CST);
    tf->result = static_cast<uintptr_t>(result);
    return true;
  }
  if (result != -ERESTARTNOINTR) td->td_flags |= TDF_BEGUN;
  return false;
}

namespace {

// The same where vectors are live over the call: by now they are in the registers, which others will use.
[[gnu::noinline]] void preempt_keeping(uint64_t vectors) {
  uintptr_t at = (reinterpret_cast<uintptr_t>(__builtin_alloca(fpu_size(vectors) + 63)) + 63) & ~uintptr_t{63};
  fpu_save(at, vectors);
  preempt_at_gate();
  fpu_load(at, vectors);
}

}  // namespace

// Something is pending on the way out. 0: dealt with, look again; 1: not now.
extern "C" [[gnu::visibility("hidden")]] int gate_ast(trapframe* tf) {
  thread* td = curthread();
  if ((td->td_flags & TDF_PASSTHRU) != 0) return 0;
  if ((td->td_flags & TDF_INPORT) != 0) return 1;  // back into a shim: its call looks later
  route_signals();
  uint32_t ast = __atomic_load_n(&td->td_ast, __ATOMIC_ACQUIRE);
  if ((ast & AST_RESCHED) != 0) {
    __atomic_and_fetch(&td->td_ast, ~AST_RESCHED, __ATOMIC_SEQ_CST);
    SiteVector live = site_vector(tf->desc);
    if (__builtin_expect(live != SiteVector::kNone, 0)) {
      preempt_keeping(live == SiteVector::kXsave ? kFpuAll : kFpuSse);
    } else {
      preempt_at_gate();
    }
  }
  if ((ast & AST_SIGNAL) != 0) {
    sig_deliver_at_gate(td, tf);
  } else {
    sig_release_open();
  }
  return 0;
}

void sysport_init() {
  lwkt_initport_putonly(&syscall_port, port_begin);
  lwkt_initport_putonly(&sysport_last, last_begin);
  worker_init();
  for (uint32_t nr = 0; nr < kSysCount && nr < GATE_DOORS; nr++) {
    doors_alone[nr] = door(kSysEnt[nr], true);
    doors_crowd[nr] = door(kSysEnt[nr], false);
  }
}

}  // namespace cr
