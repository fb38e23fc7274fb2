// Thread stacks from arenas.
//
// NPTL maps each stack for itself (PROT_NONE, MAP_STACK) and then opens all but the guard: two
// VMAs a thread, so that vm.max_map_count stops a process at about 32,000. Here those mappings
// are slots of large regions: one VMA for all stacks of a region, guards inside it by
// MADV_GUARD_INSTALL. Where the kernel has no such guards (before 6.13) they are mprotect'ed
// pages, and the limit is back.
//
// What NPTL sees is what mmap gives: zeroed, readable and writable memory. Regions are never
// given back; freed slots are (DONTNEED) before they are handed out again. A slot whose owner has mapped or
// protected parts of it for real (a Java thread's guard zones) is mapped anew.
//
// Where many threads are made, guards are installed ahead, for many fresh slots in one trap
// (process_madvise on itself, Linux 6.15): 0.43 us each against 0.57 one by one. Stacks are not
// touched ahead: filling 128 of them in one call costs 1.65 us a page, the faults 1.4, since what
// a page costs is its allocation.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace cr {

void arena_init(bool no_guard_install);
// A stack of `length` bytes, or 0: not here, use mmap. Opened at once (prot): it has no guard
// until somebody asks for one.
uint64_t arena_alloc(uint64_t length, int prot);
// One of libcr's own, open but for a guard of `guard` bytes: no program's to be locked into memory. 0: no memory.
uint64_t arena_alloc_own(uint64_t length, uint64_t guard);
// True if [addr, addr+length) is a whole slot, which is free then.
bool arena_free(uint64_t addr, uint64_t length);
// The program has mapped something upon [addr, addr+length), MAP_FIXED, or taken it away.
void arena_replaced(uint64_t addr, uint64_t length);
// mprotect inside a slot. 1: done; 0: not an arena's; negative errno.
int arena_protect(uint64_t addr, uint64_t length, int prot);
// madvise(DONTNEED) inside a slot by an exiting thread: true if it is put off.
bool arena_dontneed(uint64_t addr, uint64_t length);
// A thread starts on the slot that holds `sp`: what was put off for it is void.
void arena_stack_in_use(uint64_t sp);
// The program's next stack in use that begins at *to or above, without its guard, to be locked into memory. False: none.
bool arena_next_stack(uint64_t* from, uint64_t* to);
void arena_lock();    // around fork
void arena_unlock();

}  // namespace cr
