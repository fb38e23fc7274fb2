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

}  // namespace cr
