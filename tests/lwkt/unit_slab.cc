// The slab against a model: random alloc and free, alignment, no overlap, remote frees.
#include <catch2/catch.hpp>

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "../../src/lwkt/slab.h"
#include "double/sched_double.h"

namespace {

struct Block {
  unsigned char* p;
  size_t size;
  unsigned char fill;
};

bool intact(const Block& b) {
  for (size_t i = 0; i < b.size; i++) {
    if (b.p[i] != b.fill) return false;
  }
  return true;
}

// Allocates and frees at random; every block keeps its bytes, no two share any.
void churn(unsigned seed, size_t max_size, int steps, bool* ok) {
  std::mt19937 rng(seed);
  std::vector<Block> live;
  std::map<uintptr_t, uintptr_t> ranges;
  *ok = true;
  for (int i = 0; i < steps && *ok; i++) {
    if (live.empty() || (rng() % 100 < 55 && live.size() < 4000)) {
      size_t size = rng() % 4 == 0 ? rng() % max_size : rng() % 300;
      Block b{static_cast<unsigned char*>(cr::slab_alloc(size)), size,
              static_cast<unsigned char>(rng())};
      auto addr = reinterpret_cast<uintptr_t>(b.p);
      *ok &= b.p != nullptr && addr % 16 == 0;
      if (size != 0 && size % 64 == 0) *ok &= addr % 64 == 0;
      auto next = ranges.lower_bound(addr);
      *ok &= next == ranges.end() || addr + size <= next->first;
      *ok &= next == ranges.begin() || std::prev(next)->second <= addr;
      ranges[addr] = addr + (size != 0 ? size : 1);
      memset(b.p, b.fill, size);
      live.push_back(b);
    } else {
      size_t k = rng() % live.size();
      *ok &= intact(live[k]);
      ranges.erase(reinterpret_cast<uintptr_t>(live[k].p));
      cr::slab_free(live[k].p, live[k].size);
      live[k] = live.back();
      live.pop_back();
    }
  }
  for (const Block& b : live) {
    *ok &= intact(b);
    cr::slab_free(b.p, b.size);
  }
}

size_t resident_kb() {
  FILE* f = fopen("/proc/self/statm", "r");
  size_t total = 0, res = 0;
  REQUIRE(fscanf(f, "%zu %zu", &total, &res) == 2);
  fclose(f);
  return res * 4;
}

}  // namespace

TEST_CASE("slab: random alloc and free keep every block whole") {
  for (unsigned seed = 1; seed <= 5; seed++) {
    bool ok = false;
    churn(seed, 20000, 40000, &ok);
    REQUIRE(ok);
  }
}

TEST_CASE("slab: every size up to the page path is usable to its last byte") {
  std::vector<Block> live;
  for (size_t size = 0; size <= 8300; size += size < 600 ? 1 : 37) {
    Block b{static_cast<unsigned char*>(cr::slab_alloc(size)), size,
            static_cast<unsigned char>(size * 7)};
    REQUIRE(b.p != nullptr);
    memset(b.p, b.fill, size);
    live.push_back(b);
  }
  for (const Block& b : live) {
    REQUIRE(intact(b));
    cr::slab_free(b.p, b.size);
  }
}

TEST_CASE("slab: several cpus at once") {
  constexpr int kThreads = 4;
  bool ok[kThreads];
  std::vector<std::thread> pool;
  for (int i = 0; i < kThreads; i++) {
    pool.emplace_back([i, &ok] {
      double_adopt(200 + i);
      churn(100 + i, 9000, 30000, &ok[i]);
    });
  }
  for (auto& t : pool) t.join();
  for (bool b : ok) CHECK(b);
}

TEST_CASE("slab: what another cpu frees comes back to its owner") {
  constexpr size_t kSize = 1000;
  constexpr int kBatch = 5000;
  size_t after_first = 0;
  for (int round = 0; round < 20; round++) {
    std::vector<void*> blocks(kBatch);
    for (void*& p : blocks) {
      p = cr::slab_alloc(kSize);
      memset(p, round, kSize);
    }
    std::thread([&] {
      double_adopt(210);
      for (void* p : blocks) cr::slab_free(p, kSize);
    }).join();
    if (round == 0) after_first = resident_kb();
  }
  CHECK(resident_kb() < after_first + 2000);
}

namespace {

void drain(std::atomic<Block*>& slot, bool* ok) {
  Block* b = slot.exchange(nullptr);
  if (b == nullptr) return;
  *ok &= intact(*b);
  cr::slab_free(b->p, b->size);
  cr::slab_free(b, sizeof(Block));
}

}  // namespace

