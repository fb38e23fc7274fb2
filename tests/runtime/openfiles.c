/* Descriptors under threads that sleep on them: closed, replaced, reused, passed on, shared with children.
 *
 * A call that sleeps holds the file it began with, whatever becomes of the number. And O_NONBLOCK is a
 * state of the open file, which other processes share: nobody may change it behind their backs.
 */
#include "blocking.h"

#include <dirent.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

struct sleeper {
  int fd;
  ssize_t n;
  int error;
  char data[16];
};
static void* sleep_in_read(void* arg) {
  struct sleeper* s = arg;
  s->n = read(s->fd, s->data, sizeof s->data);
  s->error = s->n < 0 ? errno : 0;
  return NULL;
}

static void sleeper_keeps_a_closed_file(void) {
  for (int family = 0; family < FAMILIES; family++) {
    int fd[2];
    make_pair(family, fd);
    struct sleeper s = {.fd = fd[0]};
    pthread_t t = start(sleep_in_read, &s);
    settle();
    CHECK(close(fd[0]) == 0);
    settle();
    CHECK(fcntl(fd[0], F_GETFD) == -1 && errno == EBADF);
    CHECK(write(fd[1], "late", 4) == 4);
    finish(t);
    printf("%s: %zd %.4s\n", family_names[family], s.n, s.data);
    handle(SIGPIPE, SIG_IGN, 0);
    CHECK(close(fd[1]) == 0);
  }
}
static void sleeper_keeps_a_replaced_file(void) {
  for (int family = 0; family < FAMILIES; family++) {
    int fd[2], other[2];
    make_pair(family, fd);
    make_pair(family, other);
    struct sleeper s = {.fd = fd[0]}, next = {.fd = fd[0]};
    pthread_t t = start(sleep_in_read, &s);
    settle();
    CHECK(dup2(other[0], fd[0]) == fd[0]);
    pthread_t u = start(sleep_in_read, &next);
    settle();
    CHECK(write(other[1], "new", 3) == 3);
    finish(u);
    CHECK(write(fd[1], "old", 3) == 3);
    finish(t);
    printf("%s: %.3s %.3s\n", family_names[family], s.data, next.data);
    close_pair(fd);
    close_pair(other);
  }
}
/* A thread that sleeps on a number is woken, and one that was woken just before gives the number to another
 * file. What woke the former was its own file's.
 */
