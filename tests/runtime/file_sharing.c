/* Files and processes under threads: positions, appending, locks, and waiting for children. */
#include "blocking.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static int file;
static char path[64];
static int scratch(void) {
  snprintf(path, sizeof path, "/tmp/cr-test-XXXXXX");
  int fd = mkstemp(path);
  CHECK(fd >= 0);
  return fd;
}

/* ---- the position --------------------------------------------------------------------------------- */

enum { RECORDS = 3000, RECORD = 64 };
static int next_record;
static void* write_records(void* arg) {
  for (;;) {
    int n = __atomic_fetch_add(&next_record, 1, __ATOMIC_SEQ_CST);
    if (n >= RECORDS) return NULL;
    char c[RECORD];
    memset(c, 'a' + n % 26, sizeof c);
    memcpy(c, &n, sizeof n);
    if (n % 2) {
      CHECK(write(file, c, RECORD) == RECORD);
    } else {
      struct iovec iov[2] = {{c, 10}, {c + 10, RECORD - 10}};
      CHECK(writev(file, iov, 2) == RECORD);
    }
  }
}
static unsigned char seen[RECORDS];
static void check_records(int fd) {
  memset(seen, 0, sizeof seen);
  for (int i = 0; i < RECORDS; i++) {
    char c[RECORD];
    int n;
    CHECK(pread(fd, c, RECORD, (off_t)i * RECORD) == RECORD);
    memcpy(&n, c, sizeof n);
    CHECK(n >= 0 && n < RECORDS && !seen[n]);
    seen[n] = 1;
    for (int k = sizeof n; k < RECORD; k++) CHECK(c[k] == 'a' + n % 26);
  }
  CHECK(lseek(fd, 0, SEEK_END) == RECORDS * RECORD);
}
static void in_eight(void* (*fn)(void*)) {
  pthread_t t[8];
  for (intptr_t i = 0; i < 8; i++) t[i] = start(fn, (void*)i);
  for (int i = 0; i < 8; i++) finish(t[i]);
}
static void writes_share_the_position(void) {
  file = scratch();
  in_eight(write_records);
  check_records(file);
  unlink(path);
  puts("ok");
}
static void* read_records(void* arg) {
  char c[RECORD];
  for (ssize_t n; (n = read(file, c, RECORD)) != 0;) {
    int record;
    CHECK(n == RECORD);
    memcpy(&record, c, sizeof record);
    __atomic_add_fetch(&seen[record], 1, __ATOMIC_SEQ_CST);
  }
  return NULL;
}
static void reads_share_the_position(void) {
  file = scratch();
  in_eight(write_records);
  memset(seen, 0, sizeof seen);
  CHECK(lseek(file, 0, SEEK_SET) == 0);
  in_eight(read_records);
  for (int i = 0; i < RECORDS; i++) CHECK(seen[i] == 1);
  unlink(path);
  puts("ok");
}
static void* append_records(void* arg) {
  int fd = open(path, O_WRONLY | O_APPEND); /* a file of its own each */
  CHECK(fd >= 0);
  for (;;) {
    int n = __atomic_fetch_add(&next_record, 1, __ATOMIC_SEQ_CST);
    if (n >= RECORDS) break;
    char c[RECORD];
    memset(c, 'a' + n % 26, sizeof c);
    memcpy(c, &n, sizeof n);
    CHECK(write(fd, c, RECORD) == RECORD);
  }
  close(fd);
  return NULL;
}
static void appends_do_not_overlap(void) {
  file = scratch();
  in_eight(append_records);
  check_records(file);
  int fd = open(path, O_RDWR | O_APPEND);
  CHECK(pwrite(fd, "end", 3, 0) == 3); /* Linux appends all the same */
  printf("%d\n", (int)lseek(fd, 0, SEEK_END) - RECORDS * RECORD);
  unlink(path);
}
static void* positioned(void* arg) {
  intptr_t who = (intptr_t)arg;
  for (int i = 0; i < 300; i++) {
    char c[RECORD], d[RECORD];
    off_t at = (off_t)(i * 8 + who) * RECORD;
    memset(c, (int)(who * 10 + i % 10), sizeof c);
    struct iovec out[2] = {{c, 1}, {c + 1, RECORD - 1}}, in[2] = {{d, 30}, {d + 30, RECORD - 30}};
    if (i % 2) CHECK(pwrite(file, c, RECORD, at) == RECORD && preadv(file, in, 2, at) == RECORD);
    else CHECK(pwritev2(file, out, 2, at, 0) == RECORD && preadv2(file, in, 2, at, 0) == RECORD);
    CHECK(memcmp(c, d, RECORD) == 0);
    if (i % 100 == 99) CHECK(who % 2 ? fsync(file) == 0 : fdatasync(file) == 0);
  }
  return NULL;
}
static void positioned_calls_leave_it_alone(void) {
  file = scratch();
  CHECK(write(file, "12345", 5) == 5);
  in_eight(positioned);
  printf("%d", (int)lseek(file, 0, SEEK_CUR));
  printf(" %d\n", (int)lseek(file, 0, SEEK_END));
  unlink(path);
}
static void position_shared_with_a_child(void) {
  char c[8];
  file = scratch();
  CHECK(write(file, "0123456789", 10) == 10 && lseek(file, 2, SEEK_SET) == 2);
  pid_t pid = fork();
  if (pid == 0) _exit(read(file, c, 3) == 3 ? 0 : 1);
  CHECK(wait_for(pid) == 0 && read(file, c, 2) == 2);
  printf("%.2s\n", c);
  unlink(path);
}

