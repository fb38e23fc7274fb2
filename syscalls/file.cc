// Reads and writes at a place of their own in regular files and block devices, and the calls that
// wait for the disk.
//
// Policy, each step with what was measured for it (bench_copy4k, bench_randread)
//   1. One LWKT: a plain trap.
//   2. A read is tried with RWF_NOWAIT: one trap if the page cache has it, like the plain call.
//   3. What the cache has not: if nothing else could use the cpu, a trap with the cpu on offer;
//      otherwise the ring, which the engine submits together with those of other LWKTs. (64 threads,
//      4 KB each, uncached, one cpu: the offered trap needs a kernel thread for each reader and
//      the monitor's look for each hand-off.)
//   4. A write into the page cache does not wait, but for memory: a trap with the cpu on offer. The
//      ring would give it to a kernel worker. Past the page cache (O_DIRECT) it goes to the ring.
//   5. fsync and writes that wait for the disk by themselves (O_SYNC): a trap whose cpu is given away
//      at once. The kernel would give them to its workers, which are few (four for each cpu), while a
//      journal commits for as many callers as wait for it. 4 and 32 threads that write and fdatasync,
//      one cpu: 27,000 and 40-47,000 a second, by the ring 22,000 and 38-40,000, natively 26,000
//      and 44-47,000. But where LWKTs compute and wait for the cpu it is the ring, whose completion
//      interrupts them: back from a trap the caller would take the cpu from one that the kernel has just
//      begun to run, upon another kernel thread, and lets run for milliseconds. (8 threads that write and
//      fsync beside one that computes, one cpu: 6,200-8,900 a second, by traps 1,500-2,500, natively
//      9,700-10,700. 16 with O_DSYNC: 8,500-11,100, by traps 4,200-4,800, natively 21,000; all in one file,
//      where the kernel's workers take turns, 3,700-3,900, 3,900-4,600 and 16,000.)
//
// read() and write(), which use the file's own position, are stream.cc's and always one trap: Linux
// locks the position over the whole call, the ring does not, and a call in two parts couldn't.
//
// A disk read is not interruptible, neither natively nor here: a signal waits for it.

#include <errno.h>
#include <linux/io_uring.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "blocking.h"
#include "sysent.h"

