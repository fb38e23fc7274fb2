/* poll, select and epoll with several threads: who wakes, for what, when, and how often. */
#include "blocking.h"

#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>

static int fds[2];

/* ---- poll and select --------------------------------------------------------------------------- */

static void* write_later(void* arg) {
  settle();
  CHECK(write(fds[1], "x", 1) == 1);
  return NULL;
}
static void poll_sees_each_family(void) {
  for (int family = 0; family < FAMILIES; family++) {
    make_pair(family, fds);
    struct pollfd p[3] = {{fds[0], POLLIN, 0}, {-1, POLLIN, 77}, {fds[1], family == PIPE ? POLLERR : 0, 0}};
    CHECK(poll(p, 3, 0) == 0);
    pthread_t t = start(write_later, NULL);
    int n = poll(p, 3, -1);
    finish(t);
    printf("%s: %d %d %d %d", family_names[family], n, p[0].revents, p[1].revents, p[2].revents);
    struct pollfd w = {fds[1], POLLOUT, 0};
    n = poll(&w, 1, 10000);
    printf(", %d %d", n, w.revents);
    close(fds[1]);
    p[0].events = POLLIN | POLLRDHUP;
    n = family == UNIX_DGRAM ? 0 : poll(p, 1, 10000);
    for (int i = 0; i < 1000 && family == TCP && !(p[0].revents & POLLRDHUP); i++) poll(p, 1, 5);
    printf(", %d %d\n", n, family == UNIX_DGRAM ? 0 : p[0].revents);
    close(fds[0]);
  }
  struct pollfd closed = {fds[0], POLLIN, 0};
  int n = poll(&closed, 1, -1);
  printf("closed: %d %d\n", n, closed.revents);
}
static void* timed_polls(void* arg) {
  int ms = 20 + (int)(intptr_t)arg % 5 * 20;
  struct pollfd p = {fds[0], POLLIN, 0};
  struct timespec ts = {0, ms * 1000000};
  struct timeval tv = {0, ms * 1000};
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fds[0], &set);
  int64_t from = now_ms();
  CHECK(poll(&p, 1, ms) == 0 && now_ms() - from >= ms - 1);
  from = now_ms();
  CHECK(ppoll(NULL, 0, &ts, NULL) == 0 && now_ms() - from >= ms - 1 && ts.tv_nsec == ms * 1000000);
  from = now_ms();
  CHECK(select(fds[0] + 1, &set, NULL, NULL, &tv) == 0 && now_ms() - from >= ms - 1);
  CHECK(!FD_ISSET(fds[0], &set) && tv.tv_sec == 0 && tv.tv_usec == 0); /* Linux writes what is left */
  from = now_ms();
  CHECK(pselect(0, NULL, NULL, NULL, &ts, NULL) == 0 && now_ms() - from >= ms - 1);
  int ep = epoll_create1(0);
  struct epoll_event ev;
  from = now_ms();
  CHECK(epoll_wait(ep, &ev, 1, ms) == 0 && now_ms() - from >= ms - 1);
  close(ep);
  return NULL;
}
static void timeouts_side_by_side(void) {
  pthread_t t[20];
  CHECK(pipe(fds) == 0);
  for (intptr_t i = 0; i < 20; i++) t[i] = start(timed_polls, (void*)i);
  for (int i = 0; i < 20; i++) finish(t[i]);
  puts("ok");
}
static void* sleep_beside(void* arg) {
  sleep_ms(300);
  return arg;
}

/* What is hung up says so to poll whatever it was asked for; a select that asks for room or for exceptions waits on. */
static void select_waits_on_for_what_is_hung_up(void) {
  int fds[2];
  pthread_t t = start(sleep_beside, NULL);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0 && close(fds[1]) == 0);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fds[0], &set);
  struct timeval tv = {0, 60000};
  int64_t from = now_ms();
  CHECK(select(fds[0] + 1, NULL, NULL, &set, &tv) == 0 && now_ms() - from >= 59);
  FD_SET(fds[0], &set);
  struct timespec ts = {0, 60000000};
  from = now_ms();
  CHECK(pselect(fds[0] + 1, NULL, NULL, &set, &ts, NULL) == 0 && now_ms() - from >= 59);
  FD_SET(fds[0], &set);
  CHECK(select(fds[0] + 1, &set, NULL, NULL, NULL) == 1);
  finish(t);
  puts("ok");
}

