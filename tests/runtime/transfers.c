/* sendfile, splices, and receives that wait for all: calls that go on until much has come or gone. */
#include "blocking.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static void* nap(void* p) {
  for (;;) sleep_ms(1);
  return NULL;
}
static void begin(void) {
  alarm(50);
  signal(SIGPIPE, SIG_IGN);
  pthread_detach(start(nap, NULL));
  settle();
}

/* ---- sendfile ---- */

enum { FILE_SIZE = 3 << 20, SERVED = 10 };
static int file; /* in memory: the disk is no matter here */
static void make_file(size_t size) {
  unsigned char* p = malloc(size);
  file = memfd_create("transfers", MFD_CLOEXEC);
  pattern(p, size, 0);
  CHECK(file >= 0 && write(file, p, size) == (ssize_t)size && lseek(file, 0, SEEK_SET) == 0);
  free(p);
}
static int own_file(void) { /* with a position of its own */
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0);
  return fd;
}
struct served {
  enum family family;
  int fd[2];
  int by_offset;
};
static void* serve_file(void* p) {
  struct served* s = p;
  int in = s->by_offset ? file : own_file();
  off_t at = 0;
  CHECK(sendfile(s->fd[1], in, s->by_offset ? &at : NULL, FILE_SIZE + 100) == FILE_SIZE);
  CHECK((s->by_offset ? at : lseek(in, 0, SEEK_CUR)) == FILE_SIZE);
  CHECK(sendfile(s->fd[1], in, s->by_offset ? &at : NULL, 100) == 0);
  CHECK(shutdown(s->fd[1], SHUT_WR) == 0);
  return NULL;
}
static void* take_file(void* p) {
  struct served* s = p;
  static __thread unsigned char block[50000];
  size_t got = 0;
  for (;;) {
    ssize_t n = read(s->fd[0], block, sizeof block);
    CHECK(n >= 0);
    if (n == 0) break;
    CHECK(is_pattern(block, (size_t)n, got));
    got += (size_t)n;
    if (got / sizeof block % 8 == 0) sleep_ms(1);
  }
  CHECK(got == FILE_SIZE);
  return NULL;
}
static void many_threads_send_a_file_to_slow_readers(void) {
  struct served s[SERVED];
  pthread_t a[SERVED], b[SERVED];
  begin();
  make_file(FILE_SIZE);
  for (int i = 0; i < SERVED; i++) {
    s[i] = (struct served){i % 2 == 0 ? TCP : UNIX_STREAM, {-1, -1}, i % 4 / 2};
    make_pair(s[i].family, s[i].fd);
    a[i] = start(serve_file, &s[i]);
    b[i] = start(take_file, &s[i]);
  }
  for (int i = 0; i < SERVED; i++) finish(a[i]), finish(b[i]);
  puts("all");
}

