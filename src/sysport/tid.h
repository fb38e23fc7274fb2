// Virtual thread ids: 4,194,304 (the most that Linux's pid_max allows) and up, below 2^30 so
// that NPTL's mutex words hold them. The main thread keeps the process's pid.
//
// A slot in a table that is reserved once and touched as it fills: id = base + slot. The base
// depends on the pid (126 of them): a mutex that two processes share compares owners. Freed
// slots are reused oldest first, as Linux does, so that a stale id stays invalid for long.
#pragma once

#include <stdint.h>

#include "../lwkt/thread.h"

namespace cr {

inline constexpr int32_t kTidBase = 4194304 + 1;  // the lowest virtual id
inline constexpr uint32_t kTidSlots = 1u << 23;

void tid_init(thread* main_td);
bool tid_assign(thread* td);   // false: no slot left
void tid_release(thread* td);
thread* tid_find(int32_t tid);  // null: none, or not this process's
thread* tid_main();             // null once the main thread has ended
// Only `td` is left; its id is the new process's.
void tid_atfork_child(thread* td);

uint32_t tid_slots_used();
thread* tid_at(uint32_t slot);

// Calls fn(thread*) for each until it returns true.
template <typename F>
void tid_each(F fn) {
  thread* m = tid_main();
  if (m != nullptr && fn(m)) return;
  uint32_t n = tid_slots_used();
  for (uint32_t i = 0; i < n; i++) {
    thread* td = tid_at(i);
    if (td != nullptr && fn(td)) return;
  }
}

}  // namespace cr
