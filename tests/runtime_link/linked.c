// Uses the C API from a program that libcr is linked into: its own LWKTs beside POSIX threads,
// a shim that sees the program's calls and libc's own.
#include <errno.h>
#include <fcntl.h>
#include <libcr/shim.h>
#include <libcr/thread.h>
#include <libcr/token.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures;

#define EXPECT(what)                                                \
  do {                                                              \
    if (!(what)) {                                                  \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);    \
      failures++;                                                   \
    }                                                               \
  } while (0)

// ---- a shim --------------------------------------------------------------------------------

static struct lwkt_port shim;
static volatile unsigned writes, opens;

static int shim_begin(lwkt_port_t port, lwkt_msg_t msg) {
  struct sysmsg *m = (struct sysmsg *)msg;
  if (m->sm_nr == SYS_getppid) {
    m->sm_result = 4711;
    return 0;
  }
  if (m->sm_nr == SYS_chdir) return EXDEV;
  if (m->sm_nr == SYS_write) writes++;
  if (m->sm_nr == SYS_openat || m->sm_nr == SYS_open) opens++;
  return cr_shim_forward(port, msg);
}

static void test_shim(void) {
  pid_t parent = getppid();
  lwkt_initport_putonly(&shim, shim_begin);
  EXPECT(cr_shim_push(&shim) == 0);
  EXPECT(cr_shim_push(&shim) == EINVAL);
  EXPECT(getppid() == 4711);
  EXPECT(syscall(SYS_getppid) == 4711);
  EXPECT(chdir("/") == -1 && errno == EXDEV);
  // A call that libc makes inside itself: not the wrapper's, but a rewritten site's.
  FILE *f = fopen("/dev/null", "w");
  EXPECT(f != NULL && opens == 1);
  fputs("text", f);
  fclose(f);
  EXPECT(writes == 1);
  EXPECT(cr_shim_pop(&shim) == 0);
  EXPECT(cr_shim_pop(&shim) == ENOENT);
  EXPECT(getppid() == parent);
  EXPECT(chdir("/") == 0);
}

// ---- messages between LWKTs ----------------------------------------------------------------------

static struct lwkt_port request_port;
static volatile int server_ready;

static void server(void *unused) {
  (void)unused;
  lwkt_initport_thread(&request_port, lwkt_curthread());
  server_ready = 1;
  for (;;) {
    lwkt_msg_t msg = lwkt_waitport(&request_port, 0);
    int stop = msg->u.ms_result == 0;
    msg->u.ms_result *= 2;
    lwkt_replymsg(msg, stop ? ESHUTDOWN : 0);
    if (stop) return;
  }
}

static int ask(int value, int *error) {
  struct lwkt_msg msg;
  lwkt_initmsg(&msg, lwkt_threadport(lwkt_curthread()), 0);
  msg.u.ms_result = value;
  *error = lwkt_domsg(&request_port, &msg, 0);
  return msg.u.ms_result;
}

static void *asking_thread(void *arg) {
  int error;
  for (int i = 1; i < 1000; i++) {
    if (ask(i, &error) != 2 * i || error != 0) return arg;
  }
  return NULL;
}

static void test_messages(void) {
  thread_t td;
  EXPECT(lwkt_create(server, NULL, &td, 0, 0, "server") == 0);
  while (!server_ready) lwkt_yield();
  pthread_t thread[3];
  for (int i = 0; i < 3; i++) {
    EXPECT(pthread_create(&thread[i], NULL, asking_thread, &failures) == 0);
  }
  for (int i = 0; i < 3; i++) {
    void *bad;
    pthread_join(thread[i], &bad);
    EXPECT(bad == NULL);
  }
  int error = 0;
  ask(0, &error);
  EXPECT(error == ESHUTDOWN);
  lwkt_join(td);
}

// ---- tokens, detach ---------------------------------------------------------------------------------

static struct lwkt_token token;
static long counter;
static int done;

static void count(void *unused) {
  (void)unused;
  for (int i = 0; i < 1000; i++) {
    lwkt_gettoken(&token);
    counter++;
    if (i % 10 == 0) lwkt_yield();
    counter++;
    lwkt_reltoken(&token);
  }
  __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
}

static void test_tokens(void) {
  lwkt_token_init(&token, "counter");
  for (int i = 0; i < 8; i++) {
    thread_t td;
    EXPECT(lwkt_create(count, NULL, &td, 16384, i % 2 != 0 ? LWKT_STOPPED : 0, "count") == 0);
    if (i % 2 != 0) lwkt_schedule(td);
    lwkt_detach(td);
  }
  while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) != 8) lwkt_yield();
  EXPECT(counter == 16000);
}

// ---- processes ----------------------------------------------------------------------------------------

static void test_fork(void) {
  pid_t pid = fork();
  if (pid == 0) {
    pthread_t thread;
    void *bad = &failures;
    server_ready = 0;
    thread_t td;
    if (lwkt_create(server, NULL, &td, 0, 0, "server") != 0) _exit(1);
    while (!server_ready) lwkt_yield();
    pthread_create(&thread, NULL, asking_thread, &failures);
    pthread_join(thread, &bad);
    _exit(bad != NULL ? 2 : 42);
  }
  int status = 0;
  EXPECT(waitpid(pid, &status, 0) == pid);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 42);
  FILE *f = popen("echo hello", "r");
  char line[16] = "";
  EXPECT(f != NULL && fgets(line, sizeof line, f) != NULL && strcmp(line, "hello\n") == 0);
  if (f != NULL) EXPECT(pclose(f) == 0);
}

int main(void) {
  EXPECT(cr_init() == 0);  // it has run
  EXPECT(lwkt_curthread() != NULL);
  EXPECT(lwkt_ncpus() >= 1 && lwkt_getcpu() >= 0 && lwkt_getcpu() < lwkt_ncpus());
  EXPECT(strcmp(cr_syscall_name(SYS_getppid), "getppid") == 0);
  test_shim();
  test_messages();
  test_tokens();
  test_fork();
  int fd = open("/dev/zero", O_RDONLY);
  char buf[4] = "abc";
  EXPECT(read(fd, buf, 4) == 4 && buf[0] == 0);
  EXPECT(read(-1, buf, 4) == -1 && errno == EBADF);
  if (failures == 0) puts("ok");
  return failures != 0;
}
