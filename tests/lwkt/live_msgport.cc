// Every port kind against every other, over LWKTs on several cpus.
#include <catch2/catch.hpp>

#include <string.h>

#include "live.h"

using namespace live;

namespace {

constexpr int kRounds = 3000;

// ---- backend pairs ---------------------------------------------------------------------------

struct Client {
  Server* server;
  Kind reply_kind;
  lwkt_serialize* slz;
  int bad = 0;
  int received = 0;

  void init_request(Request* r, AnyPort* reply, long value) {
    lwkt_initmsg(&r->msg, &reply->port, 0);
    r->reply = reply;
    r->stop = false;
    r->msg.u.ms_lresult = value;
  }
  void expect(Request* r, int error, long value) {
    if (error != (2 * value) % 100 || r->msg.u.ms_lresult != 2 * value) bad++;
    if ((r->msg.ms_flags & (MSGF_DONE | MSGF_REPLY | MSGF_QUEUED | MSGF_WAITING)) !=
        (MSGF_DONE | MSGF_REPLY)) {
      bad++;
    }
    received++;
  }

  // A target's serializer must not be held over the wait, unless the wait lets go of it.
  void send(Request* r, AnyPort* reply) {
    bool same = server->at.slz == reply->slz;
    if (!same) server->at.enter();
    lwkt_sendmsg(&server->at.port, &r->msg);
    if (!same) server->at.leave();
  }
  int do_one(Request* r, AnyPort* reply) {
    if (server->at.slz == nullptr || server->at.slz == reply->slz) {
      return lwkt_domsg(&server->at.port, &r->msg, 0);
    }
    send(r, reply);
    return lwkt_waitmsg(&r->msg, 0);
  }

  static void run(void* arg) {
    auto* c = static_cast<Client*>(arg);
    AnyPort reply;
    reply.init(c->reply_kind, c->slz);
    for (int i = 0; i < kRounds; i++) {
      Request r;
      c->init_request(&r, &reply, i);
      reply.enter();
      int error = c->do_one(&r, &reply);
      reply.leave();
      c->expect(&r, error, i);
    }
    // In bunches: half of the replies are asked for by name, the rest as they come.
    for (int i = 0; i < kRounds / 16; i++) {
      Request r[16];
      reply.enter();
      for (int k = 0; k < 16; k++) {
        c->init_request(&r[k], &reply, k);
        c->send(&r[k], &reply);
      }
      for (int k = 15; k >= 0; k -= 2) c->expect(&r[k], lwkt_waitmsg(&r[k].msg, 0), k);
      for (int k = 0; k < 8; k++) {
        auto* got = reinterpret_cast<Request*>(lwkt_waitport(&reply.port, 0));
        c->expect(got, got->msg.ms_error, got - r);
      }
      if (lwkt_getport(&reply.port) != nullptr) c->bad++;
      reply.leave();
    }
  }
};

void stop_server(Server* s) {
  AnyPort reply;
  reply.init(kSpin, nullptr);
  Request r;
  lwkt_initmsg(&r.msg, &reply.port, 0);
  r.reply = &reply;
  r.stop = true;
  r.msg.u.ms_lresult = 0;
  s->at.enter();
  lwkt_sendmsg(&s->at.port, &r.msg);
  s->at.leave();
  lwkt_waitmsg(&r.msg, 0);
}

void run_pair(Kind target, Kind reply, bool one_serializer) {
  lwkt_serialize target_slz, reply_slz;
  lwkt_serialize_init(&target_slz);
  lwkt_serialize_init(&reply_slz);
  lwkt_serialize* rs = one_serializer ? &target_slz : &reply_slz;
  Server server{.kind = target, .slz = &target_slz, .at = {}};
  server.reply_slz = reply == kSerialize ? rs : nullptr;
  Lwkt s(Server::run, &server);
  yield_until([&] { return get(server.ready) != 0; });
  Client c1{.server = &server, .reply_kind = reply, .slz = rs};
  Client c2 = c1;
  {
    Lwkt a(Client::run, &c1), b(Client::run, &c2);
  }
  set(server.reply_slz, static_cast<lwkt_serialize*>(nullptr));
  stop_server(&server);
  s.join();
  CHECK(c1.bad == 0);
  CHECK(c2.bad == 0);
  CHECK(c1.received == kRounds + kRounds / 16 * 16);
  CHECK(c2.received == kRounds + kRounds / 16 * 16);
}

}  // namespace

