// Real-time scheduling classes of LWKTs (SCHED_FIFO, SCHED_RR).
//
// An LWKT whose priority is above the process's base, the lowest that any of its LWKTs has had since
// there are several, has a rank: its priority. Of the ranked ones the highest runs, before all
// others; those of no rank share the cpus as ever, and a program that uses no such class, or is as a
// whole in one (chrt), never comes here. What ranks change:
//   - ranked LWKTs wait in lists of their own, a part of the global queue (sched.cc); a futex wakes
//     the highest waiter first (syscalls/futex_internal.h);
//   - one that becomes runnable interrupts whoever has a lower rank: the waker at its way out, else the
//     cpu with the lowest, by the IPI signal;
//   - a kernel thread has the class of the LWKT that it runs, so that the kernel decides as it would
//     where several kernel threads share a processor, and between processes; idle ones and the
//     monitor have the highest, or they could not take up work while somebody computes;
//   - as in the kernel, others get 50 ms of each second if ranked ones leave them nothing;
//   - a waiter for a priority-inheritance lock lends its rank to the owner (syscalls/futex_inherit.h).
//
// From the first rank on (sched_ranked) each pick goes the slow way: c_look stays 0. A change of class
// between two LWKTs costs a trap. No cost before.
#pragma once

#include <stdint.h>

#include "sched.h"
#include "spinlock.h"

namespace cr {

extern uint32_t sched_ranked;  // there are ranks, or were

// The lowest priority of any LWKT so far: those that have it have no rank.
extern int rank_base;
// Over ranks, and who lends his to whom. Outside siglock and the futex buckets. While it is held an LWKT
// that was found by its tid stays.
extern SpinLock ranklock;

// A wait for a priority-inheritance lock; on the waiter's stack.
struct PiWait {
  thread* waiter;
  uint64_t lock;            // the word's address
  uint64_t target = 0;      // FUTEX_WAIT_REQUEUE_PI: the lock that it is to be moved to, 0 once it was
  bool in_kernel = false;   // other processes see the word (futex_shared.cc)
  thread* owner = nullptr;  // that it lends its rank to
  PiWait* next = nullptr;   // of the owner's td_lenders
  PiWait** prev = nullptr;
};

void rank_begin();          // the first rank is about to be given
void rank_atfork_child();
// Its own and what it is lent. ranklock is held. True: it has changed (then sched_rank_changed).
bool rank_reckon(thread* td);
// A kernel thread's class as one word, gd_class.
inline uint32_t rank_class(int policy, int priority) {
  return static_cast<uint32_t>(policy) << 8 | static_cast<uint32_t>(priority);
}
inline constexpr uint32_t kClassUnknown = ~0u;
// policy may hold SCHED_RESET_ON_FORK. -errno.
long rank_set_kernel(int32_t ktid, int policy, int priority);
// The calling rfork will run td, null: is idle, or about to take what comes.
void rank_settle(const thread* td);
// The calling rfork will switch to td. A lower class than it has waits until it has done so (sched.cc's end_leaving):
// before, whoever is to run the LWKT that it leaves would wait for a kernel thread that the kernel may not let run.
void rank_settle_next(const thread* td);
// The calling rfork will look for one of this rank. Once it has taken it out of the queue nobody else can run it, so that
// its kernel thread must be one that the kernel lets run before those of lower ranks.
void rank_settle_to_take(int rank);
// td, the calling rfork's, as if it were lent nothing: for the processes that it makes.
void rank_settle_own(const thread* td);
// Another rfork, whose LWKT's rank has changed. It looks around, too.
void rank_settle_other(globaldata* gd);

// ---- of sched.cc --------------------------------------------------------------------------------
// Puts what is queued where its rank says now.
void sched_resort();
// The same for one whose rank has changed. Whatever it does, and wherever; ranklock is held.
void sched_rank_changed(thread* td);

}  // namespace cr
