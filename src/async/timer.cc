// A binary heap of pointers; each LWKT knows its place (td_timer), so cancelling costs no
// search. The array grows by doubling from raw mappings: the heap is touched inside futex
// waits, where malloc may hold its lock.

#include "timer.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/x86_64/rawcall.h"
#include "../lwkt/sched.h"
#include "../lwkt/spinlock.h"

namespace cr {

namespace {

uint64_t first = kNever;
GlobalLock lock;
thread** heap;
int32_t count;
int32_t capacity;

void publish() {
  __atomic_store_n(&first, count > 0 ? heap[0]->td_deadline : kNever, __ATOMIC_RELEASE);
}

void place(int32_t i, thread* td) {
  heap[i] = td;
  td->td_timer = i;
}

void sift_up(int32_t i, thread* td) {
  while (i > 0) {
    int32_t parent = (i - 1) / 2;
    if (heap[parent]->td_deadline <= td->td_deadline) break;
    place(i, heap[parent]);
    i = parent;
  }
  place(i, td);
}

void sift_down(int32_t i, thread* td) {
  for (;;) {
    int32_t child = 2 * i + 1;
    if (child >= count) break;
    if (child + 1 < count && heap[child + 1]->td_deadline < heap[child]->td_deadline) child++;
    if (heap[child]->td_deadline >= td->td_deadline) break;
    place(i, heap[child]);
    i = child;
  }
  place(i, td);
}

void remove(thread* td) {
  int32_t i = td->td_timer;
  td->td_timer = -1;
  thread* last = heap[--count];
  if (last == td) return;
  if (i > 0 && heap[(i - 1) / 2]->td_deadline > last->td_deadline) {
    sift_up(i, last);
  } else {
    sift_down(i, last);
  }
}

bool grow() {
  int32_t want = capacity == 0 ? 512 : capacity * 2;
  long p = raw6(SYS_mmap, 0, static_cast<long>(want * sizeof(thread*)), PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw_failed(p)) return false;
  auto** fresh = reinterpret_cast<thread**>(p);
  for (int32_t i = 0; i < count; i++) fresh[i] = heap[i];
  if (heap != nullptr) {
    raw2(SYS_munmap, reinterpret_cast<long>(heap), static_cast<long>(capacity * sizeof(thread*)));
  }
  heap = fresh;
  capacity = want;
  return true;
}

}  // namespace

uint64_t timer_next() { return __atomic_load_n(&first, __ATOMIC_RELAXED); }

bool timer_arm(thread* td, uint64_t deadline) {
  Guard g(lock);
  if (count == capacity && !grow()) return false;
  td->td_deadline = deadline;
  sift_up(count++, td);
  publish();
  return true;
}

void timer_cancel(thread* td) {
  // With the lock even if td is out already: timer_expire, which took it out, may not have called
  // lwkt_wake yet, and would hit td's next sleep.
  Guard g(lock);
  if (td->td_timer < 0) return;
  remove(td);
  publish();
}

bool timer_expire(uint64_t now) {
  bool any = false;
  for (;;) {
    thread* td;
    {
      Guard g(lock);
      if (count == 0 || heap[0]->td_deadline > now) return any;
      td = heap[0];
      remove(td);
      publish();
      // Under the lock: once it is released td may cancel, return and end.
      if (lwkt_wake(td, -ETIMEDOUT)) any = true;
    }
  }
}

void timer_atfork_child() {
  lock = GlobalLock{};
  for (int32_t i = 0; i < count; i++) heap[i]->td_timer = -1;
  count = 0;
  publish();
}

}  // namespace cr