TEST_CASE("live: every target kind with every reply kind (heritage ddb06db22c: no flag is lost)") {
  for (Kind target : {kThread, kSpin, kSerialize}) {
    for (Kind reply : {kThread, kSpin, kSerialize}) {
      CAPTURE(target, reply);
      run_pair(target, reply, false);
    }
  }
}

TEST_CASE("live: target and reply port under one serializer") {
  run_pair(kSerialize, kSerialize, true);
}

// ---- a reply port on the stack ------------------------------------------------------------------

namespace {

struct StackUser {
  Server* server;
  Kind kind;
  int bad = 0;

  [[gnu::noinline]] long ask(long value) {
    AnyPort reply;
    reply.init(kind, nullptr);
    Request r;
    lwkt_initmsg(&r.msg, &reply.port, 0);
    r.reply = &reply;
    r.stop = false;
    r.msg.u.ms_lresult = value;
    lwkt_domsg(&server->at.port, &r.msg, 0);
    return r.msg.u.ms_lresult;
  }
  // Fills the stack that ask() used and looks whether a late replier writes there.
  [[gnu::noinline]] void poison() {
    volatile unsigned char area[1024];
    for (auto& b : area) b = 0x5a;
    for (int i = 0; i < 20; i++) cr::cpu_pause();
    for (auto& b : area) bad += b != 0x5a;
  }
  static void run(void* arg) {
    auto* u = static_cast<StackUser*>(arg);
    for (long i = 0; i < 5 * kRounds; i++) {
      u->bad += u->ask(i) != 2 * i;
      u->poison();
    }
  }
};

}  // namespace

TEST_CASE("live: nobody touches a message or its reply port once the originator saw DONE") {
  for (Kind kind : {kThread, kSpin}) {
    Server server{.kind = kSpin, .slz = nullptr, .at = {}};
    Lwkt s(Server::run, &server);
    yield_until([&] { return get(server.ready) != 0; });
    StackUser u{.server = &server, .kind = kind};
    {
      Lwkt a(StackUser::run, &u);
    }
    CHECK(u.bad == 0);
    stop_server(&server);
  }
}

// ---- several receivers ------------------------------------------------------------------------------

namespace {

constexpr int kMessages = 30000;

struct Pool {
  lwkt_port port;
  lwkt_port null_reply;
  uint32_t seen[2 * kMessages] = {};
  uint32_t total = 0;
  lwkt_msg msgs[2 * kMessages];
  lwkt_msg stops[4];
  uint32_t senders = 0;

  static void receive(void* arg) {
    auto* p = static_cast<Pool*>(arg);
    for (;;) {
      lwkt_msg_t m = lwkt_waitport(&p->port, 0);
      bool stop = m >= p->stops && m < p->stops + 4;
      if (!stop) {
        add(p->seen[m - p->msgs], 1u);
        add(p->total, 1u);
      }
      lwkt_replymsg(m, 0);
      if (stop) return;
    }
  }
  void send(int from) {
    add(senders, 1u);
    yield_until([&] { return get(senders) == 2; });
    for (int i = 0; i < kMessages; i++) {
      lwkt_msg* m = &msgs[from + i];
      lwkt_initmsg(m, &null_reply, i % 7 == 0 ? MSGF_PRIORITY : 0);
      lwkt_sendmsg(&port, m);
    }
  }
};

}  // namespace

