/* Programs that set %gs, as Firefox's sandboxed libraries do: each thread's is its own, over calls, handlers and forks.
 * For the library of cr run --keep-gs. */
#include "blocking.h"

#include <asm/prctl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

extern char** environ;

static uint64_t base(void) {
  uint64_t b;
  asm volatile("rdgsbase %0" : "=r"(b));
  return b;
}
static void set_base(const void* p) { asm volatile("wrgsbase %0" ::"r"(p) : "memory"); }
static inline uint64_t word(void) {
  uint64_t w;
  asm volatile("movq %%gs:0, %0" : "=r"(w) : : "memory");
  return w;
}

static uint64_t own[1] = {4711};
static const char* kept(void) { return base() == (uintptr_t)own && word() == 4711 ? "kept" : "lost"; }

static void* writes_late(void* fd) {
  CHECK(base() == (uintptr_t)own);
  sleep_ms(20);
  CHECK(write(*(int*)fd, "x", 1) == 1);
  return NULL;
}
static void calls(void) {
  set_base(own);
  printf("none: %s\n", kept());
  getppid();
  printf("getppid: %s\n", kept());
  syscall(SYS_getpgid, 0);
  printf("getpgid: %s\n", kept());
  int fds[2];
  CHECK(pipe(fds) == 0);
  pthread_t t;
  char c;
  CHECK(pthread_create(&t, NULL, writes_late, &fds[1]) == 0);
  CHECK(read(fds[0], &c, 1) == 1);
  printf("read: %s\n", kept());
  CHECK(pthread_join(t, NULL) == 0);
  struct pollfd p = {.fd = fds[0], .events = POLLIN};
  CHECK(poll(&p, 1, 5) == 0);
  printf("poll: %s\n", kept());
  sleep_ms(5);
  printf("nanosleep: %s\n", kept());
  sched_yield();
  printf("sched_yield: %s\n", kept());
  errno = 0;
  CHECK(syscall(9999) == -1 && errno == ENOSYS);
  printf("no call: %s\n", kept());
}

enum { THREADS = 8, ROUNDS = 2000 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn;
static void* hands_over(void* arg) {
  uint64_t me[1] = {(uintptr_t)arg};
  set_base(me);
  uintptr_t wrong = 0;
  for (int i = 0; i < ROUNDS; i++) {
    pthread_mutex_lock(&mutex);
    while (turn != (int)(uintptr_t)arg) pthread_cond_wait(&cond, &mutex);
    turn = (turn + 1) % THREADS;
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&mutex);
    wrong += word() != (uintptr_t)arg || base() != (uintptr_t)me;
    if (i % 64 == 0) sched_yield();
    if (i % 500 == 0) sleep_ms(1);
    wrong += word() != (uintptr_t)arg;
  }
  return (void*)wrong;
}
static void in_threads(void* (*fn)(void*)) {
  pthread_t t[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++) CHECK(pthread_create(&t[i], NULL, fn, (void*)i) == 0);
  for (int i = 0; i < THREADS; i++) {
    void* wrong;
    CHECK(pthread_join(t[i], &wrong) == 0);
    printf("%d: wrong %zu times\n", i, (size_t)wrong);
  }
}
static void each_thread_has_its_own(void) { in_threads(hands_over); }

static void* computes(void* arg) {
  uint64_t me[1] = {(uintptr_t)arg};
  set_base(me);
  uintptr_t wrong = 0;
  for (uint64_t end = now_ms() + 300; (uint64_t)now_ms() < end;)
    for (int i = 0; i < 100000; i++) wrong += word() != (uintptr_t)arg;
  return (void*)wrong;
}
static void threads_that_compute(void) { in_threads(computes); }

static volatile uint64_t in_handler;
static uint64_t other[1] = {815};
static void looks(int sig) { in_handler = word(); }
static void sets(int sig) { set_base(other); }
static void handlers(void) {
  set_base(own);
  signal(SIGUSR1, looks);
  signal(SIGUSR2, sets);
  raise(SIGUSR1);
  printf("in a handler: %d, after it: %s\n", (int)in_handler, kept());
  raise(SIGUSR2);
  printf("after one that sets it: %d\n", (int)word());
}

static volatile int over, handled, strayed;
static __thread volatile uint64_t* mine;
static void compares(int sig) {
  if (word() != mine[0]) strayed = 1;
  __atomic_add_fetch(&handled, 1, __ATOMIC_SEQ_CST);
}
static void* computes_on(void* arg) {
  uint64_t me[1] = {(uintptr_t)arg};
  mine = me;
  set_base(me);
  uintptr_t wrong = 0;
  while (!over) wrong += word() != (uintptr_t)arg;
  return (void*)wrong;
}
static void* calls_on(void* arg) {
  uint64_t me[1] = {(uintptr_t)arg};
  mine = me;
  set_base(me);
  uintptr_t wrong = 0;
  while (!over) {
    getppid();
    wrong += word() != (uintptr_t)arg;
    sched_yield();
    wrong += word() != (uintptr_t)arg;
  }
  return (void*)wrong;
}
static void handlers_of_busy_threads(void) {
  signal(SIGUSR1, compares);
  sigset_t usr1;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  pthread_t t[6];
  for (uintptr_t i = 0; i < 6; i++)
    CHECK(pthread_create(&t[i], NULL, i % 2 ? calls_on : computes_on, (void*)(i + 1)) == 0);
  sleep_ms(20);
  for (int i = 0; i < 300; i++) {
    int before = handled;
    CHECK(pthread_kill(t[i % 6], SIGUSR1) == 0);
    while (handled == before) sched_yield();
  }
  over = 1;
  uintptr_t wrong = 0;
  for (int i = 0; i < 6; i++) {
    void* w;
    CHECK(pthread_join(t[i], &w) == 0);
    wrong += (uintptr_t)w;
  }
  printf("%s, wrong %zu times\n", strayed ? "a handler had another's" : "each handler had its thread's", (size_t)wrong);
}

