// What other engines borrow of the epoll engine: readiness, and the poller's bell. engine.h says
// what each does; engine_epoll.open comes first.
#pragma once

#include <stdint.h>

#include "../lwkt/thread.h"

namespace cr {

int epoll_watch(int fd, uint32_t gen, uint32_t events, uint32_t had);
void epoll_unwatch(int fd);
bool epoll_kick(cpu* c);
bool epoll_unattended();
int epoll_instance();
// epoll_wait for n events until `deadline`, ns of CLOCK_MONOTONIC. The kernel lets it run over by a thousandth (10 ms in
// 10 s), whatever the timer slack; where it is not exact, to the next millisecond.
long epoll_wait_until(int instance, struct epoll_event* ev, int n, uint64_t deadline);
bool epoll_is_exact();
// A little before `deadline`: the sleeper comes back for the rest.
uint64_t epoll_before(uint64_t deadline);

}  // namespace cr
