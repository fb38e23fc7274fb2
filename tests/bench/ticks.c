// What wakes up by itself in a process that needs nothing: one thread computes, the others wait for a
// condition.
//
//   bench_ticks [waiting threads] [milliseconds]
//
// wakes is how often any kernel thread of the process went to sleep (and so had been woken)
// meanwhile: the voluntary context switches of all tasks, /proc/self/task/*/status.
#include <dirent.h>
#include <pthread.h>

#include "bench.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static unsigned long waiting;
static int stop;

static void *wait_for_end(void *unused) {
  (void)unused;
  pthread_mutex_lock(&lock);
  waiting++;
  while (!stop) {
    pthread_cond_wait(&condition, &lock);
  }
  pthread_mutex_unlock(&lock);
  return NULL;
}

static unsigned long count_sleeps(void) {
  unsigned long sum = 0;
  DIR *tasks = opendir("/proc/self/task");
  if (tasks == NULL) {
    bench_fail("/proc/self/task", errno);
  }
  for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
    char path[300], line[256];
    snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
    FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
      unsigned long n;
      if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1) {
        sum += n;
      }
    }
    if (file != NULL) {
      fclose(file);
    }
  }
  closedir(tasks);
  return sum;
}

static void compute(uint64_t ns) {
  const uint64_t end = bench_now_ns() + ns;
  while (bench_now_ns() < end) {
  }
}

int main(int argc, char **argv) {
  const unsigned long threads = bench_count(argc, argv, 1, 8, 1);
  const unsigned long milliseconds = bench_count(argc, argv, 2, 2000, 1);
  pthread_t *all = malloc(threads * sizeof *all);
  for (unsigned long i = 0; i < threads; i++) {
    bench_check("pthread_create", pthread_create(&all[i], NULL, wait_for_end, NULL));
  }
  for (unsigned long there = 0; there < threads;) {
    const struct timespec pause = {0, 1000000};
    nanosleep(&pause, NULL);
    pthread_mutex_lock(&lock);
    there = waiting;
    pthread_mutex_unlock(&lock);
  }
  compute(500000000);  // what starting them has left behind comes to rest
  const unsigned long before = count_sleeps();
  compute(milliseconds * 1000000);
  const unsigned long wakes = count_sleeps() - before;
  pthread_mutex_lock(&lock);
  stop = 1;
  pthread_cond_broadcast(&condition);
  pthread_mutex_unlock(&lock);
  for (unsigned long i = 0; i < threads; i++) {
    bench_check("pthread_join", pthread_join(all[i], NULL));
  }
  printf("{\"bench\":\"ticks\",\"wakes\":%lu}\n", wakes);
  return 0;
}
