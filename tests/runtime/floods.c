/* Signals that come faster than they are put away, or again while they are blocked, from outside the process. */
#include "sending.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

static volatile int runs, values, out_of_order;
static volatile int linger;  /* the handler waits until this many are sent */
static volatile int* sent;   /* by the child, in shared memory */


static void handler(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  if (info->si_code == SI_QUEUE && info->si_value.sival_int != values++) out_of_order = 1;
  runs++;
  if (sent != NULL) sent[1] = 1;
  while (linger != 0 && *sent < linger) getppid();
}

static void catch(int sig, int flags) {
  struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
  CHECK(sigaction(sig, &sa, NULL) == 0);
}

/* A child that sends sig n times, each with its number; `begun`: all but the first once the handler has begun. */
static pid_t sender(int sig, int n, int queued, int begun) {
  sent = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(sent != MAP_FAILED);
  sent[0] = sent[1] = 0;
  pid_t parent = getpid(), pid = fork();
  if (pid != 0) return pid;
  for (int i = 0; i < n; i++) {
    if (queued) {
      CHECK(sigqueue(parent, sig, (union sigval){.sival_int = i}) == 0);
    } else {
      CHECK(kill(parent, sig) == 0);
    }
    *sent = *sent + 1;
    while (begun && !sent[1]) usleep(100);
  }
  _exit(0);
}

static void finish(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) != pid) CHECK(errno == EINTR);
  CHECK(status == 0);
}

/* A timer of a microsecond: its handler must come to an end each time. It disarms the timer after many, since
 * what it interrupts need not go on. */
static timer_t timer;
static void expiry(int sig) {
  (void)sig;
  for (int i = 0; i < 3; i++) getppid();
  const struct itimerspec never = {{0, 0}, {0, 0}};
  if (++runs == 2000) CHECK(timer_settime(timer, 0, &never, NULL) == 0);
}
static void a_timer_faster_than_its_handler(void) {
  static const int signals[] = {SIGALRM, SIGUSR1};
  for (int i = 0; i < 3; i++) {
    int sig = i < 2 ? signals[i] : SIGRTMIN;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig};
    const struct itimerspec soon = {{0, 1000}, {0, 1000}};
    CHECK(signal(sig, expiry) != SIG_ERR);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    runs = 0;
    CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
    while (runs < 2000) getppid();
    CHECK(timer_delete(timer) == 0);
    puts("enough");
  }
}

static void blocked_standard_signals_are_one(void) {
  catch(SIGUSR1, 0);
  sigset_t set = only(SIGUSR1), pending;
  for (int round = 0; round < 5; round++) {
    sigprocmask(SIG_BLOCK, &set, NULL);
    runs = 0;
    pid_t pid = sender(SIGUSR1, 40, 0, 0);
    while (*sent < 40) {
      if (*sent % 2 != 0) getppid();
    }
    finish(pid);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1));
    CHECK(runs == 0);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    printf("runs %d\n", runs);
  }
}

static void blocked_realtime_signals_are_all_there(void) {
  catch(SIGRTMIN, 0);
  sigset_t set = only(SIGRTMIN);
  sigprocmask(SIG_BLOCK, &set, NULL);
  pid_t pid = sender(SIGRTMIN, 60, 1, 0);
  while (*sent < 60) {
  }
  finish(pid);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  printf("runs %d, %d out of order\n", runs, out_of_order);
}

/* While its handler runs: one more for a standard signal, all for a real-time one. */
static void signals_during_their_handler(void) {
  catch(SIGUSR1, 0);
  catch(SIGRTMIN, 0);
  linger = 30;
  pid_t pid = sender(SIGUSR1, 30, 0, 1);
  while (runs < 2) getppid();
  finish(pid);
  printf("runs %d\n", runs);
  runs = 0;
  pid = sender(SIGRTMIN, 30, 1, 1);
  while (runs < 30) getppid();
  finish(pid);
  printf("runs %d, %d out of order\n", runs, out_of_order);
}

