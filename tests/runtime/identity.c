/* What a thread is to the system: its name, clocks, affinity, scheduling class, limits, and what all
 * threads of a process share. */
#include "case.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* A thread that does what it is told, one thing at a time. */
struct agent {
  pthread_t t;
  pid_t tid;
  void (*todo)(void);
  pthread_mutex_t lock;
  pthread_cond_t cond;
  int end;
};
static void* agent_main(void* arg) {
  struct agent* a = arg;
  pthread_mutex_lock(&a->lock);
  a->tid = gettid();
  pthread_cond_broadcast(&a->cond);
  while (!a->end) {
    if (a->todo != NULL) {
      a->todo();
      a->todo = NULL;
      pthread_cond_broadcast(&a->cond);
    }
    pthread_cond_wait(&a->cond, &a->lock);
  }
  pthread_mutex_unlock(&a->lock);
  return NULL;
}
static void agent_start(struct agent* a) {
  memset(a, 0, sizeof *a);
  pthread_mutex_init(&a->lock, NULL);
  pthread_cond_init(&a->cond, NULL);
  CHECK(pthread_create(&a->t, NULL, agent_main, a) == 0);
  pthread_mutex_lock(&a->lock);
  while (a->tid == 0) pthread_cond_wait(&a->cond, &a->lock);
  pthread_mutex_unlock(&a->lock);
}
static void agent_begin(struct agent* a, void (*todo)(void)) {
  pthread_mutex_lock(&a->lock);
  a->todo = todo;
  pthread_cond_broadcast(&a->cond);
  pthread_mutex_unlock(&a->lock);
}
static void agent_await(struct agent* a) {
  pthread_mutex_lock(&a->lock);
  while (a->todo != NULL) pthread_cond_wait(&a->cond, &a->lock);
  pthread_mutex_unlock(&a->lock);
}
static void agent_do(struct agent* a, void (*todo)(void)) {
  agent_begin(a, todo);
  agent_await(a);
}
static void agent_end(struct agent* a) {
  pthread_mutex_lock(&a->lock);
  a->end = 1;
  pthread_cond_broadcast(&a->cond);
  pthread_mutex_unlock(&a->lock);
  CHECK(pthread_join(a->t, NULL) == 0);
}

/* ---- names ---------------------------------------------------------------------------------- */

static void say_own_name(void) {
  char name[16] = "";
  CHECK(prctl(PR_GET_NAME, name) == 0);
  printf("own %s\n", name);
}
static pthread_t first;
static void name_first(void) { printf("%d\n", pthread_setname_np(first, "the-first")); }
static void say_name(pthread_t t) {
  char name[16] = "";
  int error = pthread_getname_np(t, name, sizeof name);
  printf("%d %s\n", error, name);
}
static void names_of_other_threads(void) {
  struct agent a, b;
  first = pthread_self();
  agent_start(&a);
  agent_start(&b);
  printf("%d\n", pthread_setname_np(a.t, "agent-a"));
  printf("%d\n", pthread_setname_np(b.t, "agent-b"));
  printf("%d\n", pthread_setname_np(a.t, "a name of sixteen"));
  agent_do(&a, say_own_name);
  agent_do(&b, say_own_name);
  say_name(a.t);
  say_name(b.t);
  printf("%d\n", pthread_setname_np(a.t, "fifteen letters"));
  printf("%d\n", pthread_setname_np(a.t, "x"));
  agent_do(&a, say_own_name);
  agent_do(&b, name_first);
  say_name(first);
  say_own_name();
  agent_end(&a);
  agent_end(&b);
}

