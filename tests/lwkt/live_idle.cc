// What kernel threads with nothing to do make of a timer that is not for this world.
#include <catch2/catch.hpp>

#include <libcr/msgport.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "live.h"

using namespace live;

namespace {

// Of all kernel threads together.
long times_slept() {
  rusage used;
  getrusage(RUSAGE_SELF, &used);
  return used.ru_nvcsw;
}

// The kernel's own timer ends it.
void wait_without_a_timer(long ms) {
  int fd = timerfd_create(CLOCK_MONOTONIC, 0);
  itimerspec once{{0, 0}, {0, ms * 1'000'000}};
  uint64_t expired = 0;
  REQUIRE(timerfd_settime(fd, 0, &once, nullptr) == 0);
  REQUIRE(read(fd, &expired, sizeof expired) == sizeof expired);
  close(fd);
}

}  // namespace

// With its slack such a deadline was more than 64 bits hold: a timer due since the machine's start that never went
// off, and with it none of the others; with what the monitor adds, one that it looked at 10,000 times a second.
TEST_CASE("live: a deadline at the end of time keeps no other from coming, and nobody awake") {
  static lwkt_port port;
  static lwkt_msg msg;
  lwkt_initport_spin(&port);
  lwkt_initmsg(&msg, &port, 0);
  Lwkt waits([](void*) { lwkt_waitport_until(&port, 0, ~0ull - 1); }, nullptr);
  yield_until([&] { return sleeping(waits.td()); });
  lwkt_port own;
  lwkt_initport_spin(&own);
  CHECK(lwkt_waitport_until(&own, 0, now_ns() + 2'000'000) == nullptr);
  long before = times_slept();
  wait_without_a_timer(300);
  CHECK(times_slept() - before < 300);
  lwkt_sendmsg(&port, &msg);
  waits.join();
}