struct replacer {
  int go, from, to;
};
static void* replace_when_told(void* arg) {
  struct replacer* r = arg;
  char c;
  CHECK(read(r->go, &c, 1) == 1);
  CHECK(dup2(r->from, r->to) == r->to);
  return NULL;
}
static void* write_three(void* arg) { return (void*)write(*(int*)arg, "old", 3); }
static void* accept_one(void* arg) { return (void*)(intptr_t)accept(*(int*)arg, NULL, NULL); }
static void* read_by_vector(void* arg) {
  struct sleeper* s = arg;
  struct iovec v[2] = {{s->data, 2}, {s->data + 2, 14}};
  s->n = readv(s->fd, v, 2);
  return NULL;
}
static pthread_t replacer_asleep(struct replacer* r, int go[2], int from, int to) {
  make_pair(PIPE, go);
  *r = (struct replacer){go[0], from, to};
  pthread_t t = start(replace_when_told, r);
  settle();
  return t;
}
static void woken_reader_keeps_a_replaced_file(void) {
  for (int family = 0; family < FAMILIES; family++) {
    for (int vector = 0; vector < 2; vector++) {
      int fd[2], other[2], go[2];
      make_pair(family, fd);
      make_pair(family, other);
      struct sleeper s = {.fd = fd[0]};
      struct replacer r;
      pthread_t t = start(vector ? read_by_vector : sleep_in_read, &s);
      settle();
      pthread_t u = replacer_asleep(&r, go, other[0], fd[0]);
      CHECK(write(other[1], "new", 3) == 3);
      CHECK(write(go[1], "x", 1) == 1 && write(fd[1], "old", 3) == 3);
      finish(u);
      finish(t);
      printf("%s: %zd %.3s\n", family_names[family], s.n, s.data);
      close_pair(fd);
      close_pair(other);
      close_pair(go);
    }
  }
}
static void woken_writer_keeps_a_replaced_file(void) {
  for (int family = UNIX_STREAM; family < FAMILIES; family++) {
    int fd[2], other[2], go[2];
    char last[3] = "", block[4096];
    make_pair(family, fd);
    make_pair(family, other);
    int kept = dup(fd[1]);
    struct replacer r;
    size_t filled = fill(fd[1]);
    pthread_t t = start(write_three, &fd[1]);
    settle();
    pthread_t u = replacer_asleep(&r, go, other[1], fd[1]);
    CHECK(write(go[1], "x", 1) == 1);
    for (size_t n = 0; n < filled;) n += (size_t)read(fd[0], block, sizeof block);
    finish(u);
    CHECK(finish(t) == (void*)3);
    read_all(fd[0], last, 3);
    struct pollfd p = {other[0], POLLIN, 0};
    printf("%s: %.3s %d\n", family_names[family], last, poll(&p, 1, 0));
    close(kept);
    close_pair(fd);
    close_pair(other);
    close_pair(go);
  }
}
static void woken_acceptor_keeps_a_replaced_file(void) {
  struct sockaddr_in mine, others, at;
  socklen_t length = sizeof at;
  int l = listen_on_loopback(&mine, 4), other = listen_on_loopback(&others, 4), go[2];
  int late = connect_to(&others);
  struct replacer r;
  pthread_t t = start(accept_one, &l);
  settle();
  pthread_t u = replacer_asleep(&r, go, other, l);
  CHECK(write(go[1], "x", 1) == 1);
  int s = connect_to(&mine);
  finish(u);
  int got = (int)(intptr_t)finish(t);
  CHECK(got >= 0 && getsockname(got, (struct sockaddr*)&at, &length) == 0);
  puts(at.sin_port == mine.sin_port ? "its own" : "the other's");
  close(got);
  close(s);
  close(late);
}
static void reused_number_is_another_file(void) {
  for (int round = 0; round < 40; round++) {
    int fd[2], again[2];
    enum family family = round % FAMILIES;
    make_pair(family, fd);
    struct sleeper s = {.fd = fd[0]}, next = {0};
    pthread_t t = start(sleep_in_read, &s);
    if (round < 10) settle();
    else sleep_ms(2);
    /* The thread may be late: then it reads what the number is by now. */
    int kept = dup(fd[0]);
    close(fd[0]);
    make_pair((family + 1) % FAMILIES, again);
    next.fd = again[0];
    if (round >= 10) {
      CHECK(write(again[1], "both", 4) == 4 && write(again[1], "both", 4) == 4);
      CHECK(write(fd[1], "both", 4) == 4);
      finish(t);
      CHECK(s.n < 0 || ((s.n == 4 || s.n == 8) && memcmp(s.data, "both", 4) == 0));
    } else {
      pthread_t u = start(sleep_in_read, &next);
      settle();
      CHECK(write(fd[1], "old", 3) == 3);
      finish(t);
      CHECK(write(again[1], "new", 3) == 3);
      finish(u);
      CHECK(memcmp(s.data, "old", 3) == 0 && memcmp(next.data, "new", 3) == 0);
    }
    close(kept);
    close(fd[1]);
    close_pair(again);
  }
  puts("ok");
}
/* Nobody ever read from it: only a poll with a time-out slept on it. */
static void* poll_and_time_out(void* arg) {
  struct pollfd p = {*(int*)arg, POLLIN, 0};
  CHECK(poll(&p, 1, 20) == 0);
  return NULL;
}
static void polled_number_is_reused(void) {
  int idle[2];
  make_pair(PIPE, idle);
  struct sleeper asleep = {.fd = idle[0]};
  pthread_t t = start(sleep_in_read, &asleep);
  settle();
  for (int family = 0; family < FAMILIES; family++) {
    int fd[2];
    make_pair(PIPE, fd);
    finish(start(poll_and_time_out, &fd[0]));
    close_pair(fd);
    make_pair(family, fd);
    CHECK(write(fd[1], "there", 5) == 5);
    struct sleeper s = {.fd = fd[0]};
    finish(start(sleep_in_read, &s));
    CHECK(s.n == 5);
    close_pair(fd);
  }
  CHECK(write(idle[1], "x", 1) == 1);
  finish(t);
  puts("ok");
}
/* What an engine remembers about a number must go with the file, also when nobody sleeps on it. */
static void numbers_come_and_go(void) {
  for (int i = 0; i < 500; i++) {
    int fd[2];
    make_pair(i % FAMILIES, fd);
    struct sleeper s = {.fd = fd[0]};
    pthread_t t = start(sleep_in_read, &s);
    if (i % 8 == 0) sched_yield();
    CHECK(write(fd[1], "x", 1) == 1);
    finish(t);
    CHECK(s.n == 1);
    if (i % 3 == 0) {
      int again[2];
      make_pair((i + 2) % FAMILIES, again);
      CHECK(dup2(again[0], fd[0]) == fd[0] && dup2(again[1], fd[1]) == fd[1]);
      close_pair(again);
      struct sleeper second = {.fd = fd[0]};
      t = start(sleep_in_read, &second);
      sched_yield();
      CHECK(write(fd[1], "xy", 2) == 2);
      finish(t);
      CHECK(second.n == 2);
    }
    close_pair(fd);
  }
  puts("ok");
}
static void duplicates_share_the_sleepers(void) {
  int fd[2];
  make_pair(UNIX_STREAM, fd);
  int copy = dup(fd[0]);
  struct sleeper a = {.fd = fd[0]}, b = {.fd = copy};
  pthread_t t = start(sleep_in_read, &a), u = start(sleep_in_read, &b);
  settle();
  CHECK(close(fd[0]) == 0);
  CHECK(write(fd[1], "1", 1) == 1);
  settle();
  CHECK(write(fd[1], "2", 1) == 1);
  finish(t);
  finish(u);
  CHECK(a.n + b.n == 2 && a.n == 1);
  close(copy);
  puts("ok");
}

