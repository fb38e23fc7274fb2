/* Threads that wait for children: wait4 and waitid beside other threads.
 *
 * A thread that naps all the time keeps the process from being alone, so that libcr's waits are those of
 * a busy program.
 */
#include "blocking.h"

#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void* nap(void* p) {
  for (;;) sleep_ms(1);
  return NULL;
}
static void begin(void) {
  alarm(50);
  pthread_detach(start(nap, NULL));
  settle();
}

/* A child that exits with `status` once the other end of *go is closed. */
static pid_t child_that_exits(int status, int* go) {
  int fd[2];
  char c;
  CHECK(pipe2(fd, O_CLOEXEC) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    close(fd[1]);
    _exit(read(fd[0], &c, 1) == 0 ? status : 98);
  }
  CHECK(pid > 0 && close(fd[0]) == 0);
  *go = fd[1];
  return pid;
}

/* ---- each its own ---- */

enum { OWN = 100 };
static void* fork_and_wait(void* p) {
  int status = (int)(intptr_t)p, got;
  struct rusage usage;
  pid_t pid = fork();
  if (pid == 0) {
    sleep_ms(20);
    _exit(status);
  }
  CHECK(pid > 0);
  memset(&usage, 0, sizeof usage);
  CHECK(wait4(pid, &got, 0, &usage) == pid);
  CHECK(WIFEXITED(got) && WEXITSTATUS(got) == status && usage.ru_maxrss > 0);
  CHECK(wait4(pid, &got, 0, &usage) == -1 && errno == ECHILD);
  return NULL;
}
static void many_threads_fork_and_wait_each(void) {
  pthread_t t[OWN];
  begin();
  for (int i = 0; i < OWN; i++) t[i] = start(fork_and_wait, (void*)(intptr_t)i);
  for (int i = 0; i < OWN; i++) finish(t[i]);
  puts("all");
}

/* ---- any ---- */

enum { ANY = 24 };
static int reaped[ANY];
static pid_t children[ANY];
static void* wait_for_any(void* p) {
  int status, n = 0;
  for (;; n++) {
    pid_t pid = wait(&status);
    if (pid < 0) break;
    int which = -1;
    for (int i = 0; i < ANY; i++) {
      if (children[i] == pid) which = i;
    }
    CHECK(which >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == which);
    __atomic_add_fetch(&reaped[which], 1, __ATOMIC_SEQ_CST);
  }
  CHECK(errno == ECHILD);
  return NULL;
}
static void a_child_is_reaped_once_by_those_who_wait_for_any(void) {
  pthread_t t[ANY / 2];
  int go[ANY];
  begin();
  for (int i = 0; i < ANY; i++) children[i] = child_that_exits(i, &go[i]);
  for (int i = 0; i < ANY / 2; i++) t[i] = start(wait_for_any, NULL);
  settle();
  for (int i = 0; i < ANY; i++) close(go[i]);
  for (int i = 0; i < ANY / 2; i++) finish(t[i]);
  for (int i = 0; i < ANY; i++) CHECK(reaped[i] == 1);
  puts("once each");
}

static pid_t target;
static void* wait_for_target(void* p) {
  int status;
  pid_t pid = waitpid(target, &status, 0);
  if (pid < 0) return (void*)(intptr_t)-errno;
  return (void*)(intptr_t)WEXITSTATUS(status);
}
static void of_two_waiters_for_one_child_the_other_hears_that_it_is_gone(void) {
  int go;
  begin();
  target = child_that_exits(7, &go);
  pthread_t a = start(wait_for_target, NULL);
  settle();
  pthread_t b = start(wait_for_target, NULL);
  settle();
  close(go);
  int ra = (int)(intptr_t)finish(a), rb = (int)(intptr_t)finish(b);
  CHECK((ra == 7 && rb == -ECHILD) || (rb == 7 && ra == -ECHILD));
  puts("one of them");
}

/* ---- by group; what can be waited for ---- */

static void* wait_for_group(void* p) {
  int status;
  pid_t pid = waitpid(*(pid_t*)p, &status, 0);
  CHECK(pid > 0);
  return (void*)(intptr_t)WEXITSTATUS(status);
}
static void a_wait_for_a_group_is_for_that_group(void) {
  int go[2], lead[2];
  char c;
  pid_t own = 0, group;
  begin();
  CHECK(pipe(lead) == 0);
  group = fork();
  if (group == 0) {
    CHECK(setpgid(0, 0) == 0 && close(lead[0]) == 0 && write(lead[1], "g", 1) == 1);
    for (;;) pause();
  }
  CHECK(read(lead[0], &c, 1) == 1);
  pid_t in_own = child_that_exits(3, &go[0]);
  pid_t negative = -group;
  pthread_t a = start(wait_for_group, &own), b = start(wait_for_group, &negative);
  settle();
  close(go[0]);
  printf("own group: %d\n", (int)(intptr_t)finish(a));
  CHECK(kill(group, SIGKILL) == 0);
  finish(b);
  CHECK(waitpid(in_own, NULL, 0) == -1 && waitpid(group, NULL, 0) == -1 && errno == ECHILD);
  CHECK(waitpid(-group, NULL, 0) == -1);
  printf("gone group: %s\n", strerrorname_np(errno));
}

