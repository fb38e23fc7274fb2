/* Process calls beside threads, and how a process ends. */
#include "case.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

extern char** environ;

static void* return_arg(void* arg) { return arg; }
static volatile int stop;
static void* churn(void* arg) {
  unsigned long n = 0;
  while (!stop) {
    free(malloc(100 + n % 1000));
    if (++n % 64 == 0) sched_yield();
  }
  return arg;
}
static void* doze(void* arg) {
  while (!stop) usleep(500);
  return arg;
}
static pthread_t crowd[8];
static void start_crowd(void) {
  for (int i = 0; i < 8; i++) CHECK(pthread_create(&crowd[i], NULL, i < 2 ? churn : doze, NULL) == 0);
}
static void end_crowd(void) {
  stop = 1;
  for (int i = 0; i < 8; i++) pthread_join(crowd[i], NULL);
}
static int wait_for(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR);
  return status;
}

static void fork_and_wait(void) {
  for (int i = 0; i < 20; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      CHECK(getpid() == gettid());
      _exit(i);
    }
    CHECK(wait_for(pid) == i << 8);
  }
  puts("ok");
}

static void child_threads(void) {
  pthread_t t[20];
  for (intptr_t i = 0; i < 20; i++) CHECK(pthread_create(&t[i], NULL, return_arg, (void*)i) == 0);
  for (intptr_t i = 0; i < 20; i++) {
    void* r;
    CHECK(pthread_join(t[i], &r) == 0 && r == (void*)i);
  }
}
static void fork_beside_threads(void) {
  start_crowd();
  for (int i = 0; i < 30; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      child_threads();
      pid_t grandchild = fork();
      if (grandchild == 0) {
        child_threads();
        _exit(9);
      }
      _exit(wait_for(grandchild) == 9 << 8 ? 21 : 22);
    }
    CHECK(wait_for(pid) == 21 << 8);
  }
  end_crowd();
  puts("ok");
}

static void* fork_body(void* arg) {
  for (int i = 0; i < 10; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      child_threads();
      _exit(4);
    }
    CHECK(wait_for(pid) == 4 << 8);
  }
  return arg;
}
static void fork_in_threads(void) {
  pthread_t t[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, fork_body, NULL) == 0);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  puts("ok");
}
static void* fork_then_return(void* arg) {
  pid_t pid = fork();
  if (pid == 0) pthread_exit((void*)1); /* the child's only thread: exit status 0 */
  CHECK(wait_for(pid) == 0);
  return arg;
}
static void forked_thread_exits(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, fork_then_return, NULL) == 0);
  pthread_join(t, NULL);
  puts("ok");
}

static char trace[16];
static void prepare(void) { strcat(trace, "p"); }
static void parent(void) { strcat(trace, "m"); }
static void child(void) { strcat(trace, "c"); }
static void atfork_handlers(void) {
  pthread_atfork(prepare, parent, child);
  pid_t pid = fork();
  if (pid == 0) _exit(strcmp(trace, "pc") == 0 ? 1 : 2);
  printf("%s %d\n", trace, wait_for(pid) >> 8);
}

static void vfork_and_exec(void) {
  for (int i = 0; i < 20; i++) {
    pid_t pid = vfork();
    CHECK(pid >= 0);
    if (pid == 0) {
      char* argv[] = {"sh", "-c", i % 2 ? "exit 6" : "exit 5", NULL};
      execv("/bin/sh", argv);
      _exit(127);
    }
    CHECK(wait_for(pid) == (i % 2 ? 6 : 5) << 8);
  }
  pid_t pid = vfork();
  if (pid == 0) _exit(44);
  CHECK(wait_for(pid) == 44 << 8);
  pid = vfork();
  if (pid == 0) {
    execl("/no/such/program", "x", NULL);
    _exit(errno == ENOENT ? 45 : 46);
  }
  CHECK(wait_for(pid) == 45 << 8);
  puts("ok");
}
static void fault(int which) {
  static volatile int zero;
  if (which == 0) *(volatile int*)8 = 1;
  if (which == 1) asm volatile("ud2");
  if (which == 2) asm volatile("int3");
  if (which == 3) zero = 1 / zero;
}
static void vfork_child_ends_by_its_fault(void) {
  for (int i = 0; i < 4; i++) {
    pid_t pid = vfork();
    if (pid == 0) {
      fault(i);
      _exit(7);
    }
    printf("%d\n", WTERMSIG(wait_for(pid)));
  }
}
static void vfork_beside_threads(void) {
  start_crowd();
  vfork_and_exec();
  end_crowd();
}
static void* vfork_body(void* arg) {
  for (int i = 0; i < 10; i++) {
    pid_t pid = vfork();
    CHECK(pid >= 0);
    if (pid == 0) {
      execl("/bin/true", "true", NULL);
      _exit(127);
    }
    CHECK(wait_for(pid) == 0);
  }
  return arg;
}
static void vfork_in_threads(void) {
  pthread_t t[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, vfork_body, NULL) == 0);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  puts("ok");
}

