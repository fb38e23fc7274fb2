// Signals that wait: their entries and the queues they stand in.
//
// The entries are the process's, as many as RLIMIT_SIGPENDING lets it queue, in memory that is
// reserved at start and touched as it fills. Taking one and giving it back is lock-free and
// async-signal-safe; a queue is its owner's business (siglock).
#pragma once

#include <signal.h>
#include <stdint.h>

#include "../lwkt/thread.h"

namespace cr {

struct sigqueue_entry {
  sigqueue_entry* next;
  thread* target;  // in whose queue; null: the process's
  int32_t tid;     // in the inbox: whom it is for, 0: the process, or as its info says
  siginfo_t info;
};

void sigqueue_init();
void sigqueue_atfork_child();     // everything that waited is gone
sigqueue_entry* sigqueue_alloc();  // null: none left
void sigqueue_free(sigqueue_entry* e);
// Whether RLIMIT_SIGPENDING forbids another realtime signal. Asks the kernel only when many wait, or few are allowed.
bool sigqueue_limited();
void sigqueue_limit_changes();  // the program's doing

// A queue is a ring, named by its newest entry (null: empty), so that both ends are at hand.
void sigqueue_append(sigqueue_entry** q, sigqueue_entry* e);
// Takes the oldest entry that is `sig` out. Null: none. *more: another one stays.
sigqueue_entry* sigqueue_take(sigqueue_entry** q, int sig, bool* more);
// Takes out e, which is in q. True: another one of its signal stays.
bool sigqueue_remove(sigqueue_entry** q, sigqueue_entry* e);
// Takes out the oldest of all. Null: empty.
sigqueue_entry* sigqueue_pop(sigqueue_entry** q);

}  // namespace cr
