// Knows nothing of libcr and is linked with it: that its thread is an LWKT shows that the runtime
// started by itself and rewrote the text that NPTL's calls are in (in a static program: its own).
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kVirtualTid = 4194304 };  // libcr's tids lie above pid_max

static __thread int mine = 1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn, tids[2];

static void *thread_main(void *arg) {
  int me = arg != NULL;
  mine += me;
  tids[me] = (int)syscall(SYS_gettid);
  for (int i = 0; i < 1000; i++) {
    pthread_mutex_lock(&mutex);
    while (turn != me) {
      pthread_cond_wait(&cond, &mutex);
    }
    turn = !me;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&mutex);
  }
  return (void *)(long)mine;
}

int main(void) {
  pthread_t thread[2];
  void *result[2];
  for (int i = 0; i < 2; i++) {
    if (pthread_create(&thread[i], NULL, thread_main, i != 0 ? &turn : NULL) != 0) return 2;
  }
  for (int i = 0; i < 2; i++) {
    pthread_join(thread[i], &result[i]);
  }
  if (result[0] != (void *)1 || result[1] != (void *)2) {
    fprintf(stderr, "thread-local data are wrong\n");
    return 1;
  }
  if (tids[0] < kVirtualTid || tids[1] < kVirtualTid) {
    fprintf(stderr, "threads %d and %d are the kernel's\n", tids[0], tids[1]);
    return 1;
  }
  char *copy = malloc(100);
  snprintf(copy, 100, "ok %d", getpid() == (int)syscall(SYS_gettid));
  puts(copy);
  free(copy);
  return 0;
}
