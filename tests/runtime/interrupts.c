/* What a signal and a cancellation do to each call that blocks.
 *
 * A row of the table is a call, and what makes it end by itself. Each is interrupted by a handler without
 * SA_RESTART, by one with it (signal(7) lists which calls then go on and which never do), and
 * cancelled. The signals are repeated: the first may come before the call is there.
 */
#include "blocking.h"

#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <mqueue.h>

static int in, out;    /* `in` is empty; what is written to `out` comes there */
static int other = -1; /* one more, by the row */
static char path[64];
static pid_t child;
static struct sockaddr_in address;

static void prepare_pair(enum family family) {
  int fd[2];
  make_pair(family, fd);
  in = fd[0];
  out = fd[1];
}
static void prepare_pipe(void) { prepare_pair(PIPE); }
static void prepare_tcp(void) { prepare_pair(TCP); }
static void prepare_unix(void) { prepare_pair(UNIX_STREAM); }
static void prepare_dgram(void) { prepare_pair(UNIX_DGRAM); }
static void prepare_timeouts(enum family family, int which) {
  struct timeval tv = {100, 0};
  prepare_pair(family);
  CHECK(setsockopt(in, SOL_SOCKET, which, &tv, sizeof tv) == 0);
}
static void prepare_tcp_rcvtimeo(void) { prepare_timeouts(TCP, SO_RCVTIMEO); }
static void prepare_unix_rcvtimeo(void) { prepare_timeouts(UNIX_STREAM, SO_RCVTIMEO); }
static void satisfy_write(void) { CHECK(write(out, "xyz", 3) == 3); }

