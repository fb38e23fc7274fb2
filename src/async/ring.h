// A bare io_uring: set up, fill, enter, reap. No policy; uring.cc makes an engine of it.
//
// Own code instead of liburing's, because this runs below the boundary: liburing's inline functions
// are fine, but its library calls libc, sets errno and is compiled with vector registers.
//
// Rules
//   - ring_sqe and ring_push are called under r.sq_lock, by anybody who holds a cpu; the entry that
//     ring_sqe returns must be filled and pushed before the lock is let go.
//   - ring_enter needs no lock: the kernel has its own, and takes what has been pushed.
//   - ring_reap may be called by anybody who holds a cpu; it calls back without locks.
//
// Full and overflowing. A full submission queue makes ring_sqe return null: enter, and try again.
// The completion queue has no limit: what does not fit the kernel keeps in a list of its own
// (IORING_FEAT_NODROP, required) and says so in the queue's flags; ring_reap fetches it.
//
// Set-up flags, by steps down on older kernels: COOP_TASKRUN and TASKRUN_FLAG (5.19: completions
// wait for the next kernel entry instead of an interrupt), SUBMIT_ALL (5.18), none.
//
// Not SINGLE_ISSUER and DEFER_TASKRUN, on purpose. With them completions appear only when the kernel
// thread that made the requests enters the ring. Our rforks lose their cpu in the middle of a trap,
// for as long as the trap takes; their requests would be stuck with them. Without them the kernel
// wakes a thread that sleeps in a trap, lets it finish the request and sends it back to sleep, unless the
// sleep is one that nothing interrupts (uring.cc). Nor does it cost anything: 64 random 4 KB reads in
// flight, not cached, by a loop written by hand with liburing on one cpu: 83,000 reads a second at 5.6 us
// of cpu, with DEFER_TASKRUN 82,000 at 6.1 us (the least of three runs each, submitted four at a time).
#pragma once

#include <linux/io_uring.h>
#include <stdint.h>

#include "../lwkt/spinlock.h"

namespace cr {

struct Ring {
  int fd = -1;
  SpinLock sq_lock;
  SpinLock cq_lock;
  // -- the submission queue --
  uint32_t* sq_head;   // the kernel's
  uint32_t* sq_tail;
  uint32_t* sq_flags;  // IORING_SQ_*
  uint32_t sq_entries;
  io_uring_sqe* sqes;
  // -- the completion queue --
  uint32_t* cq_head;
  uint32_t* cq_tail;   // the kernel's
  uint32_t cq_mask;
  io_uring_cqe* cqes;
  // -- what to unmap --
  void* maps[3];
  uint64_t sizes[3];
  int nmaps = 0;
};

// Makes a ring with room for `entries` submissions and four times as many completions (a power of
// two). 0, or the errno that says why this process has none: ENOSYS, EPERM (seccomp,
// kernel.io_uring_disabled), ENOMEM (RLIMIT_MEMLOCK before Linux 5.12), EMFILE, EOPNOTSUPP (too old).
int ring_open(Ring& r, uint32_t entries);
// Closes the descriptor and forgets the memory, which a fork's child never had.
void ring_atfork_child(Ring& r);
void ring_close(Ring& r);

inline bool ring_is_open(const Ring& r) { return __atomic_load_n(&r.fd, __ATOMIC_ACQUIRE) >= 0; }

// A cleared entry, or null: full. sq_lock is held.
io_uring_sqe* ring_sqe(Ring& r);
// Hands the entry that ring_sqe returned last to the kernel's next enter. sq_lock is held.
void ring_push(Ring& r);
// Entries that the kernel has not taken yet, and the user_data of the last but `back` of them.
uint32_t ring_unsubmitted(const Ring& r);
uint64_t ring_pushed(const Ring& r, uint32_t back);
// Submits what has been pushed. Entries taken, or -errno.
long ring_enter(Ring& r);
// There are completions.
bool ring_ready(const Ring& r);
// Some kernel thread will have completions once it enters the kernel, whatever for. ring_reap does
// so if it is the caller; if it is another one it may take until that one's next tick.
bool ring_unfinished(const Ring& r);
// Calls done(user_data, res) for each completion. How many there were.
uint32_t ring_reap(Ring& r, void (*done)(uint64_t user_data, int32_t res));

}  // namespace cr
