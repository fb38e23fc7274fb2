// countlines [-n N] [-t MS] FILE...: the lines and bytes of many files, read by one thread with many
// calls in flight at once.
//
//   -n N   at most N files at a time (64)
//   -t MS  a file that is not read after so many milliseconds is given up (1000): a pipe that nobody
//          writes, a terminal, a server that does not answer
//
// Each file is a message that goes from call to call (openat, read, read ..., close), and a second one
// that sleeps for the time limit. The loop takes whatever is done next. Prints as wc -lc does; exit
// status 1 if a file could not be read.
//
// An example of libcr/async.h. README.md says how to link it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libcr/async.h>
#include <libcr/thread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct file {
  union sysunion call;   // first: a reply is recognised by its address
  union sysunion limit;  // the sleep that ends the patience
  const char *name;
  int fd;
  int error;        // why it ends, 0 if well
  int in_flight;    // messages whose reply has not come
  long lines, bytes;
  char buf[16384];
};

static struct lwkt_port port;
static struct timespec patience = {1, 0};

static void start(struct file *f, const char *name) {
  memset(f, 0, sizeof *f);
  f->name = name;
  f->fd = -1;
  f->in_flight = 2;
  cr_send_openat(&f->call, &port, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0);
  cr_send_nanosleep(&f->limit, &port, &patience, NULL);
}

static void read_more(struct file *f) {
  f->in_flight++;
  cr_send_read(&f->call, &port, f->fd, f->buf, sizeof f->buf);
}

// The last call of a file: its time limit is of no use any more.
static void finish(struct file *f, int error) {
  if (f->error == 0) f->error = error;
  cr_async_abort(&f->limit);
  if (f->fd < 0) return;
  f->in_flight++;
  cr_send_close(&f->call, &port, f->fd);
  f->fd = -1;
}

static void call_done(struct file *f) {
  int error = f->call.sm.sm_error;
  long result = f->call.sm.sm_result;
  switch (f->call.sm.sm_nr) {
    case CR_SYS_openat:
      if (error == 0) f->fd = (int)result;
      if (error != 0 || f->error != 0) {
        finish(f, error);
      } else {
        read_more(f);
      }
      break;
    case CR_SYS_read:
      if (error != 0 || result == 0 || f->error != 0) {
        finish(f, error);
        break;
      }
      f->bytes += result;
      for (long i = 0; i < result; i++) f->lines += f->buf[i] == '\n';
      read_more(f);
      break;
    default: break;  // close
  }
}

// Time is up, or the sleep was aborted because the file is done.
static void limit_done(struct file *f) {
  if (f->limit.sm.sm_error != 0) return;
  f->error = ETIMEDOUT;
  cr_async_abort(&f->call);
}

// The file that a reply is for.
static struct file *file_of(struct file *files, const union sysunion *m) {
  return &files[(size_t)((const char *)m - (const char *)files) / sizeof *files];
}

int main(int argc, char **argv) {
  int most = 64, status = 0;
  for (int c; (c = getopt(argc, argv, "n:t:")) != -1;) {
    if (c == 'n') {
      most = atoi(optarg);
    } else if (c == 't') {
      long ms = atol(optarg);
      patience = (struct timespec){ms / 1000, ms % 1000 * 1000000};
    } else {
      return 2;
    }
  }
  if (most < 1 || optind == argc) {
    fprintf(stderr, "usage: countlines [-n N] [-t MS] FILE...\n");
    return 2;
  }
  struct file *files = calloc((size_t)most, sizeof *files);
  if (files == NULL) return 2;
  lwkt_initport_thread(&port, lwkt_curthread());
  int busy = 0;
  long lines = 0, bytes = 0;
  for (; busy < most && optind < argc; busy++) start(&files[busy], argv[optind++]);
  while (busy > 0) {
    union sysunion *done;
    if (cr_async_wait_any(&port, -1, &done) != 0) continue;  // a signal
    struct file *f = file_of(files, done);
    f->in_flight--;
    if (done == &f->call) {
      call_done(f);
    } else {
      limit_done(f);
    }
    if (f->in_flight > 0) continue;
    if (f->error != 0) {
      printf("%s: %s\n", f->name, strerror(f->error));
      status = 1;
    } else {
      printf("%ld %ld %s\n", f->lines, f->bytes, f->name);
      lines += f->lines;
      bytes += f->bytes;
    }
    if (optind < argc) {
      start(f, argv[optind++]);
    } else {
      busy--;
    }
  }
  printf("%ld %ld total\n", lines, bytes);
  free(files);
  return status;
}