TEST_CASE("live: heritage 041e7b69a4: many receivers on a spin port, every message once") {
  static Pool p;
  lwkt_initport_spin(&p.port);
  lwkt_initport_replyonly_null(&p.null_reply);
  Lwkt r1(Pool::receive, &p), r2(Pool::receive, &p), r3(Pool::receive, &p), r4(Pool::receive, &p);
  {
    Lwkt s1([](void* a) { static_cast<Pool*>(a)->send(0); }, &p);
    Lwkt s2([](void* a) { static_cast<Pool*>(a)->send(kMessages); }, &p);
  }
  yield_until([&] { return get(p.total) == 2 * kMessages; });
  for (lwkt_msg& m : p.stops) {
    lwkt_initmsg(&m, &p.null_reply, 0);
    lwkt_sendmsg(&p.port, &m);
  }
  for (Lwkt* r : {&r1, &r2, &r3, &r4}) r->join();
  int wrong = 0;
  for (uint32_t n : p.seen) wrong += n != 1;
  CHECK(wrong == 0);
}

// ---- signals and aborts -----------------------------------------------------------------------------------

namespace {

struct AbortCase {
  Kind kind;
  bool sync;
  int flags;
  lwkt_serialize slz;
  lwkt_port target;
  Request req;
  lwkt_msg* held = nullptr;
  uint32_t aborts = 0;
  uint32_t waiting = 0;
  int result = -1;
};

AbortCase* abort_case;

int hold(lwkt_port_t port, lwkt_msg_t msg) {
  msg->ms_target_port = port;
  set(abort_case->held, msg);
  return EASYNC;
}

void wait_for_it(void* arg) {
  auto* c = static_cast<AbortCase*>(arg);
  AnyPort reply;
  reply.init(c->kind, &c->slz);
  c->req.reply = &reply;
  lwkt_initmsg_abortable(&c->req.msg, &reply.port, 0,
                         [](lwkt_msg_t) { add(abort_case->aborts, 1u); });
  reply.enter();
  set(c->waiting, 1u);
  if (c->sync) {
    c->result = lwkt_domsg(&c->target, &c->req.msg, c->flags);
  } else {
    lwkt_sendmsg(&c->target, &c->req.msg);
    c->result = lwkt_waitmsg(&c->req.msg, c->flags);
  }
  reply.leave();
}

// Replies as a target would, holding what the reply port asks for.
void reply_held(AbortCase* c, int error) {
  if (c->kind == kSerialize) lwkt_serialize_enter(&c->slz);
  lwkt_replymsg(c->held, error);
  if (c->kind == kSerialize) lwkt_serialize_exit(&c->slz);
}

void prepare(AbortCase* c, Kind kind, bool sync, int flags) {
  *c = AbortCase{};
  c->kind = kind;
  c->sync = sync;
  c->flags = flags;
  lwkt_serialize_init(&c->slz);
  lwkt_initport_putonly(&c->target, hold);
  abort_case = c;
}

template <typename Fn>
void for_each_wait(Fn fn) {
  for (Kind kind : {kThread, kSpin, kSerialize}) {
    for (bool sync : {true, false}) {
      CAPTURE(kind, sync);
      fn(kind, sync);
    }
  }
}

}  // namespace

TEST_CASE("live: a signal aborts a PCATCH wait once, and the wait goes on for the reply") {
  for_each_wait([](Kind kind, bool sync) {
    AbortCase c;
    prepare(&c, kind, sync, LWKT_PCATCH);
    Lwkt w(wait_for_it, &c);
    yield_until([&] { return get(c.held) != nullptr && sleeping(w.td()); });
    post_signal(w.td());
    yield_until([&] { return get(c.aborts) == 1 && sleeping(w.td()); });
    post_signal(w.td());
    for (int i = 0; i < 100; i++) lwkt_yield();
    yield_until([&] { return sleeping(w.td()); });
    CHECK(get(c.aborts) == 1);
    CHECK(c.result == -1);
    reply_held(&c, EINTR);
    w.join();
    CHECK(c.result == EINTR);
    CHECK((c.req.msg.ms_flags & MSGF_ABORTED) != 0);
  });
}

