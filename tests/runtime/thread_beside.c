/* Says the process's id and its second thread's, and stays until standard input ends. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void* tell(void* arg) {
  printf("%d %d\n", getpid(), gettid());
  fflush(stdout);
  return arg;
}
int main(void) {
  pthread_t t;
  if (pthread_create(&t, NULL, tell, NULL) != 0 || pthread_join(t, NULL) != 0) return 1;
  return getchar() != EOF;
}