static void held_signals_are_waited_for(void) {
  sigset_t set = only(SIGRTMIN);
  sigaddset(&set, SIGUSR1);
  catch(SIGRTMIN, 0);
  sigprocmask(SIG_BLOCK, &set, NULL);
  pid_t pid = sender(SIGRTMIN, 20, 1, 0);
  while (*sent < 20) {
  }
  finish(pid);
  siginfo_t info;
  for (int i = 0; i < 20; i++) {
    CHECK(sigwaitinfo(&set, &info) == SIGRTMIN && info.si_value.sival_int == i);
  }
  struct timespec none = {0, 0};
  printf("then none: %d\n", sigtimedwait(&set, &info, &none) < 0 && errno == EAGAIN);
  catch(SIGUSR1, 0);
  pid = sender(SIGUSR1, 20, 0, 0);
  while (*sent < 20) getppid();
  finish(pid);
  CHECK(sigwaitinfo(&set, &info) == SIGUSR1);
  printf("then none: %d\n", sigtimedwait(&set, &info, &none) < 0 && errno == EAGAIN);
  printf("runs %d\n", runs);
}

static sigjmp_buf out;
static void jump(int sig) {
  (void)sig;
  runs++;
  sent[1] = 1;
  while (*sent < 10) getppid();
  siglongjmp(out, 1);
}
static void a_jump_out_of_the_handler_lets_them_come_again(void) {
  CHECK(signal(SIGUSR2, jump) != SIG_ERR);
  const sigset_t set = only(SIGUSR2);
  static volatile pid_t pid;
  for (volatile int round = 0; round < 2; round++) {
    runs = 0;
    if (sigsetjmp(out, 1) == 0) {
      sigprocmask(SIG_BLOCK, &set, NULL); /* until the jump's target and the child's number are there */
      pid = sender(SIGUSR2, 10, 0, 1);
      sigprocmask(SIG_UNBLOCK, &set, NULL);
    }
    while (runs < 2) {
      if (round == 0) {
        getppid();
      } else {
        usleep(1000);
      }
    }
    finish(pid);
    printf("runs %d\n", runs);
  }
}

/* A thread made while signals are held takes them if it does not block them. */
static void* takes_them(void* set) {
  pthread_sigmask(SIG_UNBLOCK, set, NULL);
  while (runs < 30) usleep(100);
  return NULL;
}
static void a_new_thread_takes_what_is_held(void) {
  catch(SIGRTMIN, 0);
  sigset_t set = only(SIGRTMIN);
  sigprocmask(SIG_BLOCK, &set, NULL);
  pid_t pid = sender(SIGRTMIN, 30, 1, 0);
  while (*sent < 15) {
  }
  pthread_t t;
  CHECK(pthread_create(&t, NULL, takes_them, &set) == 0);
  CHECK(pthread_join(t, NULL) == 0);
  finish(pid);
  printf("runs %d\n", runs);
}

