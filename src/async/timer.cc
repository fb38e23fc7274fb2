// A heap with four children a node, which lie in one cache line, and the keys in the nodes. A
// binary heap of pointers to LWKTs, each of which knew its place, cost two cache misses for each
// level: one to read a key, one to write a place (10,000 LWKTs: 0.1 us a wake). Here both are in
// dense arrays of the heap's own: a timer has a handle (td_timer), at[] says where in the heap
// it is, whose[] which LWKT it is for. So cancelling costs no search. The arrays grow by
// doubling, from raw mappings: they are touched inside futex waits, where malloc may hold its lock.

#include "timer.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/assert.h"
#include "../lwkt/rfork.h"
#include "../lwkt/spinlock.h"

namespace cr {

namespace {

inline constexpr int32_t kFanout = 4;
inline constexpr int32_t kPad = kFanout - 1;  // in front of the root: brings siblings into a line
inline constexpr int32_t kBatch = 32;

inline constexpr uint64_t kForever = 1ull << 63;  // ns: 292 years after the machine's start

inline constexpr uint64_t kWindow = 10'000'000;  // ns over which wakes are counted
inline constexpr uint32_t kCrowded = 400;        // wakes in a window: the slack grows,
inline constexpr uint32_t kSparse = 200;         // and shrinks again
inline constexpr uint64_t kLong = 3 * kWindow;   // ns from when a window began to deadlines to which that is little

struct Node {
  uint64_t latest;  // deadline and slack
  int32_t handle;
  uint32_t slack;   // so that a look at what is due touches no LWKT
};
static_assert(sizeof(Node) * kFanout == kCacheLine);

GlobalLock lock;
Node* heap;  // [kPad, kPad + count)
int32_t* at;     // of a free handle: the next free one
thread** whose;
int32_t count;
int32_t capacity;
int32_t free_handle = -1;

struct Crowd {
  uint64_t window;  // where the window began
  uint32_t wakes;
  uint32_t crowded;
};
Crowd crowd;

void publish() {
  __atomic_store_n(&sched_timer_first, count > 0 ? heap[kPad].latest : kNever, __ATOMIC_RELEASE);
}

void place(int32_t i, Node n) {
  heap[kPad + i] = n;
  at[n.handle] = i;
}

void sift_up(int32_t i, Node n) {
  while (i > 0) {
    int32_t parent = (i - 1) / kFanout;
    if (heap[kPad + parent].latest <= n.latest) break;
    place(i, heap[kPad + parent]);
    i = parent;
  }
  place(i, n);
}

// The least of the four from `c` on: without branches, of which a processor could predict none.
int32_t least_of_four(int32_t c) {
  const Node* k = heap + kPad + c;
  int32_t a = k[1].latest < k[0].latest;
  int32_t b = 2 + (k[3].latest < k[2].latest);
  int32_t second = -static_cast<int32_t>(k[b].latest < k[a].latest);
  return c + (a ^ ((a ^ b) & second));
}

void sift_down(int32_t i, Node n) {
  for (;;) {
    int32_t child = kFanout * i + 1;
    if (child >= count) break;
    int32_t end = child + kFanout < count ? child + kFanout : count;
    // Four lines, one of which is read next: what the sleepers touch drives the heap out of the near caches.
    int32_t grandchild = kFanout * child + 1;
    if (grandchild < count) {
      for (int32_t c = 0; c < kFanout; c++) cpu_prefetch(&heap[kPad + grandchild + kFanout * c]);
    }
    int32_t least = child;
    if (__builtin_expect(end - child == kFanout, 1)) {
      least = least_of_four(child);
    } else {
      for (int32_t c = child + 1; c < end; c++) {
        if (heap[kPad + c].latest < heap[kPad + least].latest) least = c;
      }
    }
    if (heap[kPad + least].latest >= n.latest) break;
    place(i, heap[kPad + least]);
    i = least;
  }
  place(i, n);
}

// The caller sets td_timer to -1: of many that are removed at once none is in a near cache.
thread* remove(int32_t handle) {
  thread* td = whose[handle];
  int32_t i = at[handle];
  at[handle] = free_handle;
  free_handle = handle;
  Node last = heap[kPad + --count];
  if (i == count) return td;
  if (i > 0 && heap[kPad + (i - 1) / kFanout].latest > last.latest) {
    sift_up(i, last);
  } else {
    sift_down(i, last);
  }
  return td;
}

// Moves one array to `fresh`; `used` entries are worth copying.
template <typename T>
T* moved(T* old, char* fresh, int32_t used) {
  auto* to = reinterpret_cast<T*>(fresh);
  for (int32_t i = 0; i < used; i++) to[i] = old[i];
  return to;
}

size_t bytes_for(int32_t timers) {
  return static_cast<size_t>(timers) * (sizeof(Node) + sizeof(thread*) + sizeof(int32_t)) +
         kPad * sizeof(Node);
}

bool grow() {
  int32_t want = capacity == 0 ? 512 : capacity * 2;
  long p = raw_mmap(0, static_cast<long>(bytes_for(want)), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw_failed(p)) return false;
  auto* room = reinterpret_cast<char*>(p);
  Node* old = heap;
  heap = moved(heap, room, old != nullptr ? kPad + count : 0);
  room += static_cast<size_t>(kPad + want) * sizeof(Node);
  whose = moved(whose, room, capacity);
  room += static_cast<size_t>(want) * sizeof(thread*);
  at = moved(at, room, capacity);
  if (old != nullptr) {
    raw2(SYS_munmap, reinterpret_cast<long>(old), static_cast<long>(bytes_for(capacity)));
  }
  for (int32_t h = want - 1; h >= capacity; h--) {
    at[h] = free_handle;
    free_handle = h;
  }
  capacity = want;
  return true;
}

void count_wakes(uint64_t now, uint32_t n) {
  crowd.wakes += n;
  if (now - crowd.window < kWindow) return;
  uint64_t windows = (now - crowd.window) / kWindow;
  uint64_t each = crowd.wakes / windows;
  __atomic_store_n(&crowd.crowded, each >= (crowd.crowded != 0 ? kSparse : kCrowded) ? 1u : 0u, __ATOMIC_RELAXED);
  crowd.window = now;
  crowd.wakes = 0;
}

}  // namespace

bool timer_crowded() { return __atomic_load_n(&crowd.crowded, __ATOMIC_RELAXED) != 0; }

uint64_t timer_next() { return load_deadline(&sched_timer_first); }

bool timer_arm(thread* td, uint64_t deadline) {
  if (deadline >= kForever) return true;  // the sum with the slack might begin again at 0, before all others
  bool first_now;
  {
    Guard g(lock);
    if (count == capacity && !grow()) return false;
    int32_t handle = free_handle;
    free_handle = at[handle];
    whose[handle] = td;
    td->td_timer = handle;
    td->td_deadline = deadline;
    bool shared = crowd.crowded != 0 && deadline > crowd.window + kLong;
    uint64_t slack = shared ? td->td_slack * kCrowdedSlack : td->td_slack;
    if (slack > UINT32_MAX) slack = UINT32_MAX;  // 4 s: to wake early is always right
    sift_up(count++, {deadline + slack, handle, static_cast<uint32_t>(slack)});
    publish();
    first_now = heap[kPad].handle == handle;
  }
  // With nobody queued here the cpu goes idle, and looks at the timers itself, or runs a spent LWKT (sched.cc's pop_last).
  if (first_now && sched_cpu_has_work(mycpu())) monitor_poke_timer();
  return true;
}

void timer_cancel(thread* td) {
  // With the lock even if td is out already: timer_expire, which took it out, may not have called
  // lwkt_wake yet, and would hit td's next sleep.
  Guard g(lock);
  if (td->td_timer < 0) return;
  remove(td->td_timer)->td_timer = -1;
  publish();
}

bool timer_expire(uint64_t now) {
  bool any = false;
  for (;;) {
    thread* due[kBatch];
    int32_t n = 0;
    // Wakes are done under the lock: once it is released a td may cancel, return and end.
    Guard g(lock);
    while (n < kBatch && count > 0) {
      const Node& soonest = heap[kPad];
      if (soonest.latest - soonest.slack > now) break;
      due[n++] = remove(soonest.handle);
    }
    publish();
    for (int32_t i = 0; i < n; i++) cpu_prefetch(due[i]);
    for (int32_t i = 0; i < n; i++) cpu_prefetch(&due[i]->td_timer);
    int32_t woken = 0;
    for (int32_t i = 0; i < n; i++) {
      due[i]->td_timer = -1;
      if (!lwkt_wake(due[i], -ETIMEDOUT)) continue;
      any = true;
      due[woken++] = due[i];
    }
    sched_prefetch_pages(due, static_cast<uint32_t>(woken));
    for (int32_t i = 0; i < woken; i++) sched_prefetch_stack(due[i]);
    count_wakes(now, static_cast<uint32_t>(n));
    if (n < kBatch) return any;
  }
}

uint64_t timer_slack_inherited() {
  return static_cast<uint64_t>(raw1(SYS_prctl, PR_GET_TIMERSLACK));
}

void timer_slack_lend(const thread* td) {
  raw2(SYS_prctl, PR_SET_TIMERSLACK, static_cast<long>(td->td_slack));
}

void timer_slack_take() { raw2(SYS_prctl, PR_SET_TIMERSLACK, 1); }

void timer_lock() { lock.lock(); }
void timer_unlock() { lock.unlock(); }

void timer_atfork_child() {
  crowd = Crowd{};
  while (count > 0) remove(heap[kPad].handle)->td_timer = -1;
  publish();
}

}  // namespace cr
