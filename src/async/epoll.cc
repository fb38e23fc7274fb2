// The epoll engine: readiness only.
//
// One epoll instance for the process. A descriptor is registered once in its life, edge-triggered (fdtable.h says
// when that changes); writers' edges are asked for when the first one parks (a unix socket reports room at every
// message its peer takes). One idle cpu, the poller, sleeps in epoll_pwait2 with the next timer
// as its time-out, or until a beat (beat.h); other idle cpus sleep on their futex. Nobody polls while all cpus run: they
// look at every 61st decision and, since the poller's place is free, when they go idle.
//
// kick is a write to an eventfd that is registered level-triggered, and the poller that it has woken
// reads it before it gives up its place. Edge-triggered it could be lost: a cpu that harvests without sleeping (it saw no poller a
// moment ago) would take the edge, and the poller, woken by it, would find nothing and sleep on. A
// kick that comes after its sleep has ended costs the next sleep a wake-up, or a cpu that harvests reads it.
//
// A cpu that goes idle publishes itself as the poller and then looks at c_wake once more; a
// kicker changes c_wake and then looks who polls (engine.h, 1).

#include <errno.h>
#include <linux/time_types.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>

#include "../../arch/rawcall.h"
#include "../lwkt/large.h"
#include "../lwkt/sched.h"
#include "beat.h"
#include "engine.h"
#include "epoll.h"
#include "fdtable.h"
#include "lookout.h"

