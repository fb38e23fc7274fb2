// What the shims are tried on. It knows nothing of them: the first argument says what to do, the
// output what happened.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile long progress;
static volatile sig_atomic_t alarms, handler_parent;

static void *compute(void *stop) {
  while (!*(volatile int *)stop) progress++;
  return NULL;
}

static void *ask_late(void *unused) {
  (void)unused;
  return (void *)(long)getpgid(getpid());
}

static void *end_process(void *unused) {
  (void)unused;
  exit(7);
}

static void on_alarm(int signal) {
  (void)signal;
  alarms++;
  handler_parent = getppid();
}

static int delay(void) {
  int stop = 0;
  pthread_t busy, askers[4];
  pthread_create(&busy, NULL, compute, &stop);
  while (progress == 0) sched_yield();
  // More than once: the kernel may not give the other thread's processor to us meanwhile.
  long before = progress;
  int late = 0;
  for (int i = 0; i == 0 || (i < 100 && progress == before); i++) late = getpgid(getpid());
  long meanwhile = progress - before;
  errno = 0;
  int failed = getpgid(0);
  printf("%d %d %d %s\n", late, failed, errno == ESRCH, meanwhile > 0 ? "others ran" : "nobody ran");
  stop = 1;
  pthread_join(busy, NULL);
  for (int i = 0; i < 4; i++) pthread_create(&askers[i], NULL, ask_late, NULL);
  long sum = 0;
  for (int i = 0; i < 4; i++) {
    void *result;
    pthread_join(askers[i], &result);
    sum += (long)result;
  }
  struct sigaction sa = {.sa_handler = on_alarm};
  sigaction(SIGALRM, &sa, NULL);
  struct itimerval soon = {.it_value = {.tv_usec = 3000}};
  setitimer(ITIMER_REAL, &soon, NULL);
  for (int i = 0; i < 100 && alarms == 0; i++) late = getpgid(getpid());
  printf("%ld %d %d %d\n", sum, late, (int)alarms, handler_parent == getppid());
  return 0;
}

// For 30 ms, on whatever kernel thread: NULL if every call was a message.
static void *ask_for_tid(void *unused) {
  (void)unused;
  struct timeval start, now;
  gettimeofday(&start, NULL);
  do {
    if (gettid() < 4194304) return &progress;  // libcr's lie above pid_max
    gettimeofday(&now, NULL);
  } while ((now.tv_sec - start.tv_sec) * 1000000 + now.tv_usec - start.tv_usec < 30000);
  return NULL;
}

static int tids(void) {
  pthread_t threads[4];
  int unseen = 0;
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, ask_for_tid, NULL);
  for (int i = 0; i < 4; i++) {
    void *result;
    pthread_join(threads[i], &result);
    unseen += result != NULL;
  }
  printf("%d\n", unseen);
  return 0;
}

static void *end_later(void *main_thread) {
  pthread_join(*(pthread_t *)main_thread, NULL);
  getppid();
  return NULL;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  if (strcmp(what, "parent") == 0) {
    printf("%d %d\n", (int)getppid(), (int)syscall(SYS_getppid));
    char buf[64];
    int fd = open("/dev/zero", O_RDONLY);
    printf("%zd\n", read(fd, buf, sizeof buf));
    return 0;
  }
  if (strcmp(what, "chdir") == 0) {
    printf("%s\n", chdir("/") == 0 ? "changed" : strerrorname_np(errno));
    return 0;
  }
  if (strcmp(what, "delay") == 0) return delay();
  if (strcmp(what, "tids") == 0) return tids();
  // Ways to end, after three calls that can be counted.
  for (int i = 0; i < 3; i++) getppid();
  if (strcmp(what, "_exit") == 0) _exit(7);
  if (strcmp(what, "exit_in_thread") == 0) {
    pthread_t thread;
    pthread_create(&thread, NULL, end_process, NULL);
    pause();
  }
  if (strcmp(what, "pthread_exit") == 0) {
    static pthread_t self, thread;
    self = pthread_self();
    pthread_create(&thread, NULL, end_later, &self);
    pthread_detach(thread);
    pthread_exit(NULL);
  }
  if (strcmp(what, "fork") == 0) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
      getppid();
      getppid();
      _exit(0);
    }
    waitpid(pid, &status, 0);
    return 7;
  }
  if (strcmp(what, "many") == 0) {
    int stop = 1;
    for (int i = 0; i < 20; i++) {
      pthread_t thread;
      pthread_create(&thread, NULL, compute, &stop);
      pthread_join(thread, NULL);
    }
  }
  return 7;
}
