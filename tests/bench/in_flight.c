// Many reads in flight by threads: each waits in a read of a pipe of its own; the main thread writes a
// byte to each pipe and waits until all have been read. bench_sent.c has the same with messages.
//
//   bench_in_flight [threads] [rounds]
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"

static int (*pipes)[2];
static sem_t done;

static void *reader(void *arg) {
  const int fd = *(int *)arg;
  char c;
  while (read(fd, &c, 1) == 1) sem_post(&done);
  return NULL;
}

static void turns(unsigned long n, unsigned long rounds) {
  for (unsigned long r = 0; r < rounds; r++) {
    for (unsigned long i = 0; i < n; i++) {
      if (write(pipes[i][1], "x", 1) != 1) bench_fail("write", errno);
    }
    for (unsigned long i = 0; i < n; i++) sem_wait(&done);
  }
}

int main(int argc, char **argv) {
  const unsigned long n = bench_count(argc, argv, 1, 64, 1);
  const unsigned long rounds = bench_count(argc, argv, 2, 2000, 1);
  pipes = calloc(n, sizeof *pipes);
  sem_init(&done, 0, 0);
  for (unsigned long i = 0; i < n; i++) {
    pthread_t thread;
    if (pipe(pipes[i]) != 0) bench_fail("pipe", errno);
    bench_check("pthread_create", pthread_create(&thread, NULL, reader, &pipes[i][0]));
  }
  turns(n, 1 + rounds / 10);
  const uint64_t start = bench_now_ns();
  turns(n, rounds);
  printf("{\"bench\":\"in_flight\",\"ns_per_op\":%.1f}\n",
         (double)(bench_now_ns() - start) / (double)(n * rounds));
  return 0;
}