TEST_CASE("live: a signal that was pending before the wait is not slept over") {
  for_each_wait([](Kind kind, bool sync) {
    AbortCase c;
    prepare(&c, kind, sync, LWKT_PCATCH);
    Lwkt w(
        [](void* arg) {
          post_signal(lwkt_curthread());
          wait_for_it(arg);
        },
        &c);
    yield_until([&] { return get(c.aborts) == 1; });
    reply_held(&c, 0);
    w.join();
    CHECK(c.result == 0);
    CHECK(c.aborts == 1);
  });
}

TEST_CASE("live: without PCATCH a signal neither aborts nor ends a wait") {
  for_each_wait([](Kind kind, bool sync) {
    AbortCase c;
    prepare(&c, kind, sync, 0);
    Lwkt w(wait_for_it, &c);
    for (int i = 0; i < 20; i++) {
      yield_until([&] { return get(c.held) != nullptr && sleeping(w.td()); });
      post_signal(w.td());
    }
    yield_until([&] { return sleeping(w.td()); });
    CHECK(c.result == -1);
    reply_held(&c, 0);
    w.join();
    CHECK(c.aborts == 0);
    CHECK(c.result == 0);
  });
}

TEST_CASE("live: signal and reply race, the wait ends once and cleanly") {
  for_each_wait([](Kind kind, bool sync) {
    for (int i = 0; i < 1000; i++) {
      AbortCase c;
      prepare(&c, kind, sync, LWKT_PCATCH);
      Lwkt w(wait_for_it, &c);
      yield_until([&] { return get(c.held) != nullptr; });
      Lwkt replier([](void* a) { reply_held(static_cast<AbortCase*>(a), 9); }, &c);
      for (int k = 0; k < (i % 50) * 8; k++) cr::cpu_pause();
      post_signal(w.td());
      w.join();  // before the replier: it must be through with an LWKT that is gone
      replier.join();
      REQUIRE(c.result == 9);
      REQUIRE(c.aborts <= 1);
      REQUIRE((c.req.msg.ms_flags & (MSGF_QUEUED | MSGF_WAITING)) == 0);
    }
  });
}

TEST_CASE("live: a reply before the wait, at its beginning and long after is never lost") {
  for_each_wait([](Kind kind, bool sync) {
    for (int i = 0; i < 300; i++) {
      AbortCase c;
      prepare(&c, kind, sync, 0);
      Lwkt w(wait_for_it, &c);
      yield_until([&] { return get(c.held) != nullptr; });
      for (int k = 0; k < (i % 60) * 4; k++) cr::cpu_pause();
      reply_held(&c, 5);
      w.join();
      REQUIRE(c.result == 5);
    }
  });
}

namespace {

struct WaitPort {
  Kind kind;
  lwkt_serialize slz;
  AnyPort at;
  uint32_t ready = 0;
  uint32_t nulls = 0;
  uint32_t got = 0;

  static void run(void* arg) {
    auto* w = static_cast<WaitPort*>(arg);
    w->at.init(w->kind, &w->slz);
    w->at.enter();
    set(w->ready, 1u);
    while (get(w->got) == 0) {
      lwkt_msg_t m = lwkt_waitport(&w->at.port, LWKT_PCATCH);
      if (m != nullptr) {
        lwkt_replymsg(m, 0);
        set(w->got, 1u);
      } else {
        take_signal(lwkt_curthread());
        add(w->nulls, 1u);
      }
    }
    w->at.leave();
  }
};

}  // namespace

