/* fork and exec in a program whose threads are in the middle of calls, with each engine. */
#include "case.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int wait_for(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR);
  return status;
}

/* ---- threads that sit in calls -------------------------------------------------------------- */

static int pipe_fds[2], stream_fds[2], dgram_fds[2], event_fd, epoll_fd, listener, poll_fds[2], file_fds[2];
static struct sockaddr_in address;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;
static int told;
static sem_t sem;
static int started, epoll_end; /* writing to the latter ends epoll_wait */
static void begin(void) { __atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST); }

static void* in_read(void* arg) {
  char c;
  begin();
  CHECK(read(pipe_fds[0], &c, 1) == 1 && c == 'p');
  return arg;
}
static void* in_recv(void* arg) {
  char buf[8];
  begin();
  CHECK(recv(stream_fds[0], buf, 6, MSG_WAITALL) == 6 && memcmp(buf, "stream", 6) == 0);
  return arg;
}
static void* in_recvfrom(void* arg) {
  char buf[8];
  begin();
  CHECK(recvfrom(dgram_fds[0], buf, 8, 0, NULL, NULL) == 5 && memcmp(buf, "dgram", 5) == 0);
  return arg;
}
static void* in_eventfd(void* arg) {
  eventfd_t v;
  begin();
  CHECK(eventfd_read(event_fd, &v) == 0 && v == 7);
  return arg;
}
static void* in_poll(void* arg) {
  struct pollfd p = {poll_fds[0], POLLIN, 0};
  begin();
  CHECK(poll(&p, 1, -1) == 1 && p.revents == POLLIN);
  return arg;
}
static void* in_epoll_wait(void* arg) {
  struct epoll_event e;
  begin();
  CHECK(epoll_wait(epoll_fd, &e, 1, -1) == 1 && e.data.u32 == 99);
  return arg;
}
static void* in_accept(void* arg) {
  begin();
  int fd = accept(listener, NULL, NULL);
  CHECK(fd >= 0);
  close(fd);
  return arg;
}
static void* in_sleep(void* arg) {
  struct timespec ts = {0, 400000000};
  begin();
  int64_t end = now_ms() + 400;
  CHECK(nanosleep(&ts, NULL) == 0);
  CHECK(now_ms() >= end);
  return arg;
}
static void* in_cond_wait(void* arg) {
  pthread_mutex_lock(&held);
  begin();
  while (!told) pthread_cond_wait(&news, &held);
  pthread_mutex_unlock(&held);
  return arg;
}
static void* in_sem_wait(void* arg) {
  begin();
  while (sem_wait(&sem) != 0) CHECK(errno == EINTR);
  return arg;
}
static void* in_full_pipe(void* arg) {
  char block[4096] = {0};
  begin();
  /* more than a pipe holds */
  for (int i = 0; i < 40; i++) CHECK(write(file_fds[1], block, sizeof block) == sizeof block);
  return arg;
}
static void* (*const bodies[])(void*) = {in_read,   in_recv,  in_recvfrom,  in_eventfd, in_poll,    in_epoll_wait,
                                         in_accept, in_sleep, in_cond_wait, in_sem_wait, in_full_pipe};
enum { kBodies = sizeof bodies / sizeof bodies[0] };
static pthread_t sitters[kBodies];

static void start_sitters(void) {
  CHECK(pipe(pipe_fds) == 0 && pipe(poll_fds) == 0 && pipe(file_fds) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, stream_fds) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram_fds) == 0);
  CHECK((event_fd = eventfd(0, 0)) >= 0 && (epoll_fd = epoll_create1(0)) >= 0);
  int watched[2];
  CHECK(pipe(watched) == 0);
  epoll_end = watched[1];
  struct epoll_event e = {.events = EPOLLIN, .data.u32 = 99};
  CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watched[0], &e) == 0);
  socklen_t len = sizeof address;
  CHECK((listener = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(listener, (struct sockaddr*)&address, sizeof address) == 0 && listen(listener, 4) == 0);
  CHECK(getsockname(listener, (struct sockaddr*)&address, &len) == 0);
  sem_init(&sem, 0, 0);
  for (int i = 0; i < kBodies; i++) CHECK(pthread_create(&sitters[i], NULL, bodies[i], NULL) == 0);
  while (__atomic_load_n(&started, __ATOMIC_SEQ_CST) != kBodies) sched_yield();
  sleep_ms(20);
}
static void end_sitters(void) {
  char block[4096];
  CHECK(write(pipe_fds[1], "p", 1) == 1);
  CHECK(write(stream_fds[1], "str", 3) == 3 && write(stream_fds[1], "eam", 3) == 3);
  CHECK(send(dgram_fds[1], "dgram", 5, 0) == 5);
  CHECK(eventfd_write(event_fd, 7) == 0);
  CHECK(write(poll_fds[1], "x", 1) == 1);
  CHECK(write(epoll_end, "x", 1) == 1);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(fd >= 0 && connect(fd, (struct sockaddr*)&address, sizeof address) == 0);
  pthread_mutex_lock(&held);
  told = 1;
  pthread_cond_broadcast(&news);
  pthread_mutex_unlock(&held);
  sem_post(&sem);
  for (ssize_t n = 0, r; n < 40 * 4096; n += r) CHECK((r = read(file_fds[0], block, sizeof block)) > 0);
  for (int i = 0; i < kBodies; i++) CHECK(pthread_join(sitters[i], NULL) == 0);
  close(fd);
}