static void* wait_for_changes(void* p) {
  for (int i = 0; i < 3; i++) {
    int status;
    CHECK(waitpid(target, &status, WUNTRACED | WCONTINUED) == target);
    if (WIFSTOPPED(status)) printf("stopped by %d\n", WSTOPSIG(status));
    else if (WIFCONTINUED(status)) puts("continued");
    else if (WIFSIGNALED(status)) printf("killed by %d\n", WTERMSIG(status));
    else puts("?");
    if (i < 2) kill(target, i == 0 ? SIGCONT : SIGKILL);
  }
  return NULL;
}
static void stops_and_continues_are_seen(void) {
  int go;
  begin();
  target = child_that_exits(0, &go);
  pthread_t t = start(wait_for_changes, NULL);
  settle();
  CHECK(kill(target, SIGSTOP) == 0);
  finish(t);
}

static void* wait_for_trace_stop(void* p) {
  int status;
  CHECK(waitpid(target, &status, 0) == target);
  printf("%s %d\n", WIFSTOPPED(status) ? "stopped" : "other", WIFSTOPPED(status) ? WSTOPSIG(status) : status);
  return NULL;
}
static void a_traced_childs_stop_needs_no_wuntraced(void) {
  int fd[2];
  char c;
  begin();
  CHECK(pipe(fd) == 0);
  target = fork();
  if (target == 0) {
    close(fd[1]);
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 && read(fd[0], &c, 1) == 0);
    raise(SIGUSR1);
    _exit(0);
  }
  close(fd[0]);
  pthread_t t = start(wait_for_trace_stop, NULL);
  settle();
  close(fd[1]);
  finish(t);
  CHECK(kill(target, SIGKILL) == 0 && WTERMSIG(wait_for(target)) == SIGKILL);
}

static void* waitid_twice(void* p) {
  siginfo_t info;
  for (int i = 0; i < 2; i++) {
    memset(&info, 0x55, sizeof info);
    CHECK(waitid(P_PID, (id_t)target, &info, WEXITED | (i == 0 ? WNOWAIT : 0)) == 0);
    CHECK(info.si_pid == target && info.si_uid == getuid());
    printf("%d %d %d %d\n", info.si_signo == SIGCHLD, info.si_code == CLD_EXITED, info.si_status, info.si_errno);
    printf("%x\n", ((unsigned*)&info)[sizeof info / sizeof(unsigned) - 1]);
  }
  CHECK(waitid(P_PID, (id_t)target, &info, WEXITED) == -1 && errno == ECHILD);
  return NULL;
}
static void waitid_tells_who_and_leaves_whom_it_shall(void) {
  int go;
  begin();
  target = child_that_exits(11, &go);
  pthread_t t = start(waitid_twice, NULL);
  settle();
  close(go);
  finish(t);
}

static void* waitid_by_descriptor(void* p) {
  siginfo_t info;
  int fd = *(int*)p;
  CHECK(waitid(P_PIDFD, (id_t)fd, &info, WEXITED) == 0 && info.si_pid == target);
  printf("%d\n", info.si_status);
  return NULL;
}
static void a_pidfd_is_waited_for_unless_it_is_nonblocking(void) {
  int go;
  siginfo_t info;
  begin();
  target = child_that_exits(12, &go);
  int fd = (int)syscall(SYS_pidfd_open, target, O_NONBLOCK);
  if (fd >= 0) {
    CHECK(waitid(P_PIDFD, (id_t)fd, &info, WEXITED) == -1 && errno == EAGAIN);
    nonblocking(fd, 0);
  } else {
    fd = (int)syscall(SYS_pidfd_open, target, 0);
  }
  pthread_t t = start(waitid_by_descriptor, &fd);
  settle();
  close(go);
  finish(t);
  CHECK(waitid(P_PIDFD, (id_t)go, &info, WEXITED) == -1 && errno == EBADF);
}

static void what_is_no_wait_is_refused(void) {
  siginfo_t info;
  int go;
  begin();
  CHECK(waitpid(-1, NULL, 0) == -1);
  puts(strerrorname_np(errno));
  pid_t pid = child_that_exits(0, &go);
  CHECK(waitpid(pid, NULL, 0x400) == -1);
  puts(strerrorname_np(errno));
  CHECK(waitid(P_ALL, 0, &info, 0) == -1);
  puts(strerrorname_np(errno));
  CHECK(syscall(SYS_wait4, 0x80000000u, NULL, 0, NULL) == -1);
  puts(strerrorname_np(errno));
  CHECK(waitpid(pid, NULL, WNOHANG) == 0);
  memset(&info, 0x55, sizeof info);
  CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0);
  close(go);
  CHECK(wait_for(pid) == 0);
}

