/* Locks in memory that two processes write at the same time, each with several threads: on one cpu
 * libcr runs libc without bus locks, and they must be back before anybody else can see the memory.
 * Each case counts under a lock (or with libc's own atomics) in both processes; a lost update is a
 * wrong sum. The rounds are many because short runs take turns on one cpu. */
#include "case.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

enum { THREADS = 2, ROUNDS = 2000000 };

struct shared {
  pthread_mutex_t mutex;
  pthread_spinlock_t spin;
  sem_t sem;
  pthread_barrier_t start;
  long count, spins, posts;
};

static struct shared* at;
static pthread_mutex_t warm = PTHREAD_MUTEX_INITIALIZER;

static void* nothing(void* arg) {
  pthread_mutex_lock(&warm);
  pthread_mutex_unlock(&warm);
  return arg;
}

/* The process has had threads before the memory is there. */
static void warm_up(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, nothing, NULL) == 0);
  CHECK(pthread_join(t, NULL) == 0);
}

static void init(struct shared* s) {
  pthread_mutexattr_t m;
  pthread_mutexattr_init(&m);
  CHECK(pthread_mutexattr_setpshared(&m, PTHREAD_PROCESS_SHARED) == 0);
  CHECK(pthread_mutex_init(&s->mutex, &m) == 0);
  CHECK(pthread_spin_init(&s->spin, PTHREAD_PROCESS_SHARED) == 0);
  CHECK(sem_init(&s->sem, 1, 0) == 0);
  pthread_barrierattr_t b;
  pthread_barrierattr_init(&b);
  CHECK(pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED) == 0);
  CHECK(pthread_barrier_init(&s->start, &b, 2 * THREADS) == 0);
}

static void* count(void* arg) {
  pthread_barrier_wait(&at->start);
  for (int i = 0; i < ROUNDS; i++) {
    pthread_mutex_lock(&at->mutex);
    at->count++;
    pthread_mutex_unlock(&at->mutex);
    if (pthread_spin_trylock(&at->spin) == 0) {
      at->spins++;
      pthread_spin_unlock(&at->spin);
    } else {
      sched_yield();
    }
    sem_post(&at->sem);
  }
  return arg;
}

static void count_in_threads(void) {
  pthread_t t[THREADS];
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&t[i], NULL, count, NULL) == 0);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(t[i], NULL) == 0);
}

static void count_in_two_processes(void) {
  init(at);
  pid_t child = fork();
  CHECK(child >= 0);
  count_in_threads();
  if (child == 0) _exit(0);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  int posted;
  CHECK(sem_getvalue(&at->sem, &posted) == 0);
  printf("%ld %d %d\n", at->count, posted, at->spins > 0);
}

static void anonymous_mapping(void) {
  warm_up();
  at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(at != MAP_FAILED);
  count_in_two_processes();
}

static void mapping_made_writable_later(void) {
  warm_up();
  at = mmap(NULL, sizeof *at, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(at != MAP_FAILED);
  warm_up();
  CHECK(mprotect(at, sizeof *at, PROT_READ | PROT_WRITE) == 0);
  count_in_two_processes();
}

static void mapping_before_the_first_thread(void) {
  at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(at != MAP_FAILED);
  warm_up();
  count_in_two_processes();
}

static void system_v_segment(void) {
  warm_up();
  int id = shmget(IPC_PRIVATE, sizeof *at, IPC_CREAT | 0600);
  CHECK(id >= 0);
  at = shmat(id, NULL, 0);
  CHECK(shmctl(id, IPC_RMID, NULL) == 0);
  CHECK(at != (void*)-1);
  count_in_two_processes();
}

/* Children that run on the program's memory while its threads go on with their locks. */
static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER;
static long turns;
static int done;
static void* keep_busy(void* arg) {
  while (!__atomic_load_n(&done, __ATOMIC_SEQ_CST)) {
    pthread_mutex_lock(&busy);
    turns++;
    pthread_mutex_unlock(&busy);
    sched_yield();
  }
  return arg;
}
static void spawn_beside_busy_threads(void) {
  pthread_t t[THREADS];
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&t[i], NULL, keep_busy, NULL) == 0);
  int ok = 0;
  for (int i = 0; i < 20; i++) {
    char* argv[] = {"true", NULL};
    char* envp[] = {NULL};
    pid_t pid;
    int status;
    CHECK(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, envp) == 0);
    CHECK(waitpid(pid, &status, 0) == pid);
    ok += status == 0;
  }
  __atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(t[i], NULL) == 0);
  printf("%d\n", ok);
}

static const struct test_case cases[] = {
    CASE(anonymous_mapping), CASE(mapping_made_writable_later), CASE(mapping_before_the_first_thread),
    CASE(system_v_segment),  CASE(spawn_beside_busy_threads),
};
CASE_MAIN(cases)
