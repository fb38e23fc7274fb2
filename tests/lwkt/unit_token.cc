// Tokens: what needs LWKTs that are surely on different cpus, and the scheduler's hooks.
#include <catch2/catch.hpp>

#include <libcr/thread.h>

#include <atomic>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "../../src/lwkt/token.h"
#include "double/sched_double.h"

namespace {

// Runs `fn` as an LWKT of another cpu, to its end; the caller never blocks as an LWKT, so it
// keeps its tokens.
template <typename Fn>
void elsewhere(Fn fn) {
  std::thread([&] {
    double_adopt(245);
    fn();
  }).join();
}

}  // namespace

TEST_CASE("token: shared holders are inside together, exclusive ones are kept out") {
  lwkt_token t;
  lwkt_token_init(&t, "t");
  lwkt_gettoken_shared(&t);
  elsewhere([&] {
    lwkt_gettoken_shared(&t);  // would hang if it did not share
    lwkt_reltoken(&t);
  });
  int got = -1;
  elsewhere([&] { got = lwkt_trytoken(&t); });
  CHECK(got == 0);
  CHECK(t.t_count == TOK_SHARED);  // a try that fails leaves no request behind
  lwkt_reltoken(&t);
  lwkt_gettoken(&t);
  elsewhere([&] { got = lwkt_trytoken(&t); });
  CHECK(got == 0);
  lwkt_reltoken(&t);
  CHECK(t.t_count == 0);
}

TEST_CASE("token: a waiting exclusive request keeps new shared holders out") {
  lwkt_token t;
  lwkt_token_init(&t, "t");
  lwkt_gettoken_shared(&t);
  std::atomic<bool> writer_done{false}, reader_done{false}, late{false};
  std::thread writer([&] {
    double_adopt(246);
    lwkt_gettoken(&t);
    late = reader_done.load();
    writer_done = true;
    lwkt_reltoken(&t);
  });
  while ((__atomic_load_n(&t.t_count, __ATOMIC_ACQUIRE) & TOK_EXCLREQ) == 0) sched_yield();
  std::thread reader([&] {
    double_adopt(247);
    lwkt_gettoken_shared(&t);
    reader_done = true;
    lwkt_reltoken(&t);
  });
  usleep(20000);
  CHECK_FALSE(reader_done);
  lwkt_reltoken(&t);
  writer.join();
  reader.join();
  CHECK_FALSE(late);
}

TEST_CASE("token: the hooks drop all and retake all or none") {
  lwkt_token a, b;
  lwkt_token_init(&a, "a");
  lwkt_token_init(&b, "b");
  thread_t me = lwkt_curthread();
  lwkt_gettoken(&b);
  lwkt_gettoken(&a);
  lwkt_gettoken(&b);
  CHECK(cr::token_switch_in(me));  // after a preemption: nothing was dropped, nothing taken
  CHECK(b.t_depth == 2);
  cr::token_switch_out(me);
  cr::token_switch_out(me);
  CHECK((a.t_count | b.t_count) == 0);
  std::atomic<int> phase{0};
  std::thread other([&] {
    double_adopt(248);
    lwkt_gettoken(&b);
    phase = 1;
    while (phase != 2) sched_yield();
    lwkt_reltoken(&b);
  });
  while (phase != 1) sched_yield();
  CHECK_FALSE(cr::token_switch_in(me));
  CHECK((a.t_count & ~TOK_EXCLREQ) == 0);
  phase = 2;
  other.join();
  CHECK(cr::token_switch_in(me));
  CHECK(a.t_owner == me);
  CHECK(b.t_depth == 2);
  lwkt_reltoken(&b);
  lwkt_reltoken(&a);
  lwkt_reltoken(&b);
  CHECK(me->td_toks == nullptr);
}

TEST_CASE("token: release out of order is caught") {
  lwkt_token a, b;
  lwkt_token_init(&a, "a");
  lwkt_token_init(&b, "b");
  lwkt_gettoken(&a);
  lwkt_gettoken(&b);
  pid_t pid = fork();
  if (pid == 0) {
    signal(SIGTRAP, SIG_DFL);
    lwkt_reltoken(&a);
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  CHECK(WIFSIGNALED(status));
  lwkt_reltoken(&b);
  lwkt_reltoken(&a);
}
