// Waits on ports with a deadline, against replies and requests that come about then.
#include <catch2/catch.hpp>

#include "live.h"

using namespace live;

namespace {

// A target that keeps what it is sent; the reply is somebody else's.
struct Held {
  AnyPort reply;
  lwkt_serialize slz;
  lwkt_msg msg;
  lwkt_port target;
  uint32_t sent = 0;
  uint32_t delay = 0;  // turns of a loop before the reply

  static int keep(lwkt_port_t port, lwkt_msg_t msg) {
    msg->ms_target_port = port;
    return EASYNC;
  }
  void prepare(Kind kind) {
    lwkt_serialize_init(&slz);
    reply.init(kind, &slz);
    lwkt_initport_putonly(&target, keep);
  }
  void send() {
    lwkt_initmsg(&msg, &reply.port, 0);
    lwkt_sendmsg(&target, &msg);
    set(sent, 1u);
  }
  static void answer(void* arg) {
    auto* h = static_cast<Held*>(arg);
    yield_until([&] { return get(h->sent) != 0; });
    for (uint32_t i = 0; i < h->delay; i++) cr::cpu_pause();
    h->reply.enter();
    lwkt_replymsg(&h->msg, 7);
    h->reply.leave();
  }
};

constexpr Kind kKinds[] = {kThread, kSpin, kSerialize};

}  // namespace

TEST_CASE("live: a wait with a deadline ends there, and not before, without its message") {
  for (Kind kind : kKinds) {
    Held h;
    h.prepare(kind);
    h.reply.enter();
    h.send();
    uint64_t deadline = now_ns() + 2'000'000;
    CHECK(lwkt_waitmsg_until(&h.msg, 0, deadline) == ETIMEDOUT);
    CHECK(now_ns() >= deadline);
    CHECK((h.msg.ms_flags & (MSGF_DONE | MSGF_WAITING | MSGF_ABORTED)) == 0);
    deadline = now_ns() + 2'000'000;
    CHECK(lwkt_waitport_until(&h.reply.port, LWKT_PCATCH, deadline) == nullptr);
    CHECK(now_ns() >= deadline);
    lwkt_replymsg(&h.msg, 7);
    CHECK(lwkt_waitmsg_until(&h.msg, 0, now_ns()) == 0);
    CHECK(h.msg.ms_error == 7);
    CHECK(lwkt_getport(&h.reply.port) == nullptr);
    h.reply.leave();
  }
}

TEST_CASE("live: reply and deadline race, the wait ends once and loses no reply") {
  for (Kind kind : kKinds) {
    for (bool by_name : {false, true}) {
      for (uint32_t i = 0; i < 400; i++) {
        Held h;
        h.prepare(kind);
        h.delay = i % 40 * 100;
        Lwkt replier(Held::answer, &h);
        h.reply.enter();
        h.send();
        uint64_t deadline = now_ns() + i % 7 * 10'000;
        bool in_time;
        if (by_name) {
          int error = lwkt_waitmsg_until(&h.msg, 0, deadline);
          REQUIRE((error == 0 || error == ETIMEDOUT));
          in_time = error == 0;
        } else {
          lwkt_msg_t got = lwkt_waitport_until(&h.reply.port, 0, deadline);
          REQUIRE((got == nullptr || got == &h.msg));
          in_time = got != nullptr;
        }
        if (!in_time) {
          REQUIRE(lwkt_waitport(&h.reply.port, 0) == &h.msg);
        }
        REQUIRE(h.msg.ms_error == 7);
        REQUIRE(lwkt_getport(&h.reply.port) == nullptr);
        REQUIRE((h.msg.ms_flags & (MSGF_QUEUED | MSGF_WAITING)) == 0);
        h.reply.leave();
      }
    }
  }
}

TEST_CASE("live: a signal ends a wait with a deadline early and sends no abort") {
  for (Kind kind : kKinds) {
    struct Waiter {
      Held h;
      Kind kind;
      int error = -1;
      int second = -1;
      int posted = 0;
      static void run(void* arg) {
        auto* w = static_cast<Waiter*>(arg);
        w->h.prepare(w->kind);
        w->h.reply.enter();
        w->h.send();
        w->error = lwkt_waitmsg_until(&w->h.msg, LWKT_PCATCH, ~0ull);
        w->h.reply.leave();
        yield_until([&] { return get(w->posted) != 0; });  // or its wake-up may end the second wait
        w->h.reply.enter();
        take_signal(lwkt_curthread());
        w->second = lwkt_waitmsg_until(&w->h.msg, LWKT_PCATCH, now_ns() + 1'000'000);
        w->h.reply.leave();
      }
    } w;
    w.kind = kind;
    Lwkt l(Waiter::run, &w);
    yield_until([&] { return get(w.h.sent) != 0 && sleeping(l.td()); });
    post_signal(l.td());
    __atomic_store_n(&w.posted, 1, __ATOMIC_SEQ_CST);
    l.join();
    CHECK(w.error == EINTR);
    CHECK(w.second == ETIMEDOUT);
    CHECK((w.h.msg.ms_flags & MSGF_ABORTED) == 0);
  }
}
