// The bare ring over real files and pipes. Skipped, with a warning, where this machine allows no
// io_uring: ring_refused_test.cc is about that.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <thread>
#include <vector>

#include "../../src/async/ring.h"

// What ring.cc expects of the runtime: several threads use the ring here.
namespace cr {
bool smp = true;
void spin_contended(uint32_t* word) {
  while (__atomic_exchange_n(word, 1u, __ATOMIC_ACQUIRE) != 0) sched_yield();
}
}  // namespace cr

namespace {

using namespace cr;

std::map<uint64_t, int32_t> results;
void keep(uint64_t user_data, int32_t res) { results[user_data] = res; }

struct OpenRing {
  Ring ring;
  bool ok;
  explicit OpenRing(uint32_t entries = 8) : ok(ring_open(ring, entries) == 0) {
    results.clear();
    if (!ok) WARN("no io_uring here: not tested");
  }
  ~OpenRing() {
    if (ok) ring_close(ring);
  }

  bool put(uint8_t op, int fd, void* buffer, uint32_t len, uint64_t off, uint64_t user_data) {
    Guard g(ring.sq_lock);
    io_uring_sqe* sqe = ring_sqe(ring);
    if (sqe == nullptr) return false;
    sqe->opcode = op;
    sqe->fd = fd;
    sqe->addr = reinterpret_cast<uintptr_t>(buffer);
    sqe->len = len;
    sqe->off = off;
    sqe->user_data = user_data;
    ring_push(ring);
    return true;
  }
  bool nop(uint64_t user_data) { return put(IORING_OP_NOP, -1, nullptr, 0, 0, user_data); }