static void names_by_proc(void) {
  struct agent a;
  char path[64], text[64];
  agent_start(&a);
  for (int way = 0; way < 2; way++) {
    snprintf(path, sizeof path, "/proc/%s/task/%d/comm", way ? "self" : "thread-self/..", (int)a.tid);
    if (!way) snprintf(path, sizeof path, "/proc/%d/task/%d/comm", (int)getpid(), (int)a.tid);
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    CHECK(write(fd, "first", 5) == 5);
    CHECK(write(fd, "longer than fifteen", 19) == 19);
    close(fd);
    agent_do(&a, say_own_name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, "by proc\n", 8) == 8);
    close(fd);
    fd = open(path, O_RDONLY);
    ssize_t n = read(fd, text, sizeof text);
    CHECK(n > 0);
    text[n] = 0;
    printf("%s|\n", text);
    CHECK(read(fd, text, sizeof text) == 0);
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && read(fd, text, 2) == 2);
    close(fd);
    FILE* f = fopen(path, "w");
    CHECK(f != NULL && fputs("stdio", f) >= 0 && fclose(f) == 0);
    agent_do(&a, say_own_name);
  }
  agent_end(&a);
  /* pthread_join returns a moment before the kernel has removed the thread */
  for (int i = 0, fd; i < 100 && (fd = open(path, O_RDONLY)) >= 0; i++) {
    close(fd);
    sleep_ms(10);
  }
  CHECK(open(path, O_RDONLY) < 0);
  printf("%d\n", errno);
}

/* ---- clocks --------------------------------------------------------------------------------- */