/* Ignored from some time on, and then caught again. */
static void ignored_and_caught_again(void) {
  catch(SIGUSR1, 0);
  sigset_t set = only(SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  pid_t pid = sender(SIGUSR1, 10, 0, 0);
  while (*sent < 10) {
  }
  finish(pid);
  CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
  sigprocmask(SIG_UNBLOCK, &set, NULL);
  catch(SIGUSR1, 0);
  printf("runs %d\n", runs);
  finish(sender(SIGUSR1, 1, 0, 0));
  printf("runs %d\n", runs);
}

/* ---- calls that no signal ends, amid signals whose handler has no SA_RESTART ---- */

/* Sends SIGUSR1 to this process until `sent` says otherwise, at every distance from the one before. */
static pid_t flooder(void) {
  catch(SIGUSR1, 0);
  sent = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(sent != MAP_FAILED);
  pid_t parent = getpid(), pid = fork();
  while (pid != 0 && runs == 0) usleep(100);
  if (pid != 0) return pid;
  volatile unsigned spin;
  for (unsigned n = 0; *sent == 0 && getppid() == parent; n++) {
    CHECK(kill(parent, SIGUSR1) == 0);
    for (spin = 0; spin < n * 7919 % 20011; spin++) {
    }
  }
  _exit(0);
}
static void end_flood(pid_t pid) {
  *sent = 1;
  finish(pid);
  CHECK(runs > 0);
}

#define WHOLE(call)                                                            \
  do {                                                                         \
    if ((long)(call) == -1 && errno == EINTR) printf("interrupted: %s\n", #call); \
  } while (0)
static void use_names(const char* dir) {
  char a[64], b[64], sub[64];
  struct stat st;
  snprintf(a, sizeof a, "%s/a", dir);
  snprintf(b, sizeof b, "%s/b", dir);
  snprintf(sub, sizeof sub, "%s/sub", dir);
  int fd, again;
  WHOLE(fd = open(a, O_RDWR | O_CREAT, 0600));
  CHECK(fd >= 0);
  CHECK(write(fd, "text", 4) == 4);
  WHOLE(ftruncate(fd, 4096));
  WHOLE(fchmod(fd, 0640));
  WHOLE(fsync(fd));
  WHOLE(flock(fd, LOCK_EX));
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  WHOLE(fcntl(fd, F_SETLKW, &lock));
  WHOLE(fcntl(fd, F_GETLK, &lock));
  char* p;
  WHOLE(p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0));
  CHECK(p != MAP_FAILED && memcmp(p, "text", 4) == 0 && munmap(p, 4096) == 0);
  WHOLE(rename(a, b));
  WHOLE(link(b, a));
  WHOLE(unlink(a));
  WHOLE(symlink(b, a));
  WHOLE(chmod(b, 0600));
  WHOLE(stat(a, &st));
  WHOLE(again = open(a, O_RDONLY));
  CHECK(again >= 0 && close(again) == 0);
  WHOLE(again = creat(b, 0600));
  CHECK(again >= 0 && close(again) == 0);
  WHOLE(again = open("/dev/null", O_WRONLY));
  CHECK(again >= 0 && close(again) == 0);
  WHOLE(mkdir(sub, 0700));
  WHOLE(rmdir(sub));
  DIR* d = opendir(dir);
  CHECK(d != NULL);
  int n = 0;
  while (errno = 0, readdir(d) != NULL) n++;
  if (errno == EINTR) puts("interrupted: readdir");
  CHECK(n == 4 && closedir(d) == 0);
  char random[8];
  WHOLE(syscall(SYS_getrandom, random, sizeof random, 0));
  WHOLE(unlink(a));
  WHOLE(unlink(b));
  CHECK(close(fd) == 0);
}
static void use_terminal(void) {
  struct winsize size;
  int n;
  char name[64];
  int master = posix_openpt(O_RDWR | O_NOCTTY);
  CHECK(master >= 0 && unlockpt(master) == 0 && ptsname_r(master, name, sizeof name) == 0);
  int slave = open(name, O_RDWR | O_NOCTTY);
  CHECK(slave >= 0 && isatty(slave));
  WHOLE(ioctl(slave, TIOCGWINSZ, &size));
  WHOLE(ioctl(slave, FIONREAD, &n));
  CHECK(close(slave) == 0 && close(master) == 0);
}
static void* use_all(void* p) {
  char dir[] = "/tmp/floods.XXXXXX";
  CHECK(mkdtemp(dir) != NULL);
  for (intptr_t i = 0; i < (intptr_t)p; i++) use_names(dir), use_terminal();
  CHECK(rmdir(dir) == 0);
  return NULL;
}
static void calls_by_name_are_not_interrupted(void) {
  pid_t pid = flooder();
  use_all((void*)200);
  end_flood(pid);
  puts("all of them");
}
static void calls_by_name_are_not_interrupted_beside_others(void) {
  pthread_t t[3];
  pid_t pid = flooder();
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, use_all, (void*)100) == 0);
  for (int i = 0; i < 3; i++) CHECK(pthread_join(t[i], NULL) == 0);
  end_flood(pid);
  puts("all of them");
}