namespace cr {

namespace {

inline constexpr uint32_t kNoWait = 8;  // RWF_NOWAIT
inline constexpr uint32_t kHiPri = 1;   // RWF_HIPRI: the caller polls
inline constexpr uint64_t kMostBytes = 0x7ffff000;  // MAX_RW_COUNT: the kernel stops there

// The entry of a file on a disk that can be served here; null: trap.
fdentry* disk_file(int fd) {
  if (!sched_others()) return nullptr;
  fdentry* e = fd_entry(fd);
  if (e == nullptr) return nullptr;
  if (fd_kind(e, fd) != FDK_FILE || (e->flags & FDF_DISK) == 0) return nullptr;
  return e;
}

bool some(uint64_t bytes) { return bytes != 0 && bytes <= kMostBytes; }

struct Transfer {
  int fd;
  uint64_t iov;   // kiovec array
  uint64_t count;
  uint64_t off;
  uint32_t flags;  // RWF_*
};

// -EOPNOTSUPP as io_call, or where the ring answers what the call itself would not: O_NONBLOCK means nothing to a
// regular file, but the ring takes it for RWF_NOWAIT (EAGAIN); and there may be no more threads, for its worker
// (ECANCELED).
int64_t as_call(iorequest* io) {
  int64_t r = io_call(io, false);
  return r == -EAGAIN || r == -ECANCELED ? -EOPNOTSUPP : r;
}

// By the ring. -EOPNOTSUPP: it can't be had, or says what the call itself would not.
// `by_worker`: of the kernel's, since it waits for the disk however it is asked.
long by_ring(const Transfer& t, bool write, bool by_worker = false) {
  iorequest io{};
  const auto* iov = reinterpret_cast<const kiovec*>(t.iov);
  bool one = t.count == 1;
  io.op = write ? (one ? IORING_OP_WRITE : IORING_OP_WRITEV)
                : (one ? IORING_OP_READ : IORING_OP_READV);
  io.fd = t.fd;
  io.addr = one ? iov->base : t.iov;
  io.len = static_cast<uint32_t>(one ? iov->len : t.count);
  io.off = t.off;
  io.op_flags = t.flags;
  io.disk = by_worker ? 0 : 1;
  return as_call(&io);
}

// Beyond RLIMIT_FSIZE the kernel sends SIGXFSZ: from the ring to whoever submits, or to a worker of its own.
bool unlimited() {
  rlimit64 limit{};
  raw4(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, reinterpret_cast<long>(&limit));
  return limit.rlim_cur == RLIM64_INFINITY;
}

void no_nowait(fdentry* e) {
  Guard g(e->lock);
  e->flags |= FDF_NO_NOWAIT;
}

// Whether the page cache is worth a try of its own. Where the last two reads missed it only every
// 16th is tried: the ring looks there, too, costs one trap for many and gives the disk their
// requests together. (bench_randread, cpu for a read: 6.7 us with a try each time, 6.2 without.)
bool try_cache(fdentry* e) {
  constexpr uint8_t kUsual = 2, kProbe = kUsual + 16;
  if ((e->flags & (FDF_DIRECT | FDF_NO_NOWAIT)) != 0) return false;
  uint8_t missed = __atomic_load_n(&e->missed, __ATOMIC_RELAXED);
  if (missed < kUsual) return true;
  bool probe = missed >= kProbe;
  __atomic_store_n(&e->missed, probe ? kUsual : static_cast<uint8_t>(missed + 1), __ATOMIC_RELAXED);
  return probe;
}

void note_try(fdentry* e, bool hit) {
  uint8_t missed = __atomic_load_n(&e->missed, __ATOMIC_RELAXED);
  if (hit) {
    if (missed != 0) __atomic_store_n(&e->missed, uint8_t{0}, __ATOMIC_RELAXED);
  } else if (missed < 2) {
    __atomic_store_n(&e->missed, static_cast<uint8_t>(missed + 1), __ATOMIC_RELAXED);
  }
}

long try_read(const Transfer& t) {
  return raw6(SYS_preadv2, t.fd, static_cast<long>(t.iov), static_cast<long>(t.count),
              static_cast<long>(t.off), offset_high(static_cast<int64_t>(t.off)),
              static_cast<long>(t.flags | kNoWait));
}

int done_with(union sysunion* m, uint64_t bytes) {
  m->sm.sm_result = static_cast<long>(bytes);
  return 0;
}

// One buffer: what the cache has is copied at once, the rest comes by the ring.
int read_one(union sysunion* m, fdentry* e, Transfer t, kiovec buffer) {
  t.iov = reinterpret_cast<uintptr_t>(&buffer);
  t.count = 1;
  uint64_t done = 0;
  while (done != 0 || try_cache(e)) {
    long r = try_read(t);
    note_try(e, r != -EAGAIN);
    if (r == -EAGAIN) break;
    if (r == -EOPNOTSUPP) {
      no_nowait(e);
      break;
    }
    if (r < 0) return done != 0 ? done_with(m, done) : sysport_result(m, r);
    done += static_cast<uint64_t>(r);
    if (r == 0 || static_cast<uint64_t>(r) == buffer.len) return done_with(m, done);
    // The end of the file, or of what is cached: the next try tells them apart.
    buffer.base += static_cast<uint64_t>(r);
    buffer.len -= static_cast<uint64_t>(r);
    t.off += static_cast<uint64_t>(r);
  }
  long r = sched_alone() ? -EOPNOTSUPP : by_ring(t, false);
  if (r == -EOPNOTSUPP) {
    if (done == 0) return blocking_trap(m, true);
    m->sm.sm_nr = SYS_pread64;
    m->raw.arg[1] = buffer.base;
    m->raw.arg[2] = buffer.len;
    offset_arg_set(m->raw.arg, 3, t.off);
    if (sysport_trap_whole_sleep(m) == 0) done += static_cast<uint64_t>(m->sm.sm_result);
    return done_with(m, done);
  }
  if (r < 0) return done != 0 ? done_with(m, done) : sysport_result(m, r);
  return done_with(m, done + static_cast<uint64_t>(r));
}

// Several buffers, all cached or all by the ring.
int read_many(union sysunion* m, fdentry* e, const Transfer& t, uint64_t total) {
  long r = -EAGAIN;
  if (try_cache(e)) {
    r = try_read(t);
    note_try(e, r != -EAGAIN);
    if (r == -EOPNOTSUPP) no_nowait(e);
    // Short because of the end, or because the rest is not cached: the ring tells, and reads the
    // beginning once more.
    if (r != -EAGAIN && r != -EOPNOTSUPP && (r <= 0 || static_cast<uint64_t>(r) == total)) {
      return sysport_result(m, r);
    }
  }
  r = sched_alone() ? -EOPNOTSUPP : by_ring(t, false);
  return r == -EOPNOTSUPP ? blocking_trap(m, true) : sysport_result(m, r);
}

int read_vector(union sysunion* m, uint64_t off, uint32_t flags) {
  const uint64_t* a = m->raw.arg;
  auto fd = static_cast<int>(a[0]);
  fdentry* e = disk_file(fd);
  IovCopy iov;
  if (e == nullptr || static_cast<int64_t>(off) < 0 || (flags & (kNoWait | kHiPri)) != 0 ||
      !iov.load(a[1], a[2]) || !some(iov.total())) {
    return blocking_trap(m);
  }
  if (iov.count() == 1) return read_one(m, e, {fd, 0, 0, off, flags}, *iov.first());
  Transfer t{fd, reinterpret_cast<uintptr_t>(iov.first()), iov.count(), off, flags};
  return read_many(m, e, t, iov.total());
}

// Whether a write is the ring's, given an engine that has one: it waits for the disk, and others want the cpu.
bool waits_beside_others(const fdentry* e, bool synced) {
  return synced ? sched_spent_count() != 0 : (e->flags & FDF_DIRECT) != 0 && !sched_alone();
}

int write_at(union sysunion* m, const Transfer& t, uint64_t bytes, bool synced) {
  bool ring = some(bytes) && engine_completes() && unlimited();
  long r = ring ? by_ring(t, true, synced) : -EOPNOTSUPP;
  return r == -EOPNOTSUPP ? blocking_trap(m, synced) : sysport_result(m, r);
}

int write_vector(union sysunion* m, uint64_t off, uint32_t flags) {
  const uint64_t* a = m->raw.arg;
  auto fd = static_cast<int>(a[0]);
  fdentry* e = disk_file(fd);
  constexpr uint32_t kSynced = 2 | 4;  // RWF_DSYNC, RWF_SYNC
  if (e == nullptr || static_cast<int64_t>(off) < 0) return blocking_trap(m);
  bool synced = (e->flags & FDF_SYNC) != 0 || (flags & kSynced) != 0;
  IovCopy iov;
  if (!waits_beside_others(e, synced) || (flags & (kNoWait | kHiPri)) != 0 || !iov.load(a[1], a[2])) {
    return blocking_trap(m, synced);
  }
  return write_at(m, {fd, reinterpret_cast<uintptr_t>(iov.first()), iov.count(), off, flags}, iov.total(), synced);
}

int sync_file(union sysunion* m, uint32_t flags) {
  auto fd = static_cast<int>(m->raw.arg[0]);
  if (sched_spent_count() == 0 || disk_file(fd) == nullptr) return sysport_trap_whole_sleep(m);
  iorequest io{};
  io.op = IORING_OP_FSYNC;
  io.fd = fd;
  io.op_flags = flags;
  int64_t r = as_call(&io);
  return r == -EOPNOTSUPP ? sysport_trap_whole_sleep(m) : sysport_result(m, r);
}

}  // namespace

int sys_pread64(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto fd = static_cast<int>(a[0]);
  fdentry* e = disk_file(fd);
  uint64_t off = offset_arg(a, 3);
  if (e == nullptr || !some(a[2]) || static_cast<int64_t>(off) < 0) {
    return blocking_trap(m);
  }
  return read_one(m, e, {fd, 0, 0, off, 0}, {static_cast<uintptr_t>(a[1]), static_cast<size_t>(a[2])});
}

int sys_pwrite64(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto fd = static_cast<int>(a[0]);
  fdentry* e = disk_file(fd);
  if (e == nullptr) return blocking_trap(m);
  bool synced = (e->flags & FDF_SYNC) != 0;
  uint64_t off = offset_arg(a, 3);
  if (!waits_beside_others(e, synced) || static_cast<int64_t>(off) < 0) return blocking_trap(m, synced);
  kiovec buffer{static_cast<uintptr_t>(a[1]), static_cast<size_t>(a[2])};
  return write_at(m, {fd, reinterpret_cast<uintptr_t>(&buffer), 1, off, 0}, a[2], synced);
}

int sys_preadv(union sysunion* m) { return read_vector(m, offset_arg(m->raw.arg, 3), 0); }
int sys_pwritev(union sysunion* m) { return write_vector(m, offset_arg(m->raw.arg, 3), 0); }

// Position -1 is the file's own: negative, so a trap.
int sys_preadv2(union sysunion* m) {
  return read_vector(m, offset_arg(m->raw.arg, 3), static_cast<uint32_t>(m->raw.arg[5]));
}
int sys_pwritev2(union sysunion* m) {
  return write_vector(m, offset_arg(m->raw.arg, 3), static_cast<uint32_t>(m->raw.arg[5]));
}

int sys_fsync(union sysunion* m) { return sync_file(m, 0); }
int sys_fdatasync(union sysunion* m) { return sync_file(m, IORING_FSYNC_DATASYNC); }

}  // namespace cr
