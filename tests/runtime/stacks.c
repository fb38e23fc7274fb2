/* Thread stacks: their bounds, their guards, and what is left of them when they are used again.
 *
 * A stack is walked downward from a local variable, a byte read in each page, until a read
 * faults: what lies there is the guard. Natively each stack is a mapping of its own; under
 * libcr it is a slot of a region that holds many, and guards are set for many slots at once
 * where many threads are made.
 */
#include "case.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define PLENTY 400 /* enough for guards to be set ahead, several times over */

static __thread sigjmp_buf fault_back;
static __thread char* volatile fault_at;

static void on_fault(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  fault_at = info->si_addr;
  siglongjmp(fault_back, 1);
}

static void catch_faults(void) {
  struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
  CHECK(sigaction(SIGSEGV, &sa, NULL) == 0);
}

/* Pages that can be read from this function's frame down to the first that can't, `most` at most. */
static unsigned long readable_pages(unsigned long most) {
  char here;
  char* page = (char*)((uintptr_t)&here & ~(PAGE - 1));
  volatile unsigned long n = 0;
  if (sigsetjmp(fault_back, 1) == 0) {
    for (; n < most; n++) (void)*(volatile char*)(page - n * PAGE);
  } else {
    CHECK(fault_at == page - n * PAGE);
  }
  return n;
}

struct stack {
  char* low;
  size_t size, guard;
};

static struct stack my_stack(void) {
  struct stack s;
  pthread_attr_t attr;
  void* low;
  CHECK(pthread_getattr_np(pthread_self(), &attr) == 0);
  CHECK(pthread_attr_getstack(&attr, &low, &s.size) == 0);
  CHECK(pthread_attr_getguardsize(&attr, &s.guard) == 0);
  CHECK(pthread_attr_destroy(&attr) == 0);
  s.low = low;
  char here;
  CHECK(&here > s.low && &here < s.low + s.size);
  return s;
}

static pthread_t start(size_t size, size_t guard, void* (*run)(void*), void* arg) {
  pthread_t t;
  pthread_attr_t attr;
  CHECK(pthread_attr_init(&attr) == 0);
  CHECK(pthread_attr_setstacksize(&attr, size) == 0);
  CHECK(pthread_attr_setguardsize(&attr, guard) == 0);
  CHECK(pthread_create(&t, &attr, run, arg) == 0);
  CHECK(pthread_attr_destroy(&attr) == 0);
  return t;
}

static void* join(pthread_t t) {
  void* result;
  CHECK(pthread_join(t, &result) == 0);
  return result;
}

enum { GUARDED = 1, ZEROED = 2 };

/* The whole stack can be written; GUARDED: the page below it can't be read; ZEROED: nobody wrote
 * there before. */
static void* use_all(void* what) {
  struct stack s = my_stack();
  char here;
  for (char* at = (char*)((uintptr_t)&here & ~(PAGE - 1)) - PAGE; at >= s.low; at -= PAGE) {
    if (((intptr_t)what & ZEROED) != 0) CHECK(*at == 0);
    *at = 1;
  }
  if (((intptr_t)what & GUARDED) != 0) {
    CHECK(readable_pages(1ul << 20) == ((uintptr_t)&here / PAGE - (uintptr_t)s.low / PAGE) + 1);
    CHECK(fault_at == s.low - PAGE);
  }
  return NULL;
}

static pthread_barrier_t all_live;

static void* walk_among_many(void* arg) {
  pthread_barrier_wait(&all_live);
  use_all((void*)GUARDED);
  pthread_barrier_wait(&all_live);
  return arg;
}

static void many_stacks_each_end_at_a_guard(void) {
  static pthread_t t[PLENTY];
  catch_faults();
  CHECK(pthread_barrier_init(&all_live, NULL, PLENTY) == 0);
  for (intptr_t i = 0; i < PLENTY; i++) t[i] = start(64 << 10, PAGE, walk_among_many, (void*)i);
  for (intptr_t i = 0; i < PLENTY; i++) CHECK(join(t[i]) == (void*)i);
  puts("each ended where it should");
}

static volatile int depth_sink;

static __attribute__((noinline)) int recurse(int n) {
  volatile char frame[512];
  frame[0] = (char)n;
  depth_sink = n;
  return recurse(n + 1) + frame[0];
}

