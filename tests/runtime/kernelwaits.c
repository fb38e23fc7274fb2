/* Calls whose waiters stand in queues of the kernel: locks on files, message queues, semaphores, a close that lingers. */
#include "blocking.h"

#include <mqueue.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

static int naps;
static void* nap(void* p) {
  for (;;) sleep_ms(1), __atomic_add_fetch(&naps, 1, __ATOMIC_SEQ_CST);
  return NULL;
}
static void begin(void) {
  alarm(50);
  pthread_detach(start(nap, NULL));
  settle();
}
static void* error_if(long r) { return (void*)(intptr_t)(r < 0 ? errno : 0); }
static void print_error(pthread_t t) {
  int error = (int)(intptr_t)finish(t);
  puts(error == 0 ? "done" : strerrorname_np(error));
}

/* ---- locks ---- */

static char path[64];
static int new_file(void) {
  snprintf(path, sizeof path, "/tmp/cr-test-lock-%d", getpid());
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  CHECK(fd >= 0);
  return fd;
}
static int open_again(void) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  CHECK(fd >= 0);
  return fd;
}
enum { LOCKERS = 12, ROUNDS = 12 };
static long protected;
static int own_locks;
static struct flock whole(int type) { return (struct flock){.l_type = (short)type, .l_whence = SEEK_SET}; }
static void* lock_and_count(void* p) {
  int fd = open_again();
  for (int i = 0; i < ROUNDS; i++) {
    struct flock l = whole(F_WRLCK), u = whole(F_UNLCK);
    CHECK((own_locks ? fcntl(fd, F_OFD_SETLKW, &l) : flock(fd, LOCK_EX)) == 0);
    long seen = protected;
    sched_yield();
    if (i % 4 == 0) sleep_ms(1);
    protected = seen + 1;
    CHECK((own_locks ? fcntl(fd, F_OFD_SETLKW, &u) : flock(fd, LOCK_UN)) == 0);
  }
  close(fd);
  return NULL;
}
static void locks_of_open_files_exclude_threads(void) {
  pthread_t t[LOCKERS];
  begin();
  new_file();
  for (own_locks = 0; own_locks < 2; own_locks++) {
    protected = 0;
    for (int i = 0; i < LOCKERS; i++) t[i] = start(lock_and_count, NULL);
    for (int i = 0; i < LOCKERS; i++) finish(t[i]);
    printf("%ld\n", protected);
  }
  unlink(path);
}
static int locked;
static void* lock_exclusively(void* p) { return error_if(flock(locked, LOCK_EX)); }
static void a_conversion_that_waits_has_let_its_lock_go(void) {
  begin();
  int first = new_file(), second = open_again(), third = open_again();
  CHECK(flock(first, LOCK_SH) == 0 && flock(second, LOCK_SH) == 0);
  locked = first;
  pthread_t t = start(lock_exclusively, NULL);
  settle();
  CHECK(flock(second, LOCK_EX | LOCK_NB) == 0);
  CHECK(flock(third, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK);
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  CHECK(flock(second, LOCK_UN) == 0);
  print_error(t);
  CHECK(flock(1000, LOCK_EX) == -1 && errno == EBADF);
  CHECK(flock(first, 77) == -1 && errno == EINVAL);
  unlink(path);
}
static void* lock_second_byte(void* p) {
  struct flock l = whole(F_WRLCK);
  l.l_start = 1;
  l.l_len = 1;
  return error_if(fcntl(locked, F_SETLKW, &l));
}
static void processes_that_would_wait_for_each_other_are_told(void) {
  int ready[2];
  char c;
  begin();
  locked = new_file();
  struct flock first = whole(F_WRLCK), second = whole(F_WRLCK);
  first.l_len = 1;
  second.l_start = second.l_len = 1;
  CHECK(pipe(ready) == 0 && fcntl(locked, F_SETLKW, &first) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    CHECK(fcntl(locked, F_SETLKW, &second) == 0 && write(ready[1], "r", 1) == 1);
    CHECK(fcntl(locked, F_SETLKW, &first) == 0); /* once the parent has given up */
    _exit(0);
  }
  CHECK(read(ready[0], &c, 1) == 1);
  sleep_ms(100);
  print_error(start(lock_second_byte, NULL));
  first.l_type = F_UNLCK;
  CHECK(fcntl(locked, F_SETLKW, &first) == 0);
  printf("%d\n", wait_for(pid));
  unlink(path);
}

/* ---- System V ---- */

static int id;
struct message {
  long type;
  char text[1024];
};
static void* send_message(void* p) {
  struct message m = {(long)(intptr_t)p, "text"};
  return error_if(msgsnd(id, &m, sizeof m.text, 0));
}
static void* receive_message(void* p) {
  struct message m;
  ssize_t n = msgrcv(id, &m, sizeof m.text, (long)(intptr_t)p, 0);
  return error_if(n);
}
static void a_full_queue_and_an_empty_one_are_waited_for(void) {
  struct message m = {9, ""};
  begin();
  id = msgget(IPC_PRIVATE, 0600);
  CHECK(id >= 0);
  while (msgsnd(id, &m, sizeof m.text, IPC_NOWAIT) == 0) {
  }
  CHECK(errno == EAGAIN);
  pthread_t t = start(send_message, (void*)5l);
  settle();
  pthread_t u = start(receive_message, (void*)7l);
  settle();
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY && pthread_tryjoin_np(u, NULL) == EBUSY);
  CHECK(msgrcv(id, &m, sizeof m.text, 9, 0) == sizeof m.text);
  print_error(t);
  CHECK(msgrcv(id, &m, sizeof m.text, 5, 0) == sizeof m.text && m.type == 5);
  m.type = 7;
  CHECK(msgsnd(id, &m, 1, 0) == 0);
  print_error(u);
  CHECK(msgrcv(id, &m, sizeof m.text, 8, IPC_NOWAIT) == -1 && errno == ENOMSG);
  m.type = -1;
  CHECK(msgsnd(id, &m, 1, 0) == -1 && errno == EINVAL);
  t = start(receive_message, (void*)3l);
  settle();
  CHECK(msgctl(id, IPC_RMID, NULL) == 0);
  print_error(t);
}
static struct sembuf* ops;
static size_t nops;
static void* operate(void* p) { return error_if(semop(id, ops, nops)); }
static void* operate_in_time(void* p) {
  struct timespec ts = {0, 50000000};
  return error_if(semtimedop(id, ops, nops, p == NULL ? &ts : NULL));
}
static void semaphore_operations_are_done_together_or_not_yet(void) {
  begin();
  id = semget(IPC_PRIVATE, 20, 0600);
  CHECK(id >= 0);
  struct sembuf take[2] = {{0, -1, 0}, {1, -2, SEM_UNDO}}, give[2] = {{0, 1, 0}, {1, 1, 0}};
  struct sembuf zero = {1, 0, 0}, many[20];
  ops = take;
  nops = 2;
  for (int by_time = 0; by_time < 2; by_time++) {
    pthread_t t = start(by_time ? operate_in_time : operate, (void*)1l);
    settle();
    CHECK(semop(id, give, 2) == 0);
    sleep_ms(10);
    CHECK(pthread_tryjoin_np(t, NULL) == EBUSY && semctl(id, 0, GETVAL) == 1);
    CHECK(semop(id, give + 1, 1) == 0);
    print_error(t);
    printf("%d %d\n", semctl(id, 0, GETVAL), semctl(id, 1, GETVAL));
  }
  take[1].sem_flg = IPC_NOWAIT;
  CHECK(semop(id, give, 1) == 0 && semop(id, take, 2) == -1 && errno == EAGAIN);
  CHECK(semctl(id, 0, GETVAL) == 1 && semop(id, &zero, 1) == 0);
  take[1].sem_flg = 0;
  print_error(start(operate_in_time, NULL));
  for (int i = 0; i < 20; i++) many[i] = (struct sembuf){(unsigned short)i, 1, 0};
  ops = many;
  nops = 20;
  print_error(start(operate, NULL));
  struct sembuf wrong = {77, -1, 0};
  CHECK(semop(id, &wrong, 1) == -1 && errno == EFBIG && semop(id, (struct sembuf*)1, 1) == -1 && errno == EFAULT);
  CHECK(semop(id, ops, 0) == -1 && errno == EINVAL);
  struct sembuf down = {0, -9, 0};
  ops = &down;
  nops = 1;
  pthread_t t = start(operate, NULL);
  settle();
  CHECK(semctl(id, 0, IPC_RMID) == 0);
  print_error(t);
}

