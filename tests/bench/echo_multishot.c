// The echo server on what io_uring offers at best: one accept and one receive for each
// connection's life (multishot), into buffers that the kernel takes from a shared ring. A buffer
// goes back when its send has completed.
#include <liburing.h>

#include "echo.h"

// Buffers for more messages than there are connections; the most a buffer ring holds is 32768.
enum { ENTRIES = 4096, COMPLETIONS = 32768, BUFFERS = 16384, GROUP = 1 };
enum operation { ACCEPT, RECEIVE, SEND };

static struct io_uring ring;
static struct io_uring_buf_ring *free_buffers;
static char buffers[BUFFERS][ECHO_BYTES];

static uint64_t tag(enum operation operation, int fd, unsigned buffer) {
  return (uint64_t)operation << 56 | (uint64_t)buffer << 32 | (uint32_t)fd;
}

static struct io_uring_sqe *next_entry(void) {
  struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
  if (entry == NULL) {
    io_uring_submit(&ring);
    entry = io_uring_get_sqe(&ring);
  }
  return entry;
}

static void start_accept(int listener) {
  struct io_uring_sqe *entry = next_entry();
  io_uring_prep_multishot_accept(entry, listener, NULL, NULL, 0);
  entry->user_data = tag(ACCEPT, listener, 0);
}

static void start_receive(int fd) {
  struct io_uring_sqe *entry = next_entry();
  io_uring_prep_recv_multishot(entry, fd, NULL, 0, 0);
  entry->flags |= IOSQE_BUFFER_SELECT;
  entry->buf_group = GROUP;
  entry->user_data = tag(RECEIVE, fd, 0);
}

static void start_send(int fd, unsigned buffer, size_t bytes) {
  struct io_uring_sqe *entry = next_entry();
  io_uring_prep_send(entry, fd, buffers[buffer], bytes, MSG_WAITALL);
  entry->user_data = tag(SEND, fd, buffer);
}

static void give_back(unsigned buffer) {
  io_uring_buf_ring_add(free_buffers, buffers[buffer], ECHO_BYTES, (unsigned short)buffer,
                        io_uring_buf_ring_mask(BUFFERS), 0);
  io_uring_buf_ring_advance(free_buffers, 1);
}

static void make_buffers(void) {
  const size_t bytes = BUFFERS * sizeof(struct io_uring_buf);
  free_buffers = aligned_alloc((size_t)sysconf(_SC_PAGESIZE), bytes);
  if (free_buffers == NULL) {
    bench_fail("buffers", ENOMEM);
  }
  io_uring_buf_ring_init(free_buffers);
  struct io_uring_buf_reg registration = {
      .ring_addr = (uintptr_t)free_buffers, .ring_entries = BUFFERS, .bgid = GROUP};
  const int error = io_uring_register_buf_ring(&ring, &registration, 0);
  if (error != 0) {
    bench_fail("io_uring_register_buf_ring", -error);
  }
  for (unsigned i = 0; i < BUFFERS; i++) {
    give_back(i);
  }
}

static void received(const struct io_uring_cqe *done, int fd) {
  const int more = (done->flags & IORING_CQE_F_MORE) != 0;
  if (done->res > 0) {
    start_send(fd, done->flags >> IORING_CQE_BUFFER_SHIFT, (size_t)done->res);
  } else if (done->res != -ENOBUFS) {
    close(fd);
    return;
  }
  if (!more) {  // out of buffers or of completions: begin again
    start_receive(fd);
  }
}

static void complete(const struct io_uring_cqe *done) {
  const enum operation operation = (enum operation)(done->user_data >> 56);
  const int fd = (int)(uint32_t)done->user_data;
  switch (operation) {
    case ACCEPT:
      if (done->res < 0) {
        bench_fail("accept", -done->res);
      }
      echo_set_nodelay(done->res);
      start_receive(done->res);
      if ((done->flags & IORING_CQE_F_MORE) == 0) {
        start_accept(fd);
      }
      break;
    case RECEIVE: received(done, fd); break;
    case SEND: give_back((unsigned)(done->user_data >> 32) & 0xffffff); break;
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
  make_buffers();
  start_accept(echo_listen(0));
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
