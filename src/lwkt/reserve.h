// Stretches of addresses that libcr keeps in store and touches as they fill: tables by tid or descriptor, slabs, stacks.
//
// What a program locks into memory with mlockall is to be its own. The store of a small program would be some 300 MB
// more, and a locked stack could neither be emptied nor given a light guard.
#pragma once

#include <stdint.h>

namespace cr {

// Zeroed memory, read and write. The kernel's result.
long reserve(uint64_t size);
// From now on the kernel locks what is mapped, or does no longer.
void reserve_beside_locks(bool locks);
bool reserve_stays_unlocked();
void reserve_atfork_child();  // it inherits no locks
bool reserve_known();  // all of the store: else some of it is taken for the program's
// Calls fn(from, to, arg) for each part of [from, to) that is the program's.
void reserve_skip(uint64_t from, uint64_t to, void (*fn)(uint64_t from, uint64_t to, void* arg), void* arg);

}  // namespace cr