/* ---- POSIX message queues ---- */

static mqd_t queue;
static void make_queue(void) {
  struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 8};
  char name[64];
  snprintf(name, sizeof name, "/cr-test-kernelwaits-%d", getpid());
  queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
  CHECK(queue >= 0 && mq_unlink(name) == 0);
}
static void* mq_take(void* p) {
  char c[8];
  ssize_t n = mq_receive(queue, c, sizeof c, NULL);
  return n < 0 ? (void*)(intptr_t)errno : NULL;
}
static void* mq_put(void* p) { return error_if(mq_send(queue, "put", 3, 0)); }
static void a_waiting_receiver_takes_what_mq_notify_would_tell_of(void) {
  char c[8];
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  begin();
  handle(SIGUSR1, count_signal, SA_RESTART);
  make_queue();
  pthread_t t = start(mq_take, NULL);
  settle();
  CHECK(mq_notify(queue, &event) == 0 && mq_send(queue, "one", 3, 0) == 0);
  print_error(t);
  sleep_ms(20);
  printf("%d\n", (int)signals_got);
  CHECK(mq_send(queue, "two", 3, 0) == 0);
  while (signals_got == 0) sleep_ms(1);
  CHECK(mq_receive(queue, c, sizeof c, NULL) == 3);
  puts("then told");
}
static void* mq_take_in_time(void* p) {
  char c[8];
  struct timespec ts = in_ms(CLOCK_REALTIME, 50);
  return error_if(mq_timedreceive(queue, c, sizeof c, NULL, &ts));
}
static void* mq_put_in_time(void* p) {
  struct timespec ts = in_ms(CLOCK_REALTIME, 50);
  return error_if(mq_timedsend(queue, "x", 1, 0, &ts));
}
static void full_and_empty_queues_are_waited_for_in_time(void) {
  char c[8];
  struct timespec wrong = {1, -1}, past = {0, 0};
  begin();
  make_queue();
  int64_t from = now_ms();
  print_error(start(mq_take_in_time, NULL));
  CHECK(now_ms() - from >= 49);
  CHECK(mq_timedreceive(queue, c, sizeof c, NULL, &past) == -1 && errno == ETIMEDOUT);
  CHECK(mq_send(queue, "a", 1, 0) == 0 && mq_timedsend(queue, "bb", 2, 5, &past) == 0);
  CHECK(mq_timedreceive(queue, c, sizeof c, NULL, &wrong) == -1);
  puts(strerrorname_np(errno));
  from = now_ms();
  print_error(start(mq_put_in_time, NULL));
  CHECK(now_ms() - from >= 49);
  pthread_t t = start(mq_put, NULL);
  settle();
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  CHECK(mq_receive(queue, c, sizeof c, NULL) == 2);
  print_error(t);
  CHECK(mq_timedreceive(queue, c, 4, NULL, &past) == -1 && errno == EMSGSIZE);
  struct mq_attr attr = {.mq_flags = O_NONBLOCK};
  CHECK(mq_setattr(queue, &attr, NULL) == 0);
  print_error(start(mq_put, NULL));
}

/* ---- close ---- */

static void* close_it(void* p) { return error_if(close(*(int*)p)); }
static void a_close_that_lingers_lets_others_run(void) {
  int fd[2];
  struct linger linger = {1, 1};
  begin();
  make_pair(TCP, fd);
  fill(fd[1]);
  CHECK(setsockopt(fd[1], SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
  int before = naps;
  int64_t from = now_ms();
  pthread_t t = start(close_it, &fd[1]);
  print_error(t);
  CHECK(now_ms() - from >= 900 && naps - before >= 10);
}

static const struct test_case cases[] = {
    CASE(locks_of_open_files_exclude_threads),
    CASE(a_conversion_that_waits_has_let_its_lock_go),
    CASE(processes_that_would_wait_for_each_other_are_told),
    CASE(a_full_queue_and_an_empty_one_are_waited_for),
    CASE(semaphore_operations_are_done_together_or_not_yet),
    CASE(a_waiting_receiver_takes_what_mq_notify_would_tell_of),
    CASE(full_and_empty_queues_are_waited_for_in_time),
    CASE(a_close_that_lingers_lets_others_run),
};
CASE_MAIN(cases)
