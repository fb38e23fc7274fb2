/* Unix datagrams and sequenced packets: senders that find no room. */
#include "blocking.h"

#include <sys/uio.h>

static void* nap(void* p) {
  for (;;) sleep_ms(1);
  return NULL;
}
static void begin(void) {
  alarm(50);
  pthread_detach(start(nap, NULL));
  settle();
}

struct place {
  int fd; /* the receiver's */
  struct sockaddr_un address;
  socklen_t size;
};
static struct place new_place(void) {
  static int n;
  struct place p;
  p.size = abstract(&p.address, ++n);
  p.fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  CHECK(p.fd >= 0 && bind(p.fd, (struct sockaddr*)&p.address, p.size) == 0);
  return p;
}
static int connected_sender(const struct place* p) {
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  CHECK(fd >= 0 && connect(fd, (struct sockaddr*)&p->address, p->size) == 0);
  return fd;
}

/* ---- the ways to send ---- */

enum way { WRITE, WRITEV, SEND, SENDMSG, SENDMMSG, NAMED, NAMED_MSG, NAMED_MMSG, WAYS };
static const char* const way_names[] = {"write", "writev", "send", "sendmsg", "sendmmsg", "sendto", "sendmsg to", "sendmmsg to"};
static ssize_t send_by(enum way way, struct place* to, int fd, void* data, size_t size) {
  struct iovec iov[2] = {{data, size / 2}, {(char*)data + size / 2, size - size / 2}};
  struct mmsghdr m = {.msg_hdr = {.msg_iov = iov, .msg_iovlen = 2}};
  if (way >= NAMED) m.msg_hdr.msg_name = &to->address, m.msg_hdr.msg_namelen = to->size;
  switch (way) {
    case WRITE: return write(fd, data, size);
    case WRITEV: return writev(fd, iov, 2);
    case SEND: return send(fd, data, size, 0);
    case SENDMSG:
    case NAMED_MSG: return sendmsg(fd, &m.msg_hdr, 0);
    case NAMED: return sendto(fd, data, size, 0, (struct sockaddr*)&to->address, to->size);
    default: return sendmmsg(fd, &m, 1, 0) == 1 ? (ssize_t)m.msg_len : -1;
  }
}

enum { EACH = 20 };
struct note {
  int from, n;
  char rest[24];
};
static struct place all_to;
static void* send_notes(void* p) {
  int from = (int)(intptr_t)p;
  enum way way = from % WAYS;
  int fd = way >= NAMED ? socket(AF_UNIX, SOCK_DGRAM, 0) : connected_sender(&all_to);
  for (int i = 0; i < EACH; i++) {
    struct note note = {from, i, "a note"};
    CHECK(send_by(way, &all_to, fd, &note, sizeof note) == sizeof note);
  }
  close(fd);
  return NULL;
}
static void many_senders_fill_one_queue_and_nothing_is_lost(void) {
  pthread_t t[2 * WAYS];
  int next[2 * WAYS] = {0};
  begin();
  all_to = new_place();
  for (int i = 0; i < 2 * WAYS; i++) t[i] = start(send_notes, (void*)(intptr_t)i);
  settle();
  for (int i = 0; i < 2 * WAYS * EACH; i++) {
    struct note note;
    CHECK(read(all_to.fd, &note, sizeof note) == sizeof note);
    CHECK(note.from >= 0 && note.from < 2 * WAYS && note.n == next[note.from]++);
  }
  for (int i = 0; i < 2 * WAYS; i++) finish(t[i]);
  puts("all, in order");
}

/* ---- those that wait: one of each way, side by side ---- */

struct wait {
  enum way way;
  struct place to;
  int fd, peer; /* the sender; the other end if it is one of a pair, or -1 */
  size_t queued;
  pthread_t thread;
};
static struct wait waits[WAYS];

