// The echo server that libcr is for: a thread for each connection, blocking reads and writes,
// 64 KB stacks. It knows of no other way.
#include <pthread.h>

#include "echo.h"

#ifndef ECHO_COMPUTING
#define ECHO_COMPUTING 0  // threads that compute meanwhile (echo_busy.c)
#endif

static void *serve(void *arg) {
  const int fd = (int)(intptr_t)arg;
  char buffer[ECHO_BYTES];
  ssize_t got;
  while ((got = read(fd, buffer, sizeof(buffer))) > 0) {
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t now = write(fd, buffer + sent, (size_t)(got - sent));
      if (now < 0) {
        got = 0;
        break;
      }
      sent += now;
    }
  }
  close(fd);
  return NULL;
}

static void *compute(void *arg) {
  for (volatile unsigned long n = 0;; n++) {
  }
  return arg;
}

int main(void) {
  const int listener = echo_listen(0);
  pthread_t computing;
  for (int i = 0; i < ECHO_COMPUTING; i++) {
    bench_check("pthread_create", pthread_create(&computing, NULL, compute, NULL));
  }
  pthread_attr_t attributes;
  bench_check("pthread_attr_init", pthread_attr_init(&attributes));
  bench_check("stack size", pthread_attr_setstacksize(&attributes, 64 * 1024));
  bench_check("detached", pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED));
  for (;;) {
    const int fd = accept(listener, NULL, NULL);
    if (fd < 0) {
      bench_fail("accept", errno);
    }
    echo_set_nodelay(fd);
    pthread_t thread;
    bench_check("pthread_create",
                pthread_create(&thread, &attributes, serve, (void *)(intptr_t)fd));
  }
}
