// Virtual thread ids: above 4,194,304 (the most that Linux's pid_max allows), below 2^30 so that
// NPTL's mutex words hold them. The main thread keeps the process's pid.
//
// A slot in a table that is reserved once and touched as it fills. The ids of a run of slots are
// a block that is this process's alone (peers.h): a mutex that two processes share compares
// owners. Freed slots are reused oldest first, as Linux does, so that a stale id stays invalid
// for long.
#pragma once

#include <stdint.h>

#include "../lwkt/thread.h"
#include "../../arch/limits.h"
#include "peers.h"

namespace cr {

void tid_init(thread* main_td);
bool tid_assign(thread* td);   // false: no slot left
void tid_release(thread* td);
thread* tid_find(int32_t tid);  // null: none, or not this process's
bool tid_is_ours(int32_t tid);  // of this process, living or not
void tid_give_back();           // nobody but the caller is left: the process ends
int32_t tid_process();          // the process's pid. In a vfork's child its parent's
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