/* ---- what a child does ------------------------------------------------------------------------ */

static int ends[2];
static void* echo(void* arg) {
  char c;
  CHECK(read(ends[0], &c, 1) == 1 && c == 'e');
  return arg;
}
static void* nap(void* arg) {
  sleep_ms(5);
  return arg;
}
static void* fail_to_lock(void* arg) {
  struct timespec ts = in_ms(CLOCK_REALTIME, 5);
  CHECK(pthread_mutex_timedlock(arg, &ts) == ETIMEDOUT);
  return arg;
}
/* All kinds of waiting, from nothing. */
static void live(void) {
  pthread_t t[6];
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  CHECK(pipe(ends) == 0);
  pthread_mutex_lock(&lock);
  for (int i = 0; i < 6; i++) {
    CHECK(pthread_create(&t[i], NULL, i < 2 ? echo : i < 4 ? nap : fail_to_lock, &lock) == 0);
  }
  struct pollfd p = {ends[0], POLLIN, 0};
  CHECK(poll(&p, 1, 1) == 0);
  CHECK(write(ends[1], "ee", 2) == 2);
  for (int i = 0; i < 6; i++) CHECK(pthread_join(t[i], NULL) == 0);
  close(ends[0]);
  close(ends[1]);
}
static void fork_a_living_one(void) {
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    alarm(30);
    CHECK(getpid() == gettid());
    live();
    _exit(33);
  }
  CHECK(wait_for(pid) == 33 << 8);
}

/* ---- the cases --------------------------------------------------------------------------------- */

static void calls_in_flight_outlive_forks(void) {
  start_sitters();
  for (int i = 0; i < 5; i++) fork_a_living_one();
  end_sitters();
  live();
  puts("ok");
}
static void* fork_many(void* arg) {
  for (int i = 0; i < 4; i++) fork_a_living_one();
  return arg;
}
static void threads_fork_beside_calls_in_flight(void) {
  pthread_t t[3];
  start_sitters();
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, fork_many, NULL) == 0);
  for (int i = 0; i < 3; i++) CHECK(pthread_join(t[i], NULL) == 0);
  end_sitters();
  puts("ok");
}
/* What a sitter waits for in the parent is the child's, too, and it can have it. */
static void child_takes_what_the_parent_waits_for(void) {
  start_sitters();
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    alarm(30);
    __atomic_store_n(&told, 1, __ATOMIC_SEQ_CST);
    CHECK(pthread_mutex_trylock(&held) == 0); /* nobody held it: its waiter had given it up */
    CHECK(sem_trywait(&sem) != 0 && errno == EAGAIN);
    CHECK(write(pipe_fds[1], "p", 1) == 1);
    CHECK(eventfd_write(event_fd, 7) == 0);
    live();
    _exit(34);
  }
  CHECK(wait_for(pid) == 34 << 8);
  CHECK(pthread_join(sitters[0], NULL) == 0 && pthread_join(sitters[3], NULL) == 0);
  puts("ok");
  fflush(stdout);
  _exit(0);
}

static void grandchild(int to) {
  /* its parent is gone, or soon */
  live();
  pid_t pid = fork();
  if (pid == 0) {
    live();
    _exit(5);
  }
  CHECK(wait_for(pid) == 5 << 8);
  CHECK(write(to, "done", 4) == 4);
  _exit(0);
}
static void* fork_twice(void* arg) {
  int fds[2];
  char buf[8] = "";
  CHECK(pipe(fds) == 0);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    alarm(30);
    CHECK(setsid() == getpid());
    live();
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) grandchild(fds[1]);
    _exit(0);
  }
  close(fds[1]);
  CHECK(wait_for(pid) == 0);
  CHECK(read(fds[0], buf, 8) == 4 && memcmp(buf, "done", 4) == 0);
  CHECK(read(fds[0], buf, 8) == 0);
  close(fds[0]);
  return arg;
}
static void double_fork_from_a_thread(void) {
  pthread_t t;
  start_sitters();
  CHECK(pthread_create(&t, NULL, fork_twice, NULL) == 0 && pthread_join(t, NULL) == 0);
  end_sitters();
  puts("ok");
}

