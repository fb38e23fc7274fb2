// Threads that compute for whole slices, and those that share a cpu with them.
#include "case.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SPINNERS = 8 };

static atomic_int stop;
static struct {
  _Alignas(64) atomic_ulong n;
} turns[SPINNERS];
static pthread_t spinners[SPINNERS];

static void* spin(void* arg) {
  atomic_ulong* n = arg;
  while (!atomic_load(&stop)) atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
  return arg;
}

static void start_spinners(int n) {
  for (int i = 0; i < n; i++) CHECK(pthread_create(&spinners[i], NULL, spin, &turns[i].n) == 0);
}

static void stop_spinners(int n) {
  atomic_store(&stop, 1);
  for (int i = 0; i < n; i++) CHECK(pthread_join(spinners[i], NULL) == 0);
}

// A slice is 10 ms: behind all of them a sleeper would be 80 ms late and more, each time.
static void a_sleeper_does_not_wait_for_all_that_compute(void) {
  start_spinners(SPINNERS);
  sleep_ms(300);
  int64_t best = 1000000;
  for (int i = 0; i < 10 && best > 60; i++) {
    int64_t before = now_ms();
    sleep_ms(20);
    int64_t late = now_ms() - before - 20;
    if (late < best) best = late;
  }
  stop_spinners(SPINNERS);
  CHECK(best <= 60);
  puts("ok");
}

enum { IN_BATCH = 20 };

static void sleep_often(void) {
  for (int i = 0; i < 5 * IN_BATCH; i++) CHECK(usleep(100) == 0);
}

// Where its timer has to wait for the monitor's regular look or the end of a slice a batch takes 240 ms and more.
static void sleepers_wake_in_time_beside_threads_that_compute(void) {
  enum { ENOUGH = 180 };
  start_spinners(SPINNERS);
  sleep_ms(100);
  CHECK(best_batch(sleep_often, ENOUGH) <= ENOUGH);
  stop_spinners(SPINNERS);
  puts("ok");
}

