/* Real-time classes in test programs, all on one processor. */
#ifndef CR_TESTS_FIFO_H
#define CR_TESTS_FIFO_H

#include "case.h"

#include <pthread.h>
#include <sched.h>

/* False where they are not allowed. */
static inline int be_fifo(int priority) {
  struct sched_param p = {.sched_priority = priority};
  cpu_set_t set;
  CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
  int first = 0;
  while (!CPU_ISSET(first, &set)) first++;
  CPU_ZERO(&set);
  CPU_SET(first, &set);
  CHECK(sched_setaffinity(0, sizeof set, &set) == 0);
  return sched_setscheduler(0, SCHED_FIFO, &p) == 0;
}

static inline pthread_t new_fifo(int priority, void* (*fn)(void*), void* arg) {
  struct sched_param p = {.sched_priority = priority};
  pthread_attr_t attr;
  pthread_t t;
  CHECK(pthread_attr_init(&attr) == 0);
  CHECK(pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED) == 0);
  CHECK(pthread_attr_setschedpolicy(&attr, SCHED_FIFO) == 0);
  CHECK(pthread_attr_setschedparam(&attr, &p) == 0);
  CHECK(pthread_create(&t, &attr, fn, arg) == 0);
  return t;
}

#endif
