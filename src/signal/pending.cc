// Masks, pending sets, the inbox, and finding who delivers what.

#include <errno.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/assert.h"
#include "../lwkt/rfork.h"
#include "../sysport/tid.h"
#include "signal.h"

namespace cr {

uint64_t sig_process_pend;  // siglock

namespace {

sigqueue_entry* inbox;        // lock-free stack, newest first
sigqueue_entry* process_q;    // siglock
uint32_t continues;           // siglock: SIGCONTs that came
uint32_t stop_taken_at;       // siglock: their count when a stop signal was taken last

bool is_realtime(int sig) { return sig >= 32; }

// siglock held. A standard signal that is pending already is dropped, as Linux does, unless it is a
// timer's: each has a place of its own.
void queue(thread* td, sigqueue_entry* e) {
  int sig = e->info.si_signo;
  uint64_t& pend = td != nullptr ? td->td_sigpend : sig_process_pend;
  if (!is_realtime(sig) && (pend & sigbit(sig)) != 0 && !sig_is_timers(&e->info)) {
    sigqueue_free(e);
    return;
  }
  pend |= sigbit(sig);
  e->target = td;
  sigqueue_append(td != nullptr ? &td->td_sigq : &process_q, e);
}

bool take_from(uint64_t* pend, sigqueue_entry** q, int sig, siginfo_t* info) {
  if ((*pend & sigbit(sig)) == 0) return false;
  bool more;
  sigqueue_entry* e = sigqueue_take(q, sig, &more);
  if (!more) *pend &= ~sigbit(sig);
  if (!more && !is_realtime(sig) && pend == &sig_process_pend) sig_drop_held(sig);
  if (e == nullptr) return false;
  if (sig_is_timers(&e->info)) sig_timer_taken(e);
  *info = e->info;
  sigqueue_free(e);
  return true;
}

}  // namespace

void sig_discard_locked(uint64_t set) {
  auto drop = [](uint64_t* pend, sigqueue_entry** q, uint64_t drop_set) {
    sig_each(*pend & drop_set, [pend, q](int sig) {
      siginfo_t info;
      while (take_from(pend, q, sig, &info)) {
      }
    });
  };
  drop(&sig_process_pend, &process_q, set);
  tid_each([&](thread* td) {
    drop(&td->td_sigpend, &td->td_sigq, set);
    return false;
  });
}

namespace {

// siglock held. Stopping and continuing undo each other when they are sent, whoever blocks, ignores
// or catches them. `own`: the kernel did not see this one.
void undo_opposite(int sig, bool own) {
  uint64_t opposite = 0;
  if (sig == SIGCONT) {
    continues++;
    opposite = kStopsByDefault;
  } else if ((kStopsByDefault & sigbit(sig)) != 0) {
    opposite = sigbit(SIGCONT);
  }
  if (opposite == 0) return;
  sig_discard_locked(opposite);
  if (own) sig_discard_in_kernel(opposite);
}

// A signal that SIG_IGN or a default "ignore" would drop, unless it is blocked (then it waits,
// for sigwait or a later handler).
bool dropped(int sig, bool blocked) {
  if (blocked) return false;
  return sig_ignores(sig, sigactions[sig]);
}

// Makes td deliver: sets its AST, ends its sleep, or interrupts the rfork that runs it.
void notify(thread* td) {
  __atomic_or_fetch(&td->td_ast, AST_SIGNAL, __ATOMIC_SEQ_CST);
  if (td == curthread()) return;
  if (lwkt_wake(td, -EINTR)) return;
  if (load_acquire(&td->td_state) == TDS_RUNNING) {
    globaldata* gd = td->td_gd;
    if (gd != nullptr && gd->gd_ktid != 0) rfork_interrupt(gd);
  }
}

bool eligible(thread* td, int sig) {
  return ((td->td_sigmask & sigbit(sig)) == 0 || (td->td_sigwait & sigbit(sig)) != 0) &&
         load_acquire(&td->td_state) != TDS_DEAD;
}

}  // namespace

void sig_unqueue(sigqueue_entry* e) {
  thread* td = e->target;
  bool more = sigqueue_remove(td != nullptr ? &td->td_sigq : &process_q, e);
  if (!more) (td != nullptr ? td->td_sigpend : sig_process_pend) &= ~sigbit(e->info.si_signo);
  sigqueue_free(e);
}

thread* sig_choose(int sig) {
  thread* self = curthread();
  if ((self->td_flags & TDF_IDLE) == 0 && eligible(self, sig)) return self;
  thread* main_td = tid_main();
  if (main_td != nullptr && eligible(main_td, sig)) return main_td;
  thread* any = nullptr;
  tid_each([&](thread* td) {
    if (!eligible(td, sig)) return false;
    any = td;
    return true;
  });
  return any;
}

uint64_t sig_takers(uint64_t set) {
  uint64_t taken = 0;
  sig_each(set, [&taken](int sig) {
    if (sig_choose(sig) != nullptr) taken |= sigbit(sig);
  });
  return taken;
}

void sig_inbox_put(const siginfo_t* info, int32_t tid) {
  sigqueue_entry* e = sigqueue_alloc();
  if (e == nullptr) return;  // as the kernel at RLIMIT_SIGPENDING
  e->info = *info;
  e->target = nullptr;
  e->tid = tid;
  sigqueue_entry* head = __atomic_load_n(&inbox, __ATOMIC_RELAXED);
  do {
    e->next = head;
  } while (!__atomic_compare_exchange_n(&inbox, &head, e, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED));
}

bool sig_inbox_empty() { return __atomic_load_n(&inbox, __ATOMIC_ACQUIRE) == nullptr; }

namespace {

// siglock held. A signal was queued for td, or for the process (null): whoever may take it, by the masks as they are
// after that (sig_setmask).
void notify_now(thread* td, int sig) {
  if (smp) __atomic_thread_fence(__ATOMIC_SEQ_CST);
  thread* to = td != nullptr ? td : sig_choose(sig);
  if (to != nullptr && eligible(to, sig)) notify(to);
}

// siglock held. What of these is pending for the process may be somebody's now.
void notify_takers(uint64_t set) {
  sig_each(sig_process_pend & set, [](int sig) {
    thread* to = sig_choose(sig);
    if (to != nullptr) notify(to);
  });
}

// siglock held. A signal that every LWKT blocks and a signalfd reads belongs to the kernel, where that looks. One for a
// thread, td, too: an only one reads it as its own, of several whoever looks first. kFull: the kernel has no
// room for it, and it is lost.
enum class Given { kNo, kYes, kFull };
Given give_to_kernel(const thread* td, const siginfo_t* info) {
  int sig = info->si_signo;
  // And what is ignored, of an only thread, or one of ours and another process's would be two.
  bool waits = sig_is_left(sig) || (sig_waits_in_kernel(sig) && sig_one_kernel_thread());
  if (!waits) return Given::kNo;
  if (td != nullptr && sig_one_kernel_thread()) {
    long r = raw4(SYS_rt_tgsigqueueinfo, raw0(SYS_getpid), raw0(SYS_gettid), sig, reinterpret_cast<long>(info));
    return r == 0 ? Given::kYes : Given::kFull;
  }
  // Only the first kernel thread of a process may send codes of the kernel's and of kill.
  long pid = raw0(SYS_getpid);
  long r = raw3(SYS_rt_sigqueueinfo, pid, sig, reinterpret_cast<long>(info));
  if (r == -EAGAIN && is_realtime(sig) && info->si_code != SI_USER) return Given::kFull;
  if (r != 0) raw2(SYS_kill, pid, sig);
  return Given::kYes;
}

}  // namespace

void sig_pass_on_left() {
  Guard g(siglock);
  for (int sig = 1; sig <= kNsig; sig++) {
    if (!sig_is_left(sig)) continue;
    siginfo_t info;
    tid_each([&](thread* td) {
      while (take_from(&td->td_sigpend, &td->td_sigq, sig, &info)) give_to_kernel(td, &info);
      return false;
    });
    while (take_from(&sig_process_pend, &process_q, sig, &info)) give_to_kernel(nullptr, &info);
  }
}

namespace {

// Whom the kernel's signal is for, null: the process. Others know one tid of ours, the main thread's, and an only
// thread's own come back from the kernel.
thread* target_of(const siginfo_t* info) {
  if (info->si_code != SI_TKILL) return nullptr;
  return info->si_pid != tid_process() || sig_one_kernel_thread() ? tid_main() : nullptr;
}

// siglock held. False: e is not queued.
bool route(sigqueue_entry* e) {
  thread* target = e->tid != 0 ? tid_find(e->tid) : target_of(&e->info);
  if (e->tid != 0 && target == nullptr) return false;
  if (sig_is_timers(&e->info) && sig_timer_expired(e, &target) != 0) return false;
  int sig = e->info.si_signo;
  undo_opposite(sig, false);
  thread* td = target != nullptr ? target : sig_choose(sig);
  bool waits = td == nullptr || !eligible(td, sig);
  if (dropped(sig, waits || (td->td_sigwait & sigbit(sig)) != 0) ||
      give_to_kernel(target, &e->info) != Given::kNo) {
    if (sig_is_timers(&e->info)) sig_timer_taken(e);
    return false;
  }
  queue(target, e);
  notify_now(target, sig);
  return true;
}

}  // namespace

void sig_route() {
  mygd()->gd_ast = 0;
  Guard g(siglock);  // who finds the inbox empty, and then takes the lock, must find what was in it
  sigqueue_entry* list = __atomic_exchange_n(&inbox, nullptr, __ATOMIC_SEQ_CST);
  sigqueue_entry* ordered = nullptr;
  while (list != nullptr) {
    sigqueue_entry* next = list->next;
    list->next = ordered;
    ordered = list;
    list = next;
  }
  while (ordered != nullptr) {
    sigqueue_entry* e = ordered;
    ordered = e->next;
    if (!route(e)) sigqueue_free(e);
  }
}

namespace {

// siglock held.
int post(thread* td, int sig, const siginfo_t* info) {
  undo_opposite(sig, true);
  thread* to = td != nullptr ? td : sig_choose(sig);
  bool blocked = to == nullptr || (to->td_sigmask & sigbit(sig)) != 0;
  if (dropped(sig, blocked)) return 0;
  if (is_realtime(sig) && sigqueue_limited()) {
    // kill is not told that a signal found no room: it is sent once.
    if (info->si_code != SI_USER) return EAGAIN;
    if (((td != nullptr ? td->td_sigpend : sig_process_pend) & sigbit(sig)) != 0) return 0;
  }
  Given given = give_to_kernel(td, info);
  if (given != Given::kNo) return given == Given::kFull ? EAGAIN : 0;
  sigqueue_entry* e = sigqueue_alloc();
  if (e == nullptr) return EAGAIN;
  e->info = *info;
  e->info.si_signo = sig;
  e->target = td;
  queue(td, e);
  notify_now(td, sig);
  return 0;
}

}  // namespace

int sig_post(thread* td, int sig, const siginfo_t* info) {
  Guard g(siglock);
  return post(td, sig, info);
}

int sig_post_tid(int32_t tid, int sig, const siginfo_t* info) {
  Guard g(siglock);
  thread* td = tid_find(tid);
  return td != nullptr ? post(td, sig, info) : ESRCH;
}

bool sig_take(thread* td, uint64_t set, siginfo_t* info) {
  Guard g(siglock);
  // Linux's order: the thread's own, then the process's; of each the synchronous ones, then by number.
  auto take = [set, info](uint64_t* pend, sigqueue_entry** q) {
    uint64_t have = *pend & set;
    const uint64_t order[] = {have & kSynchronous, have & ~kSynchronous};
    for (uint64_t pick : order) {
      for (; pick != 0; pick &= pick - 1) {
        int sig = __builtin_ctzll(pick) + 1;
        if (!take_from(pend, q, sig, info)) continue;
        if ((kStopsByDefault & sigbit(sig)) != 0) stop_taken_at = continues;
        return true;
      }
    }
    return false;
  };
  return take(&td->td_sigpend, &td->td_sigq) || take(&sig_process_pend, &process_q);
}

void sig_discard(uint64_t set) {
  Guard g(siglock);
  sig_discard_locked(set);
}

bool sig_continued() {
  if (!sig_inbox_empty()) sig_route();
  Guard g(siglock);
  return continues != stop_taken_at;
}

uint64_t sig_pending_for(thread* td) {
  if (!sig_inbox_empty()) sig_route();
  Guard g(siglock);
  return td->td_sigpend | sig_process_pend;
}

void sig_recalc(thread* td) {
  Guard g(siglock);
  if (((td->td_sigpend | sig_process_pend) & ~td->td_sigmask) != 0) {
    __atomic_or_fetch(&td->td_ast, AST_SIGNAL, __ATOMIC_SEQ_CST);
  } else {
    __atomic_and_fetch(&td->td_ast, ~AST_SIGNAL, __ATOMIC_SEQ_CST);
  }
}

bool sig_interrupts(thread* td) {
  for (;;) {
    sig_recalc(td);
    if (__builtin_expect((td->td_ast & AST_SIGNAL) == 0, 1)) return false;
    uint64_t stops = ~td->td_sigmask & kStopsByDefault;
    {
      Guard g(siglock);
      stops &= td->td_sigpend | sig_process_pend;
      for (uint64_t left = stops; left != 0; left &= left - 1) {
        int sig = __builtin_ctzll(left) + 1;
        if (sigactions[sig].handler != 0) stops &= ~sigbit(sig);
      }
    }
    if (stops == 0) return true;
    siginfo_t info;
    if (sig_take(td, stops, &info)) sig_default_action(info.si_signo);
  }
}

void sig_interrupt(thread* td) {
  Guard g(siglock);
  td->td_sigpend |= sigbit(SIGKILL);
  notify(td);
}

void sig_interrupt_end(thread* td) {
  Guard g(siglock);
  td->td_sigpend &= ~sigbit(SIGKILL);
  __atomic_and_fetch(&td->td_ast, ~AST_SIGNAL, __ATOMIC_SEQ_CST);
}

bool sig_before_change(uint64_t added, uint64_t removed, uint64_t mask) {
  // What pthread_create blocks and lets go again has been seen after the first time.
  bool libcs = added == 0 || (mask & kNptlSignals) != 0;
  if (libcs && ((added | removed) & (sig_held | load_bits(&sig_fd_reads))) == 0 && sig_captured(added)) return false;
  // What comes of these was sent while they were blocked.
  sig_take_back(removed);
  if ((sig_held & removed) != 0) sig_collect(removed);
  if (added == 0) return true;
  sig_capture(added);
  if ((mask & kNptlSignals) != 0) return true;
  sig_drop_ignored(added);
  sig_capture_own(added);
  if ((added & kTerminalSignals) != 0) sig_terminal_masked();
  return true;
}

void sig_after_change(thread* td, uint64_t added, uint64_t removed) {
  if ((sig_held & removed) != 0) sig_release(removed);
  sig_take_back(removed);  // another LWKT may have left them meanwhile
  if ((added & sig_fd_reads) != 0 && (td->td_sigmask & kNptlSignals) == 0) sig_leave(added);
  if (((td->td_sigpend | load_bits(&sig_process_pend)) & removed) != 0) sig_recalc(td);
  sig_pass_to_takers(added);
}

void sig_pass_to_takers(uint64_t set) {
  if ((load_bits(&sig_process_pend) & set) == 0) return;
  Guard g(siglock);
  notify_takers(set);
}

void sig_thread_gone(thread* td) {
  Guard g(siglock);
  sig_timer_thread_gone(td->td_tid);
  tid_release(td);
  while (sigqueue_entry* e = sigqueue_pop(&td->td_sigq)) {
    if (sig_is_timers(&e->info)) sig_timer_taken(e);
    sigqueue_free(e);
  }
  notify_takers(sig_process_pend);
}

void sig_atfork_child(thread* td) {
  // The child starts with nothing pending.
  siglock = GlobalLock{};
  inbox = nullptr;
  sig_process_pend = 0;
  process_q = nullptr;
  sig_stopping = 0;
  sigqueue_atfork_child();
  sig_timer_atfork_child();
  td->td_sigpend = 0;
  td->td_sigq = nullptr;
  __atomic_and_fetch(&td->td_ast, ~AST_SIGNAL, __ATOMIC_SEQ_CST);
}

}  // namespace cr
