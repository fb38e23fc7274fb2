// Which mappings other processes can see: MAP_SHARED ones and System V segments. A futex there
// belongs to the kernel, any other is this process's own.
#pragma once

#include <stdint.h>

namespace cr {

void shared_add(uint64_t start, uint64_t length);
void shared_remove(uint64_t start, uint64_t length);  // munmap, or replaced by a private one
bool shared_contains(uint64_t addr);
bool shared_touches(uint64_t start, uint64_t length);
void shared_atfork_child();

}  // namespace cr
