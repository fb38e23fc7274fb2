// Message state machine, the ports without a queue, and what one LWKT alone can see.
#include <catch2/catch.hpp>

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libcr/serialize.h>
#include <libcr/thread.h>

namespace {

int answer_7(lwkt_port_t, lwkt_msg_t msg) {
  msg->u.ms_result = 7;
  return 0;
}
int answer_enoent(lwkt_port_t, lwkt_msg_t) { return ENOENT; }

lwkt_msg_t held;
int hold(lwkt_port_t port, lwkt_msg_t msg) {
  msg->ms_target_port = port;
  held = msg;
  return EASYNC;
}

lwkt_port_t my_port() { return lwkt_threadport(lwkt_curthread()); }

// True if `fn` fails an assertion.
template <typename Fn>
bool panics(Fn fn) {
  pid_t pid = fork();
  if (pid == 0) {
    signal(SIGTRAP, SIG_DFL);
    fn();
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGTRAP;
}

lwkt_msg make_msg(lwkt_port_t reply, uint32_t flags = 0) {
  lwkt_msg m;
  lwkt_initmsg(&m, reply, flags);
  return m;
}

}  // namespace

TEST_CASE("domsg: a target that finishes at once touches no queue") {
  lwkt_port target, reply;
  lwkt_initport_putonly(&target, answer_7);
  lwkt_initport_panic(&reply);  // any use of the reply port would be caught
  lwkt_msg m = make_msg(&reply);
  CHECK(lwkt_checkmsg(&m));
  CHECK(lwkt_domsg(&target, &m, 0) == 0);
  CHECK(m.u.ms_result == 7);
  CHECK((m.ms_flags & (MSGF_DONE | MSGF_REPLY | MSGF_QUEUED)) == (MSGF_DONE | MSGF_REPLY));
  CHECK(m.ms_target_port == nullptr);
  CHECK(lwkt_waitmsg(&m, 0) == 0);

  lwkt_initport_putonly(&target, answer_enoent);
  CHECK(lwkt_domsg(&target, &m, 0) == ENOENT);
  CHECK(m.ms_error == ENOENT);
}

TEST_CASE("sendmsg: a target that finishes at once still gives a queued reply") {
  lwkt_port target;
  lwkt_initport_putonly(&target, answer_7);
  lwkt_msg m = make_msg(my_port());
  lwkt_sendmsg(&target, &m);
  CHECK(lwkt_checkmsg(&m));
  CHECK(lwkt_getport(my_port()) == &m);
  CHECK((m.ms_flags & (MSGF_REPLY | MSGF_DONE | MSGF_QUEUED)) == (MSGF_REPLY | MSGF_DONE));
  CHECK(lwkt_getport(my_port()) == nullptr);
}

TEST_CASE("waitmsg takes the reply of a sent message off the port") {
  lwkt_port target;
  lwkt_initport_putonly(&target, answer_7);
  lwkt_msg a = make_msg(my_port()), b = make_msg(my_port()), c = make_msg(my_port());
  lwkt_sendmsg(&target, &a);
  lwkt_sendmsg(&target, &b);
  lwkt_sendmsg(&target, &c);
  CHECK(lwkt_waitmsg(&b, 0) == 0);
  CHECK(lwkt_waitport(my_port(), 0) == &a);
  CHECK(lwkt_waitmsg(&c, 0) == 0);
  CHECK(lwkt_getport(my_port()) == nullptr);
}

TEMPLATE_TEST_CASE_SIG("requests are served in order, priority first", "", ((int kind), kind), 0, 1,
                       2) {
  lwkt_port port, reply;
  lwkt_serialize slz;
  lwkt_serialize_init(&slz);
  if (kind == 0) lwkt_initport_thread(&port, lwkt_curthread());
  if (kind == 1) lwkt_initport_spin(&port);
  if (kind == 2) lwkt_initport_serialize(&port, &slz);
  if (kind == 2) lwkt_serialize_enter(&slz);
  lwkt_initport_replyonly_null(&reply);
  lwkt_msg a = make_msg(&reply), b = make_msg(&reply);
  lwkt_msg p = make_msg(&reply, MSGF_PRIORITY), q = make_msg(&reply, MSGF_PRIORITY);
  for (lwkt_msg* m : {&a, &p, &b, &q}) lwkt_sendmsg(&port, m);
  for (lwkt_msg* want : {&p, &q, &a, &b}) {
    lwkt_msg_t got = lwkt_getport(&port);
    REQUIRE(got == want);
    CHECK(got->ms_target_port == &port);
    CHECK_FALSE(lwkt_checkmsg(got));
    lwkt_replymsg(got, 3);
    CHECK(lwkt_checkmsg(want));
    CHECK(want->ms_error == 3);
  }
  CHECK(lwkt_getport(&port) == nullptr);
  if (kind == 2) lwkt_serialize_exit(&slz);
}

TEMPLATE_TEST_CASE_SIG("an unserved dropable message can be taken back, a served one not", "",
                       ((int kind), kind), 0, 1) {
  lwkt_port port, reply;
  if (kind == 0) lwkt_initport_thread(&port, lwkt_curthread());
  if (kind == 1) lwkt_initport_spin(&port);
  lwkt_initport_replyonly_null(&reply);
  lwkt_msg a = make_msg(&reply, MSGF_DROPABLE), b = make_msg(&reply, MSGF_DROPABLE);
  CHECK(lwkt_dropmsg(&a) == ENOENT);  // never sent
  lwkt_sendmsg(&port, &a);
  lwkt_sendmsg(&port, &b);
  CHECK(lwkt_dropmsg(&a) == 0);
  CHECK(lwkt_checkmsg(&a));
  CHECK(lwkt_dropmsg(&a) == ENOENT);
  CHECK(lwkt_getport(&port) == &b);
  CHECK(lwkt_dropmsg(&b) == ENOENT);
  lwkt_replymsg(&b, 0);
  lwkt_sendmsg(&port, &a);  // it can be sent again
  CHECK(lwkt_getport(&port) == &a);
  lwkt_replymsg(&a, 0);
}

TEST_CASE("a dropable message that was forwarded or replied is not dropped from its old port") {
  lwkt_port first, second;
  lwkt_initport_spin(&first);
  lwkt_initport_spin(&second);
  lwkt_msg m = make_msg(my_port(), MSGF_DROPABLE);
  lwkt_sendmsg(&first, &m);
  REQUIRE(lwkt_getport(&first) == &m);
  CHECK(lwkt_forwardmsg(&second, &m) == EASYNC);
  CHECK(first.mp_dropmsg(&first, &m) == ENOENT);
  REQUIRE(lwkt_getport(&second) == &m);
  lwkt_replymsg(&m, 0);
  CHECK(lwkt_dropmsg(&m) == ENOENT);  // queued, but as a reply
  CHECK(lwkt_getport(my_port()) == &m);
}

namespace {
int receipts;
lwkt_port_t receipt_port;
}  // namespace

TEST_CASE("the receipt comes once, also when the message is forwarded") {
  lwkt_port first, second, reply;
  lwkt_initport_spin(&first);
  lwkt_initport_thread(&second, lwkt_curthread());
  lwkt_initport_replyonly_null(&reply);
  receipts = 0;
  lwkt_msg m = make_msg(&reply);
  lwkt_setmsg_receipt(&m, [](lwkt_msg_t msg, lwkt_port_t port) {
    CHECK((msg->ms_flags & MSGF_QUEUED) != 0);
    receipts++;
    receipt_port = port;
  });
  lwkt_sendmsg(&first, &m);
  CHECK(receipts == 1);
  CHECK(receipt_port == &first);
  CHECK(lwkt_forwardmsg(&second, lwkt_getport(&first)) == EASYNC);
  CHECK(receipts == 1);
  CHECK(m.ms_target_port == &second);
  lwkt_replymsg(lwkt_getport(&second), 0);
}

TEST_CASE("forwarding to a port that finishes at once replies") {
  lwkt_port target;
  lwkt_initport_putonly(&target, answer_enoent);
  lwkt_port first;
  lwkt_initport_spin(&first);
  lwkt_msg m = make_msg(my_port());
  lwkt_sendmsg(&first, &m);
  CHECK(lwkt_forwardmsg(&target, lwkt_getport(&first)) == ENOENT);
  CHECK(lwkt_getport(my_port()) == &m);
  CHECK(m.ms_error == ENOENT);
}

TEST_CASE("a shim that forwards inside domsg: the waiter finds the reply") {
  static lwkt_port behind;
  lwkt_port shim;
  lwkt_initport_putonly(&behind, answer_7);
  lwkt_initport_putonly(&shim, [](lwkt_port_t port, lwkt_msg_t msg) {
    msg->ms_target_port = port;
    lwkt_forwardmsg(&behind, msg);
    return EASYNC;
  });
  lwkt_port spin_reply;
  lwkt_initport_spin(&spin_reply);
  for (lwkt_port_t reply : {my_port(), &spin_reply}) {
    lwkt_msg m = make_msg(reply);
    CHECK(lwkt_domsg(&shim, &m, 0) == 0);
    CHECK(m.u.ms_result == 7);
    CHECK(lwkt_getport(reply) == nullptr);  // SYNC replies are not queued
  }
}

TEST_CASE("replyonly hands every reply to its function, which may send again") {
  static int seen;
  seen = 0;
  lwkt_port target, reply;
  lwkt_initport_putonly(&target, answer_7);
  lwkt_initport_replyonly(&reply, [](lwkt_port_t port, lwkt_msg_t msg) {
    CHECK((msg->ms_flags & (MSGF_DONE | MSGF_REPLY)) == (MSGF_DONE | MSGF_REPLY));
    CHECK(msg->u.ms_result == 7);
    CHECK(port->mp_u.data == &seen);
    seen++;
  });
  reply.mp_u.data = &seen;
  lwkt_msg m = make_msg(&reply);
  lwkt_sendmsg(&target, &m);
  lwkt_sendmsg(&target, &m);
  CHECK(seen == 2);
}

namespace {
int aborts;
}

TEST_CASE("abort: once, only in flight, by the message's function or the target's") {
  lwkt_port target;
  lwkt_initport_putonly(&target, hold);
  aborts = 0;
  lwkt_msg m;
  lwkt_initmsg_abortable(&m, my_port(), 0, [](lwkt_msg_t) { aborts++; });
  lwkt_abortmsg(&m);
  CHECK(aborts == 0);
  lwkt_sendmsg(&target, &m);
  lwkt_abortmsg(&m);
  lwkt_abortmsg(&m);
  CHECK(aborts == 1);
  CHECK_FALSE(lwkt_checkmsg(&m));  // the reply still has to come
  lwkt_replymsg(held, EINTR);
  lwkt_abortmsg(&m);
  CHECK(aborts == 1);
  CHECK(lwkt_waitmsg(&m, 0) == EINTR);
  lwkt_sendmsg(&target, &m);  // a new round: it may be aborted again
  lwkt_abortmsg(&m);
  CHECK(aborts == 2);
  lwkt_replymsg(held, 0);
  CHECK(lwkt_waitmsg(&m, 0) == 0);

  target.mp_abortmsg = [](lwkt_port_t, lwkt_msg_t msg) {
    aborts += 10;
    lwkt_replymsg(msg, EINTR);
  };
  lwkt_msg n = make_msg(my_port());
  lwkt_sendmsg(&target, &n);
  lwkt_abortmsg(&n);
  lwkt_abortmsg(&n);
  CHECK(aborts == 12);
  CHECK(lwkt_waitmsg(&n, 0) == EINTR);
}

TEST_CASE("the state machine is asserted") {
  lwkt_port target, bad;
  lwkt_initport_putonly(&target, hold);
  lwkt_initport_panic(&bad);
  static lwkt_msg m;
  m = make_msg(my_port());
  SECTION("a panic port takes nothing") {
    CHECK(panics([&] { lwkt_sendmsg(&bad, &m); }));
    CHECK(panics([&] { lwkt_getport(&bad); }));
    CHECK(panics([&] { lwkt_waitport(&bad, 0); }));
    CHECK(panics([&] { lwkt_dropmsg((m.ms_flags = MSGF_DROPABLE, m.ms_target_port = &bad, &m)); }));
    CHECK(panics([&] { m.ms_reply_port = &bad; m.ms_flags = 0; lwkt_replymsg(&m, 0); }));
    CHECK(panics([&] { m.ms_target_port = &bad; m.ms_flags = 0; lwkt_abortmsg(&m); }));
  }
  SECTION("sent without a reply port") {
    m.ms_reply_port = nullptr;
    CHECK(panics([&] { lwkt_sendmsg(&target, &m); }));
  }
  SECTION("replied twice") {
    lwkt_sendmsg(&target, &m);
    lwkt_replymsg(&m, 0);
    CHECK(panics([&] { lwkt_replymsg(&m, 0); }));
    CHECK(lwkt_getport(my_port()) == &m);
  }
  SECTION("a dropable message is waited for") {
    m.ms_flags |= MSGF_DROPABLE;
    CHECK(panics([&] { lwkt_domsg(&target, &m, 0); }));
  }
  SECTION("somebody else's thread port is read") {
    thread_t other;
    REQUIRE(lwkt_create([](void*) {}, nullptr, &other, 0, 0, "other") == 0);
    lwkt_port theirs;
    lwkt_initport_thread(&theirs, other);
    CHECK(panics([&] { lwkt_getport(&theirs); }));
    lwkt_join(other);
  }
  SECTION("a serializer port without its serializer") {
    lwkt_serialize slz;
    lwkt_serialize_init(&slz);
    lwkt_port p;
    lwkt_initport_serialize(&p, &slz);
    CHECK(panics([&] { lwkt_sendmsg(&p, &m); }));
  }
}

// ---- what DragonFly ran into -------------------------------------------------------------------

TEST_CASE("heritage 61d468766c: a message in flight or freed can't be sent") {
  lwkt_port target;
  lwkt_initport_spin(&target);
  static lwkt_msg m;
  m = make_msg(my_port());
  lwkt_sendmsg(&target, &m);
  CHECK(panics([&] { lwkt_sendmsg(&target, &m); }));
  CHECK(panics([&] { lwkt_domsg(&target, &m, 0); }));
  lwkt_replymsg(lwkt_getport(&target), 0);
  CHECK(panics([&] { lwkt_sendmsg(&target, lwkt_getport(my_port())), m.ms_flags = 0,
                     lwkt_sendmsg(&target, &m); }));
  CHECK(lwkt_getport(my_port()) == &m);
  m.ms_flags = 0xdeadbeefu & ~MSGF_DONE;  // a freed message's pattern
  CHECK(panics([&] { lwkt_sendmsg(&target, &m); }));
}

TEST_CASE("heritage aeb680e66f: DONE is cleared when a message goes async") {
  lwkt_port target;
  lwkt_initport_putonly(&target, hold);
  lwkt_msg m = make_msg(my_port());
  for (int round = 0; round < 2; round++) {  // also when it has been round once
    lwkt_sendmsg(&target, &m);
    CHECK_FALSE(lwkt_checkmsg(&m));
    CHECK((m.ms_flags & (MSGF_DONE | MSGF_REPLY)) == 0);
    lwkt_replymsg(&m, 0);
    CHECK(lwkt_getport(my_port()) == &m);
  }
}

TEST_CASE("heritage 6d11f77a32: an aborted message is on no queue after its reply") {
  lwkt_port target;
  lwkt_initport_spin(&target);
  lwkt_msg m;
  lwkt_initmsg_abortable(&m, my_port(), 0, [](lwkt_msg_t) {});
  lwkt_sendmsg(&target, &m);
  lwkt_abortmsg(&m);
  REQUIRE(lwkt_getport(&target) == &m);
  lwkt_abortmsg(&m);
  lwkt_replymsg(&m, EINTR);
  CHECK(lwkt_waitmsg(&m, 0) == EINTR);
  CHECK((m.ms_flags & MSGF_QUEUED) == 0);
  CHECK(lwkt_getport(&target) == nullptr);
  CHECK(lwkt_getport(my_port()) == nullptr);
}

TEST_CASE("heritage 6999cd8155: sending with the reply port's lock held does not deadlock") {
  lwkt_serialize slz;
  lwkt_serialize_init(&slz);
  lwkt_port target, reply;
  lwkt_initport_putonly(&target, answer_7);  // replies inside the send
  lwkt_initport_serialize(&reply, &slz);
  lwkt_msg m = make_msg(&reply);
  lwkt_serialize_enter(&slz);
  lwkt_sendmsg(&target, &m);
  CHECK(lwkt_getport(&reply) == &m);
  CHECK(lwkt_domsg(&target, &m, 0) == 0);
  lwkt_serialize_exit(&slz);
}

TEST_CASE("heritage b95665d8a7: a priority reply overtakes ordinary ones") {
  lwkt_port target;
  lwkt_initport_putonly(&target, answer_7);
  lwkt_msg a = make_msg(my_port()), p = make_msg(my_port(), MSGF_PRIORITY);
  lwkt_sendmsg(&target, &a);
  lwkt_sendmsg(&target, &p);
  CHECK(lwkt_getport(my_port()) == &p);
  CHECK(lwkt_getport(my_port()) == &a);
}
