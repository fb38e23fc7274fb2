// A program whose only LWKT moves: a program of its own, since there were never two.
#include <catch2/catch.hpp>

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <thread>

#include "live.h"

namespace {

volatile sig_atomic_t alarms;
void count_alarm(int) { alarms = alarms + 1; }

void take_an_alarm() {
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGALRM);
  sigprocmask(SIG_BLOCK, &blocked, &before);
  itimerval soon{{0, 0}, {0, 500}};
  sig_atomic_t had = alarms;
  setitimer(ITIMER_REAL, &soon, nullptr);
  while (alarms == had) sigsuspend(&before);
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

// The kernel thread that it left had not been told of signals: the first thread that was made ended the program.
TEST_CASE("live: the only LWKT moves to the last cpu, takes signals there and makes a thread") {
  signal(SIGALRM, count_alarm);
  for (int to : {lwkt_ncpus() - 1, 0}) {
    REQUIRE(lwkt_setcpu_self(to) == 0);
    CHECK(lwkt_getcpu() == to);
    for (int i = 0; i < 50; i++) take_an_alarm();
    usleep(1000);
  }
  bool ran = false;
  std::thread([&ran] { ran = true; }).join();
  CHECK(ran);
}
