// Serializers and tokens between LWKTs on several cpus.
#include <catch2/catch.hpp>

#include "live.h"

using namespace live;

// ---- serializers ----------------------------------------------------------------------------

namespace {

// The LWKTs of a test start together, or the first is through before the last is made.
struct StartLine {
  uint32_t there = 0;
  void meet(uint32_t all) {
    add(there, 1u);
    yield_until([&] { return get(there) >= all; });
  }
};

constexpr int kTurns = 30000;

struct SerializeCase {
  lwkt_serialize slz;
  StartLine start;
  long counter = 0;  // not atomic on purpose
  uint32_t inside = 0;
  uint32_t overlaps = 0;

  void turn(int i) {
    lwkt_serialize_enter(&slz);
    if (__atomic_fetch_add(&inside, 1u, __ATOMIC_ACQ_REL) != 0) add(overlaps, 1u);
    counter++;
    if (i % 16 == 0) lwkt_yield();  // it is held over a switch
    __atomic_fetch_sub(&inside, 1u, __ATOMIC_ACQ_REL);
    lwkt_serialize_exit(&slz);
  }
  static void run(void* arg) {
    auto* c = static_cast<SerializeCase*>(arg);
    c->start.meet(3);
    for (int i = 0; i < kTurns; i++) c->turn(i);
  }
};

}  // namespace

TEST_CASE("live: a serializer lets one in, also over a switch") {
  static SerializeCase c;
  lwkt_serialize_init(&c.slz);
  {
    Lwkt a(SerializeCase::run, &c), b(SerializeCase::run, &c), d(SerializeCase::run, &c);
  }
  CHECK(c.counter == 3L * kTurns);
  CHECK(c.overlaps == 0);
  CHECK(c.slz.slz_owner == 0);
}

TEST_CASE("live: try fails while somebody is inside, a signal does not end the wait") {
  static SerializeCase c;
  lwkt_serialize_init(&c.slz);
  CHECK(lwkt_serialize_try(&c.slz) == 1);
  CHECK(lwkt_serialize_held(&c.slz) == 1);
  Lwkt a(
      [](void* arg) {
        auto* s = static_cast<SerializeCase*>(arg);
        s->overlaps += lwkt_serialize_try(&s->slz);
        s->overlaps += lwkt_serialize_held(&s->slz);
        set(s->inside, 1u);
        lwkt_serialize_enter(&s->slz);
        s->counter++;
        lwkt_serialize_exit(&s->slz);
      },
      &c);
  for (int i = 0; i < 20; i++) {
    yield_until([&] { return get(c.inside) != 0 && sleeping(a.td()); });
    post_signal(a.td());
  }
  CHECK(get(c.counter) == 0);
  lwkt_serialize_exit(&c.slz);
  a.join();
  CHECK(c.counter == 1);
  CHECK(c.overlaps == 0);
}

// ---- tokens ---------------------------------------------------------------------------------------

namespace {

struct TokenCase {
  lwkt_token a, b, c;
  StartLine start;
  long under_a = 0, under_b = 0, under_c = 0;  // not atomic on purpose
  uint32_t turn = 0;
  uint32_t bad = 0;
  uint32_t readers = 0;
  uint32_t most_readers = 0;
  uint32_t writers = 0;

  void init() {
    lwkt_token_init(&a, "a");
    lwkt_token_init(&b, "b");
    lwkt_token_init(&c, "c");
  }
  void take_both(lwkt_token* first, lwkt_token* second, int i) {
    lwkt_gettoken(first);
    lwkt_gettoken(second);
    under_a++;
    under_b++;
    if (i % 8 == 0) lwkt_yield();  // drops both, takes both
    under_a++;
    under_b++;
    lwkt_reltoken(second);
    lwkt_reltoken(first);
  }
};

}  // namespace

TEST_CASE("live: two tokens in opposite orders: no deadlock, no lost update") {
  static TokenCase t;
  t.init();
  auto run = [](void* arg) {
    auto* c = static_cast<TokenCase*>(arg);
    bool swap = __atomic_fetch_add(&c->turn, 1u, __ATOMIC_ACQ_REL) % 2 != 0;
    c->start.meet(4);
    for (int i = 0; i < kTurns; i++) {
      c->take_both(swap ? &c->b : &c->a, swap ? &c->a : &c->b, i);
    }
  };
  {
    Lwkt a(run, &t), b(run, &t), c(run, &t), d(run, &t);
  }
  CHECK(t.under_a == 4L * 2 * kTurns);
  CHECK(t.under_b == 4L * 2 * kTurns);
  CHECK((t.a.t_count | t.b.t_count) <= TOK_EXCLREQ);
}

