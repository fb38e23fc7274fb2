/* Messages as long as the buffer that they are read into, as servers read that take one after the other. Who
 * has seen that nothing more was there some times expects it, and whoever is told of data receives for the
 * reader: here is what comes otherwise than expected. */
#include "blocking.h"

#include <sys/mman.h>

enum { SIZE = 32, LEARN = 12 };

static int fds[2], back[2];
static const enum family families[] = {TCP, UNIX_STREAM, UNIX_SEQPACKET, UNIX_DGRAM};
enum { KINDS = sizeof families / sizeof families[0] };

/* A thread that sleeps as long as the case runs: with nobody else there, a read would be a plain trap. */
static int idle[2];
static pthread_t idler;
static void* sleep_in_read(void* arg) {
  char c;
  return (void*)(intptr_t)read(idle[0], &c, 1);
}
static void begin_idling(void) {
  make_pair(PIPE, idle);
  idler = start(sleep_in_read, NULL);
  settle();
}
static void end_idling(void) {
  close(idle[1]);
  CHECK(finish(idler) == NULL);
  close(idle[0]);
}

static void put(int fd, int n) {
  char c[SIZE];
  for (; n > 0; n--) {
    memset(c, n, sizeof c);
    CHECK(write(fd, c, sizeof c) == sizeof c);
  }
}
static void take(int fd) {
  char c[SIZE];
  CHECK(read(fd, c, sizeof c) == sizeof c);
  for (int i = 1; i < SIZE; i++) CHECK(c[i] == c[0]);
}

/* Answers each message by one byte, until the end. */
static void* answer(void* arg) {
  char c[SIZE];
  ssize_t n;
  while ((n = read(fds[0], c, sizeof c)) == SIZE) CHECK(write(back[1], c, 1) == 1);
  return (void*)(intptr_t)(n < 0 ? -errno : n);
}
static void await_answers(int n) {
  char c;
  for (; n > 0; n--) CHECK(read(back[0], &c, 1) == 1);
}
static pthread_t learnt_reader(enum family family) {
  make_pair(family, fds);
  make_pair(UNIX_STREAM, back);
  pthread_t t = start(answer, NULL);
  for (int i = 0; i < LEARN; i++) {
    put(fds[1], 1);
    await_answers(1);
  }
  return t;
}
static void no_more(pthread_t t) {
  CHECK(shutdown(fds[1], SHUT_RDWR) == 0);
  finish(t);
  close_pair(fds);
  close_pair(back);
}

static void one_by_one_and_in_bursts(void) {
  begin_idling();
  for (int k = 0; k < KINDS - 1; k++) {
    pthread_t t = learnt_reader(families[k]);
    for (int i = 0; i < 80; i++) {
      int n = i % 40 < 20 ? 1 : i % 6 + 1;
      put(fds[1], n);
      await_answers(n);
    }
    no_more(t);
  }
  end_idling();
  puts("ok");
}

/* Two messages by one call: one edge. */
static void two_messages_in_one_piece(void) {
  char two[2 * SIZE] = "";
  begin_idling();
  for (int k = 0; k < 2; k++) {
    pthread_t t = learnt_reader(families[k]);
    for (int i = 0; i < 20; i++) {
      CHECK(write(fds[1], two, sizeof two) == sizeof two);
      await_answers(2);
      put(fds[1], 1);
      await_answers(1);
    }
    no_more(t);
  }
  end_idling();
  puts("ok");
}

enum { CROWD = 12 };
static int crowd[CROWD][2];
static void* echo_messages(void* arg) {
  int fd = crowd[(intptr_t)arg][0];
  char c[SIZE];
  while (read(fd, c, sizeof c) == SIZE) CHECK(write(fd, c, sizeof c) == sizeof c);
  return NULL;
}
static void a_crowd_of_servers(void) {
  pthread_t t[CROWD];
  for (intptr_t i = 0; i < CROWD; i++) {
    make_pair(families[i % (KINDS - 1)], crowd[i]);
    t[i] = start(echo_messages, (void*)i);
  }
  for (int round = 0; round < 30; round++) {
    int n = round % 10 == 9 ? 3 : 1;
    for (int i = 0; i < CROWD; i++) put(crowd[i][1], n);
    for (int i = 0; i < CROWD; i++) {
      for (int j = 0; j < n; j++) take(crowd[i][1]);
    }
  }
  for (int i = 0; i < CROWD; i++) {
    CHECK(shutdown(crowd[i][1], SHUT_RDWR) == 0);
    finish(t[i]);
    close_pair(crowd[i]);
  }
  puts("ok");
}