/* ---- locks ------------------------------------------------------------------------------------------ */

static int counter;
static int shared_lock;
static void* count_under_lock(void* arg) {
  int fd = open(path, O_RDWR);
  CHECK(fd >= 0);
  for (int i = 0; i < 100; i++) {
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (shared_lock) CHECK(fcntl(fd, F_OFD_SETLKW, &l) == 0);
    else CHECK(flock(fd, LOCK_EX) == 0);
    int before = counter;
    if (i % 10 == 0) sched_yield();
    counter = before + 1;
    l.l_type = F_UNLCK;
    if (shared_lock) CHECK(fcntl(fd, F_OFD_SETLK, &l) == 0);
    else CHECK(flock(fd, LOCK_UN) == 0);
  }
  close(fd);
  return NULL;
}
static void flock_between_threads(void) {
  file = scratch();
  in_eight(count_under_lock);
  printf("%d\n", counter);
  unlink(path);
}
static void ofd_locks_between_threads(void) {
  file = scratch();
  shared_lock = 1;
  in_eight(count_under_lock);
  printf("%d\n", counter);
  unlink(path);
}
static void* set_posix_lock(void* arg) {
  struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
  int fd = open(path, O_RDWR);
  return (void*)(intptr_t)(fcntl(fd, F_SETLKW, &l) == 0 ? 0 : errno);
}
static void posix_locks_are_the_process_s(void) {
  file = scratch();
  struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
  CHECK(fcntl(file, F_SETLK, &l) == 0);
  CHECK(finish(start(set_posix_lock, NULL)) == NULL); /* another thread has it as well */
  pid_t pid = fork();
  if (pid == 0) {
    CHECK(fcntl(file, F_GETLK, &l) == 0 && l.l_type == F_WRLCK && l.l_pid == getppid());
    l.l_type = F_WRLCK;
    _exit(fcntl(file, F_SETLK, &l) == -1 && errno == EAGAIN ? 3 : 4);
  }
  printf("%d\n", wait_for(pid) >> 8);
  unlink(path);
}
static void lock_waits_for_another_process(void) {
  int go[2];
  char c;
  file = scratch();
  CHECK(pipe(go) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    CHECK(flock(open(path, O_RDWR), LOCK_EX) == 0);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    CHECK(fcntl(file, F_SETLK, &l) == 0 && write(go[1], "x", 1) == 1);
    sleep_ms(60);
    _exit(0);
  }
  CHECK(read(go[0], &c, 1) == 1);
  pthread_t t = start(set_posix_lock, NULL);
  CHECK(flock(file, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
  CHECK(flock(file, LOCK_SH) == 0);
  CHECK(finish(t) == NULL && wait_for(pid) == 0);
  unlink(path);
  puts("ok");
}
static void crossed_locks_are_a_deadlock(void) {
  int to_parent[2];
  char c;
  struct flock first = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
  struct flock second = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
  file = scratch();
  CHECK(pipe(to_parent) == 0 && fcntl(file, F_SETLK, &first) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    struct flock l = first;
    CHECK(fcntl(file, F_SETLK, &second) == 0 && write(to_parent[1], "x", 1) == 1);
    _exit(fcntl(file, F_SETLKW, &l) == 0 ? 0 : errno);
  }
  CHECK(read(to_parent[0], &c, 1) == 1);
  struct flock l = second;
  int mine = fcntl(file, F_SETLKW, &l) == 0 ? 0 : errno; /* one of the two finds the circle */
  l = first;
  l.l_type = F_UNLCK;
  CHECK(fcntl(file, F_SETLK, &l) == 0);
  printf("%s\n", strerrorname_np(mine + (wait_for(pid) >> 8)));
  unlink(path);
}

/* ---- children ------------------------------------------------------------------------------------- */

static void* make_and_wait(void* arg) {
  for (int i = 0; i < 10; i++) {
    int code = (int)(intptr_t)arg * 10 + i;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      if (i % 3 == 0) sleep_ms(3);
      _exit(code);
    }
    if (i % 2) {
      CHECK(wait_for(pid) == code << 8);
    } else {
      siginfo_t info = {0};
      CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED) == 0 && info.si_pid == pid && info.si_status == code);
    }
  }
  return NULL;
}
static void threads_wait_for_their_children(void) {
  in_eight(make_and_wait);
  printf("%s\n", outcome(waitpid(-1, NULL, 0)));
}
static int reaped;
static void* reap_any(void* arg) {
  for (;;) {
    int status;
    pid_t pid = wait(&status);
    if (pid < 0) {
      CHECK(errno == ECHILD);
      return NULL;
    }
    CHECK(WIFEXITED(status));
    __atomic_add_fetch(&reaped, WEXITSTATUS(status), __ATOMIC_SEQ_CST);
  }
}
static void each_child_is_reaped_once(void) {
  int go[2];
  CHECK(pipe(go) == 0);
  int sum = 0;
  for (int i = 0; i < 40; i++) {
    sum += i;
    pid_t pid = fork();
    if (pid == 0) {
      char c;
      close(go[1]);
      read(go[0], &c, 1);
      _exit(i);
    }
  }
  pthread_t t[4];
  for (int i = 0; i < 4; i++) t[i] = start(reap_any, NULL);
  settle();
  close(go[1]);
  for (int i = 0; i < 4; i++) finish(t[i]);
  CHECK(reaped == sum);
  puts("ok");
}
static void wait_options(void) {
  int go[2], last[2], status;
  CHECK(pipe(go) == 0 && pipe(last) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    char c;
    close(go[1]);
    close(last[1]);
    read(go[0], &c, 1);
    raise(SIGSTOP);
    read(last[0], &c, 1);
    _exit(6);
  }
  close(go[0]);
  close(last[0]);
  printf("%d", waitpid(pid, &status, WNOHANG));
  close(go[1]);
  CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
  CHECK(kill(pid, SIGCONT) == 0);
  siginfo_t info = {0};
  CHECK(waitid(P_PID, (id_t)pid, &info, WCONTINUED) == 0 && info.si_code == CLD_CONTINUED);
  close(last[1]);
  CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0 && info.si_status == 6);
  CHECK(waitpid(pid, &status, 0) == pid);
  printf(" %d %s\n", status >> 8, outcome(waitpid(pid, &status, 0)));
}
static void* fork_and_leave(void* arg) {
  pid_t pid = fork();
  if (pid == 0) {
    settle();
    _exit(8);
  }
  return (void*)(intptr_t)pid;
}
static void child_of_a_thread_that_is_gone(void) {
  pid_t pid = (pid_t)(intptr_t)finish(start(fork_and_leave, NULL));
  printf("%d\n", wait_for(pid) >> 8);
}

static const struct test_case cases[] = {
    CASE(writes_share_the_position), CASE(reads_share_the_position), CASE(appends_do_not_overlap),
    CASE(positioned_calls_leave_it_alone), CASE(position_shared_with_a_child), CASE(flock_between_threads),
    CASE(ofd_locks_between_threads), CASE(posix_locks_are_the_process_s), CASE(lock_waits_for_another_process),
    CASE(crossed_locks_are_a_deadlock), CASE(threads_wait_for_their_children), CASE(each_child_is_reaped_once),
    CASE(wait_options), CASE(child_of_a_thread_that_is_gone),
};
CASE_MAIN(cases)
