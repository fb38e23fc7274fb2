#include "sched_double.h"

#include <asm/prctl.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <vector>

#include "../../../src/lwkt/assert.h"
#include "../../../src/lwkt/ipiq.h"
#include "../../../src/lwkt/spinlock.h"
#include "../../../src/lwkt/token.h"

namespace cr {

bool smp = true;
cpu* cpus[kMaxCpus];
int ncpus = kMaxCpus;
LiveCount sched_live = {1};

void panic(const char* what, const char* file, int line) {
  if (getenv("LWKT_TEST_VERBOSE") != nullptr) dprintf(2, "%s:%d: %s\n", file, line, what);
  raise(SIGTRAP);
  _exit(1);
}

void spin_yield(uint32_t) { ::sched_yield(); }

void spin_contended(uint32_t* word) {
  while (__atomic_exchange_n(word, 1u, __ATOMIC_ACQUIRE) != 0) spin_yield(0);
}

namespace {

// td_slot is the word an LWKT sleeps on: 1 once its wake is complete.
long futex(uint32_t* word, int op, uint32_t val) {
  return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, val, nullptr, nullptr, 0);
}

std::mutex free_cpu_mutex;
std::vector<int> free_cpus;

struct Area {
  globaldata gd;
  cpu* held;
};

}  // namespace

// Sometimes late: what a waker does after it let go of its lock must still be right. And an
// LWKT that has been joined must not be woken.
bool lwkt_wake(thread* td, int64_t why) {
  if (__builtin_ia32_rdtsc() / 64 % 32 == 0) usleep(30);
  if (load_acquire(&td->td_state) == TDS_DEAD) panic("wake of a dead LWKT", __FILE__, __LINE__);
  if (!atomic_cas(&td->td_state, uint32_t{TDS_BLOCKED}, uint32_t{TDS_RUNNABLE})) return false;
  td->td_wakeval = why;
  store_release(&td->td_slot, 1u);
  futex(&td->td_slot, FUTEX_WAKE, 1);
  return true;
}

int64_t sched_sleep() {
  thread* td = curthread();
  if (td->td_toks != nullptr) token_switch_out(td);
  while (load_acquire(&td->td_slot) == 0) futex(&td->td_slot, FUTEX_WAIT, 0);
  td->td_slot = 0;
  int64_t why = td->td_wakeval;
  while (td->td_toks != nullptr && !token_switch_in(td)) ::sched_yield();
  store_release(&td->td_state, uint32_t{TDS_RUNNING});
  return why;
}

int64_t sched_sleep_interruptible() {
  thread* td = curthread();
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if ((load_acquire(&td->td_ast) & AST_SIGNAL) != 0) lwkt_wake(td, -EINTR);
  return sched_sleep();
}

// The wait itself looks at the clock: like a timer, it races with whoever wakes.
int64_t sched_sleep_until(bool interruptible, uint64_t deadline) {
  thread* td = curthread();
  auto now = [] {
    timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
  };
  while (load_acquire(&td->td_slot) == 0 && now() < deadline) {
    if (interruptible && (load_acquire(&td->td_ast) & AST_SIGNAL) != 0) break;
    usleep(20);
  }
  if (load_acquire(&td->td_slot) == 0 && now() >= deadline) lwkt_wake(td, -ETIMEDOUT);
  return interruptible ? sched_sleep_interruptible() : sched_sleep();
}

// Nobody else is on this cpu, so nothing is switched and no token dropped.
bool sched_yield_cpu() {
  ::sched_yield();
  return false;
}

void ipiq_kick(cpu*) {}

}  // namespace cr

using namespace cr;

void double_adopt(int cpuid) {
  auto* a = static_cast<Area*>(calloc(1, sizeof(Area)));
  auto* td = static_cast<thread*>(calloc(1, sizeof(thread)));
  if (cpus[cpuid] == nullptr) {
    cpus[cpuid] = static_cast<cpu*>(aligned_alloc(kCacheLine, sizeof(cpu)));
    memset(static_cast<void*>(cpus[cpuid]), 0, sizeof(cpu));
  }
  a->held = cpus[cpuid];
  a->held->c_id = cpuid;
  a->gd.gd_self = &a->gd;
  a->gd.gd_curthread = td;
  a->gd.gd_cpu = a->held;
  lwkt_initport_thread(&td->td_msgport, td);
  syscall(SYS_arch_prctl, ARCH_SET_GS, a);
}

void double_drop_cpu(bool drop) {
  globaldata* gd = mygd();
  gd->gd_cpu = drop ? nullptr : reinterpret_cast<Area*>(gd)->held;
}

namespace {

struct Start {
  void (*fn)(void*);
  void* arg;
  int cpuid;
  pthread_t pt;
  std::atomic<thread*> td;
};

void* run(void* p) {
  auto* s = static_cast<Start*>(p);
  double_adopt(s->cpuid);
  curthread()->td_arg = s;
  s->td = curthread();
  s->fn(s->arg);
  return nullptr;
}

}  // namespace

extern "C" {

int cr_init(void) {
  static bool done = false;
  if (!done) {
    double_adopt(0);
    for (int i = kMaxCpus - 1; i > 0; i--) free_cpus.push_back(i);
    done = true;
  }
  return 0;
}

int lwkt_ncpus(void) { return 2; }
int lwkt_setcpu_self(int) { return 0; }  // every LWKT has a cpu to itself
thread_t lwkt_curthread(void) { return curthread(); }
lwkt_port_t lwkt_threadport(thread_t td) { return &td->td_msgport; }

// As if another LWKT had run.
void lwkt_yield(void) {
  thread* td = curthread();
  if (td->td_toks != nullptr) token_switch_out(td);
  ::sched_yield();
  while (td->td_toks != nullptr && !token_switch_in(td)) ::sched_yield();
}

int lwkt_create(void (*fn)(void*), void* arg, thread_t* tdp, size_t, int, const char*) {
  auto* s = new Start{fn, arg, 0, {}, nullptr};
  {
    std::lock_guard g(free_cpu_mutex);
    s->cpuid = free_cpus.back();
    free_cpus.pop_back();
  }
  pthread_create(&s->pt, nullptr, run, s);
  while (s->td.load() == nullptr) ::sched_yield();
  *tdp = s->td;
  return 0;
}

// The area and the LWKT leak: a late toucher would be a use after free nobody sees.
void lwkt_join(thread_t td) {
  auto* s = static_cast<Start*>(td->td_arg);
  pthread_join(s->pt, nullptr);
  store_release(&td->td_state, uint32_t{TDS_DEAD});
  std::lock_guard g(free_cpu_mutex);
  free_cpus.push_back(s->cpuid);
  delete s;
}

}  // extern "C"