/* Data that nobody reads for a while, and the others must be served meanwhile; then the reader is back. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static void* answer_at_the_gate(void* arg) {
  char c[SIZE];
  while (read(fds[0], c, sizeof c) == SIZE) {
    pthread_mutex_lock(&gate);
    CHECK(write(back[1], c, 1) == 1);
    pthread_mutex_unlock(&gate);
  }
  return NULL;
}
static void data_that_waits_for_its_reader(void) {
  begin_idling();
  for (int k = 0; k < KINDS - 1; k++) {
    make_pair(families[k], fds);
    make_pair(UNIX_STREAM, back);
    pthread_t t = start(answer_at_the_gate, NULL);
    for (int round = 0; round < 3; round++) {
      for (int i = 0; i < LEARN; i++) {
        put(fds[1], 1);
        await_answers(1);
      }
      pthread_mutex_lock(&gate);
      put(fds[1], 5);
      sleep_ms(5);
      pthread_mutex_unlock(&gate);
      await_answers(5);
    }
    no_more(t);
  }
  end_idling();
  puts("ok");
}

/* A writer fills the other way of the same socket and sleeps, while the reader does. */
static void* write_much(void* arg) {
  static char much[4 << 20];
  write_all(fds[0], much, sizeof much);
  return NULL;
}
static void a_writer_sleeps_on_the_readers_socket(void) {
  static char much[4 << 20];
  begin_idling();
  for (int k = 0; k < 2; k++) {
    pthread_t t = learnt_reader(families[k]);
    pthread_t w = start(write_much, NULL);
    settle();
    for (int i = 0; i < LEARN; i++) {
      put(fds[1], 1 + i % 2);
      await_answers(1 + i % 2);
    }
    read_all(fds[1], much, sizeof much);
    finish(w);
    put(fds[1], 2);
    await_answers(2);
    no_more(t);
  }
  end_idling();
  puts("ok");
}

/* ---- what ends a sleep ------------------------------------------------------------------------------- */