/* A read of what is there and a write for which there is room. */
static void* use_pairs(void* p) {
  int pipes[2], sockets[2], none[2];
  char c[2];
  CHECK(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0 && pipe2(none, O_NONBLOCK) == 0);
  for (intptr_t i = 0; i < (intptr_t)p; i++) {
    WHOLE(write(pipes[1], "ab", 2));
    WHOLE(read(pipes[0], c, 2));
    struct iovec iov[2] = {{c, 1}, {c + 1, 1}};
    WHOLE(writev(sockets[0], iov, 2));
    WHOLE(readv(sockets[1], iov, 2));
    CHECK(c[0] == 'a' && c[1] == 'b');
    CHECK(read(none[0], c, 2) == -1 && errno == EAGAIN);
  }
  for (int i = 0; i < 2; i++) CHECK(close(pipes[i]) == 0 && close(sockets[i]) == 0 && close(none[i]) == 0);
  return NULL;
}
/* Calls that wait for somebody, and find him there. */
static void* use_partners(void* p) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  socklen_t size = sizeof(sa_family_t);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0), queue = msgget(IPC_PRIVATE, 0600);
  CHECK(listener >= 0 && queue >= 0 && bind(listener, (struct sockaddr*)&name, size) == 0 && listen(listener, 2) == 0);
  size = sizeof name;
  CHECK(getsockname(listener, (struct sockaddr*)&name, &size) == 0);
  for (intptr_t i = 0; i < (intptr_t)p; i++) {
    char c[2];
    struct iovec iov = {c, 2};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct { long type; char text[2]; } item = {1, "a"};
    int ends[2] = {socket(AF_UNIX, SOCK_STREAM, 0), -1};
    CHECK(connect(ends[0], (struct sockaddr*)&name, size) == 0);
    CHECK((ends[1] = accept(listener, NULL, NULL)) >= 0);
    WHOLE(send(ends[0], "abcd", 4, 0));
    WHOLE(recv(ends[1], c, 2, 0));
    WHOLE(recvmsg(ends[1], &msg, 0));
    CHECK(msgsnd(queue, &item, 2, 0) == 0 && msgrcv(queue, &item, 2, 0, 0) == 2);
    struct pollfd ready = {ends[0], POLLOUT, 0};
    CHECK(poll(&ready, 1, -1) == 1);
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
  }
  CHECK(close(listener) == 0 && msgctl(queue, IPC_RMID, NULL) == 0);
  return NULL;
}
/* The same where the call's own mask lets the signals through. */
static void* poll_under_masks(void* p) {
  sigset_t set = only(SIGUSR1), open;
  int ends[2], events = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLOUT};
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  CHECK(events >= 0 && epoll_ctl(events, EPOLL_CTL_ADD, ends[0], &event) == 0);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, &open) == 0);
  for (intptr_t i = 0; i < (intptr_t)p; i++) {
    struct pollfd ready = {ends[0], POLLOUT, 0};
    CHECK(ppoll(&ready, 1, NULL, &open) == 1 && ready.revents == POLLOUT);
    fd_set in, out;
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_SET(ends[0], &in);
    FD_SET(ends[0], &out);
    CHECK(pselect(ends[0] + 1, &in, &out, NULL, NULL, &open) == 1);
    CHECK(FD_ISSET(ends[0], &out) && !FD_ISSET(ends[0], &in));
    CHECK(epoll_pwait(events, &event, 1, -1, &open) == 1);
    /* What is not there is interrupted, or its time is over; the sets stay as they are then. */
    struct timespec soon = {0, 1000};
    FD_SET(ends[0], &in);
    int n = pselect(ends[0] + 1, &in, NULL, NULL, &soon, &open);
    CHECK(n == 0 ? !FD_ISSET(ends[0], &in) : n == -1 && errno == EINTR && FD_ISSET(ends[0], &in));
  }
  CHECK(pthread_sigmask(SIG_SETMASK, &open, NULL) == 0);
  CHECK(close(ends[0]) == 0 && close(ends[1]) == 0 && close(events) == 0);
  return NULL;
}
static void two_at_once(void* (*a)(void*), void* (*b)(void*), intptr_t n) {
  pthread_t t[2];
  CHECK(pthread_create(&t[0], NULL, a, (void*)n) == 0 && pthread_create(&t[1], NULL, b, (void*)n) == 0);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(t[i], NULL) == 0);
}
static void what_is_ready_is_not_interrupted_under_masks(void) {
  pid_t pid = flooder();
  poll_under_masks((void*)5000);
  two_at_once(poll_under_masks, poll_under_masks, 2000);
  end_flood(pid);
  puts("all of them");
}
static void what_is_ready_is_not_interrupted(void) {
  pid_t pid = flooder();
  use_pairs((void*)20000);
  use_partners((void*)5000);
  two_at_once(use_pairs, use_partners, 5000);
  end_flood(pid);
  puts("all of them");
}

