// The public thread API (libcr/thread.h) on top of the scheduler.

#include <errno.h>
#include <libcr/thread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/call.h"
#include "../../arch/context.h"
#include "../../arch/rawcall.h"
#include "assert.h"
#include "export.h"
#include "rfork.h"
#include "slab.h"
#include "spinlock.h"
#include "token.h"

namespace cr {

namespace {

inline constexpr size_t kDefaultStack = 64 * 1024;
inline constexpr size_t kMinStack = 4096;
inline constexpr size_t kKeptStacks = 64;

// Stacks of ended LWKTs, of the default size: creating one costs no trap then.
SpinLock stack_lock;
void* kept[kKeptStacks];
size_t nkept;

void* stack_get(size_t size) {
  if (size == kDefaultStack) {
    Guard g(stack_lock);
    if (nkept > 0) return kept[--nkept];
  }
  long p = raw_mmap(0, static_cast<long>(size + 4096), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw_failed(p)) return nullptr;
  raw3(SYS_mprotect, p, 4096, PROT_NONE);
  return reinterpret_cast<void*>(p + 4096);
}

void stack_put(void* stack, size_t size) {
  if (size == kDefaultStack) {
    Guard g(stack_lock);
    if (nkept < kKeptStacks) {
      kept[nkept++] = stack;
      return;
    }
  }
  raw2(SYS_munmap, reinterpret_cast<long>(stack) - 4096, static_cast<long>(size + 4096));
}

}  // namespace

namespace {

// Not memset: rep stos takes 30 ns to start, a third of a raw LWKT's whole life.
inline void clear(thread* td, size_t from, size_t to) {
  typedef uintptr_t __attribute__((may_alias)) word;
  auto* w = reinterpret_cast<word*>(reinterpret_cast<char*>(td) + from);
  size_t n = (to - from) / sizeof(word);
  for (; n >= 8; n -= 8, w += 8) {
    w[0] = w[1] = w[2] = w[3] = w[4] = w[5] = w[6] = w[7] = 0;
  }
  for (; n > 0; n--) *w++ = 0;
}

// All but the arguments of its message, which come with the number, and its port, which is initialised.
inline void clear(thread* td) {
  constexpr size_t kArguments = offsetof(thread, td_sysmsg.raw.arg);
  constexpr size_t kPortEnd = offsetof(thread, td_msgport) + sizeof(lwkt_port);
  static_assert(offsetof(thread, td_msgport) == kArguments + sizeof(sysmsg_raw::arg));
  static_assert((kArguments | kPortEnd | sizeof(thread)) % sizeof(uintptr_t) == 0);
  clear(td, 0, kArguments);
  clear(td, kPortEnd, sizeof(thread));
}

}  // namespace

thread* thread_alloc() {
  auto* td = static_cast<thread*>(slab_alloc(sizeof(thread)));
  if (td == nullptr) return nullptr;
  clear(td);
  td->td_timer = -1;
  td->td_slot = kNoSlot;
  td->td_slack = td->td_slackdef = kDefaultSlack;
  lwkt_initport_thread(&td->td_msgport, td);
  td->td_sysmsg.raw.sm.sm_lmsg.ms_flags = MSGF_DONE;
  td->td_sysmsg.raw.sm.sm_lmsg.ms_reply_port = &td->td_msgport;
  return td;
}

void thread_free(thread* td) { slab_free(td, sizeof(thread)); }

// td_joiner: null while nobody waits, the joiner while one does, kDetached when nobody ever
// will, kEnded once td has ended. One compare-and-swap on each side decides who frees it. With
// a joiner, kEnding comes first: a joiner that a signal woke stays until kEnded, or the late
// lwkt_wake would hit it in some other sleep.
namespace {
thread* const kEnding = reinterpret_cast<thread*>(3);
thread* const kEnded = reinterpret_cast<thread*>(1);
thread* const kDetached = reinterpret_cast<thread*>(2);

void release(thread* td) {
  stack_put(td->td_stack, td->td_stacksize);
  thread_free(td);
}
}  // namespace

// A detached LWKT of lwkt_create has left its stack.
void lwkt_reap(thread* td) { release(td); }

// Another cpu may have been at the kept stacks: they are forgotten.
void lwkt_atfork_child() {
  stack_lock = SpinLock{};
  nkept = 0;
}

namespace {

// Tells td's joiner, if there is one. td is still running: whoever joins it waits for the end of
// that (td_running) before the memory goes, so a waiting joiner can be switched to at once,
// without the idle thread in between. False: detached, nobody will free it.
bool end_joinable(thread* td) {
  if (atomic_cas<thread*>(&td->td_joiner, nullptr, kEnded)) return true;
  thread* joiner = td->td_joiner;  // it stays: nobody else writes it now
  if (joiner == kDetached) return false;
  // Before lwkt_wake looks at the joiner's state, which is one atomic operation, as the joiner's fence is between the two.
  store_release(&td->td_joiner, kEnding);
  lwkt_wake(joiner, 0);
  store_release(&td->td_joiner, kEnded);
  return true;
}

void free_ended(thread* td) {
  spin_until([&] { return load_acquire(&td->td_running) == 0; });
  release(td);
}

}  // namespace

}  // namespace cr

