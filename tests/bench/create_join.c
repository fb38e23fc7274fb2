// Thread life: pthread_create and pthread_join of a thread that does nothing, one after the other.
//
//   bench_create_join [threads] [stack KB, 0 = default attributes]
//
// ns_per_op is the wall time of a pair. Each thread returns its argument, and the join checks it.
// glibc's stack cache is warm from the second thread on, on both sides.
#include <pthread.h>

#include "bench.h"

static void *empty(void *arg) { return arg; }

int main(int argc, char **argv) {
  const unsigned long ops = bench_count(argc, argv, 1, 20000, 1);
  const unsigned long stack_kb = bench_count(argc, argv, 2, 0, 0);
  pthread_attr_t attributes;
  bench_check("pthread_attr_init", pthread_attr_init(&attributes));
  if (stack_kb != 0) {
    bench_check("pthread_attr_setstacksize",
                pthread_attr_setstacksize(&attributes, stack_kb * 1024));
  }

  const uint64_t start = bench_now_ns();
  for (uintptr_t i = 0; i < ops; i++) {
    pthread_t thread;
    void *result;
    bench_check("pthread_create",
                pthread_create(&thread, stack_kb != 0 ? &attributes : NULL, empty, (void *)i));
    bench_check("pthread_join", pthread_join(thread, &result));
    if (result != (void *)i) {
      bench_fail("a thread's result", EINVAL);
    }
  }
  const uint64_t elapsed = bench_now_ns() - start;

  printf("{\"bench\":\"create_join\",\"ns_per_op\":%.2f,\"ops\":%lu,\"stack_kb\":%lu}\n",
         (double)elapsed / (double)ops, ops, stack_kb);
  return 0;
}