/* ---- signals ---- */

static void* wait_interrupted(void* p) {
  siginfo_t info;
  int status = 0x5555;
  memset(&info, 0x55, sizeof info);
  CHECK(waitid(P_PID, (id_t)target, &info, WEXITED) == -1 && errno == EINTR);
  printf("%x %x %x\n", info.si_signo, info.si_pid, ((unsigned*)&info)[sizeof info / sizeof(unsigned) - 1]);
  CHECK(waitpid(target, &status, 0) == -1 && errno == EINTR && status == 0x5555);
  return NULL;
}
static void an_interrupted_wait_tells_of_nobody_and_reaps_nobody(void) {
  int go;
  begin();
  handle(SIGUSR1, count_signal, 0);
  target = child_that_exits(4, &go);
  pthread_t t = start(wait_interrupted, NULL);
  while (pthread_tryjoin_np(t, NULL) != 0) {
    pthread_kill(t, SIGUSR1);
    sleep_ms(10);
  }
  close(go);
  printf("%d\n", WEXITSTATUS(wait_for(target)));
}

static void* wait_restarted(void* p) {
  int status;
  CHECK(waitpid(target, &status, 0) == target);
  return (void*)(intptr_t)WEXITSTATUS(status);
}
static void a_wait_goes_on_after_signals_with_sa_restart(void) {
  int go;
  begin();
  handle(SIGUSR1, count_signal, SA_RESTART);
  target = child_that_exits(5, &go);
  pthread_t t = start(wait_restarted, NULL);
  settle();
  for (int i = 0; i < 10; i++) {
    pthread_kill(t, SIGUSR1);
    sleep_ms(5);
  }
  close(go);
  printf("%d\n", (int)(intptr_t)finish(t));
  CHECK(signals_got >= 1);
}

static void* wait_for_ever(void* p) {
  int status;
  waitpid(target, &status, 0);
  return NULL;
}
static void a_cancelled_wait_leaves_the_child(void) {
  int go;
  begin();
  target = child_that_exits(6, &go);
  pthread_t t = start(wait_for_ever, NULL);
  settle();
  CHECK(pthread_cancel(t) == 0);
  CHECK(finish(t) == PTHREAD_CANCELED);
  close(go);
  printf("%d\n", WEXITSTATUS(wait_for(target)));
}

static void* wait_for_none(void* p) {
  CHECK(waitpid(-1, NULL, 0) == -1);
  return (void*)(intptr_t)errno;
}
static void with_sigchld_ignored_a_wait_lasts_until_all_are_gone(void) {
  int go[2];
  begin();
  handle(SIGCHLD, SIG_IGN, 0);
  child_that_exits(1, &go[0]);
  child_that_exits(1, &go[1]);
  pthread_t t = start(wait_for_none, NULL);
  settle();
  close(go[0]);
  sleep_ms(50);
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  close(go[1]);
  puts(strerrorname_np((int)(intptr_t)finish(t)));
}

/* ---- forks meanwhile ---- */

static void a_fork_during_waits_leaves_both_sides_whole(void) {
  int go, inner;
  begin();
  target = child_that_exits(8, &go);
  pthread_t t = start(wait_for_target, NULL);
  settle();
  pid_t pid = fork();
  if (pid == 0) {
    /* The waits are the parent's: here is one of its own, beside a new thread. */
    close(go);
    pthread_detach(start(nap, NULL));
    CHECK(waitpid(target, NULL, 0) == -1 && errno == ECHILD);
    target = child_that_exits(9, &inner);
    pthread_t u = start(wait_for_target, NULL);
    settle();
    close(inner);
    _exit((int)(intptr_t)finish(u));
  }
  printf("in the child: %d\n", WEXITSTATUS(wait_for(pid)));
  close(go);
  printf("here: %d\n", (int)(intptr_t)finish(t));
}

static const struct test_case cases[] = {
    CASE(many_threads_fork_and_wait_each),
    CASE(a_child_is_reaped_once_by_those_who_wait_for_any),
    CASE(of_two_waiters_for_one_child_the_other_hears_that_it_is_gone),
    CASE(a_wait_for_a_group_is_for_that_group),
    CASE(stops_and_continues_are_seen),
    CASE(a_traced_childs_stop_needs_no_wuntraced),
    CASE(waitid_tells_who_and_leaves_whom_it_shall),
    CASE(a_pidfd_is_waited_for_unless_it_is_nonblocking),
    CASE(what_is_no_wait_is_refused),
    CASE(an_interrupted_wait_tells_of_nobody_and_reaps_nobody),
    CASE(a_wait_goes_on_after_signals_with_sa_restart),
    CASE(a_cancelled_wait_leaves_the_child),
    CASE(with_sigchld_ignored_a_wait_lasts_until_all_are_gone),
    CASE(a_fork_during_waits_leaves_both_sides_whole),
};
CASE_MAIN(cases)
