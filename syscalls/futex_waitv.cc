// futex_waitv: waiting on several words. The sleeper hangs a record in each word's bucket; who
// wakes it through one of them says through which. No glibc makes the call; the runtimes of games
// do.
//
// Words in shared memory have their queue in the kernel. Only such words: a trap. Some: the LWKT
// sleeps in the kernel, on those and on a doorbell in place of its own, which a waker here rings.
//
// A record belongs to the sleeper and is touched by others under its bucket's lock alone. The
// sleeper takes every one out, under the lock, before it forgets them: so a waker that holds a
// lock finds the sleeper still in this call.

#include <errno.h>
#include <sys/syscall.h>

#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/async/timer.h"
#include "../src/lwkt/clock.h"
#include "../src/lwkt/sched.h"
#include "../src/lwkt/slab.h"
#include "../src/mem/shared.h"
#include "../src/sysport/sysport.h"
#include "futex.h"
#include "futex2.h"
#include "futex_internal.h"
#include "sysent.h"

namespace cr {

struct WaitvRecord {
  WaitvRecord* next;
  WaitvRecord** prev;  // null when it hangs nowhere
  uint64_t addr;
  thread* td;
  uint32_t* doorbell;  // null: wake td
  uint32_t index;      // of the word in the program's array
};

namespace {

// Behind it in one piece of memory: n of each array's entries.
struct Waitv {
  uint32_t n;         // entries of the program
  uint32_t hung;      // records in use
  uint32_t nkernel;   // entries for the kernel, the doorbell not counted
  uint32_t doorbell;  // 0, or 1 + the index of the word that rang it
  WaitvRecord* records;
  futex2_entry* entries;
  futex2_entry* kernel;
  uint32_t* kernel_index;
};

constexpr size_t size_for(uint32_t n) {
  return sizeof(Waitv) + n * (sizeof(WaitvRecord) + 2 * sizeof(futex2_entry) + sizeof(uint32_t));
}

Waitv* make(uint32_t n) {
  auto* w = static_cast<Waitv*>(slab_alloc(size_for(n)));
  if (w == nullptr) return nullptr;
  *w = {};
  w->n = n;
  w->records = reinterpret_cast<WaitvRecord*>(w + 1);
  w->entries = reinterpret_cast<futex2_entry*>(w->records + n);
  w->kernel = w->entries + n;
  w->kernel_index = reinterpret_cast<uint32_t*>(w->kernel + n);
  return w;
}

bool is_ours(const futex2_entry& e) {
  return (e.flags & kFutex2Private) != 0 || !shared_contains(e.uaddr);
}

int read_entries(Waitv* w, uint64_t user) {
  if (user_copy(w->entries, reinterpret_cast<const void*>(user), w->n * sizeof(futex2_entry)) !=
      0) {
    return EFAULT;
  }
  for (uint32_t i = 0; i < w->n; i++) {
    const futex2_entry& e = w->entries[i];
    if (!futex2_flags_valid(e.flags) || e.reserved != 0 || e.val > 0xffffffff) return EINVAL;
    if ((e.uaddr & 3) != 0) return EINVAL;
    if (is_ours(e)) continue;
    w->kernel[w->nkernel] = e;
    w->kernel_index[w->nkernel++] = i;
  }
  return 0;
}

// Hangs records at the words that are ours. EAGAIN: one of them holds another value.
int hang(Waitv* w, thread* td, uint32_t* doorbell) {
  for (uint32_t i = 0; i < w->n; i++) {
    const futex2_entry& e = w->entries[i];
    if (!is_ours(e)) continue;
    Bucket* b = bucket_of(e.uaddr);
    Guard g(b->lock);
    uint32_t seen;
    if (user_load32(&seen, reinterpret_cast<const uint32_t*>(e.uaddr)) != 0) return EFAULT;
    if (seen != static_cast<uint32_t>(e.val)) return EAGAIN;
    WaitvRecord* r = &w->records[w->hung++];
    *r = {nullptr, nullptr, e.uaddr, td, doorbell, i};
    WaitvRecord** at = &b->several;  // the longest waiter first
    while (*at != nullptr) at = &(*at)->next;
    *at = r;
    r->prev = at;
  }
  return 0;
}

void unhang_record(WaitvRecord* r) {
  *r->prev = r->next;
  if (r->next != nullptr) r->next->prev = r->prev;
  r->prev = nullptr;
}

void take_down(Waitv* w) {
  for (uint32_t i = 0; i < w->hung; i++) {
    WaitvRecord* r = &w->records[i];
    Guard g(bucket_of(r->addr)->lock);
    if (r->prev != nullptr) unhang_record(r);
  }
}

// A waker says 1 + the word's index.
int answer(union sysunion* m, int64_t why) {
  if (why > 0) {
    m->sm.sm_result = why - 1;
    return 0;
  }
  return why == -EINTR ? ERESTARTSYS : static_cast<int>(-why);
}

int wait_here(union sysunion* m, Waitv* w, uint64_t deadline) {
  thread* td = curthread();
  sched_block(td);
  int error = hang(w, td, nullptr);
  if (error == 0 && deadline != kNever && !timer_arm(td, deadline)) error = ENOMEM;
  int64_t why = -error;
  if (error == 0) {
    why = sched_sleep_interruptible();
  } else if (!atomic_cas<uint32_t>(&td->td_state, TDS_BLOCKED, TDS_RUNNING)) {
    why = sched_sleep();  // somebody was quicker: the wake counts
  }
  if (deadline != kNever) timer_cancel(td);
  take_down(w);
  return answer(m, why);
}

int wait_in_kernel(union sysunion* m, Waitv* w) {
  int error = hang(w, curthread(), &w->doorbell);
  if (error == 0) {
    w->kernel[w->nkernel] = {0, reinterpret_cast<uintptr_t>(&w->doorbell),
                             kFutex2Size32 | kFutex2Private, 0};
    union sysunion k;
    k.sm.sm_nr = SYS_futex_waitv;
    uint64_t* a = k.raw.arg;
    a[0] = reinterpret_cast<uintptr_t>(w->kernel);
    a[1] = w->nkernel + 1;
    a[2] = 0;
    a[3] = m->raw.arg[3];
    a[4] = m->raw.arg[4];
    a[5] = 0;
    error = sysport_trap_sleep(&k);
    auto which = static_cast<uint64_t>(k.sm.sm_result);
    if (error == 0 && which < w->nkernel) m->sm.sm_result = w->kernel_index[which];
  }
  take_down(w);
  // Whoever rang counts the sleeper as woken.
  if (w->doorbell != 0) return answer(m, w->doorbell);
  return error == EINTR ? ERESTARTSYS : error;
}

}  // namespace

int futex_wake_several(Bucket* b, uint64_t addr, int n) {
  int woken = 0;
  for (WaitvRecord* r = b->several; r != nullptr && woken < n;) {
    WaitvRecord* next = r->next;
    if (r->addr == addr) {
      unhang_record(r);
      if (r->doorbell == nullptr) {
        if (lwkt_wake(r->td, r->index + 1)) woken++;
      } else {
        uint32_t silent = 0;
        if (__atomic_compare_exchange_n(r->doorbell, &silent, r->index + 1, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
          raw3(SYS_futex, reinterpret_cast<long>(r->doorbell), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
          woken++;
        }
      }
    }
    r = next;
  }
  return woken;
}

int sys_futex_waitv(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto n = static_cast<uint32_t>(a[1]);
  bool alone = load_acquire(&nthreads) == 1 && load_acquire(&futex_dying) == 0;
  if (alone || a[0] == 0 || n == 0 || n > kWaitvMax || static_cast<uint32_t>(a[2]) != 0) {
    return sysport_trap_sleep(m);
  }
  uint64_t deadline;
  int error = futex2_deadline(a[3], a[4], &deadline);
  if (error != 0) return error;
  Waitv* w = make(n);
  if (w == nullptr) return ENOMEM;
  error = read_entries(w, a[0]);
  if (error == 0) {
    error = w->nkernel == n   ? sysport_trap_sleep(m)
            : w->nkernel == 0 ? wait_here(m, w, deadline)
                              : wait_in_kernel(m, w);
  }
  slab_free(w, size_for(n));
  return error;
}

}  // namespace cr