static size_t fill_queue(int fd) {
  char c[200] = "f";
  size_t n = 0;
  nonblocking(fd, 1);
  while (send(fd, c, sizeof c, 0) > 0) n++;
  CHECK(errno == EAGAIN);
  nonblocking(fd, 0);
  return n;
}
static void* send_one(void* p) {
  struct wait* w = p;
  char c[200] = "one";
  return (void*)(intptr_t)(send_by(w->way, &w->to, w->fd, c, sizeof c) < 0 ? -errno : 0);
}
static const char* error_of(pthread_t t) {
  int error = -(int)(intptr_t)finish(t);
  return error == 0 ? "sent" : strerrorname_np(error);
}
/* The queue of a receiver is full, of somebody else's notes. */
static void prepare_places(void) {
  for (int way = 0; way < WAYS; way++) {
    struct wait* w = &waits[way];
    *w = (struct wait){.way = way, .to = new_place(), .peer = -1};
    int filler = connected_sender(&w->to);
    w->queued = fill_queue(filler);
    close(filler);
    w->fd = way >= NAMED ? socket(AF_UNIX, SOCK_DGRAM, 0) : connected_sender(&w->to);
  }
}
static void prepare_pairs(enum family family) {
  for (int way = 0; way < NAMED; way++) {
    struct wait* w = &waits[way];
    int fd[2];
    make_pair(family, fd);
    *w = (struct wait){.way = way, .fd = fd[1], .peer = fd[0]};
    w->queued = fill_queue(fd[1]);
  }
}
static void start_waits(int n) {
  for (int way = 0; way < n; way++) waits[way].thread = start(send_one, &waits[way]);
  settle();
}