static int64_t ns_of(clockid_t clock) {
  struct timespec ts;
  CHECK(clock_gettime(clock, &ts) == 0);
  return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
static int64_t rusage_ns(int who) {
  struct rusage r;
  CHECK(getrusage(who, &r) == 0);
  return (int64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000 +
         (int64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000;
}
static void burn_ns(clockid_t clock, int64_t ns) {
  int64_t end = ns_of(clock) + ns;
  while (ns_of(clock) < end) {
    for (volatile int i = 0; i < 10000;) i++;
  }
}
enum { kMs = 1000000 };
static clockid_t clock_of_a, clock_of_first;
static int64_t used_by_a;
static void burn_30(void) { burn_ns(CLOCK_PROCESS_CPUTIME_ID, 30 * kMs); }
static void look_at_first(void) { used_by_a = ns_of(clock_of_first); }

/* What a machine that stands still costs is charged to whoever runs just then: so up to five times. */
static void clock_of_another_thread(void) {
  struct agent a, b;
  clockid_t clock_of_b;
  agent_start(&a);
  agent_start(&b);
  CHECK(pthread_getcpuclockid(a.t, &clock_of_a) == 0);
  CHECK(pthread_getcpuclockid(b.t, &clock_of_b) == 0);
  CHECK(pthread_getcpuclockid(pthread_self(), &clock_of_first) == 0);
  int as_burnt = 0, as_own = 0, as_seen_by_a = 0;
  for (int i = 0; i < 5 && !(as_burnt && as_own && as_seen_by_a); i++) {
    int64_t a0 = ns_of(clock_of_a), b0 = ns_of(clock_of_b), m0 = ns_of(CLOCK_THREAD_CPUTIME_ID);
    agent_do(&a, burn_30);
    int64_t a1 = ns_of(clock_of_a), b1 = ns_of(clock_of_b), m1 = ns_of(CLOCK_THREAD_CPUTIME_ID);
    /* what it burnt, and nothing of the others' */
    as_burnt = a1 - a0 >= 25 * kMs && b1 - b0 < 10 * kMs && m1 - m0 < 10 * kMs;
    burn_ns(CLOCK_THREAD_CPUTIME_ID, 30 * kMs);
    as_own = ns_of(clock_of_a) - a1 < 10 * kMs && ns_of(CLOCK_THREAD_CPUTIME_ID) - m1 >= 30 * kMs;
    agent_do(&a, look_at_first);
    as_seen_by_a = used_by_a - m1 >= 30 * kMs;
  }
  printf("%d %d %d\n", as_burnt, as_own, as_seen_by_a);
  struct timespec res;
  printf("%d %d\n", clock_getres(clock_of_a, &res), res.tv_sec == 0);
  agent_end(&a);
  agent_end(&b);
  struct timespec ts;
  printf("%d %d\n", clock_gettime(clock_of_a, &ts), errno);
}

/* Threads that hand over often are not counted until somebody asks; the first to ask does so while
 * this one is in a call that blocks, from which it comes back to the cpu of the one that asked, who is
 * in such a call, too: there is no switch. */
static int of_child, of_a;
static void nothing(void) {}
static void agent_start_busily(struct agent* a) {
  agent_start(a);
  for (int i = 0; i < 20000; i++) agent_do(a, nothing);
  CHECK(pthread_getcpuclockid(a->t, &clock_of_a) == 0);
}
static void lock_and_burn_30(void) {
  CHECK(flock(of_a, LOCK_EX) == 0 && flock(of_child, LOCK_EX) == 0);
  burn_30();
  CHECK(flock(of_a, LOCK_UN) == 0);
}
static int new_file(char* path) {
  int fd = mkstemp(path);
  CHECK(fd >= 0);
  return fd;
}
static void clock_first_read_during_a_call(void) {
  char first[] = "/tmp/identityXXXXXX", second[] = "/tmp/identityXXXXXX";
  int held_by_child = new_file(first), mine = new_file(second), told[2];
  CHECK(pipe(told) == 0 && flock(held_by_child, LOCK_EX) == 0);
  pid_t child = fork();
  if (child == 0) {
    char c;
    CHECK(read(told[0], &c, 1) == 1);
    sleep_ms(60);
    _exit(0);
  }
  close(held_by_child);
  of_child = open(first, O_RDWR);
  of_a = open(second, O_RDWR);
  CHECK(of_child >= 0 && of_a >= 0 && unlink(first) == 0 && unlink(second) == 0);
  struct agent a;
  agent_start_busily(&a);
  agent_begin(&a, lock_and_burn_30);
  sleep_ms(20);
  CHECK(write(told[1], "", 1) == 1);
  int64_t before = ns_of(clock_of_a);
  CHECK(flock(mine, LOCK_EX) == 0);
  printf("%d\n", ns_of(clock_of_a) - before >= 25 * kMs);
  CHECK(waitpid(child, NULL, 0) == child);
  agent_end(&a);
}

static void burn_60(void) { burn_ns(CLOCK_PROCESS_CPUTIME_ID, 60 * kMs); }
static void clock_first_read_of_one_that_computes(void) {
  struct agent a;
  agent_start_busily(&a);
  agent_begin(&a, burn_60);
  sleep_ms(10);
  int64_t before = ns_of(clock_of_a), of_all = ns_of(CLOCK_PROCESS_CPUTIME_ID);
  agent_await(&a);
  of_all = ns_of(CLOCK_PROCESS_CPUTIME_ID) - of_all;
  printf("%d\n", ns_of(clock_of_a) - before >= of_all / 2);
  agent_end(&a);
}

static int64_t at_end;
static int by_rusage;
static void* burn_and_look(void* arg) {
  burn_ns(CLOCK_PROCESS_CPUTIME_ID, 60 * kMs);
  at_end = by_rusage ? rusage_ns(RUSAGE_THREAD) : ns_of(CLOCK_THREAD_CPUTIME_ID);
  return arg;
}
static void* sleep_and_look(void* arg) {
  sleep_ms(60);
  at_end = by_rusage ? rusage_ns(RUSAGE_THREAD) : ns_of(CLOCK_THREAD_CPUTIME_ID);
  return arg;
}
/* The first question is asked when the work is done. */
static void look_once(void* (*fn)(void*)) {
  pthread_t t;
  burn_ns(CLOCK_PROCESS_CPUTIME_ID, 40 * kMs);
  CHECK(pthread_create(&t, NULL, fn, NULL) == 0 && pthread_join(t, NULL) == 0);
}
static void thread_clock_read_at_the_end(void) {
  look_once(burn_and_look);
  printf("%d %d\n", at_end >= 5 * kMs, at_end < 90 * kMs);
}
static void thread_clock_of_a_sleeper(void) {
  look_once(sleep_and_look);
  printf("%d\n", at_end < 20 * kMs);
}
static void thread_usage_read_at_the_end(void) {
  by_rusage = 1;
  look_once(burn_and_look);
  printf("%d %d\n", at_end >= 5 * kMs, at_end < 90 * kMs);
  look_once(sleep_and_look);
  printf("%d\n", at_end < 20 * kMs);
  printf("%d\n", rusage_ns(RUSAGE_THREAD) <= rusage_ns(RUSAGE_SELF) + 10 * kMs);
}

static int64_t own[6];
static void* burn_share(void* arg) {
  burn_ns(CLOCK_THREAD_CPUTIME_ID, 10 * kMs);
  own[(intptr_t)arg] = ns_of(CLOCK_THREAD_CPUTIME_ID);
  return arg;
}
/* The threads' times sum up to no more than the process's. */
static void thread_clocks_beside_each_other(void) {
  pthread_t t[6];
  int64_t sum = 0;
  for (intptr_t i = 0; i < 6; i++) CHECK(pthread_create(&t[i], NULL, burn_share, (void*)i) == 0);
  for (int i = 0; i < 6; i++) CHECK(pthread_join(t[i], NULL) == 0);
  for (int i = 0; i < 6; i++) sum += own[i];
  printf("%d %d\n", sum >= 60 * kMs, sum <= ns_of(CLOCK_PROCESS_CPUTIME_ID));
}

/* ---- affinity ------------------------------------------------------------------------------- */

static cpu_set_t at_start;
static int seen_count;
static void pin_self(void) {
  cpu_set_t one;
  int cpu = 0;
  while (!CPU_ISSET(cpu, &at_start)) cpu++;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  CHECK(pthread_setaffinity_np(pthread_self(), sizeof one, &one) == 0);
}
static void see_affinity(void) {
  cpu_set_t set;
  CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
  seen_count = CPU_COUNT(&set);
}
static void* see_affinity_main(void* arg) {
  see_affinity();
  return arg;
}
static void pin_and_make(void) {
  pthread_t t;
  pin_self();
  CHECK(pthread_create(&t, NULL, see_affinity_main, NULL) == 0 && pthread_join(t, NULL) == 0);
}
static void fork_and_see(void) {
  pid_t pid = fork();
  if (pid == 0) {
    see_affinity();
    _exit(seen_count);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid);
  seen_count = status >> 8;
}
static void see_of_shell(void) {
  FILE* f = popen("grep -c , /proc/self/status | head -1; nproc", "r");
  int lines, n;
  CHECK(f != NULL && fscanf(f, "%d %d", &lines, &n) == 2);
  pclose(f);
  seen_count = n;
}
static void affinity_is_each_threads_own(void) {
  struct agent a, b;
  cpu_set_t set;
  CHECK(sched_getaffinity(0, sizeof at_start, &at_start) == 0);
  int all = CPU_COUNT(&at_start);
  agent_start(&a);
  agent_start(&b);
  agent_do(&a, pin_and_make);
  printf("inherited %d\n", seen_count);
  agent_do(&a, see_affinity);
  printf("pinned %d\n", seen_count);
  agent_do(&b, see_affinity);
  printf("other %d\n", seen_count == all);
  see_affinity();
  printf("first %d\n", seen_count == all);
  CHECK(pthread_getaffinity_np(a.t, sizeof set, &set) == 0);
  printf("asked by first %d\n", CPU_COUNT(&set));
  agent_do(&a, fork_and_see);
  printf("its child %d\n", seen_count);
  agent_do(&b, fork_and_see);
  printf("other child %d\n", seen_count == all);
  agent_do(&a, see_of_shell);
  printf("its shell %d\n", seen_count);
  CHECK(pthread_setaffinity_np(b.t, sizeof set, &set) == 0);
  agent_do(&b, see_affinity);
  printf("pinned by first %d\n", seen_count);
  CHECK(pthread_setaffinity_np(a.t, sizeof at_start, &at_start) == 0);
  agent_do(&a, see_affinity);
  printf("freed %d\n", seen_count == all);
  CPU_ZERO(&set);
  printf("%d\n", pthread_setaffinity_np(a.t, sizeof set, &set));
  printf("%d\n", pthread_getaffinity_np(a.t, 1, &set));
  agent_end(&a);
  agent_end(&b);
  printf("%d %d\n", sched_setaffinity(a.tid, sizeof at_start, &at_start), errno);
}

/* ---- scheduling class ------------------------------------------------------------------------- */

static void say_class(void) {
  struct sched_param p;
  CHECK(sched_getparam(0, &p) == 0);
  printf("%d/%d\n", sched_getscheduler(0), p.sched_priority);
}
static void be_idle(void) {
  struct sched_param p = {0};
  printf("%d\n", sched_setscheduler(0, SCHED_IDLE, &p));
}
static void scheduling_class_is_each_threads_own(void) {
  struct agent a, b;
  struct sched_param p = {0};
  int policy;
  agent_start(&a);
  agent_start(&b);
  printf("%d\n", pthread_setschedparam(a.t, SCHED_BATCH, &p));
  agent_do(&a, say_class);
  agent_do(&b, say_class);
  say_class();
  printf("%d\n", sched_getscheduler(a.tid));
  printf("%d\n", sched_getscheduler(b.tid));
  CHECK(pthread_getschedparam(a.t, &policy, &p) == 0);
  printf("%d %d\n", policy, p.sched_priority);
  p.sched_priority = 5;
  printf("%d\n", pthread_setschedparam(b.t, SCHED_OTHER, &p));
  p.sched_priority = 0;
  printf("%d\n", pthread_setschedparam(b.t, SCHED_FIFO, &p));
  printf("%d\n", pthread_setschedparam(b.t, 77, &p));
  if (geteuid() == 0) {
    p.sched_priority = 7;
    printf("%d\n", pthread_setschedparam(b.t, SCHED_RR, &p));
    agent_do(&b, say_class);
    p.sched_priority = 9;
    printf("%d\n", sched_setparam(b.tid, &p));
    agent_do(&b, say_class);
    agent_do(&a, say_class);
    say_class();
    p.sched_priority = 0;
    printf("%d\n", pthread_setschedparam(b.t, SCHED_OTHER, &p));
  }
  agent_do(&a, be_idle);
  agent_do(&a, say_class);
  say_class();
  agent_end(&a);
  agent_end(&b);
  printf("%d %d\n", sched_getscheduler(a.tid), errno);
}
/* A thread made with a class of its own. */
static void* say_class_main(void* arg) {
  say_class();
  return arg;
}
static void thread_made_with_a_class(void) {
  pthread_t t;
  pthread_attr_t attr;
  struct sched_param p = {.sched_priority = 3};
  if (geteuid() != 0) return;
  pthread_attr_init(&attr);
  pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
  pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
  pthread_attr_setschedparam(&attr, &p);
  CHECK(pthread_create(&t, &attr, say_class_main, NULL) == 0 && pthread_join(t, NULL) == 0);
  say_class();
  CHECK(pthread_create(&t, NULL, say_class_main, NULL) == 0 && pthread_join(t, NULL) == 0);
}
static void say_nice(void) {
  errno = 0;
  int n = getpriority(PRIO_PROCESS, 0);
  printf("nice %d\n", n);
}
static void be_nicer(void) { printf("%d\n", setpriority(PRIO_PROCESS, 0, 7)); }
static void fork_and_say_nice(void) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    say_nice();
    fflush(stdout);
    _exit(0);
  }
  CHECK(waitpid(pid, NULL, 0) == pid);
}
/* As Linux has it: a thread's own. */
static void nice_is_each_threads_own(void) {
  struct agent a, b;
  agent_start(&a);
  agent_start(&b);
  int before = getpriority(PRIO_PROCESS, 0);
  agent_do(&a, be_nicer);
  agent_do(&a, say_nice);
  agent_do(&b, say_nice);
  printf("%d\n", getpriority(PRIO_PROCESS, 0) == before);
  printf("%d\n", getpriority(PRIO_PROCESS, (id_t)a.tid));
  agent_do(&a, fork_and_say_nice);
  agent_do(&b, fork_and_say_nice);
  agent_end(&a);
  agent_end(&b);
}

/* ---- attributes and limits ----------------------------------------------------------------------- */

static void* own_stack(void* arg) {
  pthread_attr_t attr;
  void* base;
  size_t size, guard;
  int here;
  CHECK(pthread_getattr_np(pthread_self(), &attr) == 0);
  CHECK(pthread_attr_getstack(&attr, &base, &size) == 0);
  CHECK(pthread_attr_getguardsize(&attr, &guard) == 0);
  printf("%d %zu %zu\n", (char*)&here > (char*)base && (char*)&here < (char*)base + size, size, guard);
  int detached;
  CHECK(pthread_attr_getdetachstate(&attr, &detached) == 0);
  printf("%d\n", detached);
  pthread_attr_destroy(&attr);
  return arg;
}
static void attributes_of_running_threads(void) {
  pthread_t t;
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 256 << 10);
  pthread_attr_setguardsize(&attr, 16 << 10);
  CHECK(pthread_create(&t, &attr, own_stack, NULL) == 0 && pthread_join(t, NULL) == 0);
  void* base;
  size_t size;
  int here;
  CHECK(pthread_getattr_np(pthread_self(), &attr) == 0);
  CHECK(pthread_attr_getstack(&attr, &base, &size) == 0);
  printf("%d\n", (char*)&here > (char*)base && (char*)&here < (char*)base + size);
  struct agent a;
  agent_start(&a);
  CHECK(pthread_getattr_np(a.t, &attr) == 0);
  CHECK(pthread_attr_getstack(&attr, &base, &size) == 0);
  printf("%d\n", size >= 16 << 10);
  agent_end(&a);
}