static ssize_t call_read(void) {
  char c[8];
  return read(in, c, sizeof c);
}
static ssize_t call_readv(void) {
  char c[8];
  struct iovec iov[2] = {{c, 1}, {c + 1, 7}};
  return readv(in, iov, 2);
}
static ssize_t call_recv(void) {
  char c[8];
  return recv(in, c, sizeof c, 0);
}
static ssize_t call_recv_peek(void) {
  char c[8];
  return recv(in, c, sizeof c, MSG_PEEK);
}
static ssize_t call_recv_waitall(void) {
  char c[3];
  return recv(in, c, sizeof c, MSG_WAITALL);
}
static ssize_t call_recvmsg(void) {
  char c[8];
  struct iovec iov = {c, sizeof c};
  struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
  return recvmsg(in, &msg, 0);
}
static ssize_t call_recvmmsg(void) {
  char c[8];
  struct iovec iov = {c, sizeof c};
  struct mmsghdr msg = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
  return recvmmsg(in, &msg, 1, 0, NULL);
}
static ssize_t call_poll(void) {
  struct pollfd p = {in, POLLIN, 0};
  return poll(&p, 1, 100000);
}
static ssize_t call_ppoll(void) {
  struct pollfd p = {in, POLLIN, 0};
  struct timespec ts = {100, 0};
  return ppoll(&p, 1, &ts, NULL);
}
static ssize_t call_select(void) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(in, &set);
  return select(in + 1, &set, NULL, NULL, NULL);
}
static ssize_t call_pselect(void) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(in, &set);
  struct timespec ts = {100, 0};
  return pselect(in + 1, &set, NULL, NULL, &ts, NULL);
}
static void prepare_epoll(void) {
  struct epoll_event ev = {.events = EPOLLIN};
  prepare_pair(PIPE);
  other = epoll_create1(0);
  CHECK(other >= 0 && epoll_ctl(other, EPOLL_CTL_ADD, in, &ev) == 0);
}
static ssize_t call_epoll_wait(void) {
  struct epoll_event ev;
  return epoll_wait(other, &ev, 1, 100000);
}
static ssize_t call_epoll_pwait(void) {
  struct epoll_event ev;
  return epoll_pwait(other, &ev, 1, -1, NULL);
}
static ssize_t call_epoll_pwait2(void) {
  struct epoll_event ev;
  int64_t ts[2] = {100, 0};
  return syscall(SYS_epoll_pwait2, other, &ev, 1, ts, NULL, 8);
}
/* Full: what the caller writes does not fit. */
static void prepare_full_pipe(void) {
  prepare_pair(PIPE);
  fill(out);
}
static void prepare_full_unix(void) {
  prepare_pair(UNIX_STREAM);
  fill(out);
}
static void prepare_full_unix_sndtimeo(void) {
  struct timeval tv = {100, 0};
  prepare_full_unix();
  CHECK(setsockopt(out, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
}
static void prepare_full_dgram(void) {
  prepare_pair(UNIX_DGRAM);
  fill(out);
}
static ssize_t call_write(void) { return write(out, "xyz", 3); }
static ssize_t call_writev(void) {
  struct iovec iov[2] = {{"x", 1}, {"yz", 2}};
  return writev(out, iov, 2);
}
static ssize_t call_send(void) { return send(out, "xyz", 3, 0); }
static ssize_t call_sendmsg(void) {
  struct iovec iov[2] = {{"x", 1}, {"yz", 2}};
  struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
  return sendmsg(out, &msg, 0);
}
static ssize_t call_sendmmsg(void) {
  struct iovec iov = {"xyz", 3};
  struct mmsghdr msg = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
  return sendmmsg(out, &msg, 1, 0);
}
static void satisfy_drain(void) {
  char block[65536];
  struct pollfd p = {in, POLLIN, 0};
  while (poll(&p, 1, 300) > 0 && read(in, block, sizeof block) > 0) {
  }
}
static void prepare_accept(void) { other = listen_on_loopback(&address, 8); }
static void prepare_accept_rcvtimeo(void) {
  struct timeval tv = {100, 0};
  prepare_accept();
  CHECK(setsockopt(other, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
}
static void satisfy_connect(void) { out = connect_to(&address); }
static ssize_t call_accept(void) { return accept(other, NULL, NULL) < 0 ? -1 : 0; }
static ssize_t call_accept4(void) { return accept4(other, NULL, NULL, SOCK_CLOEXEC) < 0 ? -1 : 0; }
static struct sockaddr_un full_address;
static socklen_t full_length;
static void prepare_connect(void) { /* a unix listener whose queue of one is full */
  full_length = abstract(&full_address, 1);
  other = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(bind(other, (struct sockaddr*)&full_address, full_length) == 0 && listen(other, 0) == 0);
  in = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(connect(in, (struct sockaddr*)&full_address, full_length) == 0);
  out = socket(AF_UNIX, SOCK_STREAM, 0);
}
static ssize_t call_connect(void) { return connect(out, (struct sockaddr*)&full_address, full_length); }
static void satisfy_accept(void) { CHECK(accept(other, NULL, NULL) >= 0); }

static void prepare_eventfd(void) { in = out = eventfd(0, 0); }
static void satisfy_eventfd(void) { CHECK(eventfd_write(in, 5) == 0); }
static void prepare_full_eventfd(void) {
  prepare_eventfd();
  CHECK(eventfd_write(in, UINT64_MAX - 1) == 0);
}
static ssize_t call_eventfd_write(void) { return eventfd_write(in, 2); }
static void satisfy_eventfd_read(void) {
  eventfd_t v;
  CHECK(eventfd_read(in, &v) == 0);
}
static void prepare_timerfd(void) {
  in = timerfd_create(CLOCK_MONOTONIC, 0);
  CHECK(in >= 0);
}
static void satisfy_timerfd(void) {
  struct itimerspec its = {{0, 0}, {0, 1000000}};
  CHECK(timerfd_settime(in, 0, &its, NULL) == 0);
}
static void prepare_signalfd(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
  in = signalfd(-1, &set, 0);
}
static void satisfy_signalfd(void) { CHECK(kill(getpid(), SIGUSR2) == 0); }
static ssize_t call_signalfd(void) {
  struct signalfd_siginfo info;
  return read(in, &info, sizeof info);
}
static ssize_t call_sigtimedwait(void) {
  sigset_t set;
  struct timespec ts = {100, 0};
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  return sigtimedwait(&set, NULL, &ts) == SIGUSR2 ? 0 : -1;
}
static void prepare_pty(void) {
  out = posix_openpt(O_RDWR | O_NOCTTY);
  CHECK(out >= 0 && grantpt(out) == 0 && unlockpt(out) == 0);
  in = open(ptsname(out), O_RDWR | O_NOCTTY);
  CHECK(in >= 0);
}
static void satisfy_pty(void) { CHECK(write(out, "ab\n", 3) == 3); }

static void prepare_nothing(void) {}
static void satisfy_nothing(void) {}
static ssize_t call_nanosleep(void) {
  struct timespec ts = {0, 400000000}, left = {0};
  int r = nanosleep(&ts, &left);
  CHECK(r == 0 || (left.tv_sec == 0 && left.tv_nsec <= 400000000));
  return r;
}
static ssize_t call_clock_nanosleep(void) {
  struct timespec ts = in_ms(CLOCK_MONOTONIC, 400);
  errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
  return errno == 0 ? 0 : -1;
}
static sem_t sem;
static void prepare_sem(void) { CHECK(sem_init(&sem, 0, 0) == 0); }
static void satisfy_sem(void) { CHECK(sem_post(&sem) == 0); }
static ssize_t call_sem_wait(void) { return sem_wait(&sem); }
static ssize_t call_sem_timedwait(void) {
  struct timespec ts = in_ms(CLOCK_REALTIME, 100000);
  return sem_timedwait(&sem, &ts);
}
static void prepare_locked_file(void) {
  snprintf(path, sizeof path, "/tmp/cr-test-lock-%d", getpid());
  in = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
  out = open(path, O_RDWR);
  CHECK(in >= 0 && out >= 0 && unlink(path) == 0);
}
static void prepare_flock(void) {
  prepare_locked_file();
  CHECK(flock(out, LOCK_EX) == 0);
}
static ssize_t call_flock(void) { return flock(in, LOCK_EX); }
static void satisfy_flock(void) { CHECK(flock(out, LOCK_UN) == 0); }
static struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
static void prepare_ofd(void) {
  prepare_locked_file();
  CHECK(fcntl(out, F_OFD_SETLK, &lock) == 0);
}
static ssize_t call_ofd(void) {
  struct flock l = lock;
  return fcntl(in, F_OFD_SETLKW, &l);
}
static void satisfy_ofd(void) {
  struct flock l = lock;
  l.l_type = F_UNLCK;
  CHECK(fcntl(out, F_OFD_SETLK, &l) == 0);
}
/* A POSIX lock is the process's: another process must hold it. It lets go as `other` says. */
static void prepare_setlkw(void) {
  int go[2], held[2];
  char c;
  prepare_locked_file();
  CHECK(pipe(go) == 0 && pipe(held) == 0);
  child = fork();
  if (child == 0) {
    close(go[1]);
    CHECK(fcntl(out, F_SETLK, &lock) == 0 && write(held[1], "h", 1) == 1);
    _exit((int)read(go[0], &c, 1));
  }
  CHECK(read(held[0], &c, 1) == 1);
  close(go[0]);
  other = go[1];
}
static ssize_t call_setlkw(void) {
  struct flock l = lock;
  return fcntl(in, F_SETLKW, &l);
}
static void satisfy_child(void) {
  CHECK(close(other) == 0);
}
static void prepare_child(void) {
  int go[2];
  char c;
  CHECK(pipe(go) == 0);
  child = fork();
  if (child == 0) {
    close(go[1]);
    _exit((int)read(go[0], &c, 1));
  }
  close(go[0]);
  other = go[1];
}
static ssize_t call_waitpid(void) { return waitpid(child, NULL, 0) == child ? 0 : -1; }
static ssize_t call_waitid(void) {
  siginfo_t info;
  return waitid(P_PID, (id_t)child, &info, WEXITED);
}
static void prepare_fifo(void) {
  snprintf(path, sizeof path, "/tmp/cr-test-fifo-%d", getpid());
  CHECK(mkfifo(path, 0600) == 0);
}
static ssize_t call_open_fifo(void) { return open(path, O_RDONLY) < 0 ? -1 : 0; }
static void satisfy_open_fifo(void) {
  out = open(path, O_WRONLY | O_NONBLOCK); /* ENXIO: the call is gone already */
  CHECK(out >= 0 || errno == ENXIO);
}
static ssize_t call_splice(void) { return splice(in, NULL, other, NULL, 3, 0); }
static void prepare_splice(void) {
  int fd[2];
  prepare_pair(PIPE);
  CHECK(pipe(fd) == 0);
  other = fd[1];
}
static ssize_t call_tee(void) { return tee(in, other, 3, 0); }
static void prepare_msgqueue(void) { CHECK((in = msgget(IPC_PRIVATE, 0600)) >= 0); }
struct message {
  long type;
  char text[8];
};
static ssize_t call_msgrcv(void) {
  struct message m;
  return msgrcv(in, &m, sizeof m.text, 0, 0);
}
static void satisfy_msgqueue(void) {
  struct message m = {1, "xyz"};
  CHECK(msgsnd(in, &m, 3, 0) == 0);
}
static void remove_msgqueue(void) { CHECK(msgctl(in, IPC_RMID, NULL) == 0); }
static void prepare_semaphores(void) { CHECK((in = semget(IPC_PRIVATE, 1, 0600)) >= 0); }
static ssize_t call_semop(void) {
  struct sembuf op = {0, -1, 0};
  return semop(in, &op, 1);
}
static void satisfy_semaphores(void) {
  struct sembuf op = {0, 1, 0};
  CHECK(semop(in, &op, 1) == 0);
}
static void remove_semaphores(void) { CHECK(semctl(in, 0, IPC_RMID) == 0); }
static void prepare_mq(void) {
  struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 8};
  snprintf(path, sizeof path, "/cr-test-%d", getpid());
  in = mq_open(path, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
  CHECK(in >= 0 && mq_unlink(path) == 0);
}
static ssize_t call_mq_receive(void) {
  char c[8];
  return mq_receive(in, c, sizeof c, NULL);
}
static void satisfy_mq(void) { CHECK(mq_send(in, "xyz", 3, 0) == 0); }
static void remove_fifo(void) { CHECK(unlink(path) == 0); }
static void reap(void) {
  close(other);
  if (waitpid(child, NULL, 0) < 0) CHECK(errno == ECHILD);
}

enum { NO_CANCEL = 1, NEVER_RESTARTED = 2 };
static const struct row {
  const char* name;
  void (*prepare)(void);
  ssize_t (*call)(void);
  void (*satisfy)(void);
  void (*clean)(void);
  int flags;
} rows[] = {
    {"read pipe", prepare_pipe, call_read, satisfy_write, NULL, 0},
    {"readv pipe", prepare_pipe, call_readv, satisfy_write, NULL, 0},
    {"read tcp", prepare_tcp, call_read, satisfy_write, NULL, 0},
    {"read unix", prepare_unix, call_read, satisfy_write, NULL, 0},
    {"readv tcp", prepare_tcp, call_readv, satisfy_write, NULL, 0},
    {"recv tcp", prepare_tcp, call_recv, satisfy_write, NULL, 0},
    {"recv unix", prepare_unix, call_recv, satisfy_write, NULL, 0},
    {"recv dgram", prepare_dgram, call_recv, satisfy_write, NULL, 0},
    {"recv peek", prepare_tcp, call_recv_peek, satisfy_write, NULL, 0},
    {"recv waitall", prepare_tcp, call_recv_waitall, satisfy_write, NULL, 0},
    {"recvmsg tcp", prepare_tcp, call_recvmsg, satisfy_write, NULL, 0},
    {"recvmsg dgram", prepare_dgram, call_recvmsg, satisfy_write, NULL, 0},
    {"recvmmsg dgram", prepare_dgram, call_recvmmsg, satisfy_write, NULL, 0},
    {"recv tcp with SO_RCVTIMEO", prepare_tcp_rcvtimeo, call_recv, satisfy_write, NULL, NEVER_RESTARTED},
    {"read unix with SO_RCVTIMEO", prepare_unix_rcvtimeo, call_read, satisfy_write, NULL, NEVER_RESTARTED},
    {"poll", prepare_pipe, call_poll, satisfy_write, NULL, NEVER_RESTARTED},
    {"ppoll", prepare_pipe, call_ppoll, satisfy_write, NULL, NEVER_RESTARTED},
    {"select", prepare_pipe, call_select, satisfy_write, NULL, NEVER_RESTARTED},
    {"pselect", prepare_pipe, call_pselect, satisfy_write, NULL, NEVER_RESTARTED},
    {"epoll_wait", prepare_epoll, call_epoll_wait, satisfy_write, NULL, NEVER_RESTARTED},
    {"epoll_pwait", prepare_epoll, call_epoll_pwait, satisfy_write, NULL, NEVER_RESTARTED},
    {"epoll_pwait2", prepare_epoll, call_epoll_pwait2, satisfy_write, NULL, NO_CANCEL | NEVER_RESTARTED},
    {"write pipe", prepare_full_pipe, call_write, satisfy_drain, NULL, 0},
    {"writev pipe", prepare_full_pipe, call_writev, satisfy_drain, NULL, 0},
    {"write unix", prepare_full_unix, call_write, satisfy_drain, NULL, 0},
    {"send unix", prepare_full_unix, call_send, satisfy_drain, NULL, 0},
    {"sendmsg unix", prepare_full_unix, call_sendmsg, satisfy_drain, NULL, 0},
    {"send unix with SO_SNDTIMEO", prepare_full_unix_sndtimeo, call_send, satisfy_drain, NULL, NEVER_RESTARTED},
    {"send dgram", prepare_full_dgram, call_send, satisfy_drain, NULL, 0},
    {"sendmmsg dgram", prepare_full_dgram, call_sendmmsg, satisfy_drain, NULL, 0},
    {"accept", prepare_accept, call_accept, satisfy_connect, NULL, 0},
    {"accept4", prepare_accept, call_accept4, satisfy_connect, NULL, 0},
    {"accept with SO_RCVTIMEO", prepare_accept_rcvtimeo, call_accept, satisfy_connect, NULL, NEVER_RESTARTED},
    {"connect", prepare_connect, call_connect, satisfy_accept, NULL, 0},
    {"read eventfd", prepare_eventfd, call_read, satisfy_eventfd, NULL, 0},
    {"write eventfd", prepare_full_eventfd, call_eventfd_write, satisfy_eventfd_read, NULL, 0},
    {"read timerfd", prepare_timerfd, call_read, satisfy_timerfd, NULL, 0},
    {"read signalfd", prepare_signalfd, call_signalfd, satisfy_signalfd, NULL, 0},
    {"sigtimedwait", prepare_signalfd, call_sigtimedwait, satisfy_signalfd, NULL, NEVER_RESTARTED},
    {"read pty", prepare_pty, call_read, satisfy_pty, NULL, 0},
    {"nanosleep", prepare_nothing, call_nanosleep, satisfy_nothing, NULL, NEVER_RESTARTED},
    {"clock_nanosleep", prepare_nothing, call_clock_nanosleep, satisfy_nothing, NULL, NEVER_RESTARTED},
    {"sem_wait", prepare_sem, call_sem_wait, satisfy_sem, NULL, 0},
    {"sem_timedwait", prepare_sem, call_sem_timedwait, satisfy_sem, NULL, NEVER_RESTARTED},
    {"flock", prepare_flock, call_flock, satisfy_flock, NULL, NO_CANCEL},
    {"F_OFD_SETLKW", prepare_ofd, call_ofd, satisfy_ofd, NULL, 0},
    {"F_SETLKW", prepare_setlkw, call_setlkw, satisfy_child, reap, 0},
    {"waitpid", prepare_child, call_waitpid, satisfy_child, reap, 0},
    {"waitid", prepare_child, call_waitid, satisfy_child, reap, 0},
    {"open fifo", prepare_fifo, call_open_fifo, satisfy_open_fifo, remove_fifo, 0},
    {"splice", prepare_splice, call_splice, satisfy_write, NULL, 0},
    {"tee", prepare_splice, call_tee, satisfy_write, NULL, 0},
    {"msgrcv", prepare_msgqueue, call_msgrcv, satisfy_msgqueue, remove_msgqueue, NEVER_RESTARTED},
    {"semop", prepare_semaphores, call_semop, satisfy_semaphores, remove_semaphores, NO_CANCEL | NEVER_RESTARTED},
    {"mq_receive", prepare_mq, call_mq_receive, satisfy_mq, NULL, 0},
};

static int done, calling;
static ssize_t (*the_call)(void);
static char result[64];
static void* caller(void* arg) {
  __atomic_store_n(&calling, 1, __ATOMIC_SEQ_CST);
  snprintf(result, sizeof result, "%s", outcome(the_call()));
  __atomic_store_n(&done, 1, __ATOMIC_SEQ_CST);
  return arg;
}
static int is_done(void) { return __atomic_load_n(&done, __ATOMIC_SEQ_CST); }
static pthread_t begin(const struct row* row) {
  done = calling = 0;
  the_call = row->call;
  row->prepare();
  pthread_t t = start(caller, NULL);
  while (!__atomic_load_n(&calling, __ATOMIC_SEQ_CST)) sched_yield();
  settle();
  return t;
}
static void end(const struct row* row) {
  if (row->clean != NULL) row->clean();
  for (int fd = 3; fd < 40; fd++) close(fd);
  in = out = other = -1;
}

/* Signals until the call ends; one that goes on would have it for ever, so that is believed after a few. */
static void each_interrupted(int flags) {
  handle(SIGUSR1, count_signal, flags);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const struct row* row = &rows[i];
    pthread_t t = begin(row);
    int most = (flags & SA_RESTART) != 0 && (row->flags & NEVER_RESTARTED) == 0 ? 4 : 1000;
    for (int n = 0; n < most && !is_done(); n++) {
      pthread_kill(t, SIGUSR1);
      settle();
    }
    if (!is_done()) row->satisfy();
    CHECK(finish(t) == NULL);
    printf("%s: %s\n", row->name, result);
    end(row);
  }
}
/* Without SA_RESTART a handler ends every call. */
static void handler_ends_calls(void) { each_interrupted(0); }
/* With it most go on, and some never do. */
static void sa_restart_goes_on(void) { each_interrupted(SA_RESTART); }

static void* cancelled(void* arg) {
  __atomic_store_n(&calling, 1, __ATOMIC_SEQ_CST);
  the_call();
  return arg;
}
static void cancel_ends_calls(void) {
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const struct row* row = &rows[i];
    if (row->flags & NO_CANCEL) continue;
    done = calling = 0;
    the_call = row->call;
    row->prepare();
    pthread_t t = start(cancelled, NULL);
    while (!__atomic_load_n(&calling, __ATOMIC_SEQ_CST)) sched_yield();
    if (i % 4 != 0) settle(); /* else it may be anywhere before the call */
    CHECK(pthread_cancel(t) == 0);
    void* r = finish(t);
    printf("%s: %s\n", row->name, r == PTHREAD_CANCELED ? "cancelled" : "returned");
    if (row->satisfy == satisfy_child) row->satisfy();
    end(row);
  }
}
/* Two threads of which one is signalled: the other one's call goes on. */
static int witness_got;
static void* witness(void* arg) {
  int* fd = arg;
  char c;
  CHECK(read(fd[0], &c, 1) == 1);
  witness_got++;
  return NULL;
}
static void others_sleep_on(void) {
  int fd[2], mine[2];
  handle(SIGUSR1, count_signal, 0);
  make_pair(TCP, fd);
  make_pair(PIPE, mine);
  in = mine[0];
  pthread_t w = start(witness, fd);
  the_call = call_read;
  pthread_t t = start(caller, NULL);
  settle();
  while (!is_done()) {
    pthread_kill(t, SIGUSR1);
    settle();
  }
  CHECK(witness_got == 0 && finish(t) == NULL && write(fd[1], "x", 1) == 1);
  finish(w);
  printf("%s %d\n", result, witness_got);
}

static const struct test_case cases[] = {
    CASE(handler_ends_calls), CASE(sa_restart_goes_on), CASE(cancel_ends_calls), CASE(others_sleep_on),
};
CASE_MAIN(cases)