static void a_sender_waits_until_one_is_read(void) {
  char c[200];
  begin();
  prepare_places();
  start_waits(WAYS);
  for (int way = 0; way < WAYS; way++) {
    struct wait* w = &waits[way];
    CHECK(pthread_tryjoin_np(w->thread, NULL) == EBUSY);
    CHECK(read(w->to.fd, c, sizeof c) == sizeof c);
    printf("%s: %zu, %s\n", way_names[way], w->queued, error_of(w->thread));
  }
}
static void between_two_that_are_connected_the_buffer_counts(void) {
  char c[200];
  begin();
  for (int family = UNIX_SEQPACKET; family <= UNIX_DGRAM; family++) {
    prepare_pairs(family);
    start_waits(NAMED);
    for (int way = 0; way < NAMED; way++) {
      struct wait* w = &waits[way];
      CHECK(pthread_tryjoin_np(w->thread, NULL) == EBUSY);
      for (size_t i = 0; i < w->queued; i++) CHECK(read(w->peer, c, sizeof c) == sizeof c && c[0] == 'f');
      CHECK(read(w->peer, c, sizeof c) == sizeof c && c[0] == 'o');
      printf("%s %s: %s\n", family_names[family], way_names[way], error_of(w->thread));
    }
  }
}
static void a_receiver_that_goes_tells_the_sender(void) {
  begin();
  signal(SIGPIPE, SIG_IGN);
  prepare_places();
  start_waits(WAYS);
  for (int way = 0; way < WAYS; way++) {
    close(waits[way].to.fd);
    printf("%s: %s\n", way_names[way], error_of(waits[way].thread));
  }
  for (int family = UNIX_SEQPACKET; family <= UNIX_DGRAM; family++) {
    prepare_pairs(family);
    start_waits(NAMED);
    for (int way = 0; way < NAMED; way++) {
      close(waits[way].peer);
      printf("%s %s: %s\n", family_names[family], way_names[way], error_of(waits[way].thread));
    }
  }
}
static void send_timeouts_and_no_waiting(void) {
  struct timeval tv = {0, 50000};
  begin();
  prepare_places();
  for (int way = 0; way < WAYS; way++) {
    CHECK(setsockopt(waits[way].fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
  }
  int64_t from = now_ms();
  start_waits(WAYS);
  for (int way = 0; way < WAYS; way++) printf("%s: %s\n", way_names[way], error_of(waits[way].thread));
  /* in ticks, which a virtual machine may make up for: it is 50 ms, but for two */
  CHECK(now_ms() - from >= 41);
  for (int way = 0; way < WAYS; way++) nonblocking(waits[way].fd, 1);
  start_waits(WAYS);
  for (int way = 0; way < WAYS; way++) {
    struct wait* w = &waits[way];
    char c = 'x';
    printf("%s: %s", way_names[way], error_of(w->thread));
    nonblocking(w->fd, 0);
    printf(" %s\n", outcome(sendto(w->fd, &c, 1, MSG_DONTWAIT,
                                   way >= NAMED ? (struct sockaddr*)&w->to.address : NULL,
                                   way >= NAMED ? w->to.size : 0)));
  }
}
static void signals_interrupt_or_do_not(void) {
  char c[200];
  begin();
  for (int restart = 0; restart < 2; restart++) {
    prepare_places();
    handle(SIGUSR1, count_signal, restart ? SA_RESTART : 0);
    start_waits(WAYS);
    for (int way = 0; way < WAYS; way++) {
      struct wait* w = &waits[way];
      void* result = NULL;
      int joined = 0;
      for (int k = 0; !joined && (k < 3 || !restart); k++) {
        pthread_kill(w->thread, SIGUSR1);
        sleep_ms(3);
        joined = pthread_tryjoin_np(w->thread, &result) == 0;
      }
      CHECK(joined != restart);
      if (restart) {
        CHECK(read(w->to.fd, c, sizeof c) == sizeof c);
        result = finish(w->thread);
      }
      printf("%s %d: %d\n", way_names[way], restart, (int)(intptr_t)result);
    }
  }
  prepare_places();
  start_waits(WAYS);
  for (int way = 0; way < WAYS; way++) {
    CHECK(pthread_cancel(waits[way].thread) == 0 && finish(waits[way].thread) == PTHREAD_CANCELED);
  }
}
static void a_close_under_a_sender_leaves_it_its_socket(void) {
  char c[200];
  begin();
  prepare_places();
  start_waits(WAYS);
  for (int way = 0; way < WAYS; way++) {
    struct wait* w = &waits[way];
    close(w->fd);
    int other = open("/dev/null", O_RDWR);
    CHECK(other == w->fd);
    for (size_t i = 0; i <= w->queued; i++) CHECK(read(w->to.fd, c, sizeof c) == sizeof c);
    printf("%s: %s, last %c\n", way_names[way], error_of(w->thread), c[0]);
  }
}
static void a_forked_child_sends_on_what_its_parent_waits_for(void) {
  char c[200];
  begin();
  prepare_places();
  struct wait* w = &waits[SEND];
  w->thread = start(send_one, w);
  settle();
  pid_t pid = fork();
  if (pid == 0) {
    pthread_detach(start(nap, NULL));
    pthread_t u = start(send_one, w);
    _exit(finish(u) == NULL ? 5 : 6);
  }
  sleep_ms(50);
  for (size_t i = 0; i < w->queued + 2; i++) CHECK(read(w->to.fd, c, sizeof c) == sizeof c);
  printf("%s %d\n", error_of(w->thread), WEXITSTATUS(wait_for(pid)));
}
/* The datagram is for the peer that the socket had when the call began, or for the new one: but it goes. */
static void a_sender_that_is_connected_elsewhere_meanwhile_goes_on(void) {
  char c[200];
  begin();
  prepare_places();
  struct wait* w = &waits[SEND];
  w->thread = start(send_one, w);
  settle();
  struct place other = new_place();
  CHECK(connect(w->fd, (struct sockaddr*)&other.address, other.size) == 0);
  sleep_ms(20);
  nonblocking(w->to.fd, 1);
  while (read(w->to.fd, c, sizeof c) > 0) {
  }
  printf("%s\n", error_of(w->thread));
}

static const struct test_case cases[] = {
    CASE(many_senders_fill_one_queue_and_nothing_is_lost),
    CASE(a_sender_waits_until_one_is_read),
    CASE(between_two_that_are_connected_the_buffer_counts),
    CASE(a_receiver_that_goes_tells_the_sender),
    CASE(send_timeouts_and_no_waiting),
    CASE(signals_interrupt_or_do_not),
    CASE(a_close_under_a_sender_leaves_it_its_socket),
    CASE(a_forked_child_sends_on_what_its_parent_waits_for),
    CASE(a_sender_that_is_connected_elsewhere_meanwhile_goes_on),
};
CASE_MAIN(cases)