using namespace cr;

extern "C" {

CR_API thread_t lwkt_curthread(void) { return curthread(); }

CR_API int lwkt_create(void (*fn)(void*), void* arg, thread_t* tdp, size_t stack_size, int flags,
                       const char* name) {
  if (stack_size == 0) stack_size = kDefaultStack;
  if (fn == nullptr || tdp == nullptr || stack_size < kMinStack) return EINVAL;
  stack_size = (stack_size + 4095) & ~4095ul;
  thread* td = thread_alloc();
  if (td == nullptr) return ENOMEM;
  td->td_stack = stack_get(stack_size);
  if (td->td_stack == nullptr) {
    thread_free(td);
    return ENOMEM;
  }
  td->td_stacksize = stack_size;
  td->td_flags = TDF_NOTLS | TDF_OWNSTACK;
  td->td_sigmask = ~0ull;
  for (int i = 0; name != nullptr && i < 15 && name[i] != '\0'; i++) td->td_comm[i] = name[i];
  td->td_sp =
      context_function(reinterpret_cast<uintptr_t>(td->td_stack) + stack_size, fn, arg);
  *tdp = td;
  sched_thread_added();
  if ((flags & LWKT_STOPPED) != 0) {
    td->td_state = TDS_BLOCKED;
  } else {
    td->td_state = TDS_RUNNABLE;
    sched_enqueue(td);
  }
  return 0;
}

CR_API void lwkt_exit(void) {
  if (sched_thread_gone()) {
    // The main thread went by pthread_exit before: this was the last.
    gate_call(SYS_exit_group);
  }
  thread* td = curthread();
  KASSERT(td->td_toks == nullptr);
  if (!end_joinable(td)) sched_exit();
  td->td_state = TDS_DEAD;
  sched_switch();
  CR_PANIC("a dead LWKT was scheduled");
}

CR_API void lwkt_join(thread_t td) {
  thread* self = curthread();
  bool first = true;
  for (thread* now; (now = load_acquire(&td->td_joiner)) != kEnded;) {
    if (now == kEnding) {
      cpu_pause();
      continue;
    }
    sched_block(self);
    if (smp) __atomic_thread_fence(__ATOMIC_SEQ_CST);
    bool wait = first ? atomic_cas<thread*>(&td->td_joiner, nullptr, self)
                      : load_acquire(&td->td_joiner) == self;
    first = false;
    // Blocking can't be undone, since a signal may have won us already: be our own waker.
    if (!wait) lwkt_wake(self, 0);
    sched_sleep();  // a signal ends the sleep, not the wait
  }
  free_ended(td);
}

CR_API void lwkt_detach(thread_t td) {
  if (atomic_cas<thread*>(&td->td_joiner, nullptr, kDetached)) return;
  free_ended(td);
}

CR_API void lwkt_switch(void) { sched_switch(); }

namespace {

// Apart, so that a yield without tokens saves no registers for it.
[[gnu::noinline]] void yield_with_tokens(thread* td) {
  token_switch_out(td);
  sched_yield_cpu();
  token_resume(td);
}

}  // namespace

CR_API void lwkt_yield(void) {
  thread* td = curthread();
  if (__builtin_expect(td->td_toks != nullptr, 0)) {
    yield_with_tokens(td);
  } else {
    sched_yield_cpu();
  }
}
CR_API void lwkt_deschedule_self(void) { sched_block(curthread()); }
CR_API void lwkt_schedule(thread_t td) { lwkt_wake(td, 0); }

CR_API int lwkt_setcpu_self(int cpuid) {
  if (cpuid < 0 || cpuid >= ncpus) return EINVAL;
  if (cpuid == mycpu()->c_id) return 0;
  rfork_several();
  globaldata* gd = mygd();
  thread* td = gd->gd_curthread;
  td->td_state = TDS_RUNNABLE;
  td->td_migrate = cpuid;
  gd->gd_leaving = td;  // the IPI goes out when its context is complete
  sched_switch();
  return 0;
}

CR_API int lwkt_getcpu(void) { return mycpu()->c_id; }
CR_API int lwkt_ncpus(void) { return ncpus; }

CR_API void crit_enter(void) {
  curthread()->td_critcount++;
  cpu_ccfence();
}

CR_API void crit_exit(void) {
  cpu_ccfence();
  thread* td = curthread();
  KASSERT(td->td_critcount > 0);
  if (--td->td_critcount == 0 && (td->td_ast | mygd()->gd_ast) != 0) {
    // What came meanwhile is served at the next way out of the gate: make one.
    if ((td->td_flags & TDF_NOTLS) == 0) gate_call(SYS_gettid);
  }
}

CR_API lwkt_port_t lwkt_threadport(thread_t td) { return &td->td_msgport; }

}  // extern "C"