static void* wait_for_end(void* arg) {
  pthread_mutex_lock(arg);
  pthread_mutex_unlock(arg);
  return arg;
}
/* libcr's table of a user that nobody is again. */
static void forget_table(uid_t uid) {
  struct stat st;
  char path[80];
  if (stat("/proc/self/ns/pid", &st) != 0) return;
  snprintf(path, sizeof path, "/dev/shm/libcr-2-%u-%lu", uid, (unsigned long)st.st_ino);
  unlink(path);
}
/* A user that may have so many tasks and no more. The limit is of tasks, and those of a uid that no
 * other process of this machine has are this process's alone. */
static void no_more_threads_than_the_limit(void) {
  if (geteuid() != 0) return;
  enum { kLimit = 12 };
  pthread_t t[64];
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  uid_t uid = 1500000000u + (uid_t)getpid() % 1000000u;
  CHECK(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0);
  CHECK(setresuid(uid, uid, uid) == 0);
  struct rlimit limit = {kLimit, kLimit};
  CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
  for (int round = 0; round < 3; round++) {
    int n = 0, error = 0;
    pthread_mutex_lock(&lock);
    while (n < 64 && (error = pthread_create(&t[n], NULL, wait_for_end, &lock)) == 0) n++;
    printf("%d threads besides the first, %d\n", n, error == EAGAIN);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < n; i++) CHECK(pthread_join(t[i], NULL) == 0);
    /* natively a joined thread's task may be there for a moment more */
    sleep_ms(50);
  }
  /* a soft limit that is raised again */
  limit.rlim_cur = 3;
  CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
  pthread_mutex_lock(&lock);
  CHECK(pthread_create(&t[0], NULL, wait_for_end, &lock) == 0);
  CHECK(pthread_create(&t[1], NULL, wait_for_end, &lock) == 0);
  printf("%d\n", pthread_create(&t[2], NULL, wait_for_end, &lock));
  limit.rlim_cur = kLimit;
  CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
  printf("%d\n", pthread_create(&t[2], NULL, wait_for_end, &lock));
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < 3; i++) CHECK(pthread_join(t[i], NULL) == 0);
  forget_table(uid);
}

