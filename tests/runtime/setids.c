/* set*id in a program with threads: POSIX means the whole process, Linux each kernel thread. */
#include "case.h"

#include <dirent.h>
#include <grp.h>
#include <pthread.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static int ends[2], blocked;
static void* block_in_read(void* arg) {
  char c;
  __atomic_add_fetch(&blocked, 1, __ATOMIC_SEQ_CST);
  CHECK(read(ends[0], &c, 1) == 1);
  return arg;
}
/* Kernel threads that sit in traps and then have nothing to do. */
static void use_many_kernel_threads(int n) {
  pthread_t t[16];
  CHECK(n <= 16 && pipe(ends) == 0);
  blocked = 0;
  for (int i = 0; i < n; i++) CHECK(pthread_create(&t[i], NULL, block_in_read, NULL) == 0);
  while (__atomic_load_n(&blocked, __ATOMIC_SEQ_CST) != n) sched_yield();
  sleep_ms(20);
  for (int i = 0; i < n; i++) CHECK(write(ends[1], "x", 1) == 1);
  for (int i = 0; i < n; i++) CHECK(pthread_join(t[i], NULL) == 0);
  close(ends[0]);
  close(ends[1]);
}

/* How many of the process's kernel threads have this line in their status. */
static void every_task(const char* line, int* with, int* without) {
  DIR* d = opendir("/proc/self/task");
  CHECK(d != NULL);
  *with = *without = 0;
  for (struct dirent* e; (e = readdir(d)) != NULL;) {
    if (e->d_name[0] == '.') continue;
    char path[300], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
    FILE* f = fopen(path, "r");
    if (f == NULL) continue;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    ++*(strstr(text, line) != NULL ? with : without);
  }
  closedir(d);
}
static void expect_everywhere(const char* line) {
  int with, without;
  every_task(line, &with, &without);
  printf("%d %d\n", with > 0, without);
}

/* Three calls: one that sleeps through the first two must not miss them. */
static void privileges_are_dropped_on_every_kernel_thread(void) {
  if (getuid() != 0) return;
  use_many_kernel_threads(8);
  gid_t group = 65533;
  CHECK(setgroups(1, &group) == 0);
  CHECK(setresgid(65532, 65532, 65532) == 0);
  CHECK(setresuid(65534, 65534, 65534) == 0);
  expect_everywhere("\nGroups:\t65533 \n");
  expect_everywhere("\nGid:\t65532\t65532\t65532\t65532\n");
  expect_everywhere("\nUid:\t65534\t65534\t65534\t65534\n");
  use_many_kernel_threads(12);
  expect_everywhere("\nGroups:\t65533 \n");
  expect_everywhere("\nGid:\t65532\t65532\t65532\t65532\n");
  expect_everywhere("\nUid:\t65534\t65534\t65534\t65534\n");
}

static void* drop_capabilities(void* arg) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
  CHECK(prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE) == 0);
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(syscall(SYS_capset, &header, none) == 0);
  return arg;
}
static void capabilities_are_dropped_on_every_kernel_thread(void) {
  if (getuid() != 0) return;
  use_many_kernel_threads(8);
  drop_capabilities(NULL);
  use_many_kernel_threads(12);
  expect_everywhere("\nNoNewPrivs:\t1\n");
  expect_everywhere("\nCapEff:\t0000000000000000\n");
  expect_everywhere("\nCapPrm:\t0000000000000000\n");
  printf("%d\n", prctl(PR_CAPBSET_READ, CAP_SYS_PTRACE));
}

static const struct test_case cases[] = {
    CASE(privileges_are_dropped_on_every_kernel_thread),
    CASE(capabilities_are_dropped_on_every_kernel_thread),
};
CASE_MAIN(cases)
