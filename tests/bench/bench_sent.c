// Calls sent as messages (libcr/async.h), linked with libcr.
//
//   bench_sent [in flight] [rounds]
//
//   at_once_ns   getppid sent and its reply taken, less the plain call
//   parked_ns    a read of an empty pipe is sent, a byte written, the reply taken: one at a time
//   ns_per_op    the same with `in flight` reads at once, each of a pipe of its own
//   bytes_each   memory of a read in flight
//
// in_flight.c is what threads make of the last but one.
#include <libcr/async.h>
#include <libcr/thread.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"

static struct lwkt_port port;
static int (*pipes)[2];
static char *bytes;

static void taken(union sysunion *m) {
  bench_check("wait", cr_async_wait(m, -1));
  bench_check("the call", m->sm.sm_error);
}

static void send_read(union sysunion *m, unsigned long i) {
  cr_send_read(m, &port, pipes[i][0], &bytes[i], 1);
}

static void write_byte(unsigned long i) {
  if (write(pipes[i][1], "x", 1) != 1) bench_fail("write", errno);
}

static double at_once(unsigned long times) {
  union sysunion m;
  uint64_t start = bench_now_ns();
  for (unsigned long i = 0; i < times; i++) getppid();
  const uint64_t plain = bench_now_ns() - start;
  start = bench_now_ns();
  for (unsigned long i = 0; i < times; i++) {
    cr_send_getppid(&m, &port);
    taken(&m);
  }
  return ((double)(bench_now_ns() - start) - (double)plain) / (double)times;
}

static double one_at_a_time(unsigned long times) {
  union sysunion m;
  union sysunion *done;
  const uint64_t start = bench_now_ns();
  for (unsigned long i = 0; i < times; i++) {
    send_read(&m, 0);
    (void)cr_async_wait_any(&port, 0, &done);  // it begins and parks
    write_byte(0);
    taken(&m);
  }
  return (double)(bench_now_ns() - start) / (double)times;
}

static double many(union sysunion *m, unsigned long n, unsigned long rounds) {
  union sysunion *done;
  const uint64_t start = bench_now_ns();
  for (unsigned long r = 0; r < rounds; r++) {
    for (unsigned long i = 0; i < n; i++) send_read(&m[i], i);
    (void)cr_async_wait_any(&port, 0, &done);
    for (unsigned long i = 0; i < n; i++) write_byte(i);
    for (unsigned long i = 0; i < n; i++) bench_check("wait", cr_async_wait_any(&port, -1, &done));
  }
  return (double)(bench_now_ns() - start) / (double)(n * rounds);
}

static unsigned long resident_bytes(void) {
  unsigned long size, resident;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f == NULL || fscanf(f, "%lu %lu", &size, &resident) != 2) bench_fail("statm", errno);
  fclose(f);
  return resident * (unsigned long)sysconf(_SC_PAGESIZE);
}

static double memory_each(unsigned long n, unsigned long npipes) {
  union sysunion *m = calloc(n, sizeof *m), *done;
  for (unsigned long i = 0; i < n; i++) m[i].sm.sm_nr = 1;  // touched before it counts
  const unsigned long before = resident_bytes();
  for (unsigned long i = 0; i < n; i++) send_read(&m[i], i % npipes);
  (void)cr_async_wait_any(&port, 100000000, &done);  // all begin
  const unsigned long after = resident_bytes();
  for (unsigned long i = 0; i < n; i++) cr_async_abort(&m[i]);
  for (unsigned long i = 0; i < n; i++) bench_check("wait", cr_async_wait(&m[i], -1));
  free(m);
  return (double)(after - before) / (double)n;
}

int main(int argc, char **argv) {
  const unsigned long n = bench_count(argc, argv, 1, 64, 1);
  const unsigned long rounds = bench_count(argc, argv, 2, 2000, 1);
  bench_check("cr_init", cr_init());
  lwkt_initport_thread(&port, lwkt_curthread());
  pipes = calloc(n, sizeof *pipes);
  bytes = calloc(n, 1);
  union sysunion *m = calloc(n, sizeof *m);
  for (unsigned long i = 0; i < n; i++) {
    if (pipe(pipes[i]) != 0) bench_fail("pipe", errno);
  }
  (void)many(m, n, 1 + rounds / 10);
  const double each = many(m, n, rounds);
  const double alone = one_at_a_time(n * rounds / 4 + 1);
  const double now = at_once(n * rounds / 4 + 1);
  printf("{\"bench\":\"sent\",\"ns_per_op\":%.1f,\"parked_ns\":%.1f,\"at_once_ns\":%.1f,\"bytes_each\":%.0f}\n",
         each, alone, now, memory_each(10000, n));
  return 0;
}
