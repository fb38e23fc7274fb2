// The echo server on io_uring, by hand: one receive and one send at a time for each connection,
// submitted together when all completions of a round have been looked at.
#include <liburing.h>

#include "echo.h"

enum { ENTRIES = 4096, COMPLETIONS = 32768, MOST_FDS = 65536 };
enum operation { ACCEPT, RECEIVE, SEND };

static struct io_uring ring;
static char buffers[MOST_FDS][ECHO_BYTES];

static struct io_uring_sqe *next_entry(enum operation operation, int fd) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
  if (entry == NULL) {
    io_uring_submit(&ring);
    entry = io_uring_get_sqe(&ring);
  }
  entry->user_data = (uint64_t)operation << 32 | (uint32_t)fd;
  return entry;
}

// The preparing functions clear user_data in some versions of liburing: it is set behind them.
static void start(enum operation operation, int fd, size_t bytes) {
  struct io_uring_sqe *entry = next_entry(operation, fd);
  const uint64_t tag = entry->user_data;
  if (operation == ACCEPT) {
    io_uring_prep_accept(entry, fd, NULL, NULL, 0);
  } else if (operation == RECEIVE) {
    io_uring_prep_recv(entry, fd, buffers[fd], ECHO_BYTES, 0);
  } else {
    io_uring_prep_send(entry, fd, buffers[fd], bytes, MSG_WAITALL);
  }
  entry->user_data = tag;
}

static void complete(const struct io_uring_cqe *done) {
  const enum operation operation = (enum operation)(done->user_data >> 32);
  const int fd = (int)(uint32_t)done->user_data;
  if (operation == ACCEPT) {
    if (done->res < 0 || done->res >= MOST_FDS) {
      bench_fail("accept", done->res < 0 ? -done->res : EMFILE);
    }
    echo_set_nodelay(done->res);
    start(RECEIVE, done->res, 0);
    start(ACCEPT, fd, 0);
  } else if (done->res <= 0) {
    close(fd);
  } else if (operation == RECEIVE) {
    start(SEND, fd, (size_t)done->res);
  } else {
    start(RECEIVE, fd, 0);
  }
}

int main(void) {
  struct io_uring_params parameters = {
      .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
      .cq_entries = COMPLETIONS};
  const int error = io_uring_queue_init_params(ENTRIES, &ring, &parameters);
  if (error != 0) {
    bench_fail("io_uring", -error);
  }
  start(ACCEPT, echo_listen(0), 0);
  for (;;) {
    const int result = io_uring_submit_and_wait(&ring, 1);
    if (result < 0 && result != -EINTR) {
      bench_fail("io_uring_submit_and_wait", -result);
    }
    struct io_uring_cqe *done;
    unsigned head, seen = 0;
    io_uring_for_each_cqe(&ring, head, done) {
      complete(done);
      seen++;
    }
    io_uring_cq_advance(&ring, seen);
  }
}