namespace cr {

namespace {

inline constexpr int kBatch = 256;  // events a call: a queue holds four such
inline constexpr uint64_t kKick = ~0ull;

int epfd = -1;
int kickfd = -1;
bool no_pwait2;

// What a cpu has taken from the kernel and not handed out yet. Its holder's.
struct Taken {
  int n;
  epoll_event event[kBatch];
};
CR_LARGE Taken taken[kMaxCpus];  // in .bss: pages come as cpus poll

int epoll_open() {
  long e = raw1(SYS_epoll_create1, EPOLL_CLOEXEC);
  if (raw_failed(e)) return static_cast<int>(-e);
  epfd = static_cast<int>(e);
  long k = raw2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (raw_failed(k)) {
    raw1(SYS_close, epfd);
    epfd = -1;
    return static_cast<int>(-k);
  }
  kickfd = static_cast<int>(k);
  engine_hide_fd(&epfd);
  engine_hide_fd(&kickfd);
  epoll_event ev;
  ev.events = EPOLLIN;
  ev.data.u64 = kKick;
  raw4(SYS_epoll_ctl, epfd, EPOLL_CTL_ADD, kickfd, reinterpret_cast<long>(&ev));
  lookout_open();
  return 0;
}

// The instance is the parent's: nothing may be changed in it through our copy.
void epoll_atfork_child() {
  if (epfd >= 0) raw1(SYS_close, epfd);
  if (kickfd >= 0) raw1(SYS_close, kickfd);
  epfd = kickfd = -1;
  sched_poller = nullptr;
  lookout_atfork_child();
  beat_atfork_child();
  for (int i = 0; i < ncpus; i++) {
    if (taken[i].n != 0) taken[i].n = 0;
  }
}

void read_kick() {
  uint64_t count;
  raw3(SYS_read, kickfd, reinterpret_cast<long>(&count), sizeof count);
}

bool kicked(const Taken& t) {
  for (int i = 0; i < t.n; i++) {
    if (t.event[i].data.u64 == kKick) return true;
  }
  return false;
}

void write_kick() {
  uint64_t one = 1;
  raw3(SYS_write, kickfd, reinterpret_cast<long>(&one), sizeof one);
}

bool somebody_polls() { return __atomic_load_n(&sched_poller, __ATOMIC_SEQ_CST) != nullptr; }

// One that came too late for the poller whom it was meant for: it would end every sleep of the monitor's until the next
// poller's. Whoever polls since and was kicked is seen after the read.
void end_stale_kick() {
  if (somebody_polls()) return;
  read_kick();
  if (somebody_polls()) write_kick();
}

// Of thousands of connections nothing is in the cache, nor their pages in the TLB: what comes next is fetched
// meanwhile, some of it together (cpu_prefetch).
inline constexpr int kGroup = kPrefetchGroup;

const fdwaiter* waiter_of(const Taken& t, int i) {
  const fdentry* e = fd_entry(static_cast<uint32_t>(t.event[i].data.u64));
  return e != nullptr ? __atomic_load_n(&e->waiters, __ATOMIC_RELAXED) : nullptr;
}

void prefetch_waiters(const Taken& t, int from) {
  int n = t.n - from < kGroup ? t.n - from : kGroup;
  const fdwaiter* w[kGroup];
  for (int i = 0; i < n; i++) w[i] = waiter_of(t, from + i);
  for (int i = 0; i < n; i++) {
    if (w[i] == nullptr) continue;
    cpu_prefetch(w[i]);
    cpu_prefetch(w[i] + 1);
  }
}

// Of those whose waiters have come. With several cpus these may have gone meanwhile, and their stacks.
void prefetch_threads(const Taken& t, int from) {
  if (smp) return;
  for (int i = from; i < from + kGroup && i < t.n; i++) {
    const fdwaiter* w = waiter_of(t, i);
    if (w != nullptr) cpu_prefetch(w->td);
  }
}

void look_ahead(const Taken& t, int at) {
  if (at == 0) prefetch_waiters(t, 0);
  prefetch_waiters(t, at + kGroup);
  prefetch_threads(t, at);
}

uint32_t hand_out(Taken& t) {
  uint32_t n = 0;
  bool beat = false;
  for (int i = 0; i < t.n; i++) {
    if (i % kGroup == 0) look_ahead(t, i);
    uint64_t data = t.event[i].data.u64;
    beat = beat || data == kBeatEvent;
    if (data >= kBeatEvent) continue;
    fd_event(static_cast<int>(static_cast<uint32_t>(data)), static_cast<uint32_t>(data >> 32),
             t.event[i].events);
    n++;
  }
  t.n = 0;
  if (beat) beat_came();
  return n;
}

uint32_t epoll_harvest(cpu* c) {
  Taken& t = taken[c->c_id];
  long n = raw4(SYS_epoll_wait, epfd, reinterpret_cast<long>(t.event), kBatch, 0);
  if (n <= 0) return 0;
  t.n = static_cast<int>(n);
  if (__builtin_expect(kicked(t), 0)) end_stale_kick();
  return hand_out(t);
}

bool epoll_sleep(cpu* c, uint32_t seen, uint64_t deadline) {
  if (!bus_cas<cpu*>(&sched_poller, nullptr, c)) return false;
  Taken& t = taken[c->c_id];
  long n = 0;
  if (__atomic_load_n(&c->c_wake, __ATOMIC_SEQ_CST) == seen) {
    uint64_t until = beat_by(deadline) ? kNever : epoll_before(deadline);
    __atomic_store_n(&sched_timers_until, deadline, __ATOMIC_RELAXED);
    n = epoll_wait_until(epfd, t.event, kBatch, until);
    __atomic_store_n(&sched_timers_until, kNever, __ATOMIC_RELAXED);
    t.n = n > 0 ? static_cast<int>(n) : 0;
    // While still the poller: afterwards it may be meant for the next one. A signal may have come before it was seen.
    if (n < 0 || kicked(t)) read_kick();
  }
  __atomic_store_n(&sched_poller, nullptr, __ATOMIC_SEQ_CST);
  return n >= 0 || !engine_retired();  // then the kernel may not let us (seccomp)
}

void epoll_deliver(cpu* c) {
  Taken& t = taken[c->c_id];
  if (t.n != 0) hand_out(t);
}

bool epoll_events() {
  pollfd p{epfd, POLLIN, 0};
  timespec none{0, 0};
  return raw4(SYS_ppoll, reinterpret_cast<long>(&p), 1, reinterpret_cast<long>(&none), 0) > 0;
}

}  // namespace

int epoll_watch(int fd, uint32_t gen, uint32_t events, uint32_t had) {
  epoll_event ev;
  ev.events = events;
  ev.data.u64 = static_cast<uint32_t>(fd) | static_cast<uint64_t>(gen) << 32;
  int op = had == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  long r = raw4(SYS_epoll_ctl, epfd, op, fd, reinterpret_cast<long>(&ev));
  // A file that came back to its number without our seeing it, or one that left it.
  if (r == -EEXIST || r == -ENOENT) {
    op = r == -EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    r = raw4(SYS_epoll_ctl, epfd, op, fd, reinterpret_cast<long>(&ev));
  }
  return static_cast<int>(-r);
}

int epoll_instance() { return epfd; }

long epoll_wait_until(int instance, epoll_event* ev, int n, uint64_t deadline) {
  __kernel_timespec ts{};
  uint64_t left = 0;
  if (deadline != kNever) {
    uint64_t now = clock_monotonic();
    left = deadline > now ? deadline - now : 0;
    ts = {static_cast<int64_t>(left / kSecond), static_cast<int64_t>(left % kSecond)};
  }
  if (!no_pwait2) {
    long r = raw6(SYS_epoll_pwait2, instance, reinterpret_cast<long>(ev), n,
                  deadline == kNever ? 0 : reinterpret_cast<long>(&ts), 0, 0);
    if (r != -ENOSYS && r != -EPERM) return r;
    no_pwait2 = true;  // before Linux 5.11, or filtered: sleepers are up to a millisecond late
  }
  uint64_t ms = left > 3600 * kSecond ? 3'600'000 : (left + 999'999) / 1'000'000;
  return raw4(SYS_epoll_wait, instance, reinterpret_cast<long>(ev), n,
              deadline == kNever ? -1 : static_cast<long>(ms));
}

uint64_t epoll_before(uint64_t deadline) {
  uint64_t now = clock_monotonic();
  return deadline == kNever || deadline <= now ? deadline : deadline - (deadline - now) / 512;
}

bool epoll_is_exact() { return !no_pwait2; }

void epoll_unwatch(int fd) {
  epoll_event unused;
  raw4(SYS_epoll_ctl, epfd, EPOLL_CTL_DEL, fd, reinterpret_cast<long>(&unused));
}

bool epoll_kick(cpu* c) {
  if (__atomic_load_n(&sched_poller, __ATOMIC_SEQ_CST) != c) return false;
  write_kick();
  return true;
}

bool epoll_unattended() {
  return __atomic_load_n(&sched_external, __ATOMIC_RELAXED) != 0 &&
         __atomic_load_n(&sched_poller, __ATOMIC_RELAXED) == nullptr;
}

const Engine engine_epoll = {.name = "epoll",
                             .open = epoll_open,
                             .atfork_child = epoll_atfork_child,
                             .watch = epoll_watch,
                             .unwatch = epoll_unwatch,
                             .submit = nullptr,
                             .cancel = nullptr,
                             .harvest = epoll_harvest,
                             .sleep = epoll_sleep,
                             .deliver = epoll_deliver,
                             .kick = epoll_kick,
                             .unattended = epoll_unattended,
                             .events = epoll_events};

}  // namespace cr