/* ---- passed over a socket ------------------------------------------------------------------------ */

static void send_fd(int over, int fd) {
  char c = 'f', control[CMSG_SPACE(sizeof fd)] = "";
  struct iovec iov = {&c, 1};
  struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr* h = CMSG_FIRSTHDR(&msg);
  h->cmsg_level = SOL_SOCKET;
  h->cmsg_type = SCM_RIGHTS;
  h->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(h), &fd, sizeof fd);
  CHECK(sendmsg(over, &msg, 0) == 1);
}
static int receive_fd(int over, int flags) {
  int fd = -1;
  char c, control[CMSG_SPACE(sizeof fd)];
  struct iovec iov = {&c, 1};
  struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  CHECK(recvmsg(over, &msg, flags) == 1);
  struct cmsghdr* h = CMSG_FIRSTHDR(&msg);
  CHECK(h != NULL && h->cmsg_type == SCM_RIGHTS);
  memcpy(&fd, CMSG_DATA(h), sizeof fd);
  return fd;
}
static int over[2];
static int received;
static void* receiver(void* arg) {
  received = receive_fd(over[0], MSG_CMSG_CLOEXEC);
  return NULL;
}
static void passed_descriptors(void) {
  for (int family = 0; family < FAMILIES; family++) {
    int fd[2];
    make_pair(UNIX_STREAM, over);
    make_pair(family, fd);
    pthread_t t = start(receiver, NULL);
    settle();
    struct sleeper s = {.fd = fd[0]}, there = {0};
    pthread_t u = start(sleep_in_read, &s); /* it stays on the file that goes over */
    settle();
    send_fd(over[1], fd[0]);
    finish(t);
    CHECK(received != fd[0] && fcntl(received, F_GETFD) == FD_CLOEXEC);
    CHECK(close(fd[0]) == 0);
    CHECK(write(fd[1], "one", 3) == 3);
    finish(u);
    there.fd = received;
    t = start(sleep_in_read, &there);
    settle();
    CHECK(write(fd[1], "two", 3) == 3);
    finish(t);
    CHECK(memcmp(s.data, "one", 3) == 0 && memcmp(there.data, "two", 3) == 0);
    close(received);
    close(fd[1]);
    close_pair(over);
  }
  puts("ok");
}
static void passed_to_a_child(void) {
  int fd[2];
  make_pair(UNIX_STREAM, over);
  make_pair(TCP, fd);
  pid_t pid = fork();
  if (pid == 0) {
    int got = receive_fd(over[0], 0);
    char c[8];
    nonblocking(got, 1); /* of the open file: the parent's sleeper sleeps on */
    CHECK(read(got, c, sizeof c) == -1 && errno == EAGAIN);
    nonblocking(got, 0);
    CHECK(write(got, "hi", 2) == 2);
    _exit(7);
  }
  struct sleeper s = {.fd = fd[0]};
  pthread_t t = start(sleep_in_read, &s);
  settle();
  send_fd(over[1], fd[0]);
  char c[8];
  CHECK(read(fd[1], c, sizeof c) == 2);
  CHECK(write(fd[1], "yes", 3) == 3);
  finish(t);
  printf("%d %zd\n", wait_for(pid) >> 8, s.n);
}

/* ---- shared with children ------------------------------------------------------------------------- */

