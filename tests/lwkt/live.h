// Helpers of the tests that need real LWKTs. They use the public API, and what a signal does
// to a sleeping LWKT from src/lwkt/sched.h, so they run over the scheduler's double and over
// libcr.a alike. LWKTs have no TLS: Catch's macros belong to the main LWKT, the others leave
// their findings in plain variables.
#pragma once

#include <libcr/serialize.h>
#include <libcr/thread.h>
#include <libcr/token.h>

#include <errno.h>
#include <time.h>

#include "../../src/lwkt/sched.h"

namespace live {

// Starts an LWKT and joins it at the end of the scope, or when asked. They begin on the cpus in
// turn: left to itself the scheduler would keep those who wake each other on one.
class Lwkt {
 public:
  Lwkt(void (*fn)(void*), void* arg) : fn_(fn), arg_(arg) {
    static int turn = 0;
    cpuid_ = ++turn % lwkt_ncpus();
    error_ = lwkt_create(run, this, &td_, 0, 0, "test");
  }
  ~Lwkt() { join(); }
  Lwkt(const Lwkt&) = delete;
  Lwkt& operator=(const Lwkt&) = delete;
  void join() {
    if (td_ != nullptr && error_ == 0) lwkt_join(td_);
    td_ = nullptr;
  }
  thread_t td() const { return td_; }

 private:
  static void run(void* self) {
    auto* l = static_cast<Lwkt*>(self);
    lwkt_setcpu_self(l->cpuid_);
    l->fn_(l->arg_);
  }

  void (*fn_)(void*);
  void* arg_;
  int cpuid_;
  thread_t td_ = nullptr;
  int error_;
};

inline uint64_t now_ns() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
}

template <typename T>
T get(const T& v) {
  return __atomic_load_n(&v, __ATOMIC_ACQUIRE);
}
template <typename T>
void set(T& v, T n) {
  __atomic_store_n(&v, n, __ATOMIC_RELEASE);
}
template <typename T>
void add(T& v, T n) {
  __atomic_fetch_add(&v, n, __ATOMIC_ACQ_REL);
}

template <typename Pred>
void yield_until(Pred p) {
  while (!p()) lwkt_yield();
}

inline bool sleeping(thread_t td) { return get(td->td_state) == cr::TDS_BLOCKED; }

// What the signal code does for a signal that `td` has to see.
inline void post_signal(thread_t td) {
  __atomic_fetch_or(&td->td_ast, cr::AST_SIGNAL, __ATOMIC_SEQ_CST);
  cr::lwkt_wake(td, -EINTR);
}
inline void take_signal(thread_t td) {
  __atomic_fetch_and(&td->td_ast, ~cr::AST_SIGNAL, __ATOMIC_SEQ_CST);
}

enum Kind { kThread, kSpin, kSerialize };

// A port of any kind, with what its users must hold.
struct AnyPort {
  Kind kind;
  lwkt_port port;
  lwkt_serialize* slz;  // of a serializer port

  void init(Kind k, lwkt_serialize* s) {
    kind = k;
    slz = k == kSerialize ? s : nullptr;
    if (k == kThread) lwkt_initport_thread(&port, lwkt_curthread());
    if (k == kSpin) lwkt_initport_spin(&port);
    if (k == kSerialize) lwkt_initport_serialize(&port, s);
  }
  void enter() {
    if (slz != nullptr) lwkt_serialize_enter(slz);
  }
  void leave() {
    if (slz != nullptr) lwkt_serialize_exit(slz);
  }
};

struct Request {
  lwkt_msg msg;  // first
  AnyPort* reply;
  bool stop;
};

// Doubles every request's ms_lresult until one says stop.
struct Server {
  Kind kind;
  lwkt_serialize* slz;
  AnyPort at;
  uint32_t ready = 0;

  static void run(void* arg) {
    auto* s = static_cast<Server*>(arg);
    s->at.init(s->kind, s->slz);
    set(s->ready, 1u);
    for (bool stop = false; !stop;) {
      s->at.enter();
      auto* r = reinterpret_cast<Request*>(lwkt_waitport(&s->at.port, 0));
      s->at.leave();
      stop = r->stop;
      AnyPort* reply = r->reply;
      r->msg.u.ms_lresult *= 2;
      reply->enter();
      lwkt_replymsg(&r->msg, static_cast<int>(r->msg.u.ms_lresult % 100));
      // The originator, and a reply port on its stack, may be gone now but for a serializer,
      // which is not on the stack.
      if (get(s->reply_slz) != nullptr) lwkt_serialize_exit(get(s->reply_slz));
    }
  }
  lwkt_serialize* reply_slz = nullptr;  // what `reply->enter()` entered
};

}  // namespace live