  // Until `n` completions have been seen, or a second has passed.
  void wait_for(size_t n) {
    for (int i = 0; i < 1000 && results.size() < n; i++) {
      ring_reap(ring, keep);
      if (results.size() < n) usleep(1000);
    }
  }
};

struct TemporaryFile {
  int fd;
  TemporaryFile() {
    char path[] = "/tmp/ring_test.XXXXXX";
    fd = mkstemp(path);
    unlink(path);
  }
  ~TemporaryFile() { close(fd); }
};

TEST_CASE("a write and a read of a file come back with their lengths") {
  OpenRing r;
  if (!r.ok) return;
  TemporaryFile file;
  char out[] = "sixteen bytes...", in[32] = {};
  REQUIRE(r.put(IORING_OP_WRITE, file.fd, out, 16, 100, 1));
  CHECK(ring_unsubmitted(r.ring) == 1);
  CHECK(ring_enter(r.ring) == 1);
  CHECK(ring_unsubmitted(r.ring) == 0);
  r.wait_for(1);
  CHECK(results[1] == 16);
  REQUIRE(r.put(IORING_OP_READ, file.fd, in, sizeof in, 100, 2));
  CHECK(ring_enter(r.ring) == 1);
  r.wait_for(2);
  CHECK(results[2] == 16);
  CHECK(std::memcmp(in, out, 16) == 0);
}

TEST_CASE("a failed request brings the errno") {
  OpenRing r;
  if (!r.ok) return;
  char byte;
  REQUIRE(r.put(IORING_OP_READ, 9999, &byte, 1, 0, 1));
  ring_enter(r.ring);
  r.wait_for(1);
  CHECK(results[1] == -EBADF);
}

TEST_CASE("a full submission queue takes no more until the kernel was entered") {
  OpenRing r(8);
  if (!r.ok) return;
  uint64_t n = 0;
  while (r.nop(n + 1)) n++;
  CHECK(n == r.ring.sq_entries);
  CHECK(ring_unsubmitted(r.ring) == n);
  CHECK(ring_enter(r.ring) == static_cast<long>(n));
  CHECK(r.nop(n + 1));
  ring_enter(r.ring);
  r.wait_for(n + 1);
  CHECK(results.size() == n + 1);
}

TEST_CASE("more completions than the queue holds are kept and fetched") {
  OpenRing r(8);
  if (!r.ok) return;
  const uint64_t many = 10 * (r.ring.cq_mask + 1);
  for (uint64_t i = 1; i <= many; i++) {
    if (!r.nop(i)) {
      REQUIRE(ring_enter(r.ring) > 0);
      REQUIRE(r.nop(i));
    }
  }
  ring_enter(r.ring);
  CHECK(ring_ready(r.ring));
  // One call: it must fetch what the kernel kept back, too.
  CHECK(ring_reap(r.ring, keep) == many);
  CHECK(results.size() == many);
  CHECK_FALSE(ring_ready(r.ring));
}

TEST_CASE("a read of an empty pipe waits for its writer") {
  OpenRing r;
  if (!r.ok) return;
  int pipes[2];
  REQUIRE(pipe(pipes) == 0);
  char buffer[8] = {};
  REQUIRE(r.put(IORING_OP_READ, pipes[0], buffer, sizeof buffer, static_cast<uint64_t>(-1), 7));
  ring_enter(r.ring);
  CHECK(ring_reap(r.ring, keep) == 0);
  REQUIRE(write(pipes[1], "abc", 3) == 3);
  r.wait_for(1);
  CHECK(results[7] == 3);
  CHECK(std::memcmp(buffer, "abc", 3) == 0);
  close(pipes[0]);
  close(pipes[1]);
}

TEST_CASE("a cancelled read ends with ECANCELED and leaves the pipe's data alone") {
  OpenRing r;
  if (!r.ok) return;
  int pipes[2];
  REQUIRE(pipe(pipes) == 0);
  char buffer[8] = {};
  REQUIRE(r.put(IORING_OP_READ, pipes[0], buffer, sizeof buffer, static_cast<uint64_t>(-1), 7));
  ring_enter(r.ring);
  REQUIRE(r.put(IORING_OP_ASYNC_CANCEL, -1, reinterpret_cast<void*>(7), 0, 0, 8));
  ring_enter(r.ring);
  r.wait_for(2);
  CHECK(results[7] == -ECANCELED);
  CHECK(results[8] == 0);
  REQUIRE(write(pipes[1], "abc", 3) == 3);
  CHECK(read(pipes[0], buffer, sizeof buffer) == 3);
  close(pipes[0]);
  close(pipes[1]);
}

// The kernel thread that made the request sleeps in another call when the data come: what
// DEFER_TASKRUN would not survive.
TEST_CASE("a request completes while the thread that made it sleeps in another call") {
  OpenRing r;
  if (!r.ok) return;
  int pipes[2], block[2];
  REQUIRE(pipe(pipes) == 0);
  REQUIRE(pipe(block) == 0);
  char buffer[8] = {};
  std::thread maker([&] {
    r.put(IORING_OP_READ, pipes[0], buffer, sizeof buffer, static_cast<uint64_t>(-1), 7);
    ring_enter(r.ring);
    char byte;
    (void)!read(block[0], &byte, 1);
  });
  while (ring_unsubmitted(r.ring) == 0 && *r.ring.sq_tail == 0) usleep(1000);
  usleep(20'000);
  REQUIRE(write(pipes[1], "abc", 3) == 3);
  r.wait_for(1);
  CHECK(results[7] == 3);
  REQUIRE(write(block[1], "x", 1) == 1);
  maker.join();
  for (int fd : {pipes[0], pipes[1], block[0], block[1]}) close(fd);
}

TEST_CASE("many threads fill one ring and lose nothing") {
  OpenRing r(16);
  if (!r.ok) return;
  constexpr uint64_t kThreads = 4, kEach = 5000;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; t++) {
    threads.emplace_back([&r, t] {
      for (uint64_t i = 0; i < kEach; i++) {
        while (!r.nop(t * kEach + i + 1)) ring_enter(r.ring);
      }
    });
  }
  for (auto& t : threads) t.join();
  ring_enter(r.ring);
  r.wait_for(kThreads * kEach);
  CHECK(results.size() == kThreads * kEach);
}

TEST_CASE("a fork's child has no part in its parent's ring") {
  OpenRing r;
  if (!r.ok) return;
  REQUIRE(r.nop(1));
  pid_t child = fork();
  if (child == 0) {
    ring_atfork_child(r.ring);
    bool ok = !ring_is_open(r.ring);
    Ring own;
    ok = ok && ring_open(own, 8) == 0 && ring_unsubmitted(own) == 0;
    _exit(ok ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  ring_enter(r.ring);
  r.wait_for(1);
  CHECK(results[1] == 0);
}

}  // namespace