static void* overflow(void* arg) {
  struct stack s = my_stack();
  stack_t alt = {.ss_sp = malloc(64 << 10), .ss_size = 64 << 10};
  CHECK(alt.ss_sp != NULL && sigaltstack(&alt, NULL) == 0);
  if (sigsetjmp(fault_back, 1) == 0) recurse(0);
  CHECK(fault_at < s.low && fault_at >= s.low - PAGE);
  stack_t none = {.ss_flags = SS_DISABLE};
  CHECK(sigaltstack(&none, NULL) == 0);
  free(alt.ss_sp);
  return arg;
}

/* By recursion, on the alternate stack, while the neighbours are live. */
static void overflow_is_caught_and_hurts_no_neighbour(void) {
  static pthread_t t[PLENTY];
  struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
  CHECK(sigaction(SIGSEGV, &sa, NULL) == 0);
  for (int i = 0; i < PLENTY; i++) t[i] = start(256 << 10, PAGE, overflow, &t[i]);
  for (int i = 0; i < PLENTY; i++) CHECK(join(t[i]) == &t[i]);
  puts("caught");
}

static void* report_bounds(void* arg) {
  struct stack s = my_stack();
  printf("stack %zu guard %zu", s.size, s.guard);
  if (s.guard != 0) {
    char here;
    unsigned long n = readable_pages(1ul << 20);
    CHECK(fault_at == s.low - PAGE);
    CHECK(n == (uintptr_t)&here / PAGE - (uintptr_t)s.low / PAGE + 1);
  }
  puts("");
  return arg;
}

static void bounds_are_what_was_asked_for(void) {
  static const size_t sizes[] = {16 << 10, 64 << 10, 68 << 10, 1 << 20, 3 << 20};
  static const size_t guards[] = {0, 1, PAGE, PAGE + 1, 4 * PAGE, 64 << 10};
  catch_faults();
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    for (size_t k = 0; k < sizeof guards / sizeof *guards; k++) {
      join(start(sizes[i], guards[k], report_bounds, NULL));
    }
  }
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void* wait_at_gate(void* arg) {
  pthread_mutex_lock(&gate);
  pthread_mutex_unlock(&gate);
  return arg;
}

/* All of one mapping's size, so that under libcr they come from one region, in which guards of a
 * page have been set ahead. */
static void other_guards_among_many(void) {
  static pthread_t t[PLENTY];
  catch_faults();
  pthread_mutex_lock(&gate);
  for (int i = 0; i < PLENTY; i++) t[i] = start(64 << 10, PAGE, wait_at_gate, NULL);
  static const size_t guards[] = {0, 4 * PAGE, 0, PAGE, 2 * PAGE};
  for (int i = 0; i < 50; i++) {
    size_t guard = guards[i % 5];
    join(start((64 << 10) + PAGE - guard, guard, use_all, (void*)(intptr_t)(guard != 0 ? GUARDED : 0)));
  }
  pthread_mutex_unlock(&gate);
  for (int i = 0; i < PLENTY; i++) join(t[i]);
  puts("each had its own");
}

/* Larger than what glibc keeps of ended threads' stacks (40 MB), so that each is unmapped. */
static void a_reused_stack_without_a_guard_is_whole(void) {
  catch_faults();
  for (int i = 0; i < 4; i++) {
    join(start(48 << 20, PAGE, use_all, (void*)(GUARDED | ZEROED)));
    join(start((48 << 20) + PAGE, 0, use_all, (void*)ZEROED));
  }
  puts("whole and zeroed");
}