/* The child looks while the parent's threads sleep, wake and sleep. */
static void sleeping_leaves_the_flags_alone(void) {
  for (int family = 0; family < FAMILIES; family++) {
    int fd[2], go[2];
    char c;
    make_pair(family, fd);
    make_pair(PIPE, go);
    pid_t pid = fork();
    if (pid == 0) {
      int changed = 0;
      close(go[1]);
      nonblocking(go[0], 1);
      int before = fcntl(fd[0], F_GETFL), before_write = fcntl(fd[1], F_GETFL);
      do {
        for (int i = 0; i < 200; i++) {
          changed += fcntl(fd[0], F_GETFL) != before;
          changed += fcntl(fd[1], F_GETFL) != before_write;
        }
      } while (read(go[0], &c, 1) < 0);
      _exit(changed != 0);
    }
    close(go[0]);
    for (int i = 0; i < 200; i++) {
      struct sleeper s = {.fd = fd[0]};
      pthread_t t = start(sleep_in_read, &s);
      if (i % 20 == 0) settle();
      else sched_yield();
      CHECK(write(fd[1], "x", 1) == 1);
      finish(t);
      CHECK(s.n == 1);
    }
    close(go[1]);
    CHECK(wait_for(pid) == 0);
    close_pair(fd);
  }
  puts("ok");
}
static void child_makes_it_nonblocking(void) {
  for (int family = 0; family < FAMILIES; family++) {
    int fd[2];
    char c[4];
    make_pair(family, fd);
    struct sleeper s = {.fd = fd[0]};
    pthread_t t = start(sleep_in_read, &s);
    settle();
    pid_t pid = fork();
    if (pid == 0) {
      nonblocking(fd[0], 1);
      _exit(0);
    }
    CHECK(wait_for(pid) == 0);
    settle();
    printf("%s: %s", family_names[family], outcome(read(fd[0], c, 1))); /* the parent's as well */
    CHECK(write(fd[1], "data", 4) == 4);
    finish(t);
    printf(" %zd", s.n);
    nonblocking(fd[0], 0);
    s = (struct sleeper){.fd = fd[0]};
    t = start(sleep_in_read, &s);
    settle();
    CHECK(write(fd[1], "more", 4) == 4);
    finish(t);
    printf(" %zd\n", s.n);
    close_pair(fd);
  }
}
static void child_blocks_on_its_own(int threads_too) {
  int there[2], back[2];
  make_pair(UNIX_STREAM, there);
  make_pair(TCP, back);
  pid_t pid = fork();
  if (pid == 0) {
    for (int i = 0; i < 50; i++) {
      struct sleeper s = {.fd = there[0]};
      if (threads_too) finish(start(sleep_in_read, &s));
      else sleep_in_read(&s);
      CHECK(s.n == 1 && write(back[1], s.data, 1) == 1);
    }
    _exit(5);
  }
  for (int i = 0; i < 50; i++) {
    char c = (char)i;
    CHECK(write(there[1], &c, 1) == 1 && read(back[0], &c, 1) == 1 && c == (char)i);
  }
  CHECK(wait_for(pid) == 5 << 8);
  close_pair(there);
  close_pair(back);
}
static void fork_beside_blocked_threads(void) {
  int fd[FAMILIES][2];
  struct sleeper s[FAMILIES];
  pthread_t t[FAMILIES];
  for (int i = 0; i < FAMILIES; i++) {
    make_pair(i, fd[i]);
    s[i] = (struct sleeper){.fd = fd[i][0]};
    t[i] = start(sleep_in_read, &s[i]);
  }
  settle();
  for (int i = 0; i < 4; i++) child_blocks_on_its_own(i % 2);
  for (int i = 0; i < FAMILIES; i++) {
    CHECK(write(fd[i][1], "still", 5) == 5);
    finish(t[i]);
    CHECK(s[i].n == 5);
  }
  puts("ok");
}
/* The child of the forked child, and so on: each with sleepers of its own. */
static void generations(int depth) {
  int fd[2];
  make_pair(depth % FAMILIES, fd);
  struct sleeper s = {.fd = fd[0]};
  pthread_t t = start(sleep_in_read, &s);
  settle();
  if (depth > 0) {
    pid_t pid = fork();
    if (pid == 0) {
      generations(depth - 1);
      _exit(depth);
    }
    CHECK(wait_for(pid) == depth << 8);
  }
  CHECK(write(fd[1], "x", 1) == 1);
  finish(t);
  CHECK(s.n == 1);
}
static void forked_generations(void) {
  generations(4);
  puts("ok");
}

/* ---- all of them ------------------------------------------------------------------------------------- */