/* ---- what threads share, and what they can leave ------------------------------------------------- */

static char scratch[] = "/tmp/identityXXXXXX";
static void say_cwd(void) {
  char buf[PATH_MAX];
  CHECK(getcwd(buf, sizeof buf) != NULL);
  printf("cwd %s\n", strcmp(buf, scratch) == 0 ? "scratch" : buf);
}
static void go_to_scratch(void) { CHECK(chdir(scratch) == 0); }
static void set_umask(void) { printf("%o\n", umask(0137)); }
static void many_kernel_threads(void) {
  /* several rforks sit in traps and come back */
  for (int i = 0; i < 20; i++) usleep(100);
}
static void directory_and_umask_are_shared(void) {
  struct agent a, b;
  CHECK(mkdtemp(scratch) != NULL && chdir("/") == 0);
  agent_start(&a);
  agent_start(&b);
  agent_do(&a, go_to_scratch);
  agent_do(&b, many_kernel_threads);
  agent_do(&b, say_cwd);
  say_cwd();
  umask(022);
  agent_do(&b, set_umask);
  agent_do(&a, many_kernel_threads);
  printf("%o\n", umask(0));
  CHECK(chdir("/") == 0);
  agent_do(&a, say_cwd);
  agent_end(&a);
  agent_end(&b);
  rmdir(scratch);
}
static void go_to_root_of_scratch(void) { CHECK(chroot(scratch) == 0 && chdir("/") == 0); }
static void is_empty_root(void) { printf("root %d\n", access("/proc/self", F_OK)); }
static void root_is_shared(void) {
  struct agent a, b;
  if (geteuid() != 0) return;
  int root = open("/", O_RDONLY | O_DIRECTORY);
  CHECK(root >= 0 && mkdtemp(scratch) != NULL);
  agent_start(&a);
  agent_start(&b);
  agent_do(&a, is_empty_root);
  agent_do(&a, go_to_root_of_scratch);
  agent_do(&b, is_empty_root);
  agent_do(&a, is_empty_root);
  is_empty_root();
  agent_end(&a);
  agent_end(&b);
  CHECK(fchdir(root) == 0 && chroot(".") == 0 && rmdir(scratch) == 0);
}
static void say_host(void) {
  char name[65] = "";
  gethostname(name, sizeof name);
  printf("%d\n", strcmp(name, "elsewhere") == 0);
}
/* Before there are threads: all that are made later have it. */
static void new_host_name_for_all(void) {
  struct agent a, b;
  if (geteuid() != 0 || unshare(CLONE_NEWUTS) != 0) return;
  CHECK(sethostname("elsewhere", 9) == 0);
  agent_start(&a);
  agent_start(&b);
  agent_do(&a, many_kernel_threads);
  agent_do(&a, say_host);
  agent_do(&b, say_host);
  say_host();
  agent_end(&a);
  agent_end(&b);
}
/* Where there were threads before. */
static void set_namespace_is_that_of_later_threads(void) {
  struct agent a, b;
  if (geteuid() != 0) return;
  int home = open("/proc/self/ns/uts", O_RDONLY);
  if (home < 0 || unshare(CLONE_NEWUTS) != 0) return;
  CHECK(sethostname("elsewhere", 9) == 0);
  agent_start(&a);
  agent_start(&b);
  agent_do(&a, many_kernel_threads);
  agent_end(&a);
  agent_end(&b);
  CHECK(setns(home, CLONE_NEWUTS) == 0);
  say_host();
  agent_start(&a);
  agent_start(&b);
  for (int i = 0; i < 3; i++) {
    agent_do(&b, many_kernel_threads);
    agent_do(&a, say_host);
    agent_do(&b, say_host);
  }
  agent_end(&a);
  agent_end(&b);
}