TEST_CASE("live: three tokens round the table") {
  static TokenCase t;
  t.init();
  auto run = [](void* arg) {
    auto* c = static_cast<TokenCase*>(arg);
    lwkt_token* tok[3] = {&c->a, &c->b, &c->c};
    long* val[3] = {&c->under_a, &c->under_b, &c->under_c};
    uint32_t me = __atomic_fetch_add(&c->turn, 1u, __ATOMIC_ACQ_REL) % 3;
    c->start.meet(3);
    for (int i = 0; i < kTurns; i++) {
      uint32_t x = me, y = (me + 1) % 3;
      lwkt_gettoken(tok[x]);
      ++*val[x];
      lwkt_gettoken(tok[y]);
      ++*val[y];
      lwkt_reltoken(tok[y]);
      lwkt_reltoken(tok[x]);
    }
  };
  {
    Lwkt a(run, &t), b(run, &t), c(run, &t);
  }
  CHECK(t.under_a == 2L * kTurns);
  CHECK(t.under_b == 2L * kTurns);
  CHECK(t.under_c == 2L * kTurns);
}

TEST_CASE("live: tokens are recursive, counted, and tried without waiting") {
  static TokenCase t;
  t.init();
  lwkt_gettoken(&t.a);
  lwkt_gettoken_shared(&t.a);
  lwkt_gettoken(&t.b);
  lwkt_gettoken(&t.a);
  CHECK(lwkt_cnttoken(&t.a) == 3);
  CHECK(lwkt_cnttoken(&t.b) == 1);
  CHECK(lwkt_cnttoken(&t.c) == 0);
  lwkt_yield();
  CHECK(lwkt_cnttoken(&t.a) == 3);
  lwkt_reltoken(&t.a);
  lwkt_reltoken(&t.b);
  lwkt_reltoken(&t.a);
  CHECK(lwkt_cnttoken(&t.a) == 1);
  lwkt_reltoken(&t.a);
  CHECK(t.a.t_count == 0);
  CHECK(lwkt_trytoken(&t.a) == 1);
  lwkt_reltoken(&t.a);
  lwkt_token_uninit(&t.a);
}

TEST_CASE("live: shared holders together, an exclusive one alone") {
  static TokenCase t;
  t.init();
  auto run = [](void* arg) {
    auto* c = static_cast<TokenCase*>(arg);
    bool writer = __atomic_fetch_add(&c->turn, 1u, __ATOMIC_ACQ_REL) % 3 == 0;
    c->start.meet(4);
    for (int i = 0; i < kTurns; i++) {
      if (writer) {
        lwkt_gettoken(&c->a);
        if (__atomic_fetch_add(&c->writers, 1u, __ATOMIC_ACQ_REL) != 0) add(c->bad, 1u);
        if (get(c->readers) != 0) add(c->bad, 1u);
        c->under_a++;
        __atomic_fetch_sub(&c->writers, 1u, __ATOMIC_ACQ_REL);
      } else {
        lwkt_gettoken_shared(&c->a);
        add(c->readers, 1u);
        if (get(c->writers) != 0) add(c->bad, 1u);
        __atomic_fetch_sub(&c->readers, 1u, __ATOMIC_ACQ_REL);
      }
      lwkt_reltoken(&c->a);
    }
  };
  {
    Lwkt a(run, &t), b(run, &t), c(run, &t), d(run, &t);
  }
  CHECK(t.bad == 0);
  CHECK(t.under_a == 2L * kTurns);
  CHECK((t.a.t_count & ~TOK_EXCLREQ) == 0);
}

TEST_CASE("live: a holder that blocks lets others have the token, and has it again after") {
  static TokenCase t;
  t.init();
  static lwkt_port at;
  static thread_t owner;
  Lwkt holder(
      [](void* arg) {
        auto* c = static_cast<TokenCase*>(arg);
        lwkt_initport_thread(&at, lwkt_curthread());
        lwkt_gettoken(&c->a);
        set(c->turn, 1u);
        lwkt_msg_t m = lwkt_waitport(&at, 0);
        c->bad += c->a.t_owner != lwkt_curthread();
        c->under_a = c->under_a * 10 + 2;
        lwkt_reltoken(&c->a);
        lwkt_replymsg(m, 0);
      },
      &t);
  owner = holder.td();
  yield_until([&] { return get(t.turn) == 1 && sleeping(owner); });
  lwkt_gettoken(&t.a);
  t.under_a = 1;
  lwkt_port reply;
  lwkt_initport_spin(&reply);
  lwkt_msg m;
  lwkt_initmsg(&m, &reply, 0);
  lwkt_sendmsg(&at, &m);
  for (int i = 0; i < 1000; i++) cr::cpu_pause();
  CHECK(get(t.under_a) == 1);  // woken, and kept out
  lwkt_reltoken(&t.a);
  lwkt_waitmsg(&m, 0);
  CHECK(t.under_a == 12);
  CHECK(t.bad == 0);
}