static void the_end_wakes_a_learnt_reader(void) {
  begin_idling();
  for (int k = 0; k < 3; k++) {
    pthread_t t = learnt_reader(families[k]);
    settle();
    close(fds[1]);
    printf("%s: %d\n", family_names[families[k]], (int)(intptr_t)finish(t));
    close(fds[0]);
    close_pair(back);
  }
  end_idling();
}
static void shutdown_wakes_a_datagram_reader_beside_others(void) {
  begin_idling();
  pthread_t t = learnt_reader(UNIX_DGRAM);
  settle();
  CHECK(shutdown(fds[0], SHUT_RD) == 0);
  printf("%d\n", (int)(intptr_t)finish(t));
  close_pair(fds);
  close_pair(back);
  end_idling();
}
static void a_signal_interrupts_a_learnt_reader(void) {
  begin_idling();
  for (int restart = 0; restart < 2; restart++) {
    handle(SIGUSR1, count_signal, restart ? SA_RESTART : 0);
    pthread_t t = learnt_reader(TCP);
    settle();
    signals_got = 0;
    CHECK(pthread_kill(t, SIGUSR1) == 0);
    while (signals_got == 0) sleep_ms(1);
    if (restart) {
      put(fds[1], 2);
      await_answers(2);
      CHECK(shutdown(fds[1], SHUT_RDWR) == 0);
    }
    printf("%d\n", (int)(intptr_t)finish(t));
    close_pair(fds);
    close_pair(back);
  }
  end_idling();
}
static void a_learnt_reader_times_out(void) {
  struct timeval limit = {0, 200000};
  begin_idling();
  make_pair(TCP, fds);
  make_pair(UNIX_STREAM, back);
  CHECK(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  pthread_t t = start(answer, NULL);
  for (int i = 0; i < LEARN; i++) {
    put(fds[1], 1);
    await_answers(1);
  }
  printf("%d\n", (int)(intptr_t)finish(t) == -EAGAIN);
  close_pair(fds);
  close_pair(back);
  end_idling();
}

/* ---- who receives, and where to ------------------------------------------------------------------------ */

static long got;
static void* take_until_the_end(void* arg) {
  char c[SIZE];
  while (read(fds[0], c, sizeof c) == SIZE) __atomic_add_fetch(&got, c[0], __ATOMIC_SEQ_CST);
  return NULL;
}
static void several_readers_take_each_message_once(void) {
  for (int k = 0; k < KINDS - 1; k++) {
    pthread_t t[5];
    long want = 0;
    got = 0;
    make_pair(families[k], fds);
    for (int i = 0; i < 5; i++) t[i] = start(take_until_the_end, NULL);
    for (int i = 0; i < 600; i++) {
      int n = i % 50 == 49 ? 4 : 1;
      put(fds[1], n);
      want += n * (n + 1) / 2;
      if (i % 8 == 0) sched_yield();
    }
    CHECK(shutdown(fds[1], SHUT_WR) == 0);
    for (int i = 0; i < 5; i++) finish(t[i]);
    CHECK(got == want);
    close_pair(fds);
  }
  puts("ok");
}
static void* read_to_nowhere(void* arg) {
  ssize_t n = read(fds[0], arg, SIZE);
  return (void*)(intptr_t)(n < 0 ? -errno : n);
}
/* The buffer is out of reach when the data comes: the reader is told, and the data stays. (Unmapped, its place could be
 * somebody else's by then.) */
static void a_reader_without_memory(void) {
  begin_idling();
  for (int k = 0; k < 2; k++) {
    void* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    make_pair(families[k], fds);
    pthread_t t = start(read_to_nowhere, page);
    settle();
    CHECK(mprotect(page, 4096, PROT_NONE) == 0);
    put(fds[1], 1);
    printf("%d\n", (int)(intptr_t)finish(t));
    CHECK(munmap(page, 4096) == 0);
    take(fds[0]);
    close_pair(fds);
  }
  end_idling();
}
static void* peek_then_take(void* arg) {
  char c[SIZE] = "";
  for (int i = 0; i < 2; i++) CHECK(recv(fds[0], c, sizeof c, MSG_PEEK) == SIZE && c[0] == 1);
  take(fds[0]);
  return NULL;
}
static void a_sleeping_peek_leaves_the_message(void) {
  begin_idling();
  for (int k = 0; k < KINDS; k++) {
    make_pair(families[k], fds);
    pthread_t t = start(peek_then_take, NULL);
    settle();
    put(fds[1], 1);
    finish(t);
    close_pair(fds);
  }
  end_idling();
  puts("ok");
}
static void* gather(void* arg) {
  static char c[4 * SIZE];
  return (void*)(intptr_t)recv(fds[0], c, sizeof c, MSG_WAITALL);
}
static void a_sleeping_gatherer_gets_all(void) {
  begin_idling();
  for (int k = 0; k < 2; k++) {
    make_pair(families[k], fds);
    pthread_t t = start(gather, NULL);
    for (int i = 0; i < 4; i++) {
      settle();
      put(fds[1], 1);
    }
    printf("%d\n", (int)(intptr_t)finish(t));
    close_pair(fds);
  }
  end_idling();
}
/* The number stands for another socket by the time that the peer of the first one writes. */
static void a_sleeper_keeps_its_socket(void) {
  int other[2];
  begin_idling();
  pthread_t t = learnt_reader(TCP);
  settle();
  make_pair(TCP, other);
  CHECK(dup2(other[0], fds[0]) == fds[0] && close(other[0]) == 0);
  put(other[1], 3); /* not for the sleeper */
  put(fds[1], 1);
  await_answers(1);
  await_answers(3); /* the next reads by that number are */
  CHECK(shutdown(other[1], SHUT_RDWR) == 0);
  finish(t);
  close_pair(fds);
  close_pair(back);
  close(other[1]);
  end_idling();
  puts("ok");
}

static const struct test_case cases[] = {
    CASE(one_by_one_and_in_bursts), CASE(two_messages_in_one_piece), CASE(a_crowd_of_servers),
    CASE(data_that_waits_for_its_reader), CASE(a_writer_sleeps_on_the_readers_socket),
    CASE(the_end_wakes_a_learnt_reader), CASE(shutdown_wakes_a_datagram_reader_beside_others),
    CASE(a_signal_interrupts_a_learnt_reader), CASE(a_learnt_reader_times_out),
    CASE(several_readers_take_each_message_once), CASE(a_reader_without_memory),
    CASE(a_sleeping_peek_leaves_the_message), CASE(a_sleeping_gatherer_gets_all),
    CASE(a_sleeper_keeps_its_socket),
};
CASE_MAIN(cases)
