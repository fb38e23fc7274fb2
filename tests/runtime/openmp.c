/* An OpenMP program: libgomp makes its own raw system calls. */
#include "case.h"

#include <omp.h>

static void sums(void) {
  long s = 0;
  for (int round = 0; round < 100; round++) {
#pragma omp parallel for reduction(+ : s) num_threads(4)
    for (int i = 0; i < 10000; i++) s += i;
  }
  printf("%ld\n", s);
}
static void tasks(void) {
  int n = 0;
#pragma omp parallel num_threads(8)
  {
#pragma omp single
    for (int i = 0; i < 500; i++) {
#pragma omp task
      {
#pragma omp atomic
        n++;
      }
    }
#pragma omp barrier
#pragma omp critical
    n += 1000;
  }
  printf("%d\n", n);
}
static const struct test_case cases[] = {CASE(sums), CASE(tasks)};
CASE_MAIN(cases)