/* ---- prctl --------------------------------------------------------------------------------------- */

static void say_prctl(void) {
  int sig = -1;
  CHECK(prctl(PR_GET_PDEATHSIG, &sig) == 0);
  printf("%d %d %d %d\n", prctl(PR_GET_DUMPABLE), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
         prctl(PR_GET_KEEPCAPS), sig);
}
static void set_prctl(void) {
  CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
  CHECK(prctl(PR_SET_KEEPCAPS, 1) == 0);
  CHECK(prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0);
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
}
static void process_controls_of_a_thread(void) {
  struct agent a, b;
  agent_start(&a);
  agent_start(&b);
  agent_do(&a, say_prctl);
  agent_do(&a, set_prctl);
  for (int i = 0; i < 3; i++) {
    agent_do(&b, many_kernel_threads);
    agent_do(&a, many_kernel_threads);
    agent_do(&a, say_prctl);
  }
  agent_end(&a);
  agent_end(&b);
}
static void set_subreaper(void) { CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0); }
static void say_subreaper(void) {
  int on = -1;
  CHECK(prctl(PR_GET_CHILD_SUBREAPER, &on) == 0);
  printf("%d\n", on);
}
static void subreaper_is_the_processes(void) {
  struct agent a;
  agent_start(&a);
  agent_do(&a, set_subreaper);
  say_subreaper();
  agent_do(&a, say_subreaper);
  agent_end(&a);
}