static char trace[64];
static pthread_mutex_t guarded = PTHREAD_MUTEX_INITIALIZER;
static void prepare_1(void) { strcat(trace, "p1 "); }
static void parent_1(void) { strcat(trace, "m1 "); }
static void child_1(void) { strcat(trace, "c1 "); }
static void prepare_2(void) {
  pthread_mutex_lock(&guarded);
  strcat(trace, "p2 ");
}
static void parent_2(void) {
  strcat(trace, "m2 ");
  pthread_mutex_unlock(&guarded);
}
static void child_2(void) {
  strcat(trace, "c2 ");
  pthread_mutex_unlock(&guarded);
}
static volatile int no_more;
static void* use_guarded(void* arg) {
  while (!no_more) {
    pthread_mutex_lock(&guarded);
    sched_yield();
    pthread_mutex_unlock(&guarded);
  }
  return arg;
}
static void* fork_with_handlers(void* arg) {
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    alarm(30);
    CHECK(pthread_mutex_trylock(&guarded) == 0);
    live();
    printf("child %s\n", trace);
    fflush(stdout);
    _exit(6);
  }
  CHECK(wait_for(pid) == 6 << 8);
  printf("parent %s\n", trace);
  return arg;
}
/* As an allocator's: the lock is taken before and given back after. */
static void atfork_handlers_beside_threads(void) {
  pthread_t users[3], t;
  CHECK(pthread_atfork(prepare_1, parent_1, child_1) == 0);
  CHECK(pthread_atfork(prepare_2, parent_2, child_2) == 0);
  start_sitters();
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&users[i], NULL, use_guarded, NULL) == 0);
  CHECK(pthread_create(&t, NULL, fork_with_handlers, NULL) == 0 && pthread_join(t, NULL) == 0);
  no_more = 1;
  for (int i = 0; i < 3; i++) CHECK(pthread_join(users[i], NULL) == 0);
  end_sitters();
}

static void lock_taken_elsewhere_stays_taken(void) {
  start_sitters();
  pthread_mutex_lock(&guarded);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    alarm(30);
    CHECK(pthread_mutex_trylock(&guarded) == EBUSY);
    CHECK(pthread_mutex_unlock(&guarded) == 0); /* the forking thread owned it */
    CHECK(pthread_mutex_trylock(&guarded) == 0);
    live();
    _exit(7);
  }
  CHECK(wait_for(pid) == 7 << 8);
  pthread_mutex_unlock(&guarded);
  end_sitters();
  puts("ok");
}

static volatile int forked_in_handler;
static void fork_in_handler(int sig) {
  int saved = errno;
  pid_t pid = fork();
  if (pid == 0) _exit(8);
  int status;
  while (waitpid(pid, &status, 0) < 0) {
  }
  forked_in_handler += status == 8 << 8;
  errno = saved;
}
static void fork_in_a_handler(void) {
  struct sigaction sa = {0};
  sa.sa_handler = fork_in_handler;
  sa.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &sa, NULL);
  start_sitters();
  CHECK(pthread_kill(sitters[0], SIGUSR1) == 0);
  while (forked_in_handler != 1) sched_yield();
  CHECK(pthread_kill(sitters[9], SIGUSR1) == 0);
  while (forked_in_handler != 2) sched_yield();
  CHECK(kill(getpid(), SIGUSR1) == 0);
  while (forked_in_handler != 3) sched_yield();
  end_sitters();
  puts("ok");
}

static void pending_signals_and_alarms_are_the_parents(void) {
  sigset_t set, pending;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  start_sitters();
  raise(SIGUSR2);
  alarm(100);
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR2) == 0);
    CHECK(alarm(0) == 0);
    raise(SIGUSR2);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR2) == 1);
    _exit(9);
  }
  CHECK(wait_for(pid) == 9 << 8);
  CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR2) == 1);
  CHECK(alarm(0) > 0);
  end_sitters();
  puts("ok");
}

/* ---- descriptors --------------------------------------------------------------------------------- */

