// What the tests of calls sent as messages share.
#pragma once

#include <errno.h>
#include <libcr/async.h>
#include <libcr/shim.h>
#include <libcr/thread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failures;

#define EXPECT(what)                                             \
  do {                                                           \
    if (!(what)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
      failures++;                                                \
    }                                                            \
  } while (0)

enum { kSecond = 1000000000, kMillisecond = 1000000 };

// The port that the main thread waits on.
static struct lwkt_port port;

static inline void port_init(void) { lwkt_initport_thread(&port, lwkt_curthread()); }

// Waits for m, which must come within a minute: its error.
static inline int error_of(union sysunion *m) {
  int error;
  do {
    error = cr_async_wait(m, 60LL * kSecond);
  } while (error == EINTR);
  EXPECT(error == 0);
  return error == 0 ? m->sm.sm_error : -1;
}

// Waits for m, which must end without an error: its result.
static inline long result_of(union sysunion *m) {
  int error = error_of(m);
  if (error != 0) {
    fprintf(stderr, "%s: error %d\n", cr_syscall_name(m->sm.sm_nr), error);
    failures++;
    return -1;
  }
  return m->sm.sm_result;
}

static inline int engine_parks(void) {
  const char *engine = getenv("LIBCR_ENGINE");
  return engine == NULL || strcmp(engine, "none") != 0;
}

static inline int report(void) {
  if (failures == 0) puts("ok");
  return failures != 0;
}