static void* load_and_unload(void* p) {
  for (intptr_t i = 0; i < (intptr_t)p; i++) {
    void* library = dlopen("libm.so.6", RTLD_NOW);
    if (library == NULL) printf("%s\n", dlerror());
    CHECK(library != NULL && dlsym(library, "cos") != NULL && dlclose(library) == 0);
  }
  return NULL;
}
static void libraries_are_loaded_amid_signals(void) {
  pid_t pid = flooder();
  load_and_unload((void*)200);
  two_at_once(load_and_unload, load_and_unload, 100);
  end_flood(pid);
  puts("loaded");
}

/* What is under way to a thread that computes does not pile up: all processes of a user share one limit. */
static volatile int computing, computed;
static void* compute(void* arg) {
  computing = 1;
  while (!computed) {
  }
  return arg;
}
static void nothing(int sig) { (void)sig; }
static long queued_in_kernel(void) {
  char line[128];
  long n = -1;
  FILE* f = fopen("/proc/self/status", "r");
  while (f != NULL && fgets(line, sizeof line, f) != NULL) sscanf(line, "SigQ: %ld/", &n);
  fclose(f);
  return n;
}
static void kills_of_a_busy_thread_are_one(void) {
  pthread_t t;
  signal(SIGUSR1, nothing);
  CHECK(pthread_create(&t, NULL, compute, NULL) == 0);
  while (!computing) sched_yield();
  long most = 0;
  for (int i = 0; i < 200; i++) {
    for (int k = 0; k < 500; k++) CHECK(pthread_kill(t, SIGUSR1) == 0);
    long n = queued_in_kernel();
    if (n > most) most = n;
  }
  computed = 1;
  pthread_join(t, NULL);
  if (most >= 2000) printf("%ld ", most);
  puts("few");
}

static const struct test_case cases[] = {
    CASE(a_timer_faster_than_its_handler), CASE(blocked_standard_signals_are_one),
    CASE(blocked_realtime_signals_are_all_there), CASE(signals_during_their_handler),
    CASE(held_signals_are_waited_for), CASE(a_jump_out_of_the_handler_lets_them_come_again),
    CASE(a_new_thread_takes_what_is_held), CASE(ignored_and_caught_again),
    CASE(calls_by_name_are_not_interrupted), CASE(calls_by_name_are_not_interrupted_beside_others),
    CASE(what_is_ready_is_not_interrupted), CASE(what_is_ready_is_not_interrupted_under_masks),
    CASE(libraries_are_loaded_amid_signals),
    CASE(kills_of_a_busy_thread_are_one),
};
CASE_MAIN(cases)