static void calls_that_can_t_wait_say_so_beside_a_thread(void) {
  int fds[2], epoll = epoll_create1(0);
  pthread_t t = start(sleep_beside, NULL);
  struct epoll_event event;
  printf("epoll %s", outcome(epoll_wait(epoll, &event, 0, -1)));
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  printf(" accept %s %s", outcome(accept(fds[0], NULL, NULL)), outcome(accept4(fds[0], NULL, NULL, 1)));
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(listen(listener, 1) == 0);
  printf(" receive %s", outcome((int)recv(listener, fds, sizeof fds, MSG_WAITALL | MSG_PEEK)));
  struct timeval more = {-1, 1000001}, less = {0, -1};
  fd_set set;
  FD_ZERO(&set);
  printf(" select %s", outcome(select(0, &set, NULL, NULL, &more)));
  printf(" %s\n", outcome(select(0, &set, NULL, NULL, &less)));
  fflush(stdout);
  finish(t);
}

static void select_writes_what_is_left(void) {
  struct timeval tv = {50, 0};
  fd_set in, out;
  CHECK(pipe(fds) == 0);
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_SET(fds[0], &in);
  pthread_t t = start(write_later, NULL);
  int n = select(fds[1] + 1, &in, NULL, NULL, &tv);
  CHECK(tv.tv_sec < 50 && tv.tv_sec >= 10);
  finish(t);
  FD_SET(fds[1], &out);
  printf("%d %d", n, FD_ISSET(fds[0], &in) != 0);
  n = select(fds[1] + 1, &in, &out, NULL, NULL);
  printf(" %d %d %d", n, FD_ISSET(fds[0], &in) != 0, FD_ISSET(fds[1], &out) != 0);
  close(fds[0]);
  printf(" %s", outcome(select(fds[1] + 1, &in, NULL, NULL, NULL)));
  printf(" %s\n", outcome(select(-1, NULL, NULL, NULL, NULL)));
}
enum { MANY = 400 };
static int many[MANY][2];
static int woken[MANY];
static void* poll_many(void* arg) {
  struct pollfd p[MANY];
  int seen = 0;
  while (seen < MANY) {
    for (int i = 0; i < MANY; i++) p[i] = (struct pollfd){many[i][0], POLLIN, 0};
    int n = poll(p, MANY, -1), found = 0;
    CHECK(n > 0);
    for (int i = 0; i < MANY; i++) {
      if (!(p[i].revents & POLLIN)) continue;
      char c;
      found++;
      CHECK(read(many[i][0], &c, 1) == 1);
      woken[i]++;
      seen++;
    }
    CHECK(found == n);
  }
  return NULL;
}
static void poll_of_many_descriptors(void) {
  for (int i = 0; i < MANY; i++) make_pair(i % FAMILIES, many[i]);
  pthread_t t = start(poll_many, NULL);
  for (int i = 0; i < MANY; i++) {
    CHECK(write(many[i * 7 % MANY][1], "x", 1) == 1);
    if (i % 50 == 0) settle();
  }
  finish(t);
  for (int i = 0; i < MANY; i++) CHECK(woken[i] == 1);
  puts("ok");
}
static void* poll_one(void* arg) {
  struct pollfd p = {fds[0], POLLIN, 0};
  return (void*)(intptr_t)poll(&p, 1, -1);
}
static void all_pollers_wake(void) {
  for (int family = 0; family < FAMILIES; family++) {
    pthread_t t[10];
    make_pair(family, fds);
    for (int i = 0; i < 10; i++) t[i] = start(poll_one, NULL);
    settle();
    CHECK(write(fds[1], "x", 1) == 1);
    for (int i = 0; i < 10; i++) CHECK(finish(t[i]) == (void*)1);
    close_pair(fds);
  }
  puts("ok");
}
/* The mask counts from the moment of the call on, not a moment before. */
static void masks_let_a_pending_signal_in(void) {
  sigset_t blocked, none;
  struct timespec ts = {20, 0};
  int ep = epoll_create1(0);
  struct epoll_event ev;
  CHECK(pipe(fds) == 0);
  handle(SIGUSR1, count_signal, SA_RESTART);
  sigemptyset(&none);
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  CHECK(pthread_sigmask(SIG_BLOCK, &blocked, NULL) == 0);
  pthread_t idle = start(poll_one, NULL);
  for (int how = 0; how < 3; how++) {
    struct pollfd p = {fds[0], POLLIN, 0};
    pthread_kill(pthread_self(), SIGUSR1);
    CHECK(signals_got == how);
    ssize_t r = how == 0   ? ppoll(&p, 1, &ts, &none)
                : how == 1 ? pselect(0, NULL, NULL, NULL, &ts, &none)
                           : epoll_pwait(ep, &ev, 1, 20000, &none);
    printf("%s %d, ", outcome(r), signals_got);
    sigset_t now;
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0 && sigismember(&now, SIGUSR1));
  }
  CHECK(write(fds[1], "x", 1) == 1);
  finish(idle);
  struct pollfd p = {fds[0], POLLIN, 0};
  int n = ppoll(&p, 1, &ts, &none);
  printf("ready: %d %d\n", n, signals_got);
}
static pthread_t poller;
static int polled;
static void* poll_under_mask(void* arg) {
  sigset_t none;
  struct pollfd p = {fds[0], POLLIN, 0};
  sigemptyset(&none);
  ssize_t r = ppoll(&p, 1, NULL, &none);
  CHECK(r == -1 && errno == EINTR);
  __atomic_store_n(&polled, 1, __ATOMIC_SEQ_CST);
  return NULL;
}
static void signal_enters_by_the_mask_of_a_poll(void) {
  sigset_t blocked;
  CHECK(pipe(fds) == 0);
  handle(SIGUSR1, count_signal, 0);
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  CHECK(pthread_sigmask(SIG_BLOCK, &blocked, NULL) == 0);
  poller = start(poll_under_mask, NULL);
  settle();
  CHECK(kill(getpid(), SIGUSR1) == 0); /* only the poller lets it in */
  finish(poller);
  printf("%d %d\n", polled, signals_got);
}