/* ---- credentials --------------------------------------------------------------------------------- */

static void say_ids(void) {
  gid_t groups[8];
  int n = getgroups(8, groups);
  printf("%d %d %d %d %d\n", (int)getuid(), (int)geteuid(), (int)getgid(), (int)getegid(), n);
}
static void drop_ids(void) {
  CHECK(setgroups(0, NULL) == 0);
  CHECK(setregid(1234, 1235) == 0);
  CHECK(setreuid(-1, 4321) == 0);
}
static void ids_are_the_processes(void) {
  struct agent a, b;
  if (geteuid() != 0) return;
  agent_start(&a);
  agent_start(&b);
  agent_do(&a, drop_ids);
  agent_do(&b, say_ids);
  agent_do(&a, say_ids);
  say_ids();
  CHECK(seteuid(0) == 0);
  agent_do(&b, many_kernel_threads);
  agent_do(&b, say_ids);
  CHECK(setuid(777) == 0);
  agent_do(&a, say_ids);
  printf("%d\n", setuid(0));
  agent_end(&a);
  agent_end(&b);
}
static const struct test_case cases[] = {
    CASE(names_of_other_threads), CASE(names_by_proc), CASE(clock_of_another_thread),
    CASE(clock_first_read_during_a_call), CASE(clock_first_read_of_one_that_computes),
    CASE(thread_clock_read_at_the_end), CASE(thread_clock_of_a_sleeper),
    CASE(thread_usage_read_at_the_end), CASE(thread_clocks_beside_each_other),
    CASE(affinity_is_each_threads_own), CASE(scheduling_class_is_each_threads_own),
    CASE(thread_made_with_a_class), CASE(nice_is_each_threads_own),
    CASE(attributes_of_running_threads), CASE(no_more_threads_than_the_limit),
    CASE(directory_and_umask_are_shared),
    CASE(root_is_shared), CASE(new_host_name_for_all), CASE(set_namespace_is_that_of_later_threads),
    CASE(process_controls_of_a_thread),
    CASE(subreaper_is_the_processes), CASE(ids_are_the_processes),
};
CASE_MAIN(cases)
