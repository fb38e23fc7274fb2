// Priority inheritance: who waits for a lock lends his rank (src/lwkt/rank.h) to its owner, with what he is lent
// himself, until he has the lock or gives up, or the owner has given it up or ended.
//
// Of a lock that libcr keeps the first waiter alone lends, who is the highest, so that handing over costs
// the same however many there are. Of one that other processes see (futex_shared.cc) all do who wait
// for an LWKT of this process; the kernel lends for those it knows, and nobody else can.
//
// All of it is under ranklock, which is taken before the buckets' locks, but for inherit_class_changed,
// inherit_thread_gone and the two for shared words, which take it.
#pragma once

#include "../src/lwkt/rank.h"
#include "futex_internal.h"

namespace cr {

// The owner that a lock's word names. Null: nobody of this process; or there is no word.
thread* inherit_owner(uint64_t lock);
// The first of those that wait for `lock` from `from` on. Its bucket is locked.
thread* inherit_next_waiter(thread* from, uint64_t lock);

// `lock` has another first waiter, or owner. Its bucket b is locked; owner may be null. After it
// inherit_spread must be told of the owner once b is not locked any more.
void inherit_settle(Bucket* b, uint64_t lock, thread* owner);
// Lends nothing from now on. The one it lent to, null: nobody. He is to be told of by inherit_spread, too.
thread* inherit_take_back(PiWait* w);
// td is lent another rank, or has another class: it has what follows, and so have those it lends to.
void inherit_spread(thread* td);
// Whether td owns, or waits for who owns, what `self` waits for.
bool inherit_circle(thread* td, const thread* self);

// td, or if `all` anybody, has another class.
void inherit_class_changed(int32_t tid, bool all);
// td has ended and is not found by its tid any more: its locks are handed over.
void inherit_thread_gone(thread* td);

// w waits for a word that others see, of this owner. False: it would wait for itself.
bool inherit_begin_shared(PiWait* w, int32_t owner);
void inherit_end_shared(PiWait* w);
// The caller has given up such a word.
void inherit_unlocked_shared(uint64_t lock);

}  // namespace cr