/* What looks like a stack is a mapping like any other: an inner part is opened by itself. */
static void a_stack_mapping_opened_from_the_low_end(void) {
  static pthread_t t[PLENTY];
  pthread_mutex_lock(&gate);
  for (int i = 0; i < PLENTY; i++) t[i] = start(64 << 10, PAGE, wait_at_gate, NULL);
  for (int i = 0; i < 20; i++) {
    char* p = mmap(NULL, (64 << 10) + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK(mprotect(p, 2 * PAGE, PROT_READ | PROT_WRITE) == 0);
    memset(p, 1, 2 * PAGE);
  }
  pthread_mutex_unlock(&gate);
  for (int i = 0; i < PLENTY; i++) join(t[i]);
  puts("opened");
}

/* A thread that guards its stack itself, as Java's do: it asks for no guard, maps the low end anew and closes
 * four zones there; opens the one that was hit, closes it again; and leaves the low end mapped without access. */
enum { kZones = 20, kYellow = 4, kReserved = 16 };
static int zone_hit(char* low) {
  volatile int page = kZones;
  if (sigsetjmp(fault_back, 1) == 0) {
    for (; page >= 0; page--) low[page * (long)PAGE] = 1;
  }
  return page;
}
static void* guards_itself(void* arg) {
  int* hits = arg;
  char* low = my_stack().low;
  CHECK(mmap(low, kZones * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == low);
  CHECK(mprotect(low, kZones * PAGE, PROT_NONE) == 0);
  hits[0] = zone_hit(low);
  CHECK(mprotect(low + kReserved * PAGE, (kZones - kReserved) * PAGE, PROT_READ | PROT_WRITE) == 0);
  hits[1] = zone_hit(low);
  CHECK(mprotect(low + kYellow * PAGE, (kReserved - kYellow) * PAGE, PROT_READ | PROT_WRITE) == 0);
  hits[2] = zone_hit(low);
  CHECK(mprotect(low, PAGE, PROT_READ | PROT_WRITE) == 0);
  hits[3] = zone_hit(low);
  CHECK(mprotect(low, PAGE, PROT_NONE) == 0);
  CHECK(mprotect(low + kYellow * PAGE, (kZones - kYellow) * PAGE, PROT_NONE) == 0);
  hits[4] = zone_hit(low);
  CHECK(mmap(low, kZones * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == low);
  return NULL;
}
static void a_thread_closes_zones_of_its_stack(void) {
  catch_faults();
  /* The second batch gets the first one's stacks, from glibc's cache; the others those that did not fit there. */
  static int hits[24][5];
  pthread_t t[24];
  for (int round = 0; round < 4; round++) {
    for (int i = 0; i < 24; i++) t[i] = start(4 << 20, 0, guards_itself, hits[i]);
    for (int i = 0; i < 24; i++) join(t[i]);
    for (int i = 0; i < 24; i++) CHECK(memcmp(hits[i], hits[0], sizeof hits[0]) == 0);
    printf("hit pages %d %d %d %d %d\n", hits[0][0], hits[0][1], hits[0][2], hits[0][3], hits[0][4]);
  }
}

/* What was done to parts of a stack mapping does not show in the next one, and goes as it would with any. */
static void a_stack_mapping_changed_in_parts(void) {
  enum { kSize = 256 << 10 };
  catch_faults();
  int file = fileno(tmpfile());
  CHECK(ftruncate(file, kSize) == 0);
  for (int i = 0; i < 12; i++) {
    char* p = mmap(NULL, kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK(mprotect(p + (i % 4) * PAGE, kSize - (i % 4) * PAGE, PROT_READ | PROT_WRITE) == 0);
    for (char* at = p + (i % 4) * PAGE; at < p + kSize; at += PAGE) {
      CHECK(*at == 0);
      *at = 1;
    }
    switch (i % 3) {
      case 0: CHECK(mprotect(p + 8 * PAGE, 4 * PAGE, PROT_NONE) == 0); break;
      case 1: CHECK(mmap(p + PAGE, 9 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0) == p + PAGE); break;
      case 2: CHECK(mprotect(p + 5 * PAGE, PAGE, PROT_READ) == 0);
    }
    for (volatile int page = 0; page < 16; page++) {
      if (sigsetjmp(fault_back, 1) == 0) {
        p[page * PAGE] = 2;
        putchar('.');
      } else {
        CHECK(fault_at == p + page * PAGE);
        putchar('!');
      }
    }
    putchar('\n');
    CHECK(munmap(p, kSize) == 0);
  }
}

static const struct test_case cases[] = {
    CASE(many_stacks_each_end_at_a_guard),
    CASE(overflow_is_caught_and_hurts_no_neighbour),
    CASE(bounds_are_what_was_asked_for),
    CASE(other_guards_among_many),
    CASE(a_reused_stack_without_a_guard_is_whole),
    CASE(a_stack_mapping_opened_from_the_low_end),
    CASE(a_thread_closes_zones_of_its_stack),
    CASE(a_stack_mapping_changed_in_parts),
};
CASE_MAIN(cases)