static int pair[2];
static off_t offset;
static int with_offset;
static void* send_file(void* p) {
  ssize_t n = sendfile(pair[1], file, with_offset ? &offset : NULL, FILE_SIZE);
  return (void*)(intptr_t)(n < 0 ? -errno : n);
}
static const char* send_file_outcome(pthread_t t) {
  int n = (int)(intptr_t)finish(t);
  if (n > 0 && n < FILE_SIZE) return "part";
  if (n >= 0) return n == 0 ? "nothing" : "all";
  return strerrorname_np(-n);
}
static void a_send_that_could_not_begin_says_why_also_to_a_full_socket(void) {
  int fd[2];
  begin();
  make_file(1000);
  make_pair(TCP, pair);
  CHECK(pipe(fd) == 0);
  fill(pair[1]);
  offset = 1000;
  printf("%s ", outcome(sendfile(pair[1], file, &offset, 10)));
  CHECK(lseek(file, 0, SEEK_END) == 1000);
  printf("%s ", outcome(sendfile(pair[1], file, NULL, 10)));
  printf("%s ", outcome(sendfile(pair[1], fd[1], NULL, 10)));
  printf("%s ", outcome(sendfile(pair[1], 1000, NULL, 10)));
  printf("%s ", outcome(sendfile(pair[1], file, (off_t*)-1l, 10)));
  offset = -5;
  printf("%s ", outcome(sendfile(pair[1], file, &offset, 10)));
  offset = 0;
  int out_only = open("/proc/self/exe", O_PATH);
  printf("%s ", outcome(sendfile(pair[1], out_only, &offset, 10)));
  printf("%s\n", outcome(sendfile(pair[1], file, &offset, 0)));
}
static void a_send_that_sent_a_part_tells_so_when_a_signal_comes(void) {
  begin();
  make_file(FILE_SIZE);
  for (int restart = 0; restart < 2; restart++) {
    handle(SIGUSR1, count_signal, restart ? SA_RESTART : 0);
    for (int full = 0; full < 2; full++) {
      make_pair(UNIX_STREAM, pair);
      with_offset = 1;
      offset = 0;
      size_t before = full ? fill(pair[1]) : 0;
      pthread_t t = start(send_file, NULL);
      settle();
      for (int i = 0; i < 3; i++) {
        pthread_kill(t, SIGUSR1);
        sleep_ms(5);
      }
      if (full && restart) { /* it goes on */
        CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
        static char all[FILE_SIZE];
        read_all(pair[0], all, before);
        read_all(pair[0], all, FILE_SIZE);
      }
      printf("%s ", send_file_outcome(t));
      printf("%d\n", offset == 0 ? 0 : offset < FILE_SIZE ? 1 : 2);
      close_pair(pair);
    }
  }
}
static void a_send_to_a_peer_that_goes_ends(void) {
  begin();
  make_file(FILE_SIZE);
  for (int family = TCP; family <= UNIX_STREAM; family++) {
    make_pair(family, pair);
    with_offset = 1;
    offset = 0;
    if (family == TCP) {
      int size = 20000;
      CHECK(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
    }
    pthread_t t = start(send_file, NULL);
    settle();
    close(pair[0]);
    printf("%s ", send_file_outcome(t));
    CHECK(sendfile(pair[1], file, &offset, 10) == -1);
    printf("%d ", errno == EPIPE || errno == ECONNRESET);
    CHECK(sendfile(pair[1], file, &offset, 10) == -1);
    printf("%s\n", strerrorname_np(errno));
    close(pair[1]);
  }
}
static void nonblocking_and_timed_sends_do_not_wait_for_ever(void) {
  struct timeval tv = {0, 50000};
  begin();
  make_file(FILE_SIZE);
  for (int family = TCP; family <= UNIX_STREAM; family++) {
    int size = 20000;
    make_pair(family, pair);
    CHECK(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
    with_offset = 1;
    offset = 0;
    nonblocking(pair[1], 1);
    printf("%s ", send_file_outcome(start(send_file, NULL)));
    while (sendfile(pair[1], file, &offset, 1000) > 0) offset = 0;
    printf("%s ", outcome(-1));
    nonblocking(pair[1], 0);
    CHECK(setsockopt(pair[1], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
    offset = 0;
    int64_t from = now_ms();
    printf("%s\n", send_file_outcome(start(send_file, NULL)));
    /* in ticks, which a virtual machine may make up for: it is 50 ms, but for two */
    CHECK(now_ms() - from >= 41);
    close_pair(pair);
  }
}
static void a_close_under_a_send_leaves_it_its_socket(void) {
  static char all[FILE_SIZE];
  begin();
  make_file(FILE_SIZE);
  make_pair(UNIX_STREAM, pair);
  int kept = pair[1];
  with_offset = 1;
  pthread_t t = start(send_file, NULL);
  settle();
  close(kept);
  CHECK(open("/dev/null", O_WRONLY) == kept);
  read_all(pair[0], all, sizeof all);
  CHECK(is_pattern((unsigned char*)all, sizeof all, 0));
  puts(send_file_outcome(t));
}

/* ---- splices ---- */

static void* splice_through(void* p) { /* pair[0] -> pipe -> other[1] */
  int* other = p;
  int fd[2];
  size_t sum = 0;
  CHECK(pipe(fd) == 0);
  for (;;) {
    ssize_t n = splice(pair[0], NULL, fd[1], NULL, 30000, 0);
    CHECK(n >= 0);
    if (n == 0) break;
    for (ssize_t rest = n; rest > 0;) {
      ssize_t k = splice(fd[0], NULL, other[1], NULL, (size_t)rest, 0);
      CHECK(k > 0);
      rest -= k;
    }
    sum += (size_t)n;
  }
  CHECK(shutdown(other[1], SHUT_WR) == 0);
  return (void*)(intptr_t)sum;
}
static void* write_file(void* p) {
  static unsigned char all[FILE_SIZE];
  pattern(all, sizeof all, 0);
  for (size_t at = 0; at < sizeof all; at += 100000) {
    write_all(pair[1], all + at, sizeof all - at < 100000 ? sizeof all - at : 100000);
    if (at % 800000 == 0) sleep_ms(5);
  }
  CHECK(shutdown(pair[1], SHUT_WR) == 0);
  return NULL;
}
static void a_proxy_that_splices_passes_all(void) {
  int other[2];
  begin();
  make_pair(TCP, pair);
  make_pair(TCP, other);
  struct served reader = {TCP, {other[0], other[1]}, 0};
  pthread_t w = start(write_file, NULL), s = start(splice_through, other), r = start(take_file, &reader);
  finish(w);
  finish(r);
  printf("%d\n", (int)(intptr_t)finish(s));
}
static void* tee_some(void* p) {
  int* fd = p;
  ssize_t n = tee(pair[0], fd[1], 100, 0);
  return (void*)(intptr_t)(n < 0 ? -errno : n);
}
static void* vmsplice_some(void* p) {
  int* fd = p;
  char c[5] = "data";
  struct iovec iov = {c, sizeof c};
  ssize_t n = vmsplice(fd[1], &iov, 1, 0);
  return (void*)(intptr_t)(n < 0 ? -errno : n);
}
static void tee_and_vmsplice_wait_for_both_ends(void) {
  int fd[2];
  char c[4096];
  begin();
  make_pair(PIPE, pair);
  CHECK(pipe(fd) == 0);
  pthread_t t = start(tee_some, fd);
  settle();
  CHECK(write(pair[1], "abc", 3) == 3);
  printf("%d ", (int)(intptr_t)finish(t));
  CHECK(read(fd[0], c, sizeof c) == 3 && read(pair[0], c, sizeof c) == 3);
  size_t full = fill(fd[1]);
  t = start(vmsplice_some, fd);
  settle();
  CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
  for (size_t got = 0; got < full;) got += (size_t)read(fd[0], c, sizeof c);
  printf("%d ", (int)(intptr_t)finish(t));
  printf("%s ", outcome(splice(pair[0], NULL, fd[1], NULL, 10, SPLICE_F_NONBLOCK)));
  printf("%s ", outcome(splice(pair[0], NULL, 1000, NULL, 10, 0)));
  CHECK(write(pair[1], "abc", 3) == 3);
  printf("%s ", outcome(splice(pair[0], &offset, fd[1], NULL, 10, 0)));
  printf("%s\n", outcome(splice(-1, NULL, -1, NULL, 10, 0)));
}

/* ---- receives that wait for all ---- */

static int receive_flags;
static size_t control_size;
static struct msghdr received;
static char received_bytes[12];
static volatile int has_ended;
static void* receive_all(void* p) {
  static char control[200];
  static struct sockaddr_storage name;
  struct iovec iov[3] = {{received_bytes, 1}, {received_bytes + 1, 0}, {received_bytes + 1, 9}};
  received = (struct msghdr){.msg_iov = iov, .msg_iovlen = 3, .msg_flags = 0x55, .msg_name = &name,
                             .msg_namelen = sizeof name};
  if (control_size != 0) received.msg_control = control, received.msg_controllen = control_size;
  ssize_t n = recvmsg(pair[0], &received, receive_flags);
  int error = errno;
  has_ended = 1;
  return (void*)(intptr_t)(n < 0 ? -error : n);
}
static void print_received(pthread_t t) {
  int n = (int)(intptr_t)finish(t);
  if (n < 0) printf("%s\n", strerrorname_np(-n));
  else printf("%d %.*s flags %x name %u control %zu\n", n, n, received_bytes, received.msg_flags,
              (unsigned)received.msg_namelen, received.msg_controllen);
}
static const struct variant {
  enum family family;
  int flags;
  size_t control;
} variants[] = {{TCP, 0, 0},         {TCP, 0, 200},         {TCP, MSG_PEEK, 0},
                {UNIX_STREAM, 0, 0}, {UNIX_STREAM, 0, 200}, {UNIX_STREAM, MSG_PEEK, 0}};
enum { VARIANTS = sizeof variants / sizeof *variants };
static pthread_t begin_variant(int i) {
  make_pair(variants[i].family, pair);
  receive_flags = MSG_WAITALL | variants[i].flags;
  control_size = variants[i].control;
  pthread_t t = start(receive_all, NULL);
  settle();
  return t;
}
static void recvmsg_waits_for_all_that_was_asked_for(void) {
  begin();
  for (int i = 0; i < VARIANTS; i++) {
    int peek = (variants[i].flags & MSG_PEEK) != 0;
    if (peek && variants[i].family == UNIX_STREAM) continue; /* it takes the first that comes */
    pthread_t t = begin_variant(i);
    for (int k = 0; k < 5; k++) {
      if (!peek) CHECK(pthread_tryjoin_np(t, NULL) == EBUSY);
      CHECK(write(pair[1], "ab", 2) == 2);
      sleep_ms(3);
    }
    print_received(t);
    close_pair(pair);
  }
}
static void recvmsg_ends_with_what_came_before_the_end(void) {
  begin();
  for (int i = 0; i < VARIANTS; i++) {
    pthread_t t = begin_variant(i);
    CHECK(write(pair[1], "abc", 3) == 3);
    sleep_ms(5);
    CHECK(shutdown(pair[1], SHUT_WR) == 0);
    print_received(t);
    if ((variants[i].flags & MSG_PEEK) == 0) print_received(start(receive_all, NULL));
    close_pair(pair);
  }
}
static void recvmsg_ends_with_what_came_before_a_signal_or_the_time(void) {
  begin();
  handle(SIGUSR1, count_signal, SA_RESTART);
  for (int i = 0; i < VARIANTS; i++) {
    struct timeval tv = {0, 80000};
    if ((variants[i].flags & MSG_PEEK) != 0) continue;
    has_ended = 0;
    pthread_t t = begin_variant(i);
    CHECK(write(pair[1], "abc", 3) == 3);
    do {  /* one before the call does not end it */
      sleep_ms(20);
      pthread_kill(t, SIGUSR1);
    } while (!has_ended);
    print_received(t);
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
    CHECK(write(pair[1], "def", 3) == 3);
    int64_t from = now_ms();
    t = start(receive_all, NULL);
    print_received(t);
    CHECK(now_ms() - from >= 71);
    print_received(start(receive_all, NULL));
    nonblocking(pair[0], 1);
    print_received(start(receive_all, NULL));
    close_pair(pair);
  }
}
static void recvmsg_stops_behind_a_passed_descriptor(void) {
  union {
    struct cmsghdr h;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {.h = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  struct iovec iov = {"fd", 2};
  struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  begin();
  pthread_t t = begin_variant(4);
  CHECK(write(pair[1], "ab", 2) == 2);
  sleep_ms(5);
  memcpy(CMSG_DATA(&control.h), &pair[0], sizeof(int));
  CHECK(sendmsg(pair[1], &msg, 0) == 2);
  CHECK(write(pair[1], "cdefghi", 7) == 7);
  print_received(t);
}
static void to_a_datagram_waiting_for_all_means_nothing(void) {
  char c[10];
  begin();
  for (int family = UNIX_SEQPACKET; family <= UNIX_DGRAM; family++) {
    make_pair(family, pair);
    receive_flags = MSG_WAITALL;
    control_size = 0;
    pthread_t t = start(receive_all, NULL);
    settle();
    CHECK(write(pair[1], "abc", 3) == 3);
    print_received(t);
    CHECK(write(pair[1], "def", 3) == 3);
    printf("%s\n", outcome(recv(pair[0], c, sizeof c, MSG_WAITALL)));
    CHECK(write(pair[1], "ghi", 3) == 3);
    printf("%s\n", outcome(recv(pair[0], c, sizeof c, MSG_WAITALL | MSG_PEEK)));
    close_pair(pair);
  }
}
static void a_peek_for_all_waits_for_all(void) {
  char c[4];
  begin();
  for (int family = TCP; family <= UNIX_STREAM; family++) {
    make_pair(family, pair);
    CHECK(write(pair[1], "abcd", 4) == 4);
    printf("%s ", outcome(recv(pair[0], c, sizeof c, MSG_PEEK | MSG_WAITALL)));
    CHECK(read(pair[0], c, 4) == 4);
    receive_flags = MSG_PEEK | MSG_WAITALL;
    control_size = 0;
    pthread_t t = start(receive_all, NULL);
    settle();
    CHECK(write(pair[1], "0123456789", 10) == 10);
    print_received(t);
    close_pair(pair);
  }
}

static const struct test_case cases[] = {
    CASE(many_threads_send_a_file_to_slow_readers),
    CASE(a_send_that_could_not_begin_says_why_also_to_a_full_socket),
    CASE(a_send_that_sent_a_part_tells_so_when_a_signal_comes),
    CASE(a_send_to_a_peer_that_goes_ends),
    CASE(nonblocking_and_timed_sends_do_not_wait_for_ever),
    CASE(a_close_under_a_send_leaves_it_its_socket),
    CASE(a_proxy_that_splices_passes_all),
    CASE(tee_and_vmsplice_wait_for_both_ends),
    CASE(recvmsg_waits_for_all_that_was_asked_for),
    CASE(recvmsg_ends_with_what_came_before_the_end),
    CASE(recvmsg_ends_with_what_came_before_a_signal_or_the_time),
    CASE(recvmsg_stops_behind_a_passed_descriptor),
    CASE(to_a_datagram_waiting_for_all_means_nothing),
    CASE(a_peek_for_all_waits_for_all),
};
CASE_MAIN(cases)
