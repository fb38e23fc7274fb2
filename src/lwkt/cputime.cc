#include "cputime.h"

#include <sys/syscall.h>
#include <time.h>

#include "../../arch/rawcall.h"
#include "clock.h"
#include "sched.h"

namespace cr {

namespace {

inline constexpr uint64_t kRare = 20'000;        // ns of processor time, or roughly so many by the TSC
inline constexpr uint64_t kRareTicks = 3 * kRare;
inline constexpr uint32_t kRun = 64;             // switches after which a cpu that counts decides anew
inline constexpr uint32_t kPickEvery = 61;       // sched_pick's looks, otherwise
inline constexpr uint32_t kMostBackoff = 1024;   // of those looks

bool wanted;

uint64_t read_clock(long id) {
  timespec ts{};
  raw2(SYS_clock_gettime, id, reinterpret_cast<long>(&ts));
  return static_cast<uint64_t>(ts.tv_sec) * kSecond + static_cast<uint64_t>(ts.tv_nsec);
}

uint64_t own_clock() { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

// The clock of another kernel thread of the process (CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED).
uint64_t clock_of(int32_t ktid) { return read_clock(~static_cast<long>(ktid) * 8 | 6); }

bool has_clock(const thread* td) { return (td->td_flags & (TDF_NPTL | TDF_MAIN)) != 0; }

uint64_t charge(globaldata* gd) {
  uint64_t mark = __atomic_load_n(&gd->gd_cpumark, __ATOMIC_ACQUIRE);  // first: count_all may set it later
  uint64_t now = own_clock();
  gd->gd_cpumark = now;
  if (mark == kMarkUnknown) return 0;
  thread* td = gd->gd_curthread;
  if (has_clock(td)) {
    __atomic_store_n(&td->td_cputime, td->td_cputime + (now - mark), __ATOMIC_RELAXED);
  }
  return now - mark;
}

void begin(cpu* c) {
  c->c_exact = 1;
  c->c_counted = 0;
  c->c_used = 0;
}

// What runs on other cpus may not switch for long: their marks are set from here.
void count_all(globaldata* self) {
  if (self->gd_cpu != nullptr && self->gd_cpu->c_exact == 0) {
    begin(self->gd_cpu);
    charge(self);
  }
  for (int i = 0; i < ncpus; i++) {
    __atomic_store_n(&cpus[i]->c_look, 0ul, __ATOMIC_RELAXED);
    globaldata* gd = __atomic_load_n(&cpus[i]->c_gd, __ATOMIC_ACQUIRE);
    if (gd == nullptr || gd == self) continue;
    uint64_t unknown = kMarkUnknown, now = clock_of(gd->gd_ktid);
    if (now == 0) continue;
    __atomic_compare_exchange_n(&gd->gd_cpumark, &unknown, now, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
  }
}

// A cpu that does not count: is it time to begin?
bool switches_became_rare(cpu* c) {
  uint64_t now = __builtin_ia32_rdtsc();
  bool rare = now - c->c_tsc >= kPickEvery * kRareTicks;
  c->c_tsc = now;
  if (!rare || c->c_backoff == 0) return rare;
  c->c_backoff--;
  return false;
}

}  // namespace

bool cputime_note(globaldata* gd, cpu* c) {
  bool all = cputime_wanted();
  if (c->c_exact == 0) {
    if (!all && !switches_became_rare(c)) return false;
    begin(c);
    charge(gd);
    return true;
  }
  c->c_used += charge(gd);
  if (all || ++c->c_counted < kRun) return true;
  bool often = c->c_used < kRun * kRare;
  c->c_counted = 0;
  c->c_used = 0;
  if (!often) {
    c->c_backoffnext = 1;
    return true;
  }
  c->c_exact = 0;
  c->c_tsc = __builtin_ia32_rdtsc();
  c->c_backoff = c->c_backoffnext;
  c->c_backoffnext = c->c_backoffnext < kMostBackoff / 2 ? c->c_backoffnext * 2 + 1 : kMostBackoff;
  gd->gd_cpumark = kMarkUnknown;
  return false;
}

// What runs on gd may go on for long before it picks, and somebody may look at its time meanwhile.
void cputime_hold(globaldata* gd, cpu* c) {
  if (c->c_exact == 0) {
    // In this order: either count_all sees the cpu's holder, or its wish is seen here.
    __atomic_store_n(&gd->gd_cpumark, kMarkUnknown, __ATOMIC_SEQ_CST);
    if (!cputime_wanted()) return;
    begin(c);
  }
  if (gd->gd_cpumark != kMarkUnknown) return;
  uint64_t now = gd == mygd() ? own_clock() : clock_of(gd->gd_ktid);
  if (now != 0) gd->gd_cpumark = now;
}

bool cputime_wanted() { return __atomic_load_n(&wanted, __ATOMIC_SEQ_CST); }

void cputime_leave(globaldata* gd) {
  if (gd->gd_cpumark != kMarkUnknown) charge(gd);
}

uint64_t cputime_of(const thread* td) {
  globaldata* self = mygd();
  if (!__atomic_exchange_n(&wanted, true, __ATOMIC_SEQ_CST)) count_all(self);
  if (td == self->gd_curthread) {
    charge(self);
    return td->td_cputime;
  }
  // It may leave its rfork meanwhile: then the sum is looked at once more.
  for (;;) {
    uint64_t used = __atomic_load_n(&td->td_cputime, __ATOMIC_ACQUIRE);
    const globaldata* gd = __atomic_load_n(&td->td_gd, __ATOMIC_ACQUIRE);
    if (gd == nullptr || __atomic_load_n(&gd->gd_curthread, __ATOMIC_ACQUIRE) != td) return used;
    uint64_t mark = __atomic_load_n(&gd->gd_cpumark, __ATOMIC_ACQUIRE);
    uint64_t now = mark == kMarkUnknown ? 0 : clock_of(gd->gd_ktid);
    if (__atomic_load_n(&td->td_cputime, __ATOMIC_ACQUIRE) == used &&
        __atomic_load_n(&gd->gd_curthread, __ATOMIC_ACQUIRE) == td &&
        __atomic_load_n(&gd->gd_cpumark, __ATOMIC_ACQUIRE) == mark) {
      return now > mark && mark != kMarkUnknown ? used + (now - mark) : used;
    }
  }
}

void cputime_atfork_child(globaldata* gd, thread* td) {
  wanted = false;
  gd->gd_cpumark = 0;  // the clock of a new kernel thread begins at 0
  td->td_cputime = 0;
}

}  // namespace cr
