// Two threads that send each other a signal: pthread_kill to the other's handler, which is awaited in
// sigsuspend.
//
//   bench_signal_pingpong [round trips]
//
// ns_per_op is the time from one thread's pthread_kill until the other has handled it: half a round
// trip. Needs one cpu, where it includes the switch to the other thread.
#include <pthread.h>
#include <signal.h>

#include "bench.h"

static volatile sig_atomic_t taken[2];
static pthread_t threads[2];
static unsigned long trips;
static sigset_t while_waiting;

static void on_usr1(int sig) {
  (void)sig;
  taken[0] = 1;
}
static void on_usr2(int sig) {
  (void)sig;
  taken[1] = 1;
}

static void await(int me) {
  while (!taken[me]) {
    sigsuspend(&while_waiting);
  }
  taken[me] = 0;
}

static void *partner(void *unused) {
  (void)unused;
  for (unsigned long i = 0; i < trips; i++) {
    await(1);
    pthread_kill(threads[0], SIGUSR1);
  }
  return NULL;
}

int main(int argc, char **argv) {
  trips = bench_count(argc, argv, 1, 50000, 1);
  struct sigaction action = {0};
  action.sa_handler = on_usr1;
  sigaction(SIGUSR1, &action, NULL);
  action.sa_handler = on_usr2;
  sigaction(SIGUSR2, &action, NULL);
  sigset_t both;
  sigemptyset(&both);
  sigaddset(&both, SIGUSR1);
  sigaddset(&both, SIGUSR2);
  bench_check("pthread_sigmask", pthread_sigmask(SIG_BLOCK, &both, &while_waiting));
  threads[0] = pthread_self();
  bench_check("pthread_create", pthread_create(&threads[1], NULL, partner, NULL));
  const uint64_t start = bench_now_ns();
  for (unsigned long i = 0; i < trips; i++) {
    pthread_kill(threads[1], SIGUSR2);
    await(0);
  }
  const uint64_t elapsed = bench_now_ns() - start;
  bench_check("pthread_join", pthread_join(threads[1], NULL));
  printf("{\"bench\":\"signal_pingpong\",\"ns_per_op\":%.1f,\"ops\":%lu}\n",
         (double)elapsed / (double)(2 * trips), 2 * trips);
  return 0;
}
