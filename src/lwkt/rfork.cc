// Rforks: the kernel threads that run the cpus, idle, and the hand-off of a cpu whose holder
// sits in a trap.
//
// c_state says who may touch a cpu:
//   RUN   its holder (c_gd), alone.
//   IDLE  the holder sleeps on c_wake; whoever moves it to RUN must wake it.
//   TRAP  the holder is in a trap that may block. Anyone may move it to RUN and becomes (or
//         appoints) the holder: the monitor when work has waited there too long, an rfork that
//         comes back from its own trap and has lost its cpu. The old holder finds out when it
//         returns and its own TRAP -> RUN fails.
//   OFF   no rfork was ever made for it.
//
// An rfork without a cpu touches only what stands under a GlobalLock or is a real atomic: the
// global queue, the list of spares, c_state. It must not call lwkt_wake (see atomic.h).
//
// Wake-up policy: a hand-over between two LWKTs must not wake the other cpu, which costs 20 to
// 45 us here and steals the cache; two LWKTs that wait behind a running one should. So the
// second queued LWKT wakes an idle cpu at once. So does a single one whose waker has gone on after wake-ups before
// (eager.h); else it is left to the monitor, which looks every 100 us while one is idle and another busy, and less
// often while it finds nothing to do. Who looks for work takes a single one only if that has waited for a moment.

#include "rfork.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/switch.h"
#include "../../arch/rawcall.h"
#include "assert.h"
#include "clock.h"
#include "cputime.h"
#include "eager.h"
#include "ipiq.h"
#include "placement.h"
#include "rank.h"
#include "slab.h"
#include "slices.h"
#include "spinlock.h"