static void spawn_one(void) {
  pid_t pid;
  char* argv[] = {"sh", "-c", "echo spawned; exit 3", NULL};
  fflush(stdout);
  posix_spawn_file_actions_t fa;
  posix_spawnattr_t at;
  sigset_t set;
  sigemptyset(&set);
  posix_spawn_file_actions_init(&fa);
  posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
  posix_spawnattr_init(&at);
  posix_spawnattr_setsigmask(&at, &set);
  posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  CHECK(posix_spawn(&pid, "/bin/sh", &fa, &at, argv, environ) == 0);
  CHECK(wait_for(pid) == 3 << 8);
  CHECK(posix_spawn(&pid, "/no/such", NULL, NULL, argv, environ) == ENOENT);
}
static void spawn(void) { spawn_one(); }
static void spawn_beside_threads(void) {
  start_crowd();
  for (int i = 0; i < 10; i++) spawn_one();
  end_crowd();
}

static void system_and_popen(void) {
  fflush(stdout);
  printf("%d\n", system("exit 7") >> 8);
  FILE* f = popen("echo one; echo two", "r");
  char line[64];
  while (fgets(line, sizeof line, f) != NULL) fputs(line, stdout);
  printf("%d\n", pclose(f));
  fflush(stdout);
  f = popen("cat", "w");
  fputs("through cat\n", f);
  printf("%d\n", pclose(f));
}
static void system_and_popen_beside_threads(void) {
  start_crowd();
  for (int i = 0; i < 5; i++) system_and_popen();
  end_crowd();
}

static void become_daemon(void) {
  int fds[2];
  CHECK(pipe(fds) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    CHECK(daemon(1, 1) == 0);
    child_threads();
    CHECK(getsid(0) != getpid() + 1);
    CHECK(write(fds[1], "daemon\n", 7) == 7);
    _exit(0);
  }
  CHECK(wait_for(pid) == 0);
  close(fds[1]);
  char line[16] = "";
  CHECK(read(fds[0], line, 15) == 7);
  fputs(line, stdout);
}

static void exec_self(void) {
  puts("before");
  fflush(stdout);
  execl("/bin/sh", "sh", "-c", "echo after; exit 12", NULL);
}
static void* exec_body(void* arg) {
  exec_self();
  return arg;
}
static void exec_from_thread(void) {
  start_crowd();
  pthread_t t;
  CHECK(pthread_create(&t, NULL, exec_body, NULL) == 0);
  pthread_join(t, NULL);
}
static void exec_fails(void) {
  CHECK(execl("/no/such", "x", NULL) == -1 && errno == ENOENT);
  child_threads();
  puts("ok");
}

