// IPI rings between two kernel threads that act as two cpus.
#include <catch2/catch.hpp>

#include <atomic>
#include <sched.h>
#include <thread>
#include <vector>

#include "../../src/lwkt/ipiq.h"
#include "double/sched_double.h"

using namespace cr;

namespace {

constexpr int kA = 240;
constexpr int kB = 241;
constexpr int kC = 242;

struct Receiver {
  uint64_t next = 0;
  bool in_order = true;
  std::atomic<uint64_t> count{0};
};

void receive(void* arg1, uint64_t arg2) {
  auto* r = static_cast<Receiver*>(arg1);
  r->in_order &= arg2 == r->next;
  r->next = arg2 + 1;
  r->count++;
}

struct Echo {
  cpu* back;
  Receiver* to;
};

void echo(void* arg1, uint64_t arg2) {
  auto* e = static_cast<Echo*>(arg1);
  lwkt_send_ipiq(e->back, receive, e->to, arg2);
}

template <typename Pred>
void serve_until(Pred done) {
  while (!done()) {
    if (load_acquire(&mycpu()->c_ipipending) != 0) {
      process_ipiq();
    } else {
      sched_yield();
    }
  }
}

void meet(std::atomic<int>* n, int all) {
  ++*n;
  while (*n < all) sched_yield();
}

}  // namespace

TEST_CASE("ipiq: to oneself it is a call") {
  Receiver r;
  lwkt_send_ipiq(mycpu(), receive, &r, 0);
  CHECK(r.count == 1);
}

TEST_CASE("ipiq: both ways at once, in order, nothing lost, full rings included") {
  constexpr uint64_t kCount = 200000;
  Receiver ra, rb;
  std::atomic<int> ready{0};
  auto side = [&](int self, int other, Receiver* mine, Receiver* theirs) {
    double_adopt(self);
    meet(&ready, 2);
    for (uint64_t i = 0; i < kCount; i++) lwkt_send_ipiq(cpus[other], receive, theirs, i);
    serve_until([&] { return mine->count == kCount && theirs->count == kCount; });
  };
  std::thread a(side, kA, kB, &ra, &rb), b(side, kB, kA, &rb, &ra);
  a.join();
  b.join();
  CHECK(ra.in_order);
  CHECK(rb.in_order);
}

TEST_CASE("ipiq: a function that sends in turn gets through while everybody sends") {
  constexpr uint64_t kCount = 50000;
  std::atomic<int> ready{0}, finished{0};
  Receiver at[3];
  static Echo echoes[3];
  const int ids[3] = {kA, kB, kC};
  auto side = [&](int i) {
    double_adopt(ids[i]);
    meet(&ready, 3);
    // What the next cpu is sent, it sends on to the one after it.
    int next = (i + 1) % 3, after = (i + 2) % 3;
    echoes[i] = Echo{cpus[ids[after]], &at[after]};
    for (uint64_t n = 0; n < kCount; n++) lwkt_send_ipiq(cpus[ids[next]], echo, &echoes[i], n);
    bool counted = false;
    serve_until([&] {
      if (!counted && at[i].count == kCount) {
        counted = true;
        finished++;
      }
      return finished == 3;
    });
  };
  std::vector<std::thread> pool;
  for (int i = 0; i < 3; i++) pool.emplace_back(side, i);
  for (auto& t : pool) t.join();
  for (Receiver& r : at) CHECK(r.count == kCount);
}

TEST_CASE("ipiq: a passive send does not kick, a kick after it is not swallowed") {
  Receiver r;
  std::atomic<int> phase{0};
  std::thread target([&] {
    double_adopt(kB);
    process_ipiq();  // what an earlier case sent is long served, but its flag may have come after that
    phase = 1;
    while (phase != 2) sched_yield();
    process_ipiq();
    phase = 3;
  });
  while (phase != 1) sched_yield();
  lwkt_send_ipiq_passive(cpus[kB], receive, &r, 0);
  CHECK(cpus[kB]->c_ipipending == IPI_QUEUED);
  lwkt_send_ipiq(cpus[kB], receive, &r, 1);
  CHECK(cpus[kB]->c_ipipending == (IPI_QUEUED | IPI_KICKED));
  phase = 2;
  target.join();
  CHECK(r.count == 2);
  CHECK(r.in_order);
  CHECK(cpus[kB]->c_ipipending == 0);
}

TEST_CASE("ipiq: a fork child starts with empty inboxes") {
  Receiver r;
  lwkt_send_ipiq(cpus[kB], receive, &r, 0);
  ipiq_atfork_child();
  CHECK(cpus[kB]->c_ipipending == 0);
  std::thread([&] {
    double_adopt(kB);
    cpus[kB]->c_ipipending = IPI_QUEUED;
    process_ipiq();
  }).join();
  CHECK(r.count == 0);
}