namespace cr {

cpu* cpus[kMaxCpus];
int ncpus = 1;
globaldata* rforks;

namespace {

inline constexpr size_t kIdleStack = 32 * 1024;
inline constexpr size_t kAltStack = 64 * 1024;  // a frame with AVX-512 and AMX state fits
inline constexpr size_t kGuard = 4096;
inline constexpr size_t kAreaSize = kGuard + kIdleStack + kAltStack + 8192;

GlobalLock spare_lock;
globaldata* spares;
globaldata* refused;  // areas whose kernel thread could not be made; they are published

globaldata* pop(globaldata** list) {
  Guard g(spare_lock);
  globaldata* gd = *list;
  if (gd != nullptr) *list = gd->gd_sparenext;
  return gd;
}

void push(globaldata** list, globaldata* gd) {
  Guard g(spare_lock);
  gd->gd_sparenext = *list;
  *list = gd;
}

uint32_t nidle;    // cpus whose holder sleeps
uint32_t nwaking;  // idle cpus that were woken and have not yet looked for work

void futex_wait(uint32_t* word, uint32_t seen, uint64_t deadline) {
  timespec ts;
  timespec* tp = nullptr;
  if (deadline != kNever) {
    ts = clock_timespec(deadline);
    tp = &ts;
  }
  // BITSET: its timeout is absolute.
  raw6(SYS_futex, reinterpret_cast<long>(word), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, seen,
       reinterpret_cast<long>(tp), 0, FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(uint32_t* word) {
  raw3(SYS_futex, reinterpret_cast<long>(word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}

bool try_take(cpu* c, uint32_t from) { return bus_cas<uint32_t>(&c->c_state, from, CPU_RUN); }

void hold(globaldata* gd, cpu* c) {
  gd->gd_cpu = c;
  c->c_gd = gd;
  cputime_hold(gd, c);
}

// What sched_steal would not take is none: an idle cpu would never sleep beside two LWKTs that hand over to each other.
bool work_anywhere(const cpu* self) {
  return sched_global_count() != 0 || sched_cpu_has_work(self) || sched_rings_keep_work(self);
}

// ---- the idle thread of an rfork -----------------------------------------------------------

// A signal must not end up with a kernel thread that can't do anything about it, but for those that one alone takes: it
// hands them on.
void go_deaf(globaldata* gd) {
  sched_hooks.go_on_without_cpu();
  store_release(&gd->gd_deaf, 1u);
}

// Values of gd_wake. A spare has no cpu, and may be given one at any moment.
inline constexpr uint32_t kSpare = 0, kAssigned = 1, kLookAtMask = 2;

void spare_wait(globaldata* gd) {
  monitor_make_way();  // for the LWKT that it came back with
  if (sched_ranked != 0) rank_settle(nullptr);
  if (load_acquire(&gd->gd_ast) != 0) {
    gd->gd_ast = 0;
    rfork_interrupt_holder();  // what came since it gave up its LWKT
  }
  // Who changed the mask before gd_deaf was seen has sent a signal in vain.
  gd->gd_wake = (gd->gd_flags & GDF_MAIN) != 0 ? kLookAtMask : kSpare;
  push(&spares, gd);
  for (;;) {
    uint32_t word = load_acquire(&gd->gd_wake);
    if (word == kAssigned) break;
    if (word == kLookAtMask) {
      if (bus_cas(&gd->gd_wake, kLookAtMask, kSpare)) sched_hooks.go_on_without_cpu();
      continue;
    }
    futex_wait(&gd->gd_wake, kSpare, kNever);
    sched_hooks.back_from_deaf();
  }
  store_release(&gd->gd_deaf, 0u);
  sched_hooks.back_from_deaf();
  sched_hooks.begin_with_cpu();
}

// Who of the idle cpus wakes for timers: the poller, or where there is none the first that sleeps, when they are
// due. It may run somebody else by then, so a second one looks, too, later and later while this is in vain. Others
// sleep on: where nobody looks in time the monitor wakes one.
cpu* timekeeper;
cpu* second;

bool take_place(cpu** place, cpu* c) {
  return __atomic_load_n(place, __ATOMIC_RELAXED) == nullptr && bus_cas<cpu*>(place, nullptr, c);
}
void leave_place(cpu** place) { __atomic_store_n(place, nullptr, __ATOMIC_SEQ_CST); }

void wait_as_second(cpu* c, uint32_t seen, uint64_t deadline) {
  constexpr uint64_t kLeast = 50'000, kMost = 100'000'000;
  uint64_t late = deadline + c->c_patience;
  futex_wait(&c->c_wake, seen, late);
  if (sched_timer_due()) {
    c->c_patience = 0;
  } else if (load_acquire(&c->c_wake) == seen && clock_monotonic() >= late) {
    uint64_t longer = c->c_patience * 2;
    c->c_patience = longer < kLeast ? kLeast : longer > kMost ? kMost : longer;
  }
}

// `deadline` is that of the first timer.
void wait_for_wake(cpu* c, uint32_t seen, uint64_t deadline) {
  bool polled = __atomic_load_n(&sched_poller, __ATOMIC_RELAXED) != nullptr;
  if (!polled && take_place(&timekeeper, c)) {
    __atomic_store_n(&sched_timers_until, deadline, __ATOMIC_RELAXED);
    futex_wait(&c->c_wake, seen, deadline);
    __atomic_store_n(&sched_timers_until, kNever, __ATOMIC_RELAXED);
    leave_place(&timekeeper);
  } else if (__atomic_load_n(&sched_timers_until, __ATOMIC_RELAXED) > deadline) {
    futex_wait(&c->c_wake, seen, deadline);
  } else if (take_place(&second, c)) {
    wait_as_second(c, seen, deadline);
    leave_place(&second);
  } else {
    futex_wait(&c->c_wake, seen, kNever);
  }
}

// rfork_wake_cpu must be through with our mask before an LWKT runs: a child would have it. (Mostly it is, long since.)
void await_waker(const cpu* c, uint32_t woken) {
  spin_until([&] { return load_acquire(&c->c_woken) != woken; });
}

void idle_wait(globaldata* gd, cpu* c) {
  uint32_t seen = load_acquire(&c->c_wake), woken = load_acquire(&c->c_woken);
  __atomic_add_fetch(&nidle, 1, __ATOMIC_SEQ_CST);
  __atomic_store_n(&c->c_state, static_cast<uint32_t>(CPU_IDLE), __ATOMIC_SEQ_CST);
  // Whoever queues work after this line sees IDLE; whoever did before is seen here. A signal after
  // `seen` was read changes the word we sleep on, one before has set gd_ast.
  bool in_engine = false;
  if (!work_anywhere(c) && load_acquire(&c->c_ipipending) == 0 && load_acquire(&gd->gd_ast) == 0) {
    uint64_t deadline = sched_hooks.timer_next();
    bool timers = deadline != kNever;
    if (!timers) deadline = sched_hooks.idle_until();
    if (deadline == kNever || deadline > clock_monotonic()) {
      in_engine = sched_hooks.engine_sleep(c, seen, deadline);
      if (!in_engine && timers) {
        wait_for_wake(c, seen, deadline);
      } else if (!in_engine) {
        futex_wait(&c->c_wake, seen, deadline);
      }
    }
  }
  if (try_take(c, CPU_IDLE)) {
    __atomic_sub_fetch(&nidle, 1, __ATOMIC_SEQ_CST);
  } else {
    // Woken by rfork_wake_cpu, which took us off the idle count.
    await_waker(c, woken);
    __atomic_sub_fetch(&nwaking, 1, __ATOMIC_SEQ_CST);
  }
  if (in_engine) sched_hooks.engine_deliver(c);
}

bool somebody_idles() { return __atomic_load_n(&nidle, __ATOMIC_RELAXED) != 0; }

bool others_wait_outside(const thread* td) {
  return __atomic_load_n(&sched_external, __ATOMIC_RELAXED) > td->td_external &&
         __atomic_load_n(&sched_poller, __ATOMIC_RELAXED) == nullptr;
}

void idle_main(void*) {
  for (bool idled = false;;) {
    globaldata* gd = mygd();
    cpu* c = gd->gd_cpu;
    if (c == nullptr) {
      spare_wait(gd);
      continue;
    }
    if (gd->gd_ast != 0) sched_hooks.ast();
    if (load_acquire(&c->c_ipipending) != 0) process_ipiq();
    sched_run_timers();
    thread* td = sched_pick(c);
    if (td == nullptr && ncpus > 1) {
      td = sched_steal(c);
      // More than one came over: others may want some.
      if (td != nullptr && sched_cpu_has_work(c)) rfork_work_queued(2);
      if (td != nullptr && __builtin_expect(sched_ranked != 0, 0)) rank_settle_next(td);
    }
    if (td != nullptr) {
      // While it computes nobody here looks at the timers, or for the events that others wait for.
      monitor_poke_timer();
      if (others_wait_outside(td)) monitor_poke(somebody_idles() ? MONITOR_FAST : MONITOR_SLOW);
      // Somebody may have counted on this cpu, and not told the monitor (wake_eagerly).
      if (idled && ncpus > 1 && sched_rings_keep_work(c)) rfork_work_queued(2);
      idled = false;
      sched_switch_to(td);
      continue;
    }
    idle_wait(gd, c);
    idled = true;
  }
}

// ---- making rforks ---------------------------------------------------------------------------

void set_altstack(globaldata* gd) {
  stack_t ss{};
  ss.ss_sp = gd->gd_altstack;
  ss.ss_size = kAltStack;
  raw2(SYS_sigaltstack, reinterpret_cast<long>(&ss), 0);
}

globaldata* area_alloc() {
  long p = raw_mmap(0, kAreaSize, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw_failed(p)) return nullptr;
  raw3(SYS_mprotect, p, kGuard, PROT_NONE);
  auto base = static_cast<uintptr_t>(p);
  auto* gd = reinterpret_cast<globaldata*>(base + kGuard + kIdleStack + kAltStack);
  auto* idle = reinterpret_cast<thread*>(gd + 1);
  gd->gd_self = gd;
  gd->gd_gate = gate_entry;
  if (!percpu_arch_make(&gd->gd_arch, gd)) {
    raw2(SYS_munmap, p, kAreaSize);
    return nullptr;
  }
  gd->gd_idlestack = reinterpret_cast<void*>(base + kGuard);
  gd->gd_altstack = reinterpret_cast<void*>(base + kGuard + kIdleStack);
  gd->gd_idle = idle;
  idle->td_flags = TDF_IDLE | TDF_NOTLS;
  idle->td_timer = -1;
  return gd;
}

void rfork_main(void* arg) {
  auto* gd = static_cast<globaldata*>(arg);
  if (sched_ranked != 0) rank_settle(nullptr);
  store_release(&gd->gd_ktid, static_cast<int32_t>(raw0(SYS_gettid)));
  set_altstack(gd);
  if (gd->gd_cpu != nullptr) {
    sched_hooks.begin_with_cpu();
  } else {
    go_deaf(gd);
  }
  sched_hooks.back_from_deaf();  // what went round since it was cloned
  idle_main(nullptr);
}

}  // namespace

void rfork_publish(globaldata* gd) {
  globaldata* head = __atomic_load_n(&rforks, __ATOMIC_RELAXED);
  do {
    gd->gd_next = head;
  } while (!__atomic_compare_exchange_n(&rforks, &head, gd, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST));
}

globaldata* rfork_create(cpu* c) {
  globaldata* gd = pop(&refused);
  bool published = gd != nullptr;
  if (!published) gd = area_alloc();
  if (gd == nullptr) return nullptr;
  gd->gd_cpu = nullptr;
  gd->gd_curthread = gd->gd_idle;
  gd->gd_idle->td_running = 1;
  gd->gd_xcalls = mygd()->gd_xcalls;  // it has its maker's credentials
  gd->gd_class = mygd()->gd_class;
  if (c != nullptr) hold(gd, c);
  store_release(&gd->gd_ktid, 0);
  if (!published) rfork_publish(gd);
  uint64_t all = kBlockAll, old = 0;
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&all), reinterpret_cast<long>(&old),
       8);
  long tid = cpu_rfork(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                           CLONE_SYSVSEM,
                       static_cast<char*>(gd->gd_idlestack) + kIdleStack, rfork_main, gd);
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&old), 0, 8);
  if (raw_failed(tid)) {
    store_release(&gd->gd_ktid, -1);
    push(&refused, gd);
    return nullptr;
  }
  return gd;
}

bool rfork_assign(cpu* c) {
  if (c->c_gd != nullptr) c->c_nhandoff++;  // it had a holder, which sits in a trap
  globaldata* gd = pop(&spares);
  if (gd == nullptr) {
    if (rfork_create(c) != nullptr) return true;
    // No kernel thread to be had (RLIMIT_NPROC): whoever comes back from a trap takes it.
    __atomic_store_n(&c->c_state, static_cast<uint32_t>(CPU_TRAP), __ATOMIC_SEQ_CST);
    return false;
  }
  hold(gd, c);
  store_release(&gd->gd_wake, kAssigned);
  futex_wake(&gd->gd_wake);
  return true;
}

void rfork_reserve(uint32_t n) {
  constexpr uint32_t kTries = 200;
  auto count = [](auto pred) {
    uint32_t k = 0;
    for (globaldata* gd = load_acquire(&rforks); gd != nullptr; gd = gd->gd_next) k += pred(gd) ? 1 : 0;
    return k;
  };
  auto made = [](const globaldata* gd) { return load_acquire(&gd->gd_ktid) > 0; };
  // Deaf, or with a cpu by now: it has its alternate stack.
  auto ready = [made](const globaldata* gd) {
    return made(gd) && (load_acquire(&gd->gd_deaf) != 0 || gd->gd_cpu != nullptr);
  };
  uint32_t have = count(made);
  while (have < n && rfork_create(nullptr) != nullptr) have++;
  for (uint32_t i = 0; i < kTries && count(ready) < have; i++) clock_nap(100'000);
}

void rfork_interrupt(globaldata* gd) {
  uint32_t seen = 0;
  auto self = static_cast<uint32_t>(mygd()->gd_ktid);
  __atomic_compare_exchange_n(&gd->gd_interrupt, &seen, self, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  if (seen == kInterruptSent) return;
  long r = -1;
  __atomic_add_fetch(&gd->gd_senders, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&gd->gd_untouchable, __ATOMIC_SEQ_CST) == 0) {
    r = raw3(SYS_tgkill, raw0(SYS_getpid), gd->gd_ktid, kIpiSignal);
  }
  // Not if it has been taken meanwhile.
  bus_cas(&gd->gd_interrupt, self, r == 0 ? kInterruptSent : 0);
  __atomic_sub_fetch(&gd->gd_senders, 1, __ATOMIC_SEQ_CST);
}

void rfork_interrupt_holder() {
  constexpr bool kOrder[] = {false, true};
  for (bool in_trap : kOrder) {
    for (int i = 0; i < ncpus; i++) {
      globaldata* gd = load_acquire(&cpus[i]->c_gd);
      if (gd == nullptr || load_acquire(&gd->gd_ktid) <= 0 || load_acquire(&gd->gd_deaf) != 0) continue;
      if ((load_acquire(&cpus[i]->c_state) == CPU_TRAP) != in_trap) continue;
      __atomic_store_n(&gd->gd_ast, 1u, __ATOMIC_SEQ_CST);
      rfork_interrupt(gd);
      return;
    }
  }
  // Whoever is about to hold one looks then.
}

void rfork_look_at_mask(globaldata* gd) {
  if (bus_cas(&gd->gd_wake, kSpare, kLookAtMask)) futex_wake(&gd->gd_wake);
}

void rfork_exec_begin() {
  globaldata* gd = mygd();
  __atomic_store_n(&gd->gd_untouchable, 1u, __ATOMIC_SEQ_CST);
  spin_until([&] { return __atomic_load_n(&gd->gd_senders, __ATOMIC_SEQ_CST) == 0; });
  raw0(SYS_getpid);  // what was sent before is handled at the latest when this returns
}

void rfork_exec_failed() {
  __atomic_store_n(&mygd()->gd_untouchable, 0u, __ATOMIC_SEQ_CST);
}

void rfork_nudge(globaldata* gd) {
  futex_wake(&gd->gd_wake);
  monitor_nudge();
}

bool sched_timer_due() {
  uint64_t deadline = sched_hooks.timer_next();
  return deadline != kNever && deadline <= clock_monotonic();
}

void sched_run_timers() {
  uint64_t deadline = sched_hooks.timer_next();
  if (deadline == kNever) return;
  uint64_t now = clock_monotonic();
  if (deadline <= now) sched_hooks.timer_expire(now);
}

// ---- waking cpus --------------------------------------------------------------------------------

void rfork_wake_cpu(cpu* c) {
  if (!try_take(c, CPU_IDLE)) return;
  __atomic_sub_fetch(&nidle, 1, __ATOMIC_SEQ_CST);
  __atomic_add_fetch(&nwaking, 1, __ATOMIC_SEQ_CST);
  AffinityMask mask;
  const globaldata* holder = c->c_gd;
  bool avoids = mygd()->gd_cpu != nullptr && placement_avoid(holder, &mask);
  __atomic_add_fetch(&c->c_wake, 1, __ATOMIC_SEQ_CST);
  if (!sched_hooks.engine_kick(c)) futex_wake(&c->c_wake);
  if (avoids) placement_give_back(holder, mask);
  __atomic_add_fetch(&c->c_woken, 1, __ATOMIC_SEQ_CST);
}

// Where nobody sleeps, the monitor sees that the cpu comes to a safe point.
void ipiq_kick(cpu* c) {
  rfork_wake_cpu(c);
  monitor_poke(MONITOR_FAST);
}

namespace {

// The poller last, since while it runs LWKTs nobody waits for events, and then those that see to timers.
cpu* idle_cpu() {
  cpu* best = nullptr;
  int least = 3;
  for (int i = 0; i < ncpus && least > 0; i++) {
    cpu* c = cpus[i];
    if (c == nullptr || load_acquire(&c->c_state) != CPU_IDLE) continue;
    int worth = 0;
    if (c == __atomic_load_n(&second, __ATOMIC_RELAXED) || c == __atomic_load_n(&timekeeper, __ATOMIC_RELAXED)) worth = 1;
    if (c == __atomic_load_n(&sched_poller, __ATOMIC_RELAXED)) worth = 2;
    if (worth >= least) continue;
    best = c;
    least = worth;
  }
  return best;
}

// An idle cpu is on its way, to the timers first of all.
bool wake_idle() {
  if (__atomic_load_n(&nwaking, __ATOMIC_RELAXED) != 0) return true;
  cpu* idle = __atomic_load_n(&nidle, __ATOMIC_SEQ_CST) != 0 ? idle_cpu() : nullptr;
  if (idle != nullptr) rfork_wake_cpu(idle);
  return idle != nullptr;
}

// One more cpu for the work that is queued: an idle one, or one that never ran.
bool wake_one() {
  if (wake_idle()) return true;
  for (int i = 0; i < ncpus; i++) {
    if (load_acquire(&cpus[i]->c_state) == CPU_OFF && try_take(cpus[i], CPU_OFF)) {
      rfork_assign(cpus[i]);
      return true;
    }
  }
  return false;
}

// For the one LWKT that the caller has just queued. True: an idle cpu is on its way and will see it; if that settles for
// something else it tells the monitor (idle_main).
bool wake_eagerly() {
  globaldata* gd = mygd();
  thread* td = gd->gd_curthread;
  bool runs = gd->gd_cpu != nullptr && td != gd->gd_idle && load_acquire(&td->td_state) == TDS_RUNNING;
  if (!runs || !eager_woke(gd->gd_cpu, td)) return false;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);  // who has queued sees who sleeps, or the other way round
  if (!wake_idle()) return false;
  td->td_eager--;
  return true;
}

}  // namespace

// The monitor is awake while anything is queued, whoever else was woken: a cpu that is on its way
// may take something else and be busy with that for ever. (wake_eagerly leaves that to the other cpu.)
void rfork_work_queued(uint32_t n) {
  if (n >= 2) {
    wake_one();
  } else if (somebody_idles() && wake_eagerly()) {
    return;
  }
  // With nobody idle the queue moves on at the end of a slice, unless a cpu sits in a trap: only
  // the global queue is such a cpu's business, too.
  monitor_poke_queued(n, somebody_idles() || sched_global_count() != 0 ? MONITOR_FAST : MONITOR_SLOW);
}

void monitor_ask_queued(uint32_t n, MonitorWatch level) {
  globaldata* gd = mygd();
  bool next = n == 1 && gd->gd_curthread == gd->gd_idle && sched_global_count() == 0;
  if (!next) monitor_ask(level);
}

void rfork_migrate(thread* td) {
  cpu* to = cpus[td->td_migrate];
  lwkt_send_ipiq(
      to, [](void* who, uint64_t) { sched_enqueue(static_cast<thread*>(who)); }, td, 0);
  rfork_start_cpu(to);
}

void rfork_start_cpu(cpu* c) {
  if (try_take(c, CPU_OFF)) rfork_assign(c);
}

void rfork_spread() { wake_one(); }

bool rfork_wake_for_timers() { return wake_idle(); }

void rfork_kick() {
  if (wake_one()) return;
  for (int i = 0; i < ncpus; i++) {
    if (try_take(cpus[i], CPU_TRAP)) {
      rfork_assign(cpus[i]);
      return;
    }
  }
}

// ---- traps that may block -----------------------------------------------------------------------

void sched_trap_watched(const cpu* c) {
  if (sched_cpu_has_work(c) || sched_global_count() != 0 ||
      __atomic_load_n(&sched_external, __ATOMIC_RELAXED) != 0) {
    monitor_poke(MONITOR_FAST);
  } else {
    monitor_poke_timer();
  }
}

namespace {

// What this kernel thread has asked the kernel for is finished by it: in the midst of a trap if that sleeps
// interruptibly, after it otherwise, as with vfork and fsync. LWKTs that read would stand still as long as that
// takes, so they come first. There will be no more of them, since the cpu is another's.
void await_requests(globaldata* gd) {
  constexpr uint64_t kMost = 50'000'000;  // for a disk that doesn't answer the call itself will not wait
  uint64_t deadline = clock_monotonic() + kMost;
  __atomic_store_n(&gd->gd_awaits, 1u, __ATOMIC_SEQ_CST);
  for (;;) {
    uint32_t n = __atomic_load_n(&gd->gd_requests, __ATOMIC_SEQ_CST);
    if (n == 0 || clock_monotonic() >= deadline) break;
    futex_wait(&gd->gd_requests, n, deadline);
  }
  __atomic_store_n(&gd->gd_awaits, 0u, __ATOMIC_RELAXED);
}

}  // namespace

void rfork_request_done(globaldata* gd) {
  if (__atomic_sub_fetch(&gd->gd_requests, 1, __ATOMIC_SEQ_CST) != 0) return;
  if (__atomic_load_n(&gd->gd_awaits, __ATOMIC_SEQ_CST) != 0) futex_wake(&gd->gd_requests);
}

void sched_trap_enter_handoff(globaldata* gd) {
  cpu* c = gd->gd_cpu;
  sched_trap_enter(gd);
  bool awaits = __atomic_load_n(&gd->gd_requests, __ATOMIC_RELAXED) != 0;
  if ((awaits || sched_cpu_has_work(c) || sched_global_count() != 0) && try_take(c, CPU_TRAP)) {
    rfork_assign(c);
  }
  if (__builtin_expect(awaits, 0)) await_requests(gd);
}

// Those that were here first go first. (Many rforks whose LWKTs do nothing but traps would pass the
// cpu among themselves, and its queue, the timers and the events would never be looked at.)
void sched_trap_took(globaldata* gd, cpu* c) {
  bool ours = c->c_gd == gd;  // and so is the slice that the monitor found used up
  hold(gd, c);
  c->c_yield = 0;
  sched_hooks.go_on_with_cpu();
  if (ours) {
    // What c_yield asks of those that leave the cpu to each other is nothing to one that computes: it would lose its
    // slice with its first trap, each time.
    uint32_t mark = run_of(c) + 1;
    if (!spent_runs(c) || c->c_over == mark || c->c_cut == mark) sched_preempt_cpu();
    return;
  }
  c->c_nswitch++;  // what the monitor noted of the LWKT that ran here is not this one's
  sched_run_timers();
  if (sched_cpu_has_work(c) || sched_global_count() > sched_spent_count()) sched_yield_cpu();
}

void sched_trap_lost() {
  globaldata* gd = mygd();
  for (int i = 0; i < ncpus; i++) {
    if (try_take(cpus[i], CPU_TRAP)) {
      sched_trap_took(gd, cpus[i]);
      return;
    }
  }
  // No cpu: queue the LWKT for those that have one, and wait to be given one. What came for this
  // rfork so far is routed by whoever runs the LWKT on.
  thread* td = gd->gd_curthread;
  cputime_leave(gd);
  gd->gd_cpu = nullptr;
  go_deaf(gd);
  if (gd->gd_ast != 0) {
    gd->gd_ast = 0;
    __atomic_or_fetch(&td->td_ast, AST_SIGNAL, __ATOMIC_SEQ_CST);
  }
  td->td_state = TDS_RUNNABLE;
  sched_enqueue_global(td);
  gd->gd_idle->td_running = 1;
  cpu_switch(td, gd->gd_idle);
  cr_switch_return();
}

// ---- start ----------------------------------------------------------------------------------------

void sched_init(int ncpus_wanted, thread* main_td) {
  globaldata* gd = area_alloc();
  CR_CHECK(gd != nullptr);
  ncpus = ncpus_wanted;
  size_t size = sizeof(cpu) * static_cast<size_t>(ncpus);
  long p = raw_mmap(0, static_cast<long>(size), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CR_CHECK(!raw_failed(p));
  for (int i = 0; i < ncpus; i++) {
    cpus[i] = reinterpret_cast<cpu*>(p) + i;
    cpus[i]->c_id = i;
    cpus[i]->c_exact = 1;
    cpus[i]->c_spentrun = cpus[i]->c_spentturn = cpus[i]->c_wokerun = cpus[i]->c_io = kNoSwitch;
  }
  gd->gd_flags = GDF_MAIN;
  gd->gd_ktid = static_cast<int32_t>(raw0(SYS_gettid));
  gd->gd_curthread = main_td;
  main_td->td_gd = gd;
  main_td->td_running = 1;
  cpus[0]->c_state = CPU_RUN;
  hold(gd, cpus[0]);
  gd->gd_idle->td_sp = context_function(
      reinterpret_cast<uintptr_t>(gd->gd_idlestack) + kIdleStack, idle_main, nullptr);
  rforks = gd;
  percpu_write(gd);
  set_altstack(gd);
}

void rfork_several() {
  if (monitor_running()) return;
  sched_hooks.threads_start();
  if (ncpus > 1) {
    smp = true;
    placement_begin();
  }
  monitor_start();
}

namespace {

void made() {
  mycpu()->c_nmade++;
  rfork_several();
}

inline constexpr uint64_t kOneWorker = 1ull << 32 | 1;

}  // namespace

bool sched_thread_gone() {
  LiveCount left{atomic_add(&sched_live.both, ~uint64_t{0})};
  return left.all == left.workers;
}

void sched_worker_added() {
  atomic_add(&sched_live.both, kOneWorker);
  made();
}

void sched_worker_gone() { atomic_add(&sched_live.both, -kOneWorker); }

void sched_thread_added() {
  atomic_add(&nthreads, 1u);
  made();
}

void sched_atfork_child() {
  globaldata* gd = mygd();
  for (int i = 0; i < ncpus; i++) {
    cpu* c = cpus[i];
    c->c_state = CPU_OFF;
    c->c_head = c->c_tail = 0;
    c->c_ipipending = 0;
    c->c_gd = nullptr;
    c->c_nmade = c->c_nsteal = c->c_nhandoff = c->c_nswitch = c->c_look = c->c_period = 0;
    c->c_over = c->c_cut = c->c_turn = 0;
    c->c_spentrun = c->c_spentturn = c->c_wokerun = c->c_io = kNoSwitch;
    c->c_ranked_since = c->c_fair_until = 0;
    c->c_exact = 1;
    c->c_counted = c->c_backoff = c->c_backoffnext = 0;
    c->c_used = 0;
  }
  spare_lock = GlobalLock{};
  spares = refused = nullptr;
  nidle = nwaking = 0;
  timekeeper = second = nullptr;
  for (int i = 0; i < ncpus; i++) cpus[i]->c_patience = 0;
  sched_timers_until = kNever;
  sched_live = {1};
  sched_queue_reset();
  rank_atfork_child();
  placement_atfork_child();
  cpu* c = cpus[0];
  c->c_state = CPU_RUN;
  hold(gd, c);
  cputime_atfork_child(gd, gd->gd_curthread);
  gd->gd_leaving = nullptr;
  gd->gd_requests = 0;
  gd->gd_interrupt = 0;
  gd->gd_senders = 0;  // whoever was about to send it a signal is not here
  gd->gd_next = nullptr;
  gd->gd_ktid = static_cast<int32_t>(raw0(SYS_gettid));
  rforks = gd;
  // Its idle thread may have been anywhere when its rfork was another one's: start it afresh.
  if (gd->gd_idle != gd->gd_curthread) {
    gd->gd_idle->td_running = 0;
    gd->gd_idle->td_sp = context_function(
        reinterpret_cast<uintptr_t>(gd->gd_idlestack) + kIdleStack, idle_main, nullptr);
  }
  smp = false;
  monitor_atfork_child();
}

}  // namespace cr
