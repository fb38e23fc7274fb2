// The three mappings of io_uring_setup(2): both queues (one mapping since 5.4, two before), and
// the submission entries. They are not inherited by a fork's child (MADV_DONTFORK): the kernel would
// take the child's entries for the parent's.

#include "ring.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"

namespace cr {

namespace {

const uint32_t kSetupSteps[] = {
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SUBMIT_ALL,
    0,
};

void* map(Ring& r, int fd, uint64_t size, uint64_t offset) {
  long p = raw_mmap(0, static_cast<long>(size), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_POPULATE, fd, static_cast<long>(offset));
  if (raw_failed(p)) return nullptr;
  raw3(SYS_madvise, p, static_cast<long>(size), MADV_DONTFORK);
  r.maps[r.nmaps] = reinterpret_cast<void*>(p);
  r.sizes[r.nmaps++] = size;
  return reinterpret_cast<void*>(p);
}

template <typename T>
T* at(void* base, uint32_t offset) {
  return reinterpret_cast<T*>(static_cast<char*>(base) + offset);
}

bool map_queues(Ring& r, int fd, const io_uring_params& p) {
  uint64_t sq_size = p.sq_off.array + p.sq_entries * sizeof(uint32_t);
  uint64_t cq_size = p.cq_off.cqes + p.cq_entries * sizeof(io_uring_cqe);
  bool one = (p.features & IORING_FEAT_SINGLE_MMAP) != 0;
  if (one && cq_size > sq_size) sq_size = cq_size;
  void* sq = map(r, fd, sq_size, IORING_OFF_SQ_RING);
  void* cq = one ? sq : map(r, fd, cq_size, IORING_OFF_CQ_RING);
  void* sqes = map(r, fd, p.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
  if (sq == nullptr || cq == nullptr || sqes == nullptr) return false;
  r.sq_head = at<uint32_t>(sq, p.sq_off.head);
  r.sq_tail = at<uint32_t>(sq, p.sq_off.tail);
  r.sq_flags = at<uint32_t>(sq, p.sq_off.flags);
  r.sq_entries = p.sq_entries;
  r.sqes = static_cast<io_uring_sqe*>(sqes);
  // Entry i always stands in place i.
  auto* array = at<uint32_t>(sq, p.sq_off.array);
  for (uint32_t i = 0; i < p.sq_entries; i++) array[i] = i;
  r.cq_head = at<uint32_t>(cq, p.cq_off.head);
  r.cq_tail = at<uint32_t>(cq, p.cq_off.tail);
  r.cq_mask = p.cq_entries - 1;
  r.cqes = at<io_uring_cqe>(cq, p.cq_off.cqes);
  return true;
}

void unmap(Ring& r) {
  for (int i = 0; i < r.nmaps; i++) {
    raw2(SYS_munmap, reinterpret_cast<long>(r.maps[i]), static_cast<long>(r.sizes[i]));
  }
  r.nmaps = 0;
}

uint32_t flags(const Ring& r) { return __atomic_load_n(r.sq_flags, __ATOMIC_RELAXED); }

long enter(Ring& r, uint32_t submit, uint32_t how) {
  return raw6(SYS_io_uring_enter, __atomic_load_n(&r.fd, __ATOMIC_RELAXED), submit, 0, how, 0, 0);
}

}  // namespace

int ring_open(Ring& r, uint32_t entries) {
  long fd = -EINVAL;
  io_uring_params p;
  for (uint32_t step : kSetupSteps) {
    p = io_uring_params{};
    p.flags = step | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
    p.cq_entries = entries * 4;
    fd = raw2(SYS_io_uring_setup, entries, reinterpret_cast<long>(&p));
    if (fd != -EINVAL) break;
  }
  if (raw_failed(fd)) return static_cast<int>(-fd);
  r.nmaps = 0;
  int error = 0;
  if ((p.features & IORING_FEAT_NODROP) == 0) {
    error = EOPNOTSUPP;
  } else if (!map_queues(r, static_cast<int>(fd), p)) {
    error = ENOMEM;
  }
  if (error != 0) {
    unmap(r);
    raw1(SYS_close, fd);
    return error;
  }
  // Last: other cpus look into every ring that is open.
  __atomic_store_n(&r.fd, static_cast<int>(fd), __ATOMIC_RELEASE);
  return 0;
}

void ring_close(Ring& r) {
  unmap(r);
  raw1(SYS_close, r.fd);
  __atomic_store_n(&r.fd, -1, __ATOMIC_RELEASE);
}

void ring_atfork_child(Ring& r) {
  if (!ring_is_open(r)) return;
  raw1(SYS_close, r.fd);
  r = Ring{};
}

io_uring_sqe* ring_sqe(Ring& r) {
  uint32_t tail = *r.sq_tail;
  if (tail - __atomic_load_n(r.sq_head, __ATOMIC_ACQUIRE) >= r.sq_entries) return nullptr;
  io_uring_sqe* sqe = &r.sqes[tail & (r.sq_entries - 1)];
  auto* words = reinterpret_cast<uint64_t*>(sqe);
  for (size_t i = 0; i < sizeof *sqe / sizeof *words; i++) words[i] = 0;
  return sqe;
}

void ring_push(Ring& r) { __atomic_store_n(r.sq_tail, *r.sq_tail + 1, __ATOMIC_RELEASE); }

uint32_t ring_unsubmitted(const Ring& r) {
  return __atomic_load_n(r.sq_tail, __ATOMIC_RELAXED) -
         __atomic_load_n(r.sq_head, __ATOMIC_ACQUIRE);
}

uint64_t ring_pushed(const Ring& r, uint32_t back) {
  return r.sqes[(*r.sq_tail - 1 - back) & (r.sq_entries - 1)].user_data;
}

long ring_enter(Ring& r) {
  uint32_t n = ring_unsubmitted(r);
  return n != 0 ? enter(r, n, 0) : 0;
}

bool ring_ready(const Ring& r) {
  return __atomic_load_n(r.cq_tail, __ATOMIC_ACQUIRE) !=
             __atomic_load_n(r.cq_head, __ATOMIC_RELAXED) ||
         (flags(r) & IORING_SQ_CQ_OVERFLOW) != 0;
}

bool ring_unfinished(const Ring& r) { return (flags(r) & IORING_SQ_TASKRUN) != 0; }

uint32_t ring_reap(Ring& r, void (*done)(uint64_t, int32_t)) {
  constexpr uint32_t kBatch = 32;
  struct {
    uint64_t user_data;
    int32_t res;
  } batch[kBatch];
  for (uint32_t total = 0;;) {
    uint32_t n = 0;
    {
      Guard g(r.cq_lock);
      uint32_t head = *r.cq_head;
      uint32_t tail = __atomic_load_n(r.cq_tail, __ATOMIC_ACQUIRE);
      for (; head != tail && n < kBatch; head++, n++) {
        const io_uring_cqe& cqe = r.cqes[head & r.cq_mask];
        batch[n] = {cqe.user_data, cqe.res};
      }
      __atomic_store_n(r.cq_head, head, __ATOMIC_RELEASE);
    }
    for (uint32_t i = 0; i < n; i++) done(batch[i].user_data, batch[i].res);
    total += n;
    if (n == kBatch) continue;
    // What did not fit, and what waits for this thread to enter the kernel.
    if ((flags(r) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) == 0) return total;
    if (raw_failed(enter(r, 0, IORING_ENTER_GETEVENTS))) return total;
    if (*r.cq_head == __atomic_load_n(r.cq_tail, __ATOMIC_ACQUIRE)) return total;
  }
}

}  // namespace cr