/* ---- epoll ------------------------------------------------------------------------------------------- */

static int ep;
static int add(int to, int fd, uint32_t events, int data) {
  struct epoll_event ev = {.events = events, .data.u32 = (uint32_t)data};
  return epoll_ctl(to, EPOLL_CTL_ADD, fd, &ev);
}
static int wait_events(int on, int ms) {
  struct epoll_event ev[8];
  return epoll_wait(on, ev, 8, ms);
}
/* What two looks say, one after the other. */
static void look_twice(int on) {
  int first = wait_events(on, 10000);
  printf(" %d%d", first, wait_events(on, 0));
}
static void level_edge_oneshot(void) {
  char c[8];
  for (int family = 0; family < FAMILIES; family++) {
    make_pair(family, fds);
    int lt = epoll_create1(0), et = epoll_create1(0), once = epoll_create1(0);
    CHECK(add(lt, fds[0], EPOLLIN, 1) == 0 && add(et, fds[0], EPOLLIN | EPOLLET, 1) == 0 &&
          add(once, fds[0], EPOLLIN | EPOLLONESHOT, 1) == 0);
    CHECK(write(fds[1], "ab", 2) == 2);
    printf("%s:", family_names[family]);
    look_twice(lt);
    look_twice(et);
    look_twice(once);
    CHECK(write(fds[1], "c", 1) == 1);
    look_twice(lt);
    look_twice(et);
    printf(" %d", wait_events(once, 0));
    struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT};
    CHECK(epoll_ctl(once, EPOLL_CTL_MOD, fds[0], &ev) == 0);
    look_twice(once);
    CHECK(read(fds[0], c, sizeof c) > 0);
    puts("");
    close(lt), close(et), close(once);
    close_pair(fds);
  }
}
static sem_t got_event;
static int events_seen;
static void* epoll_server(void* arg) {
  for (;;) {
    struct epoll_event ev[4];
    int n = epoll_wait(ep, ev, 4, -1);
    CHECK(n > 0);
    for (int i = 0; i < n; i++) {
      if (ev[i].data.u32 == 9999) return NULL; /* level-triggered: all see it */
      char c;
      int fd = many[ev[i].data.u32][0];
      ssize_t r = recv(fd, &c, 1, MSG_DONTWAIT);
      if (r == 1) {
        __atomic_add_fetch(&events_seen, 1, __ATOMIC_SEQ_CST);
        sem_post(&got_event);
      } else {
        CHECK(r == -1 && errno == EAGAIN); /* another one was faster */
      }
      if (arg != NULL) {
        struct epoll_event again = {.events = EPOLLIN | EPOLLONESHOT, .data = ev[i].data};
        CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &again) == 0);
      }
    }
  }
}
static void epoll_with_several_waiters(void) {
  static const uint32_t modes[] = {EPOLLIN, EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLEXCLUSIVE};
  CHECK(sem_init(&got_event, 0, 0) == 0);
  for (int mode = 0; mode < 3; mode++) {
    pthread_t t[6];
    int stop = eventfd(0, 0);
    events_seen = 0;
    ep = epoll_create1(0);
    for (int i = 0; i < 40; i++) {
      make_pair(i % 4, many[i]);
      CHECK(add(ep, many[i][0], modes[mode], i) == 0);
    }
    for (int i = 0; i < 6; i++) t[i] = start(epoll_server, mode == 1 ? &ep : NULL);
    settle();
    for (int round = 0; round < 20; round++) {
      for (int i = 0; i < 40; i++) CHECK(write(many[i][1], "x", 1) == 1);
      for (int i = 0; i < 40; i++) sem_wait(&got_event);
    }
    CHECK(add(ep, stop, EPOLLIN, 9999) == 0 && eventfd_write(stop, 1) == 0);
    for (int i = 0; i < 6; i++) finish(t[i]);
    CHECK(events_seen == 800);
    for (int i = 0; i < 40; i++) close_pair(many[i]);
    close(ep);
    close(stop);
  }
  puts("ok");
}
static void* wait_once(void* arg) { return (void*)(intptr_t)wait_events(ep, -1); }
static void change_under_a_waiter(void) {
  ep = epoll_create1(0);
  make_pair(UNIX_STREAM, fds);
  CHECK(write(fds[1], "x", 1) == 1);
  pthread_t t = start(wait_once, NULL);
  settle();
  CHECK(add(ep, fds[0], EPOLLIN, 1) == 0); /* it is ready already */
  printf("%d", (int)(intptr_t)finish(t));
  struct epoll_event ev = {.events = 0};
  CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, fds[0], &ev) == 0);
  t = start(wait_once, NULL);
  settle();
  ev.events = EPOLLIN;
  CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, fds[0], &ev) == 0);
  printf(" %d", (int)(intptr_t)finish(t));
  CHECK(epoll_ctl(ep, EPOLL_CTL_DEL, fds[0], NULL) == 0);
  printf(" %d\n", wait_events(ep, 20));
}
static void closed_descriptor_leaves_the_set(void) {
  ep = epoll_create1(0);
  make_pair(UNIX_STREAM, fds);
  CHECK(add(ep, fds[0], EPOLLIN, 1) == 0);
  int copy = dup(fds[0]);
  close(fds[0]);
  CHECK(write(fds[1], "x", 1) == 1);
  printf("%d", wait_events(ep, 1000)); /* the file lives by its copy */
  close(copy);
  printf(" %d\n", wait_events(ep, 20));
}
static void closed_epoll_keeps_its_waiter(void) {
  ep = epoll_create1(0);
  make_pair(PIPE, fds);
  CHECK(add(ep, fds[0], EPOLLIN, 1) == 0);
  pthread_t t = start(wait_once, NULL);
  settle();
  CHECK(close(ep) == 0);
  CHECK(write(fds[1], "x", 1) == 1);
  printf("%d\n", (int)(intptr_t)finish(t));
}
static void nested_epoll(void) {
  int inner = epoll_create1(0);
  char c;
  ep = epoll_create1(0);
  make_pair(TCP, fds);
  CHECK(add(inner, fds[0], EPOLLIN, 1) == 0 && add(ep, inner, EPOLLIN, 2) == 0);
  printf("%s %s", outcome(add(inner, ep, EPOLLIN, 3)), outcome(add(ep, ep, EPOLLIN, 3)));
  pthread_t t = start(wait_once, NULL);
  settle();
  CHECK(write(fds[1], "x", 1) == 1);
  printf(" %d", (int)(intptr_t)finish(t));
  struct pollfd p = {ep, POLLIN, 0};
  printf(" %d", poll(&p, 1, 10000));
  CHECK(read(fds[0], &c, 1) == 1);
  printf(" %d %d\n", wait_events(ep, 0), poll(&p, 1, 0));
}
static void epoll_errors(void) {
  int file = open("/proc/self/exe", O_RDONLY);
  struct epoll_event ev = {.events = EPOLLIN};
  ep = epoll_create1(0);
  CHECK(pipe(fds) == 0 && add(ep, fds[0], EPOLLIN, 1) == 0);
  printf("%s", outcome(add(ep, fds[0], EPOLLIN, 1)));
  printf(" %s", outcome(add(ep, file, EPOLLIN, 1)));
  printf(" %s", outcome(epoll_ctl(ep, EPOLL_CTL_MOD, fds[1], &ev)));
  printf(" %s", outcome(epoll_ctl(fds[0], EPOLL_CTL_ADD, fds[1], &ev)));
  printf(" %s", outcome(epoll_wait(ep, &ev, 0, 0)));
  printf(" %s", outcome(epoll_wait(fds[0], &ev, 1, 0)));
  printf(" %s", outcome(epoll_wait(-1, &ev, 1, 0)));
  CHECK(write(fds[1], "x", 1) == 1);
  printf(" %s\n", outcome(syscall(SYS_epoll_wait, ep, (void*)8, 1, 1000)));
}
static void epoll_of_hangups(void) {
  for (int family = 0; family < FAMILIES; family++) {
    struct epoll_event ev = {0};
    if (family == UNIX_DGRAM) continue;
    ep = epoll_create1(0);
    make_pair(family, fds);
    CHECK(add(ep, fds[0], EPOLLIN | EPOLLRDHUP, 1) == 0);
    pthread_t t = start(wait_once, NULL);
    settle();
    close(fds[1]);
    CHECK(finish(t) == (void*)1 && epoll_wait(ep, &ev, 1, 10000) == 1);
    printf("%s: %x\n", family_names[family], ev.events);
    close(ep);
    close(fds[0]);
  }
}

