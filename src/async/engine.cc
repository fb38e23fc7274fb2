// Choosing and opening the engine, and keeping its descriptors out of the program's way.

#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/large.h"
#include "../lwkt/rfork.h"
#include "../lwkt/sched.h"
#include "../lwkt/spinlock.h"
#include "fdtable.h"

namespace cr {

namespace {

inline constexpr int kHiddenFrom = 1000;
inline constexpr uint32_t kMostHidden = 512;  // a ring for each cpu, and then some

// What `auto` tries, best first.
const Engine* const kAuto[] = {&engine_uring, &engine_epoll};

const Engine* wished;  // null: auto
uint32_t opened;       // 1: tried; the answer stands in `engine`
uint32_t retired;
SpinLock lock;

CR_LARGE int* hidden[kMostHidden];
uint32_t nhidden;

bool same(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) a++, b++;
  return *a == *b;
}

void mark(int fd, uint32_t flags) {
  fdentry* e = fd_entry(fd);
  if (e == nullptr) return;
  Guard g(e->lock);
  e->flags = flags;
  if (static_cast<uint32_t>(fd) > fd_high) fd_high = static_cast<uint32_t>(fd);
}

// Whoever wakes from the engine's hooks before it is open finds these.
bool no_sleep(cpu*, uint32_t, uint64_t) { return false; }
bool no_kick(cpu*) { return false; }
bool no_events() { return false; }
uint32_t no_harvest(cpu*) { return 0; }
void no_deliver(cpu*) {}
int no_open() { return 0; }
void no_atfork() {}

}  // namespace

const Engine engine_none = {"none",  no_open,    no_atfork, nullptr,    nullptr, nullptr,  nullptr,
                            no_harvest, no_sleep, no_deliver, no_kick, no_events, no_events};
const Engine* engine = &engine_none;

bool engine_choose(const char* wish) {
  if (wish == nullptr || *wish == '\0' || same(wish, "auto")) {
    wished = nullptr;
    return true;
  }
  if (same(wish, engine_none.name)) {
    wished = &engine_none;
    return true;
  }
  for (const Engine* e : kAuto) {
    if (!same(wish, e->name)) continue;
    wished = e;
    return true;
  }
  return false;
}

void engine_retire() {
  constexpr uint64_t kMost = 10'000'000'000;  // ns, for a disk that doesn't answer
  __atomic_store_n(&retired, 1u, __ATOMIC_SEQ_CST);
  lock.lock();  // who opens it is done with that
  lock.unlock();
  fd_wake_everybody();
  io_give_up();
  uint64_t deadline = clock_monotonic() + kMost;
  while (engine_in_use() && clock_monotonic() < deadline) {
    sched_harvest();
    sched_yield_cpu();
  }
  monitor_leave_lookout();
  // Who sleeps in it would be woken by a write.
  for (int i = 0; i < ncpus; i++) {
    if (cpus[i] != nullptr) engine->kick(cpus[i]);
  }
  while (__atomic_load_n(&sched_poller, __ATOMIC_SEQ_CST) != nullptr && clock_monotonic() < deadline) sched_yield_cpu();
}
void engine_unretire() { store_release(&retired, 0u); }
bool engine_retired() { return load_acquire(&retired) != 0; }
bool engine_in_use() { return !engine_retired() || __atomic_load_n(&sched_external, __ATOMIC_SEQ_CST) != 0; }

bool engine_open() {
  if (__builtin_expect(engine_retired(), 0)) return false;
  if (__builtin_expect(load_acquire(&opened) != 0, 1)) return engine != &engine_none;
  Guard g(lock);
  if (engine_retired()) return false;
  if (opened != 0) return engine != &engine_none;
  // From the one that was asked for on, down to what this kernel or container allows.
  bool reached = wished == nullptr;
  for (const Engine* e : kAuto) {
    reached = reached || e == wished;
    if (!reached || e->open() != 0) continue;
    store_release(&engine, e);
    break;
  }
  store_release(&opened, 1u);
  return engine != &engine_none;
}

void engine_threads_start() {
  if (wished == &engine_none || engine_retired()) return;
  long fd = raw2(SYS_eventfd2, 0, O_CLOEXEC);
  if (raw_failed(fd)) return;
  constexpr int kOthers = 10;  // epoll and the lookout, what wakes them, the beats, the call in flight of a duplicate
  long high = raw3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kHiddenFrom + kOthers + ncpus);
  if (!raw_failed(high)) raw1(SYS_close, high);
  raw1(SYS_close, fd);
}

void engine_lock() { lock.lock(); }
void engine_unlock() { lock.unlock(); }

void engine_atfork_child() {
  lock = SpinLock{};
  engine->atfork_child();
  nhidden = 0;
  engine = &engine_none;
  opened = 0;
  sched_external = 0;
  io_atfork_child();
}

long engine_dup_high(int fd) {
  long r = raw3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kHiddenFrom);
  if (!raw_failed(r)) return r;
  rlimit64 limit{};
  if (raw_failed(raw4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, reinterpret_cast<long>(&limit)))) return r;
  uint64_t from = limit.rlim_cur < kHiddenFrom ? limit.rlim_cur : kHiddenFrom;
  constexpr uint64_t kRoom = 8;
  return from > kRoom ? raw3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, static_cast<long>(from - kRoom)) : r;
}

void engine_move_fd(int fd) {
  Guard g(lock);
  for (uint32_t i = 0; i < nhidden; i++) {
    int* h = hidden[i];
    if (*h != fd) continue;
    // The old number is closed by the dup2 itself.
    long r = raw3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, fd + 1);
    if (raw_failed(r)) r = engine_dup_high(fd);
    if (raw_failed(r)) return;
    __atomic_store_n(h, static_cast<int>(r), __ATOMIC_SEQ_CST);
    mark(static_cast<int>(r), FDF_HIDDEN);
    mark(fd, 0);
    return;
  }
}

void engine_hide_fd(int* fd) {
  long r = engine_dup_high(*fd);
  if (!raw_failed(r)) {
    raw1(SYS_close, *fd);
    __atomic_store_n(fd, static_cast<int>(r), __ATOMIC_SEQ_CST);
  }
  uint32_t i = 0;
  while (i < nhidden && hidden[i] != fd) i++;
  if (i == nhidden && i < kMostHidden) hidden[nhidden++] = fd;
  mark(*fd, FDF_HIDDEN);
}

}  // namespace cr