TEST_CASE("slab: blocks are passed round between cpus and freed by whoever has them last") {
  constexpr int kThreads = 3;
  constexpr int kPasses = 100000;
  static std::atomic<Block*> slot[2048];
  std::atomic<int> there{0};
  bool ok[kThreads];
  auto run = [&](int i) {
    double_adopt(212 + i);
    ok[i] = true;
    std::mt19937 rng(i);
    ++there;
    while (there != kThreads) std::this_thread::yield();
    for (int n = 0; n < kPasses; n++) {
      if (i == kThreads - 1) {  // one only frees: everything it has is another cpu's
        drain(slot[n % 2048], &ok[i]);
        continue;
      }
      size_t size = 16 + rng() % (n % 10 == 0 ? 4000 : 400);
      auto* b = static_cast<Block*>(cr::slab_alloc(sizeof(Block)));
      *b = Block{static_cast<unsigned char*>(cr::slab_alloc(size)), size,
                 static_cast<unsigned char>(rng())};
      memset(b->p, b->fill, size);
      auto& s = slot[rng() % 2048];
      drain(s, &ok[i]);
      Block* none = nullptr;
      if (!s.compare_exchange_strong(none, b)) {
        cr::slab_free(b->p, b->size);
        cr::slab_free(b, sizeof(Block));
      }
    }
  };
  std::vector<std::thread> pool;
  for (int i = 0; i < kThreads; i++) pool.emplace_back(run, i);
  for (auto& t : pool) t.join();
  for (bool b : ok) CHECK(b);
  bool rest = true;
  for (auto& s : slot) drain(s, &rest);
  CHECK(rest);
}

TEST_CASE("slab: an rfork without a cpu allocates and frees") {
  void* mine = cr::slab_alloc(100);
  double_drop_cpu(true);
  bool ok = false;
  churn(7, 9000, 20000, &ok);
  void* theirs = cr::slab_alloc(100);
  cr::slab_free(mine, 100);
  double_drop_cpu(false);
  CHECK(ok);
  REQUIRE(theirs != nullptr);
  cr::slab_free(theirs, 100);
}

TEST_CASE("slab: several rforks without a cpu at once") {
  bool ok[3];
  std::vector<std::thread> pool;
  for (int i = 0; i < 3; i++) {
    pool.emplace_back([i, &ok] {
      double_adopt(220 + i);
      double_drop_cpu(true);
      churn(300 + i, 9000, 20000, &ok[i]);
    });
  }
  for (auto& t : pool) t.join();
  for (bool b : ok) CHECK(b);
}

TEST_CASE("slab: a hundred thousand threads' structs waste less than 5%") {
  constexpr size_t kCount = 100000;
  std::vector<void*> v(kCount);
  for (void*& p : v) p = nullptr;
  size_t before = resident_kb();
  for (void*& p : v) {
    p = cr::slab_alloc(sizeof(thread));
    REQUIRE(p != nullptr);
    memset(p, 1, sizeof(thread));
  }
  double used = static_cast<double>(resident_kb() - before) * 1024;
  double need = static_cast<double>(kCount * sizeof(thread));
  INFO("sizeof(thread) " << sizeof(thread) << ", per thread " << used / kCount);
  CHECK(used < need * 1.05);
  for (void* p : v) cr::slab_free(p, sizeof(thread));
  // Beyond the warm zones the memory is the kernel's again (a linked page a zone stays).
  CHECK(resident_kb() < before + 10000 + kCount * sizeof(thread) / 1024 / 16);
}

TEST_CASE("slab: a fork child goes on, whatever other cpus were doing") {
  std::atomic<bool> stop{false};
  std::vector<std::thread> pool;
  for (int i = 0; i < 2; i++) {
    pool.emplace_back([i, &stop] {
      double_adopt(230 + i);
      if (i == 1) double_drop_cpu(true);
      std::mt19937 rng(i);
      while (!stop) {
        void* p[64];
        size_t size = 16 + rng() % 8000;
        for (void*& q : p) q = cr::slab_alloc(size);
        for (void* q : p) cr::slab_free(q, size);
      }
    });
  }
  for (int i = 0; i < 50; i++) {
    void* from_parent = cr::slab_alloc(128);
    cr::slab_lock();
    pid_t pid = fork();
    cr::slab_unlock();
    if (pid == 0) {
      alarm(20);
      cr::slab_atfork_child();
      bool ok = true;
      cr::slab_free(from_parent, 128);
      churn(i, 9000, 3000, &ok);
      double_drop_cpu(true);
      bool ok2 = true;
      churn(i, 9000, 3000, &ok2);
      _exit(ok && ok2 ? 0 : 1);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    REQUIRE(status == 0);
    cr::slab_free(from_parent, 128);
  }
  stop = true;
  for (auto& t : pool) t.join();
}