static int64_t own_cpu_ms(void) {
  struct timespec t;
  CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// Each time it wakes another one is interrupted for it, whose time is not its own.
static void a_sleeper_is_not_charged_for_threads_that_compute(void) {
  start_spinners(SPINNERS);
  sleep_ms(100);
  int64_t before = own_cpu_ms();
  for (int i = 0; i < 100; i++) CHECK(usleep(2000) == 0);
  CHECK(own_cpu_ms() - before <= 50);
  stop_spinners(SPINNERS);
  puts("ok");
}

// A client in another process, which asks and waits for the answer.
static int ends[2];
static void ask_by_socket(void) {
  char c = 'x';
  for (int i = 0; i < IN_BATCH; i++) CHECK(write(ends[0], &c, 1) == 1 && read(ends[0], &c, 1) == 1);
}
static void* answer_by_socket(void* arg) {
  char c;
  while (read(ends[1], &c, 1) == 1) CHECK(write(ends[1], &c, 1) == 1);
  return arg;
}

static struct {
  long type;
} message;
static int queue;
static void ask_by_message(void) {
  for (int i = 0; i < IN_BATCH; i++) {
    message.type = 1;
    CHECK(usleep(1000) == 0);  // so that whoever answers has been waiting, and lost its cpu
    CHECK(msgsnd(queue, &message, 0, 0) == 0 && msgrcv(queue, &message, 0, 2, 0) == 0);
  }
}
static void* answer_by_message(void* arg) {
  for (;;) {
    if (msgrcv(queue, &message, 0, 1, 0) != 0) {
      CHECK(errno == EIDRM || errno == EINVAL);
      return arg;
    }
    message.type = 2;
    CHECK(msgsnd(queue, &message, 0, 0) == 0);
  }
}

// Where who answers has to wait for the ends of slices a batch takes 200 ms.
static void answers_beside_threads_that_compute(void (*ask)(void), void* (*answer)(void*), void (*finish)(void)) {
  enum { ENOUGH = 120 };
  pid_t client = fork();
  CHECK(client >= 0);
  if (client == 0) {
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    sleep_ms(100);
    CHECK(best_batch(ask, ENOUGH) <= ENOUGH);
    _exit(0);
  }
  pthread_t server;
  start_spinners(SPINNERS);
  CHECK(pthread_create(&server, NULL, answer, NULL) == 0);
  int status;
  while (waitpid(client, &status, 0) != client) CHECK(errno == EINTR);
  finish();
  CHECK(status == 0);
  CHECK(pthread_join(server, NULL) == 0);
  stop_spinners(SPINNERS);
  puts("ok");
}

static void hang_up(void) { CHECK(shutdown(ends[0], SHUT_RDWR) == 0); }
static void who_waits_for_data_runs_before_who_computes(void) {
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  answers_beside_threads_that_compute(ask_by_socket, answer_by_socket, hang_up);
}

// Before Linux 5.11, or where a sandbox forbids it: then the monitor's looks are what ends the wait.
static void also_without_epoll_pwait2(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
  execl("/proc/self/exe", "slices", "who_waits_for_data_runs_before_who_computes", NULL);
}

// Whoever an idle cpu has woken may compute for long, and nobody else looks for events then.
enum { COMPUTED_MS = 300 };

static void* compute_for_each(void* arg) {
  char c;
  while (read(*(int*)arg, &c, 1) == 1) {
    for (int64_t end = now_ms() + COMPUTED_MS; now_ms() < end;) {
    }
  }
  return arg;
}

static atomic_llong best_late = 1000000;
static void* note_how_late(void* arg) {
  int64_t sent;
  while (read(*(int*)arg, &sent, sizeof sent) == sizeof sent) {
    int64_t late = now_ms() - sent;
    if (late < atomic_load(&best_late)) atomic_store(&best_late, late);
  }
  return arg;
}

static void who_waits_for_data_does_not_wait_for_one_that_was_woken_to_compute(void) {
  int work[2], notes[2];
  CHECK(pipe(work) == 0 && pipe(notes) == 0);
  pid_t client = fork();
  CHECK(client >= 0);
  if (client == 0) {
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    for (int i = 0; i < 4; i++) {
      sleep_ms(200);
      CHECK(write(work[1], "x", 1) == 1);
      sleep_ms(30);
      int64_t now = now_ms();
      CHECK(write(notes[1], &now, sizeof now) == sizeof now);
      sleep_ms(COMPUTED_MS);
    }
    _exit(0);
  }
  close(work[1]), close(notes[1]);
  pthread_t t[2];
  CHECK(pthread_create(&t[0], NULL, compute_for_each, &work[0]) == 0);
  CHECK(pthread_create(&t[1], NULL, note_how_late, &notes[0]) == 0);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(t[i], NULL) == 0);
  int status;
  CHECK(waitpid(client, &status, 0) == client && status == 0);
  CHECK(atomic_load(&best_late) <= COMPUTED_MS / 2);
  puts("ok");
}

static void remove_queue(void) { CHECK(msgctl(queue, IPC_RMID, NULL) == 0); }
static void who_comes_back_from_the_kernel_runs_before_who_computes(void) {
  queue = msgget(IPC_PRIVATE, 0600);
  CHECK(queue >= 0);
  answers_beside_threads_that_compute(ask_by_message, answer_by_message, remove_queue);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn;
static atomic_ulong handovers;

static void* hand_over(void* arg) {
  int mine = (int)(intptr_t)arg;
  pthread_mutex_lock(&mutex);
  while (!atomic_load(&stop)) {
    while (turn != mine && !atomic_load(&stop)) pthread_cond_wait(&cond, &mutex);
    turn = !mine;
    atomic_fetch_add(&handovers, 1);
    pthread_cond_signal(&cond);
  }
  pthread_cond_broadcast(&cond);
  pthread_mutex_unlock(&mutex);
  return arg;
}

// All of them go on, however long: those that never use up a slice, and those that always do.
static void threads_that_compute_run_beside_those_that_hand_over(void) {
  pthread_t pair[2];
  start_spinners(3);
  for (intptr_t i = 0; i < 2; i++) CHECK(pthread_create(&pair[i], NULL, hand_over, (void*)i) == 0);
  sleep_ms(100);
  for (int round = 0; round < 4; round++) {
    unsigned long before[3], passed = atomic_load(&handovers);
    for (int i = 0; i < 3; i++) before[i] = atomic_load(&turns[i].n);
    int64_t give_up = now_ms() + 10000;
    for (int i = 0; i < 3; i++) {
      while (atomic_load(&turns[i].n) == before[i]) {
        CHECK(now_ms() < give_up);
        sleep_ms(5);
      }
    }
    while (atomic_load(&handovers) == passed) {
      CHECK(now_ms() < give_up);
      sleep_ms(5);
    }
  }
  stop_spinners(3);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(pair[i], NULL) == 0);
  puts("ok");
}

