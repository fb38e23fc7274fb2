/* Ways to send a signal to this process. */
#ifndef CR_TESTS_SENDING_H
#define CR_TESTS_SENDING_H

#include "case.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static inline sigset_t only(int sig) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, sig);
  return set;
}

static inline void by_kill(int sig) { CHECK(kill(getpid(), sig) == 0); }
static inline void by_thread(int sig) { CHECK(pthread_kill(pthread_self(), sig) == 0); }
static inline void by_queue(int sig) { CHECK(sigqueue(getpid(), sig, (union sigval){0}) == 0); }
/* Natively it is there afterwards; under libcr a kernel thread may still be at it. */
static inline void by_another(int sig) {
  int status;
  pid_t pid = fork();
  if (pid == 0) _exit(kill(getppid(), sig) == 0 ? 0 : 1);
  CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

#endif
