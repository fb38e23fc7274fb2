/* What NPTL, or a program behind its back, tells the kernel of a thread: where its tid is cleared, its robust
 * list, its stack. */
#include "case.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>

static void join_printed(pthread_t t) {
  void* r;
  CHECK(pthread_join(t, &r) == 0);
  printf("joined %ld\n", (long)(intptr_t)r);
}

/* Saves the address, sets none, and sets it again: nothing but the right one lets it be joined. */
static void* tid_address(void* arg) {
  uint64_t at = 0;
  int got = prctl(PR_GET_TID_ADDRESS, &at);
  if (got != 0) return (void*)(intptr_t)errno; /* a kernel without CHECKPOINT_RESTORE */
  CHECK(*(pid_t*)(uintptr_t)at == gettid());
  CHECK(syscall(SYS_set_tid_address, NULL) == gettid());
  uint64_t none = 1;
  CHECK(prctl(PR_GET_TID_ADDRESS, &none) == 0 && none == 0);
  CHECK(syscall(SYS_set_tid_address, at) == gettid());
  return arg;
}
static void tid_address_is_each_threads_own(void) {
  pthread_t t[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, tid_address, NULL) == 0);
  for (int i = 0; i < 3; i++) join_printed(t[i]);
  tid_address(NULL);
}

/* A thread on a stack in memory of the given kind; `late`: joined once it has long ended. */
static void* on_given_stack(void* arg) {
  sleep_ms((intptr_t)arg);
  return arg;
}
static void stack_at(void* memory, size_t size) {
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  CHECK(pthread_attr_setstack(&attr, memory, size) == 0);
  for (intptr_t ms = 0; ms < 60; ms += 30) {
    pthread_t t;
    CHECK(pthread_create(&t, &attr, on_given_stack, (void*)ms) == 0);
    if (ms == 0) sleep_ms(20);
    join_printed(t);
  }
}
enum { kStack = 256 * 1024 };
static void stack_in_shared_memory(void) {
  void* p = mmap(NULL, kStack, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED);
  stack_at(p, kStack);
}
static void stack_where_shared_memory_was(void) {
  void* p = mmap(NULL, kStack, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED);
  CHECK(munmap(p, kStack) == 0);
  CHECK(mmap(p, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
  stack_at(p, kStack);
  int id = shmget(IPC_PRIVATE, kStack, IPC_CREAT | 0600);
  void* q = shmat(id, NULL, 0);
  CHECK(q != (void*)-1);
  shmctl(id, IPC_RMID, NULL);
  CHECK(shmdt(q) == 0);
  CHECK(mmap(q, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == q);
  stack_at(q, kStack);
}

/* Two locks of a thread that dies; the first one's word can't be read. The kernel gives up there. */
struct lock {
  struct robust_list entry;
  uint32_t word;
};
static struct robust_list_head head;
static struct lock* bad;
static struct lock good;
static void* dies_with_locks(void* arg) {
  head.futex_offset = (long)((char*)&good.word - (char*)&good);
  head.list.next = arg != NULL ? &bad->entry : &good.entry;
  if (arg != NULL) bad->entry.next = &good.entry;
  good.entry.next = &head.list;
  good.word = (uint32_t)gettid();
  CHECK(syscall(SYS_set_robust_list, &head, sizeof head) == 0);
  return arg;
}
static void robust_walk_ends_at_a_bad_word(void) {
  char* p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(p != MAP_FAILED && mprotect(p + 4096, 4096, PROT_NONE) == 0);
  bad = (struct lock*)(p + 4096 - sizeof(struct robust_list));
  for (intptr_t i = 0; i < 2; i++) {
    pthread_t t;
    CHECK(pthread_create(&t, NULL, dies_with_locks, (void*)i) == 0);
    join_printed(t);
    printf("owner died: %d\n", (good.word & FUTEX_OWNER_DIED) != 0);
  }
}

static const struct test_case cases[] = {
    CASE(tid_address_is_each_threads_own), CASE(stack_in_shared_memory),
    CASE(stack_where_shared_memory_was), CASE(robust_walk_ends_at_a_bad_word),
};
CASE_MAIN(cases)