TEST_CASE("live: waitport with PCATCH gives NULL for a signal and loses no message") {
  for (Kind kind : {kThread, kSpin, kSerialize}) {
    CAPTURE(kind);
    WaitPort w{.kind = kind, .slz = {}, .at = {}};
    lwkt_serialize_init(&w.slz);
    Lwkt t(WaitPort::run, &w);
    for (uint32_t i = 0; i < 10; i++) {
      yield_until([&] { return get(w.ready) != 0 && get(w.nulls) == i && sleeping(t.td()); });
      post_signal(t.td());
      yield_until([&] { return get(w.nulls) == i + 1; });
    }
    lwkt_port null_reply;
    lwkt_initport_replyonly_null(&null_reply);
    lwkt_msg m;
    lwkt_initmsg(&m, &null_reply, 0);
    w.at.enter();
    lwkt_sendmsg(&w.at.port, &m);
    w.at.leave();
    post_signal(t.td());
    t.join();
    CHECK(lwkt_checkmsg(&m));
  }
}

namespace {

struct TwoReceivers {
  lwkt_port port;
  lwkt_port null_reply;
  uint32_t got = 0;

  // Leaves at the first signal.
  static void receive(void* arg) {
    auto* t = static_cast<TwoReceivers*>(arg);
    lwkt_msg_t m = lwkt_waitport(&t->port, LWKT_PCATCH);
    if (m == nullptr) return;
    lwkt_replymsg(m, 0);
    add(t->got, 1u);
  }
};

}  // namespace

TEST_CASE("live: a receiver that a signal takes away leaves no message to a sleeping one") {
  for (int i = 0; i < 1000; i++) {
    TwoReceivers t;
    lwkt_initport_spin(&t.port);
    lwkt_initport_replyonly_null(&t.null_reply);
    Lwkt first(TwoReceivers::receive, &t);
    yield_until([&] { return sleeping(first.td()); });
    Lwkt second(TwoReceivers::receive, &t);
    yield_until([&] { return sleeping(second.td()); });
    lwkt_msg m;
    lwkt_initmsg(&m, &t.null_reply, 0);
    Lwkt signaller([](void* td) { post_signal(static_cast<thread_t>(td)); }, first.td());
    for (int k = 0; k < (i % 50) * 8; k++) cr::cpu_pause();
    lwkt_sendmsg(&t.port, &m);
    yield_until([&] { return get(t.got) == 1; });
    signaller.join();
    post_signal(first.td());
    post_signal(second.td());
    first.join();
    second.join();
    REQUIRE(lwkt_checkmsg(&m));
  }
}

// ---- un-sending -----------------------------------------------------------------------------------------------

namespace {

struct DropRace {
  lwkt_port port;
  lwkt_port null_reply;
  lwkt_msg m;
  uint32_t stop = 0;
  uint32_t served = 0;

  static void serve(void* arg) {
    auto* d = static_cast<DropRace*>(arg);
    while (get(d->stop) == 0) {
      lwkt_msg_t m = lwkt_getport(&d->port);
      if (m == nullptr) {
        lwkt_yield();
        continue;
      }
      add(d->served, 1u);
      lwkt_replymsg(m, 0);
    }
  }
};

}  // namespace

TEST_CASE("live: heritage ddb06db22c: QUEUED is tested under the lock: drop and get race, one wins") {
  static DropRace d;
  lwkt_initport_spin(&d.port);
  lwkt_initport_replyonly_null(&d.null_reply);
  lwkt_initmsg(&d.m, &d.null_reply, MSGF_DROPABLE);
  Lwkt s(DropRace::serve, &d);
  uint32_t dropped = 0;
  constexpr int kSends = 50000;
  for (int i = 0; i < kSends; i++) {
    lwkt_sendmsg(&d.port, &d.m);
    for (int k = 0; k < i % 40; k++) cr::cpu_pause();
    if (lwkt_dropmsg(&d.m) == 0) dropped++;
    yield_until([&] { return lwkt_checkmsg(&d.m) != 0; });
  }
  set(d.stop, 1u);
  s.join();
  CHECK(dropped + d.served == kSends);
  CHECK(dropped > 0);
}