static void* says_whose(void* unused) { return (void*)kept(); }
static void a_thread_begins_with_its_makers(void) {
  set_base(own);
  pthread_t t;
  void* said;
  CHECK(pthread_create(&t, NULL, says_whose, NULL) == 0);
  CHECK(pthread_join(t, &said) == 0);
  printf("%s\n", (char*)said);
}

/* As if it were another program. */
static void after_an_exec(void) { printf("%d\n", (int)base()); }
static void children(void) {
  set_base(own);
  fflush(stdout);
  int status;
  pid_t pid = fork();
  if (pid == 0) _exit(strcmp(kept(), "kept") == 0 ? 3 : 4);
  CHECK(waitpid(pid, &status, 0) == pid);
  printf("fork: %d here %s\n", WEXITSTATUS(status), kept());
  pid = vfork();
  if (pid == 0) _exit(word() == 4711 ? 3 : 4);
  CHECK(waitpid(pid, &status, 0) == pid);
  printf("vfork: %d here %s\n", WEXITSTATUS(status), kept());
  fflush(stdout);
  char* const argv[] = {"gsbase", "after_an_exec", NULL};
  CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) == 0);
  CHECK(waitpid(pid, &status, 0) == pid);
  printf("spawned: %d here %s\n", WEXITSTATUS(status), kept());
}
/* More children that share the memory than there are areas at first. */
static void many_vforks(void) {
  set_base(own);
  int bad = 0;
  for (int i = 0; i < 300; i++) {
    int status;
    pid_t pid = vfork();
    if (pid == 0) _exit(word() == 4711 ? 3 : 4);
    CHECK(waitpid(pid, &status, 0) == pid);
    bad += WEXITSTATUS(status) != 3;
  }
  printf("%d wrong, here %s\n", bad, kept());
}
/* Each generation has kernel threads of its own. */
static void* nothing(void* arg) { return NULL; }
static void generations(void) {
  set_base(own);
  int deep = 0;
  for (; deep < 40; deep++) {
    pthread_t t[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, nothing, NULL) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
    pid_t pid = fork();
    if (pid == 0) continue;
    int status;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && strcmp(kept(), "kept") == 0);
    if (deep == 0) printf("%d\n", WEXITSTATUS(status));
    else _exit(WEXITSTATUS(status));
    return;
  }
  _exit(deep);
}

static void by_call(void) {
  uint64_t got = 0;
  CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, own) == 0);
  printf("%s\n", kept());
  CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &got) == 0);
  printf("%d\n", got == (uintptr_t)own);
  sleep_ms(2);
  printf("%s\n", kept());
}

/* Threads that sit in the kernel, each with a kernel thread of its own. */
static void* waits_for_lock(void* path) {
  uint64_t me[1] = {42};
  set_base(me);
  int fd = open(path, O_RDWR);
  CHECK(fd >= 0);
  struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  CHECK(fcntl(fd, F_OFD_SETLKW, &l) == 0);
  uintptr_t right = word() == 42 && base() == (uintptr_t)me;
  close(fd);
  return (void*)right;
}
static void in_the_kernel(void) {
  set_base(own);
  char path[] = "/tmp/gsbase.XXXXXX";
  int fd = mkstemp(path);
  CHECK(fd >= 0);
  struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  CHECK(fcntl(fd, F_OFD_SETLK, &l) == 0);
  pthread_t t[100];
  for (int i = 0; i < 100; i++) CHECK(pthread_create(&t[i], NULL, waits_for_lock, path) == 0);
  sleep_ms(50);
  close(fd);
  int right = 0;
  for (int i = 0; i < 100; i++) {
    void* r;
    CHECK(pthread_join(t[i], &r) == 0);
    right += r != NULL;
  }
  unlink(path);
  printf("%d right, here %s\n", right, kept());
}

static const struct test_case cases[] = {
    CASE(calls), CASE(each_thread_has_its_own), CASE(threads_that_compute), CASE(handlers),
    CASE(handlers_of_busy_threads), CASE(a_thread_begins_with_its_makers), CASE(after_an_exec), CASE(children),
    CASE(many_vforks), CASE(generations),
    CASE(by_call), CASE(in_the_kernel),
};

int main(int argc, char** argv) {
  enum { FSGSBASE = 2 };
  if ((getauxval(AT_HWCAP2) & FSGSBASE) == 0) return 0; /* neither has the instructions, nor the library */
  return case_main(argc, argv, cases, (int)(sizeof cases / sizeof cases[0]));
}