static void compute_briefly(void) {
  for (volatile int i = 0; i < 300000; i++) {
  }
}

static void* compute_in_pieces(void* arg) {
  atomic_ulong* n = arg;
  while (!atomic_load(&stop)) {
    compute_briefly();
    atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
  }
  return arg;
}

// Of threads that compute one makes calls in between, which might sleep but don't: it has its share all the same.
static void one_that_computes_and_traps_has_its_share(void) {
  enum { OTHERS = 4 };
  char name[] = "/tmp/runtime_slices.XXXXXX";
  int fd = mkstemp(name);
  CHECK(fd >= 0 && unlink(name) == 0 && ftruncate(fd, 4096) == 0);
  void* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(page != MAP_FAILED);
  for (int i = 0; i < OTHERS; i++) CHECK(pthread_create(&spinners[i], NULL, compute_in_pieces, &turns[i].n) == 0);
  unsigned long mine = 0, others = 0;
  for (int64_t end = now_ms() + 2000; now_ms() < end; mine++) {
    compute_briefly();
    CHECK(msync(page, 4096, MS_ASYNC) == 0);
  }
  for (int i = 0; i < OTHERS; i++) others += atomic_load(&turns[i].n);
  stop_spinners(OTHERS);
  CHECK(mine * OTHERS * 3 >= others);
  puts("ok");
}

// Threads that wait for another one by yields alone: it has used up its slice, they never do.
static atomic_int computed;
static atomic_ulong yields;

static void* compute(void* arg) {
  volatile unsigned long work = 0;
  for (int64_t end = now_ms() + 100; now_ms() < end;) work++;
  atomic_store(&computed, 1);
  return arg;
}

static void* wait_by_yielding(void* arg) {
  while (!atomic_load(&computed)) {
    sched_yield();
    atomic_fetch_add(&yields, 1);
  }
  return arg;
}

static void threads_that_yield_let_the_one_go_on_that_they_wait_for(void) {
  pthread_t waiting[4], computing;
  CHECK(pthread_create(&computing, NULL, compute, NULL) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&waiting[i], NULL, wait_by_yielding, NULL) == 0);
  CHECK(pthread_join(computing, NULL) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(waiting[i], NULL) == 0);
  puts("ok");
}

static const struct test_case cases[] = {
    CASE(a_sleeper_does_not_wait_for_all_that_compute),
    CASE(sleepers_wake_in_time_beside_threads_that_compute),
    CASE(a_sleeper_is_not_charged_for_threads_that_compute),
    CASE(who_waits_for_data_runs_before_who_computes),
    CASE(also_without_epoll_pwait2),
    CASE(who_waits_for_data_does_not_wait_for_one_that_was_woken_to_compute),
    CASE(who_comes_back_from_the_kernel_runs_before_who_computes),
    CASE(threads_that_compute_run_beside_those_that_hand_over),
    CASE(one_that_computes_and_traps_has_its_share),
    CASE(threads_that_yield_let_the_one_go_on_that_they_wait_for),
};
CASE_MAIN(cases)
