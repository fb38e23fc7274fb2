/* Priority inheritance: the owner of such a lock runs as the highest who waits for it, all on one
 * processor. Where real-time classes are not allowed, nothing. */
#include "fifo.h"

#include <linux/futex.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { LOW = 10, CHAIN = 15, MIDDLE = 20, HIGH = 30, MAIN = 40 };

static struct shared {
  pthread_mutex_t lock, second;
} * both;
static sem_t ready, go_low, go_middle;
static int timed, pause_after, raise_to;
static const char* volatile events[16];
static volatile int nevents;

static void event(const char* what) { events[__atomic_fetch_add(&nevents, 1, __ATOMIC_SEQ_CST)] = what; }
static void say_events(void) {
  for (int i = 0; i < nevents; i++) puts(events[i]);
}

static void compute(int ms) {
  for (int64_t end = now_ms() + ms; now_ms() < end;) {
    if (timed) sched_yield(); /* or its equals would wait until it is done */
  }
}

static int begin(void) {
  CHECK(sem_init(&ready, 0, 0) == 0 && sem_init(&go_low, 0, 0) == 0 && sem_init(&go_middle, 0, 0) == 0);
  return be_fifo(MAIN);
}

static void make_locks(int pshared, int robust) {
  both = mmap(NULL, sizeof *both, PROT_READ | PROT_WRITE,
              (pshared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
  CHECK(both != MAP_FAILED);
  pthread_mutexattr_t a;
  CHECK(pthread_mutexattr_init(&a) == 0);
  CHECK(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT) == 0);
  CHECK(pthread_mutexattr_setpshared(&a, pshared ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE) == 0);
  CHECK(pthread_mutexattr_setrobust(&a, robust ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED) == 0);
  CHECK(pthread_mutex_init(&both->lock, &a) == 0 && pthread_mutex_init(&both->second, &a) == 0);
}

static void* low(void* arg) {
  CHECK(pthread_mutex_lock(&both->lock) == 0);
  CHECK(sem_post(&ready) == 0 && sem_wait(&go_low) == 0);
  compute(60);
  event("low unlocks");
  CHECK(pthread_mutex_unlock(&both->lock) == 0);
  if (pause_after != 0) compute(pause_after);
  event("low ends");
  return arg;
}

static void* low_dies(void* arg) {
  CHECK(pthread_mutex_lock(&both->lock) == 0);
  CHECK(sem_post(&ready) == 0 && sem_wait(&go_low) == 0);
  compute(60);
  event("low ends");
  return arg;
}

static void* high(void* arg) {
  CHECK(sem_post(&ready) == 0);
  struct timespec until = in_ms(CLOCK_REALTIME, 40);
  int error = timed ? pthread_mutex_timedlock(&both->lock, &until) : pthread_mutex_lock(&both->lock);
  event(error == 0 ? "high has the lock" : error == EOWNERDEAD ? "high inherits the lock" : "high gives up");
  if (error == 0) CHECK(pthread_mutex_unlock(&both->lock) == 0);
  return arg;
}

static void* middle(void* arg) {
  CHECK(sem_wait(&go_middle) == 0);
  compute(100);
  event("middle ends");
  return arg;
}

/* Low has the lock, high waits for it, middle would compute. */
static void inversion(void* (*owner)(void*)) {
  pthread_t t[3];
  t[0] = new_fifo(LOW, owner, NULL);
  CHECK(sem_wait(&ready) == 0);
  t[1] = new_fifo(raise_to ? LOW : HIGH, high, NULL);
  CHECK(sem_wait(&ready) == 0);
  t[2] = new_fifo(MIDDLE, middle, NULL);
  sleep_ms(5);
  if (raise_to) CHECK(pthread_setschedprio(t[1], raise_to) == 0);
  CHECK(sem_post(&go_low) == 0 && sem_post(&go_middle) == 0);
  for (int i = 0; i < 3; i++) CHECK(pthread_join(t[i], NULL) == 0);
  say_events();
}

static void a_spinner_does_not_keep_the_owner_from_unlocking(void) {
  if (!begin()) return;
  make_locks(0, 0);
  inversion(low);
}
static void a_spinner_does_not_keep_the_owner_of_a_shared_lock_from_unlocking(void) {
  if (!begin()) return;
  make_locks(1, 0);
  inversion(low);
}
static void the_owner_is_itself_again_once_it_has_unlocked(void) {
  if (!begin()) return;
  make_locks(0, 0);
  pause_after = 20;
  inversion(low);
}
static void the_owner_of_a_shared_lock_is_itself_again_once_it_has_unlocked(void) {
  if (!begin()) return;
  make_locks(1, 0);
  pause_after = 20;
  inversion(low);
}
static void the_owner_is_itself_again_when_the_waiter_gives_up(void) {
  if (!begin()) return;
  make_locks(0, 0);
  timed = 1;
  inversion(low);
}
static void the_owner_of_a_shared_lock_is_itself_again_when_the_waiter_gives_up(void) {
  if (!begin()) return;
  make_locks(1, 0);
  timed = 1;
  inversion(low);
}
static void the_owner_runs_as_its_waiter_until_it_ends(void) {
  if (!begin()) return;
  make_locks(0, 1);
  inversion(low_dies);
}
static void a_waiter_that_is_raised_raises_the_owner(void) {
  if (!begin()) return;
  make_locks(0, 0);
  raise_to = HIGH;
  inversion(low);
}

/* ---- chains ---- */

static void* between(void* arg) {
  CHECK(pthread_mutex_lock(&both->second) == 0);
  CHECK(sem_post(&ready) == 0);
  CHECK(pthread_mutex_lock(&both->lock) == 0);
  event("between has both");
  CHECK(pthread_mutex_unlock(&both->lock) == 0 && pthread_mutex_unlock(&both->second) == 0);
  return arg;
}
static void* high_of_second(void* arg) {
  CHECK(sem_post(&ready) == 0);
  CHECK(pthread_mutex_lock(&both->second) == 0);
  event("high has the second");
  CHECK(pthread_mutex_unlock(&both->second) == 0);
  return arg;
}
static void chain(void) {
  pthread_t t[4];
  t[0] = new_fifo(LOW, low, NULL);
  CHECK(sem_wait(&ready) == 0);
  t[1] = new_fifo(CHAIN, between, NULL);
  CHECK(sem_wait(&ready) == 0);
  t[2] = new_fifo(HIGH, high_of_second, NULL);
  CHECK(sem_wait(&ready) == 0);
  t[3] = new_fifo(MIDDLE, middle, NULL);
  sleep_ms(5);
  CHECK(sem_post(&go_low) == 0 && sem_post(&go_middle) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
  say_events();
}
static void the_rank_goes_along_a_chain_of_locks(void) {
  if (!begin()) return;
  make_locks(0, 0);
  chain();
}
static void the_rank_goes_along_a_chain_of_shared_locks(void) {
  if (!begin()) return;
  make_locks(1, 0);
  chain();
}

static void* low_has_both(void* arg) {
  CHECK(pthread_mutex_lock(&both->lock) == 0 && pthread_mutex_lock(&both->second) == 0);
  CHECK(sem_post(&ready) == 0 && sem_wait(&go_low) == 0);
  compute(30);
  event("low unlocks");
  CHECK(pthread_mutex_unlock(&both->lock) == 0);
  compute(30);
  event("low unlocks the second");
  CHECK(pthread_mutex_unlock(&both->second) == 0);
  compute(10);
  event("low ends");
  return arg;
}
static void the_owner_of_two_keeps_what_the_other_one_gives_it(void) {
  if (!begin()) return;
  make_locks(0, 0);
  pthread_t t[4];
  t[0] = new_fifo(LOW, low_has_both, NULL);
  CHECK(sem_wait(&ready) == 0);
  t[1] = new_fifo(HIGH, high_of_second, NULL);
  CHECK(sem_wait(&ready) == 0);
  t[2] = new_fifo(HIGH - 1, high, NULL);
  CHECK(sem_wait(&ready) == 0);
  t[3] = new_fifo(MIDDLE, middle, NULL);
  sleep_ms(5);
  CHECK(sem_post(&go_low) == 0 && sem_post(&go_middle) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
  say_events();
}

/* The highest waiter is the next owner, and runs as the next one of them if that comes to be higher. */
static int norder, order[8];
static void* take_turn(void* arg) {
  struct sched_param p;
  int policy;
  CHECK(pthread_getschedparam(pthread_self(), &policy, &p) == 0);
  CHECK(sem_post(&ready) == 0);
  CHECK(pthread_mutex_lock(&both->lock) == 0);
  order[norder++] = p.sched_priority;
  compute(5);
  CHECK(pthread_mutex_unlock(&both->lock) == 0);
  return arg;
}
static void waiters_own_the_lock_by_priority(void) {
  static const int priorities[] = {12, 30, 25, 11, 25, 30, 13};
  if (!begin()) return;
  make_locks(0, 0);
  CHECK(pthread_mutex_lock(&both->lock) == 0);
  pthread_t t[7];
  for (int i = 0; i < 7; i++) {
    t[i] = new_fifo(priorities[i], take_turn, NULL);
    CHECK(sem_wait(&ready) == 0);
    sleep_ms(2);
  }
  CHECK(pthread_mutex_unlock(&both->lock) == 0);
  for (int i = 0; i < 7; i++) CHECK(pthread_join(t[i], NULL) == 0);
  for (int i = 0; i < norder; i++) printf("%d\n", order[i]);
}

/* Those of a higher class that look for work, all at once, leave the processor to who is about to give it to them. */
static volatile int blinking = 1;
static void* blink(void* arg) {
  while (blinking) usleep(50);
  return arg;
}
static void who_changes_its_class_gets_on_beside_higher_ones(void) {
  if (!begin()) return;
  pthread_t t[7];
  for (int i = 0; i < 7; i++) t[i] = new_fifo(MAIN + 1 + i, blink, NULL);
  for (int i = 0; i < 50000; i++) {
    struct sched_param p = {.sched_priority = MAIN - i % 2};
    CHECK(sched_setscheduler(0, SCHED_FIFO, &p) == 0);
  }
  blinking = 0;
  for (int i = 0; i < 7; i++) CHECK(pthread_join(t[i], NULL) == 0);
}

/* ---- the calls themselves ---- */

static uint32_t words[2];
static long lock_pi(uint32_t* word) {
  return syscall(SYS_futex, word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0);
}
static long unlock_pi(uint32_t* word) {
  return syscall(SYS_futex, word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
}

static void* crosswise(void* arg) {
  CHECK(lock_pi(&words[1]) == 0);
  CHECK(sem_post(&ready) == 0);
  CHECK(lock_pi(&words[0]) == 0);
  CHECK(unlock_pi(&words[0]) == 0 && unlock_pi(&words[1]) == 0);
  return arg;
}
static void a_circle_of_waiters_is_refused(void) {
  pthread_t t;
  CHECK(sem_init(&ready, 0, 0) == 0);
  CHECK(lock_pi(&words[0]) == 0);
  CHECK(pthread_create(&t, NULL, crosswise, NULL) == 0);
  CHECK(sem_wait(&ready) == 0);
  while ((__atomic_load_n(&words[0], __ATOMIC_SEQ_CST) & FUTEX_WAITERS) == 0) sched_yield();
  sleep_ms(20);
  long r = lock_pi(&words[1]);
  printf("%ld %s\n", r, strerrorname_np(errno));
  CHECK(unlock_pi(&words[0]) == 0);
  CHECK(pthread_join(t, NULL) == 0);
}

static void* end_with_it(void* arg) {
  CHECK(lock_pi(&words[0]) == 0);
  CHECK(sem_post(&ready) == 0);
  while ((__atomic_load_n(&words[0], __ATOMIC_SEQ_CST) & FUTEX_WAITERS) == 0) sched_yield();
  sleep_ms(20);
  return arg;
}
static void the_waiter_for_a_lock_whose_owner_ended_owns_it(void) {
  pthread_t t;
  CHECK(sem_init(&ready, 0, 0) == 0);
  CHECK(pthread_create(&t, NULL, end_with_it, NULL) == 0);
  CHECK(sem_wait(&ready) == 0);
  long r = lock_pi(&words[0]);
  uint32_t word = words[0];
  printf("%ld %d %d\n", r, (word & FUTEX_OWNER_DIED) != 0, (int)(word & FUTEX_TID_MASK) == gettid());
  CHECK(unlock_pi(&words[0]) == 0);
  CHECK(pthread_join(t, NULL) == 0);
}

static const struct test_case cases[] = {
    CASE(a_spinner_does_not_keep_the_owner_from_unlocking),
    CASE(a_spinner_does_not_keep_the_owner_of_a_shared_lock_from_unlocking),
    CASE(the_owner_is_itself_again_once_it_has_unlocked),
    CASE(the_owner_of_a_shared_lock_is_itself_again_once_it_has_unlocked),
    CASE(the_owner_is_itself_again_when_the_waiter_gives_up),
    CASE(the_owner_of_a_shared_lock_is_itself_again_when_the_waiter_gives_up),
    CASE(the_owner_runs_as_its_waiter_until_it_ends),
    CASE(a_waiter_that_is_raised_raises_the_owner),
    CASE(the_rank_goes_along_a_chain_of_locks),
    CASE(the_rank_goes_along_a_chain_of_shared_locks),
    CASE(the_owner_of_two_keeps_what_the_other_one_gives_it),
    CASE(waiters_own_the_lock_by_priority),
    CASE(who_changes_its_class_gets_on_beside_higher_ones),
    CASE(a_circle_of_waiters_is_refused),
    CASE(the_waiter_for_a_lock_whose_owner_ended_owns_it),
};
CASE_MAIN(cases)
