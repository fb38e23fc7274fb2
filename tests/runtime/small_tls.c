/* What cr run --small-tls changes; small_tls.py runs it and knows what to expect.
 *
 *   small_tls pages      a line for each way to wait: pages that a waiting thread's stack, TLS and
 *                        thread block take
 *   small_tls LIBRARY    dlopens tls_library.c while one thread lives, looks at its variable in that
 *                        thread and in a new one; prints what dlerror says if it can't be loaded
 */
#include "case.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t sem;

static void* wait_cond(void* arg) {
  pthread_mutex_lock(&lock);
  pthread_cond_wait(&cond, &lock);
  return arg;
}

static void* wait_cond_for_an_hour(void* arg) {
  struct timespec until = in_ms(CLOCK_REALTIME, 3600 * 1000);
  pthread_mutex_lock(&lock);
  pthread_cond_timedwait(&cond, &lock, &until);
  return arg;
}

static void* wait_sem(void* arg) {
  sem_wait(&sem);
  return arg;
}

static void* wait_sleep(void* arg) {
  sleep_ms(3600 * 1000);
  return arg;
}

static void pages_of(const char* how, void* (*run)(void*)) {
  pthread_attr_t attr;
  CHECK(pthread_attr_init(&attr) == 0);
  CHECK(pthread_attr_setstacksize(&attr, 64 << 10) == 0);
  pthread_t t;
  CHECK(pthread_create(&t, &attr, run, NULL) == 0);
  void* low;
  size_t size;
  CHECK(pthread_getattr_np(t, &attr) == 0);
  CHECK(pthread_attr_getstack(&attr, &low, &size) == 0);
  sleep_ms(50);
  unsigned char resident[64];
  CHECK(size / 4096 <= sizeof resident);
  CHECK(mincore(low, size, resident) == 0);
  int n = 0;
  for (size_t i = 0; i < size / 4096; i++) n += resident[i] & 1;
  printf("%s %d\n", how, n);
}

static int* (*tls_address)(void);
static sem_t loaded;

static void* look(void* arg) {
  if (arg != NULL) sem_wait(&loaded);
  int* value = tls_address();
  CHECK(*value == 42);
  *value = 7;
  return value;
}

static void load(const char* library) {
  pthread_t before, after;
  void *old_value, *new_value;
  CHECK(sem_init(&loaded, 0, 0) == 0);
  CHECK(pthread_create(&before, NULL, look, &loaded) == 0);
  void* handle = dlopen(library, RTLD_NOW);
  if (handle == NULL) {
    puts(dlerror());
    return;
  }
  tls_address = (int* (*)(void))dlsym(handle, "tls_address");
  CHECK(tls_address != NULL && *tls_address() == 42);
  CHECK(pthread_create(&after, NULL, look, NULL) == 0);
  CHECK(pthread_join(after, &new_value) == 0);
  CHECK(sem_post(&loaded) == 0);
  CHECK(pthread_join(before, &old_value) == 0);
  CHECK(*tls_address() == 42);
  puts("loaded");
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "pages") != 0) {
    load(argv[1]);
    return 0;
  }
  CHECK(sem_init(&sem, 0, 0) == 0);
  pages_of("cond", wait_cond);
  pages_of("timed cond", wait_cond_for_an_hour);
  pages_of("sem", wait_sem);
  pages_of("sleep", wait_sleep);
  fflush(stdout);
  _exit(0);
}
