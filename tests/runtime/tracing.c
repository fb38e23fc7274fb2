/* A debugger with threads of its own: who may ptrace is the kernel's thread, which an LWKT leaves. */
#include "case.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

static volatile int stop;
static void* busy(void* arg) {
  while (!stop) {
    if (arg == NULL) usleep(200);
  }
  return NULL;
}

/* Long enough in a trap that another kernel thread goes on with the LWKTs. */
static void move_on(int i) {
  switch (i % 3) {
    case 0: sleep_ms(1); break;
    case 1: sched_yield(); break;
    case 2: {
      int p[2];
      char b;
      CHECK(pipe(p) == 0);
      pid_t writer = fork();
      if (writer == 0) {
        sleep_ms(3);
        _exit(write(p[1], "x", 1) != 1);
      }
      CHECK(read(p[0], &b, 1) == 1);
      CHECK(waitpid(writer, NULL, 0) == writer);
      close(p[0]), close(p[1]);
    }
  }
}

static volatile long traced_word = 11;

static void follow(pid_t child) {
  int status;
  for (int i = 0; i < 60; i++) {
    move_on(i);
    errno = 0;
    long word = ptrace(PTRACE_PEEKDATA, child, &traced_word, NULL);
    CHECK(errno == 0 && word == 11 + i);
    CHECK(ptrace(PTRACE_POKEDATA, child, &traced_word, (void*)(word + 1)) == 0);
    struct user_regs_struct regs;
    CHECK(ptrace(PTRACE_GETREGS, child, NULL, &regs) == 0);
    move_on(i);
    CHECK(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0);
    CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
  }
}

static void a_child_is_traced_while_threads_run(void) {
  pthread_t t[4];
  for (intptr_t i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, busy, (void*)(i % 2)) == 0);
  sleep_ms(10);
  pid_t child = fork();
  if (child == 0) {
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
    raise(SIGSTOP);
    while (traced_word != 71) {
    }
    _exit(5);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
  follow(child);
  CHECK(ptrace(PTRACE_CONT, child, NULL, NULL) == 0);
  CHECK(waitpid(child, &status, 0) == child);
  printf("exited %d with %d\n", WIFEXITED(status), WEXITSTATUS(status));
  errno = 0;
  printf("gone: %ld", ptrace(PTRACE_PEEKDATA, child, &traced_word, NULL));
  printf(" %d\n", errno == ESRCH);
  stop = 1;
  for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
}

static void* follows_and_lets_go(void* arg) {
  pid_t child = (pid_t)(intptr_t)arg;
  int status;
  CHECK(ptrace(PTRACE_SEIZE, child, NULL, NULL) == 0);
  CHECK(ptrace(PTRACE_INTERRUPT, child, NULL, NULL) == 0);
  CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
  follow(child);
  CHECK(ptrace(PTRACE_DETACH, child, NULL, NULL) == 0);
  return NULL;
}

static void a_thread_attaches_and_detaches(void) {
  pthread_t t[3], tracer;
  for (intptr_t i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, busy, (void*)(i % 2)) == 0);
  pid_t child = fork();
  if (child == 0) {
    while (traced_word != 71) {
    }
    _exit(7);
  }
  CHECK(pthread_create(&tracer, NULL, follows_and_lets_go, (void*)(intptr_t)child) == 0);
  CHECK(pthread_join(tracer, NULL) == 0);
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  printf("exited %d with %d\n", WIFEXITED(status), WEXITSTATUS(status));
  stop = 1;
  for (int i = 0; i < 3; i++) CHECK(pthread_join(t[i], NULL) == 0);
}

static const struct test_case cases[] = {
    CASE(a_child_is_traced_while_threads_run),
    CASE(a_thread_attaches_and_detaches),
};
CASE_MAIN(cases)