/* ---- signals for another thread ---------------------------------------------------------------- */

static int no_more;
static void on_signal(int sig) { (void)sig; }
static void* take_signals(void* arg) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  while (!__atomic_load_n(&no_more, __ATOMIC_SEQ_CST)) usleep(1000);
  return arg;
}
/* Each of them looks without waiting before it waits, and the kernel says EINTR to that, too. */
static void signals_of_another_thread_end_no_poll(void) {
  sigset_t set;
  struct epoll_event ev;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  signal(SIGUSR1, on_signal);
  CHECK(pipe(fds) == 0);
  ep = epoll_create1(0);
  CHECK(add(ep, fds[0], EPOLLIN, 1) == 0);
  pthread_t t = start(take_signals, NULL);
  settle();
  pid_t self = getpid(), pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0;; i++) {
      kill(self, SIGUSR1);
      if (i % 20 == 0) usleep(100);
    }
  }
  CHECK(pid > 0);
  for (int i = 0; i < 150; i++) {
    struct pollfd p = {fds[0], POLLIN, 0};
    struct timespec ts = {0, 1000000};
    struct timeval tv = {0, 1000};
    fd_set in;
    FD_ZERO(&in);
    FD_SET(fds[0], &in);
    CHECK(poll(&p, 1, 1) == 0);
    CHECK(ppoll(&p, 1, &ts, NULL) == 0);
    CHECK(select(fds[0] + 1, &in, NULL, NULL, &tv) == 0);
    CHECK(epoll_wait(ep, &ev, 1, 1) == 0);
  }
  kill(pid, SIGKILL);
  CHECK(waitpid(pid, NULL, 0) == pid);
  __atomic_store_n(&no_more, 1, __ATOMIC_SEQ_CST);
  finish(t);
  puts("ok");
}

static const struct test_case cases[] = {
    CASE(poll_sees_each_family), CASE(timeouts_side_by_side), CASE(select_writes_what_is_left),
    CASE(select_waits_on_for_what_is_hung_up), CASE(calls_that_can_t_wait_say_so_beside_a_thread),
    CASE(poll_of_many_descriptors), CASE(all_pollers_wake), CASE(masks_let_a_pending_signal_in),
    CASE(signal_enters_by_the_mask_of_a_poll), CASE(level_edge_oneshot), CASE(epoll_with_several_waiters),
    CASE(change_under_a_waiter), CASE(closed_descriptor_leaves_the_set), CASE(closed_epoll_keeps_its_waiter),
    CASE(nested_epoll), CASE(epoll_errors), CASE(epoll_of_hangups), CASE(signals_of_another_thread_end_no_poll),
};
CASE_MAIN(cases)