static void by_segv(void) { *(volatile int*)16 = 1; }
static void by_null_call(void) { ((void (*)(void)) (uintptr_t)(stop))(); }
static void* segv_body(void* arg) {
  by_segv();
  return arg;
}
static void by_segv_in_thread(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, segv_body, NULL) == 0);
  pthread_join(t, NULL);
}
static int recurse(int n) {
  volatile char page[1024];
  page[0] = (char)n;
  return recurse(n + 1) + page[0];
}
static void* overflow_body(void* arg) {
  recurse(0);
  return arg;
}
static void by_stack_overflow_in_thread(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, overflow_body, NULL) == 0);
  pthread_join(t, NULL);
}
static void by_stack_overflow(void) { recurse(0); }
static void by_abort(void) { abort(); }
static void by_kill(void) { kill(getpid(), SIGKILL); }
static void by_term_to_self(void) {
  kill(getpid(), SIGTERM);
  for (;;) pause();
}
static void* term_body(void* arg) {
  raise(SIGTERM);
  return arg;
}
static void by_raise_in_thread(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, term_body, NULL) == 0);
  pthread_join(t, NULL);
}
static void by_fpe(void) {
  volatile int zero = 0;
  printf("%d\n", 1 / zero);
}
static void by_ill(void) { __asm__ volatile("ud2"); }
static void by_trap(void) { __asm__ volatile("int3"); }
static void by_pipe(void) {
  int fds[2];
  CHECK(pipe(fds) == 0);
  close(fds[0]);
  CHECK(write(fds[1], "x", 1) == -1);
}
static void by_bus(void) {
  FILE* f = tmpfile();
  char* p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
  p[0] = 1;
}
static void by_ignored_segv(void) {
  signal(SIGSEGV, SIG_IGN);
  by_segv();
}
static void by_blocked_segv(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGSEGV);
  sigprocmask(SIG_BLOCK, &set, NULL);
  by_segv();
}
static void by_term_from_outside(void) {
  start_crowd();
  pid_t me = getpid();
  if (fork() == 0) {
    sleep_ms(30);
    kill(me, SIGTERM);
    _exit(0);
  }
  for (;;) pause();
}
static void bye(void) { puts("atexit ran"); }
static void exit_status(void) {
  atexit(bye);
  exit(300);
}
static void exit_beside_threads(void) {
  start_crowd();
  exit(17);
}
static void quick_exit_status(void) { _Exit(18); }

static volatile int about_to_end;
static void* end_soon(void* arg) {
  about_to_end = 1;
  return arg;
}
/* The join meets the moment at which the process goes back to one thread. Only a thread that is the
 * first to end in its process leaves it as it was before there were any: hence the forks. */
static void first_thread_is_joined_while_it_ends(void) {
  for (int i = 0; i < 600; i++) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      pthread_t t;
      alarm(20);
      CHECK(pthread_create(&t, NULL, end_soon, NULL) == 0);
      for (int n = 0; !about_to_end; n++) {
        if (n > 1000000) sched_yield();  /* one cpu; where there are two it runs beside us */
      }
      for (volatile int n = i % 100 * 40; n > 0;) n--;
      CHECK(pthread_join(t, NULL) == 0);
      _exit(7);
    }
    CHECK(wait_for(pid) == 7 << 8);
  }
  puts("ok");
}

static const struct test_case cases[] = {
    CASE(fork_and_wait), CASE(fork_beside_threads), CASE(fork_in_threads),
    CASE(forked_thread_exits), CASE(atfork_handlers), CASE(vfork_and_exec),
    CASE(vfork_beside_threads), CASE(vfork_in_threads), CASE(spawn), CASE(spawn_beside_threads),
    CASE(system_and_popen), CASE(system_and_popen_beside_threads), CASE(become_daemon),
    CASE(exec_self), CASE(exec_from_thread), CASE(exec_fails),
    CASE(by_segv), CASE(by_null_call), CASE(by_segv_in_thread),
    CASE(by_stack_overflow_in_thread), CASE(by_stack_overflow), CASE(by_abort), CASE(by_kill),
    CASE(by_term_to_self), CASE(by_raise_in_thread), CASE(by_fpe), CASE(by_ill), CASE(by_trap),
    CASE(by_pipe), CASE(by_bus), CASE(by_ignored_segv), CASE(by_blocked_segv),
    CASE(by_term_from_outside), CASE(exit_status), CASE(exit_beside_threads),
    CASE(quick_exit_status), CASE(vfork_child_ends_by_its_fault), CASE(first_thread_is_joined_while_it_ends),
};
CASE_MAIN(cases)