static void close_by_hand(void) {
  for (int fd = 3; fd < 5000; fd++) close(fd);
}
static void close_by_range(void) { CHECK(close_range(3, ~0u, 0) == 0); }
static void close_everything_and_live(void (*close_all)(void)) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, nap, NULL) == 0);
  live();
  close_all();
  CHECK(open("/dev/null", O_RDONLY) == 3);
  live();
  CHECK(pthread_join(t, NULL) == 0);
  fork_a_living_one();
  pid_t pid = fork();
  if (pid == 0) {
    alarm(30);
    close_all();
    live();
    close_all();
    live();
    fork_a_living_one();
    _exit(10);
  }
  CHECK(wait_for(pid) == 10 << 8);
  close_all();
  live();
  puts("ok");
}
static void program_closes_all_one_by_one(void) { close_everything_and_live(close_by_hand); }
static void program_closes_all_at_once(void) { close_everything_and_live(close_by_range); }
/* As a daemon does, with 0 to 2. */
static void daemon_closes_all(void) {
  int fds[2];
  char buf[8] = "";
  live();
  CHECK(pipe(fds) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    alarm(30);
    CHECK(dup2(fds[1], 900) == 900);
    for (int fd = 0; fd < 5000; fd++) {
      if (fd != 900) close(fd);
    }
    CHECK(open("/dev/null", O_RDWR) == 0 && dup(0) == 1 && dup(0) == 2);
    live();
    if (fork() == 0) {
      live();
      CHECK(write(900, "ok", 2) == 2);
      _exit(0);
    }
    _exit(0);
  }
  close(fds[1]);
  CHECK(wait_for(pid) == 0);
  CHECK(read(fds[0], buf, 8) == 2);
  puts(buf);
}

/* ---- exec ------------------------------------------------------------------------------------------ */

static char own_path[4096];
static void* exec_it(void* arg) {
  execl(own_path, "forks", "after_exec", NULL);
  CHECK(!"exec came back");
  return arg;
}
/* The other image. */
static void after_exec(void) {
  const char* pid = getenv("FORKS_PID");
  printf("same process %d\n", pid != NULL && atoi(pid) == getpid());
  CHECK(getpid() == gettid());
  int open_fds = 0;
  for (int fd = 3; fd < 1000; fd++) open_fds += fcntl(fd, F_GETFD) >= 0;
  printf("%d descriptors besides\n", open_fds);
  sigset_t set, pending;
  pthread_sigmask(SIG_BLOCK, NULL, &set);
  sigpending(&pending);
  printf("blocked %d pending %d caught %d ignored %d\n", sigismember(&set, SIGUSR2), sigismember(&pending, SIGUSR2),
         signal(SIGUSR1, SIG_DFL) != SIG_DFL, signal(SIGHUP, SIG_DFL) == SIG_IGN);
  live();
  fork_a_living_one();
  puts("lived");
}
static void on_usr1(int sig) {}
static void prepare_exec(void) {
  char text[24];
  sigset_t set;
  CHECK(readlink("/proc/self/exe", own_path, sizeof own_path - 1) > 0);
  snprintf(text, sizeof text, "%d", (int)getpid());
  setenv("FORKS_PID", text, 1);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  signal(SIGUSR1, on_usr1);
  signal(SIGHUP, SIG_IGN);
}
static void exec_from_a_thread_beside_calls(void) {
  pthread_t t;
  prepare_exec();
  start_sitters();
  kill(getpid(), SIGUSR2);
  CHECK(pthread_create(&t, NULL, exec_it, NULL) == 0);
  pthread_join(t, NULL);
}
static void exec_from_main_beside_calls(void) {
  prepare_exec();
  start_sitters();
  exec_it(NULL);
}
static void* exec_as_last(void* arg) {
  sleep_ms(20);
  return exec_it(arg);
}
static void exec_after_main_has_left(void) {
  pthread_t t;
  prepare_exec();
  CHECK(pthread_create(&t, NULL, exec_as_last, NULL) == 0);
  pthread_exit(NULL);
}
static void* fail_to_exec(void* arg) {
  CHECK(execl("/no/such/program", "x", NULL) == -1 && errno == ENOENT);
  CHECK(execl("/dev/null", "x", NULL) == -1 && errno == EACCES);
  return arg;
}
static void failed_execs_leave_calls_in_flight(void) {
  pthread_t t[4];
  start_sitters();
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, fail_to_exec, NULL) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
  end_sitters();
  puts("ok");
}

static const struct test_case cases[] = {
    CASE(calls_in_flight_outlive_forks), CASE(threads_fork_beside_calls_in_flight),
    CASE(child_takes_what_the_parent_waits_for), CASE(double_fork_from_a_thread),
    CASE(atfork_handlers_beside_threads), CASE(lock_taken_elsewhere_stays_taken),
    CASE(fork_in_a_handler), CASE(pending_signals_and_alarms_are_the_parents),
    CASE(program_closes_all_one_by_one), CASE(program_closes_all_at_once), CASE(daemon_closes_all),
    CASE(exec_from_a_thread_beside_calls), CASE(exec_from_main_beside_calls),
    CASE(exec_after_main_has_left), CASE(failed_execs_leave_calls_in_flight),
    {"after_exec", after_exec},
};
CASE_MAIN(cases)