static void blocking_still_works(void) {
  for (int family = 0; family < FAMILIES; family++) {
    int fd[2];
    make_pair(family, fd);
    struct sleeper s = {.fd = fd[0]};
    pthread_t t = start(sleep_in_read, &s);
    sleep_ms(10);
    CHECK(write(fd[1], "x", 1) == 1);
    finish(t);
    CHECK(s.n == 1);
    close_pair(fd);
  }
  struct timespec ts = {0, 5000000};
  CHECK(nanosleep(&ts, NULL) == 0);
}
static void close_one_by_one(void) {
  blocking_still_works();
  for (int fd = 3; fd < 1024; fd++) close(fd);
  blocking_still_works();
  puts("ok");
}
static void close_the_range(void) {
  blocking_still_works();
  CHECK(syscall(SYS_close_range, 3u, ~0u, 0) == 0);
  blocking_still_works();
  CHECK(syscall(SYS_close_range, 3u, ~0u, 0) == 0);
  blocking_still_works();
  int fd = open("/dev/null", O_RDONLY);
  printf("%d\n", fd);
}
static void close_the_range_beside_sleepers(void) {
  int fd[FAMILIES][2], high[FAMILIES];
  struct sleeper s[FAMILIES];
  pthread_t t[FAMILIES];
  for (int i = 0; i < FAMILIES; i++) {
    make_pair(i, fd[i]);
    high[i] = fcntl(fd[i][1], F_DUPFD, 200); /* what the sleepers wait for stays open */
    s[i] = (struct sleeper){.fd = fd[i][0]};
    t[i] = start(sleep_in_read, &s[i]);
  }
  settle();
  CHECK(syscall(SYS_close_range, 3u, 199u, 0) == 0);
  blocking_still_works();
  handle(SIGPIPE, SIG_IGN, 0);
  for (int i = 0; i < FAMILIES; i++) {
    CHECK(write(high[i], "x", 1) == 1);
    finish(t[i]);
    printf("%s: %zd\n", family_names[i], s[i].n);
  }
}
static void close_the_range_then_fork_and_exec(void) {
  blocking_still_works();
  CHECK(syscall(SYS_close_range, 3u, ~0u, 0) == 0);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    blocking_still_works();
    CHECK(syscall(SYS_close_range, 3u, ~0u, 0) == 0);
    blocking_still_works();
    execl("/proc/self/exe", "openfiles", "close_the_range", NULL);
    _exit(9);
  }
  printf("%d\n", wait_for(pid));
}
static void open_descriptors_shown(void) {
  blocking_still_works();
  DIR* d = opendir("/proc/self/fd");
  int n = 0, low[8] = {0};
  for (struct dirent* e; (e = readdir(d)) != NULL;) {
    int fd = atoi(e->d_name);
    if (e->d_name[0] == '.' || fd >= 1000) continue; /* the runtime may have some, but high up */
    if (fd < 8) low[fd] = 1;
    n++;
  }
  printf("%d:", n);
  for (int i = 0; i < 8; i++) printf(" %d", low[i]);
  puts("");
}
/* A program counts on the lowest free number. */
static void lowest_number_is_given(void) {
  blocking_still_works();
  int fd[3] = {dup(0), dup(0), dup(0)};
  printf("%d %d %d", fd[0], fd[1], fd[2]);
  close(fd[1]);
  int again = eventfd(0, 0);
  printf(" %d\n", again);
}
static void small_limit_of_descriptors(void) {
  struct rlimit limit = {32, 32};
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  blocking_still_works();
  int n = 1, first = dup(0);
  while (dup(0) >= 0) n++;
  printf("%d %s\n", first, strerrorname_np(errno));
  CHECK(n >= 24); /* the runtime may need a few */
  for (int fd = 3; fd < 32; fd++) close(fd);
  blocking_still_works();
}

static const struct test_case cases[] = {
    CASE(sleeper_keeps_a_closed_file), CASE(sleeper_keeps_a_replaced_file),
    CASE(woken_reader_keeps_a_replaced_file), CASE(woken_writer_keeps_a_replaced_file),
    CASE(woken_acceptor_keeps_a_replaced_file),
    CASE(reused_number_is_another_file), CASE(polled_number_is_reused), CASE(numbers_come_and_go), CASE(duplicates_share_the_sleepers),
    CASE(passed_descriptors), CASE(passed_to_a_child), CASE(sleeping_leaves_the_flags_alone),
    CASE(child_makes_it_nonblocking), CASE(fork_beside_blocked_threads), CASE(forked_generations),
    CASE(close_one_by_one), CASE(close_the_range), CASE(close_the_range_beside_sleepers),
    CASE(close_the_range_then_fork_and_exec), CASE(open_descriptors_shown), CASE(lowest_number_is_given),
    CASE(small_limit_of_descriptors),
};
CASE_MAIN(cases)
