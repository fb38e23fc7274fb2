/* What only 32-bit programs do: calls through the thread block and by int $0x80, with every register
 * and the flags kept but %eax; six arguments; multiplexed calls; both forms of times; signal handlers
 * with and without SA_SIGINFO; thread blocks behind descriptors. */
#include "case.h"

#include <asm/ldt.h>
#include <linux/futex.h>
#include <linux/net.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

struct regs {
  uint32_t eax, ebx, ecx, edx, esi, edi, ebp, flags;
};
/* Makes the call in r and stores what the registers are afterwards. */
void by_int80(struct regs* r);
void by_sysinfo(struct regs* r);
#define MAKE(name, trap)                                                                       \
  __asm__(".text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n"                  \
          "pushl %ebx\npushl %esi\npushl %edi\npushl %ebp\n"                                   \
          "movl 20(%esp), %eax\npushl %eax\n"                                                   \
          "movl 4(%eax), %ebx\nmovl 8(%eax), %ecx\nmovl 12(%eax), %edx\n"                      \
          "movl 16(%eax), %esi\nmovl 20(%eax), %edi\nmovl 24(%eax), %ebp\n"                    \
          "pushl 28(%eax)\npopfl\nmovl (%eax), %eax\n" trap "\n"                               \
          "pushfl\npushl %eax\nmovl 8(%esp), %eax\npopl (%eax)\npopl 28(%eax)\n"                \
          "movl %ebx, 4(%eax)\nmovl %ecx, 8(%eax)\nmovl %edx, 12(%eax)\n"                      \
          "movl %esi, 16(%eax)\nmovl %edi, 20(%eax)\nmovl %ebp, 24(%eax)\n"                    \
          "addl $4, %esp\npopl %ebp\npopl %edi\npopl %esi\npopl %ebx\nret\n"                   \
          ".size " #name ", .-" #name "\n")
MAKE(by_int80, "int $0x80");
MAKE(by_sysinfo, "call *%gs:0x10");

static uint32_t call6(void (*how)(struct regs*), uint32_t nr, uint32_t a, uint32_t b, uint32_t c, uint32_t d,
                      uint32_t e, uint32_t f) {
  struct regs r = {nr, a, b, c, d, e, f, 0x202};
  how(&r);
  return r.eax;
}

static void keeps_registers(void (*how)(struct regs*), uint32_t nr) {
  const uint32_t some = 0x8d5; /* the arithmetic flags */
  for (uint32_t flags = 0x202; flags <= 0xad7; flags += 0x8d5) {
    struct regs r = {nr, 0x11111111, 0x22222222, 0x33333333, 0x44444444, 0x55555555, 0x66666666, flags};
    struct regs before = r;
    how(&r);
    CHECK(memcmp(&r.ebx, &before.ebx, 6 * sizeof(uint32_t)) == 0);
    CHECK((r.flags & some) == (before.flags & some));
  }
}
static void registers_and_flags(void) {
  const uint32_t calls[] = {SYS_getppid, SYS_gettid, SYS_sched_yield, 100000, 0xffffffff};
  for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
    keeps_registers(by_int80, calls[i]);
    keeps_registers(by_sysinfo, calls[i]);
  }
  printf("%d %d\n", (int)call6(by_int80, 100000, 0, 0, 0, 0, 0, 0), (int)call6(by_sysinfo, ~0u, 0, 0, 0, 0, 0, 0));
}
static void* yields(void* arg) {
  for (int i = 0; i < 2000; i++) {
    keeps_registers(by_int80, SYS_sched_yield);
    keeps_registers(by_sysinfo, SYS_sched_yield);
  }
  return arg;
}
static void registers_beside_threads(void) {
  pthread_t t[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, yields, NULL) == 0);
  for (int i = 0; i < 3; i++) CHECK(pthread_join(t[i], NULL) == 0);
  puts("ok");
}

static void six_arguments(void) {
  FILE* f = tmpfile();
  int fd = fileno(f);
  CHECK(ftruncate(fd, 8192) == 0 && pwrite(fd, "x", 1, 4096) == 1);
  void (*how[])(struct regs*) = {by_int80, by_sysinfo};
  for (int i = 0; i < 2; i++) {
    uint32_t at = call6(how[i], SYS_mmap2, 0, 4096, PROT_READ, MAP_PRIVATE, (uint32_t)fd, 1);
    CHECK(at < 0xfffff000);
    putchar(*(char*)(uintptr_t)at);
  }
  uint32_t old[6] = {0, 4096, PROT_READ, MAP_PRIVATE, (uint32_t)fd, 4096};
  uint32_t at = call6(by_int80, SYS_mmap, (uint32_t)(uintptr_t)old, 0, 0, 0, 0, 0);
  CHECK(at < 0xfffff000);
  printf("%c\n", *(char*)(uintptr_t)at);
}

static long socketcall(int which, void* args) { return syscall(SYS_socketcall, which, args); }
static void* answers(void* arg) {
  char c;
  uint32_t receive[] = {(uint32_t)(uintptr_t)arg, (uint32_t)(uintptr_t)&c, 1, 0};
  CHECK(socketcall(SYS_RECV, receive) == 1);
  uint32_t send[] = {(uint32_t)(uintptr_t)arg, (uint32_t)(uintptr_t)&c, 1, 0, 0, 0};
  CHECK(socketcall(SYS_SENDTO, send) == 1);
  return NULL;
}
static void multiplexed_sockets(void) {
  int pair[2];
  uint32_t make[] = {AF_UNIX, SOCK_STREAM, 0, (uint32_t)(uintptr_t)pair};
  CHECK(socketcall(SYS_SOCKETPAIR, make) == 0);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, answers, (void*)(intptr_t)pair[1]) == 0);
  sleep_ms(20);
  uint32_t send[] = {(uint32_t)pair[0], (uint32_t)(uintptr_t) "q", 1, 0};
  CHECK(socketcall(SYS_SEND, send) == 1);
  char c = 0;
  uint32_t receive[] = {(uint32_t)pair[0], (uint32_t)(uintptr_t)&c, 1, 0, 0, 0};
  CHECK(socketcall(SYS_RECVFROM, receive) == 1);
  CHECK(pthread_join(t, NULL) == 0);
  printf("%c %ld", c, socketcall(99, make));
  printf(" %d", errno);
  printf(" %ld", socketcall(SYS_BIND, (void*)16));
  printf(" %d\n", errno);
}

static long ipc(unsigned which, unsigned long a, unsigned long b, unsigned long c, void* p, long e) {
  return syscall(SYS_ipc, which, a, b, c, p, e);
}
enum { SEMOP = 1, SEMGET, SEMCTL, SEMTIMEDOP, MSGSND = 11, MSGRCV, MSGGET, MSGCTL };
static int sem;
static void* raises_semaphore(void* arg) {
  struct sembuf up = {0, 1, 0};
  sleep_ms(20);
  CHECK(ipc(SEMOP, (unsigned long)sem, 1, 0, &up, 0) == 0);
  return arg;
}
static void multiplexed_ipc(void) {
  sem = (int)ipc(SEMGET, IPC_PRIVATE, 1, 0600 | IPC_CREAT, NULL, 0);
  CHECK(sem >= 0);
  int value = 0;
  CHECK(ipc(SEMCTL, (unsigned long)sem, 0, SETVAL | 0x100, &value, 0) == 0);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, raises_semaphore, NULL) == 0);
  struct sembuf down = {0, -1, 0};
  CHECK(ipc(SEMOP, (unsigned long)sem, 1, 0, &down, 0) == 0);
  CHECK(pthread_join(t, NULL) == 0);
  struct timespec soon = {0, 20000000};
  CHECK(ipc(SEMTIMEDOP, (unsigned long)sem, 1, 0, &down, (long)&soon) == -1 && errno == EAGAIN);
  CHECK(ipc(SEMCTL, (unsigned long)sem, 0, IPC_RMID | 0x100, &value, 0) == 0);
  int q = (int)ipc(MSGGET, IPC_PRIVATE, 0600 | IPC_CREAT, 0, NULL, 0);
  CHECK(q >= 0);
  struct {
    long type;
    char text[4];
  } m = {7, "abc"}, got = {0, ""};
  CHECK(ipc(MSGSND, (unsigned long)q, 4, 0, &m, 0) == 0);
  struct {
    void* p;
    long type;
  } old = {&got, 7};
  CHECK(ipc(MSGRCV, (unsigned long)q, 4, 0, &old, 0) == 4);
  printf("%ld %s", got.type, got.text);
  CHECK(ipc(MSGSND, (unsigned long)q, 4, 0, &m, 0) == 0);
  CHECK(ipc(MSGRCV | 1 << 16, (unsigned long)q, 4, 0, &got, 7) == 4);
  CHECK(ipc(MSGCTL, (unsigned long)q, IPC_RMID | 0x100, 0, NULL, 0) == 0);
  printf(" %s\n", got.text);
}

struct time64 {
  int64_t sec, nsec;
};
static uint32_t word;
static void* sleeps(void* arg) {
  struct timespec old = {0, 20000000};
  struct time64 new = {0, 20000000}, garbage = {0, (int64_t)((1ull << 40) | 1000)};
  int64_t start = now_ms();
  CHECK(syscall(SYS_nanosleep, &old, NULL) == 0);
  CHECK(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &old, NULL) == 0);
  CHECK(syscall(SYS_clock_nanosleep_time64, CLOCK_MONOTONIC, 0, &new, NULL) == 0);
  CHECK(syscall(SYS_clock_nanosleep_time64, CLOCK_MONOTONIC, 0, &garbage, NULL) == 0); /* padding */
  CHECK(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &old, NULL, 0) == -1 && errno == ETIMEDOUT);
  CHECK(syscall(SYS_futex_time64, &word, FUTEX_WAIT_PRIVATE, 0, &new, NULL, 0) == -1 && errno == ETIMEDOUT);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  CHECK(syscall(SYS_rt_sigtimedwait, &set, NULL, &old, 8) == -1 && errno == EAGAIN);
  CHECK(syscall(SYS_rt_sigtimedwait_time64, &set, NULL, &new, 8) == -1 && errno == EAGAIN);
  CHECK(now_ms() - start >= 140 && now_ms() - start < 5000);
  new.nsec = 1000000000;
  CHECK(syscall(SYS_clock_nanosleep_time64, CLOCK_MONOTONIC, 0, &new, NULL) == -1 && errno == EINVAL);
  CHECK(syscall(SYS_futex_time64, &word, FUTEX_WAIT_PRIVATE, 0, &new, NULL, 0) == -1 && errno == EINVAL);
  return arg;
}
static void times_of_both_widths(void) {
  sleeps(NULL);
  pthread_t t[2];
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&t[i], NULL, sleeps, NULL) == 0);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(t[i], NULL) == 0);
  puts("ok");
}

static volatile int seen;
/* Without SA_SIGINFO: the sigcontext lies behind the number. */
struct old_context {
  uint32_t gs, fs, es, ds, di, si, bp, sp, bx, dx, cx, ax, trapno, err, ip;
};
static void plain(int sig, struct old_context sc) {
  CHECK(sig == SIGUSR1 || sig == SIGSEGV);
  if (sig == SIGSEGV) {
    CHECK(sc.cx == 16);
    sc.cx = (uint32_t)(uintptr_t)&word; /* goes into effect: nothing but the stack holds it */
    __asm__ volatile("" ::"m"(sc) : "memory");
  }
  seen++;
}
static void informed(int sig, siginfo_t* info, void* context) {
  ucontext_t* uc = context;
  CHECK(info->si_signo == sig && uc->uc_mcontext.gregs[REG_ESP] != 0);
  seen += 100;
}
static void handlers_of_both_kinds(void) {
  struct sigaction sa = {.sa_flags = 0};
  sa.sa_handler = (void (*)(int))plain;
  CHECK(sigaction(SIGUSR1, &sa, NULL) == 0 && sigaction(SIGSEGV, &sa, NULL) == 0);
  struct sigaction si = {.sa_flags = SA_SIGINFO};
  si.sa_sigaction = informed;
  CHECK(sigaction(SIGUSR2, &si, NULL) == 0);
  for (int i = 0; i < 3; i++) CHECK(raise(SIGUSR1) == 0 && raise(SIGUSR2) == 0);
  word = 42;
  uint32_t value;
  __asm__ volatile("movl $16, %%ecx\n movl (%%ecx), %0" : "=r"(value) : : "ecx", "memory");
  printf("%d %u\n", seen, value);
}
/* The mask that sigreturn restores is the one of the frame. */
static void old_mask_calls(void) {
  uint32_t set = 1u << (SIGUSR1 - 1), old = 99;
  CHECK(syscall(SYS_sigprocmask, SIG_BLOCK, &set, &old) == 0);
  struct sigaction sa = {.sa_flags = 0};
  sa.sa_handler = (void (*)(int))plain;
  CHECK(sigaction(SIGUSR1, &sa, NULL) == 0 && raise(SIGUSR1) == 0 && seen == 0);
  uint32_t pending = 0;
  CHECK(syscall(SYS_sigpending, &pending) == 0);
  printf("%u %d ", old, pending == set);
  CHECK(syscall(SYS_sigsuspend, 0, 0, 0) == -1 && errno == EINTR);
  printf("%d ", seen);
  CHECK(syscall(SYS_sigprocmask, SIG_SETMASK, &old, &set) == 0);
  printf("%d\n", set == 1u << (SIGUSR1 - 1));
}

static __thread int mine;
static void* own_block(void* arg) {
  uint32_t base;
  __asm__("movl %%gs:0, %0" : "=r"(base));
  mine = (int)(intptr_t)arg;
  for (int i = 0; i < 20; i++) {
    uint32_t now;
    sched_yield();
    __asm__ volatile("movl %%gs:0, %0" : "=r"(now));
    CHECK(now == base && mine == (int)(intptr_t)arg);
  }
  return arg;
}
static void thread_blocks(void) {
  enum { N = 300 };
  pthread_t t[N];
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 64 * 1024);
  for (int round = 0; round < 3; round++) {
    for (intptr_t i = 0; i < N; i++) CHECK(pthread_create(&t[i], &attr, own_block, (void*)i) == 0);
    for (int i = 0; i < N; i++) CHECK(pthread_join(t[i], NULL) == 0);
  }
  pid_t pid = fork();
  if (pid == 0) {
    for (intptr_t i = 0; i < N; i++) CHECK(pthread_create(&t[i], &attr, own_block, (void*)i) == 0);
    for (int i = 0; i < N; i++) CHECK(pthread_join(t[i], NULL) == 0);
    _exit(3);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid);
  printf("%d\n", WEXITSTATUS(status));
}

static void* forks(void* arg) {
  mine = 5;
  pid_t pid = fork();
  if (pid == 0) {
    pthread_t t;
    CHECK(mine == 5 && pthread_create(&t, NULL, own_block, NULL) == 0 && pthread_join(t, NULL) == 0);
    _exit(mine);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid);
  *(int*)arg = WEXITSTATUS(status);
  return arg;
}
static void fork_by_another_thread(void) {
  int status = 0;
  pthread_t t;
  CHECK(pthread_create(&t, NULL, forks, &status) == 0 && pthread_join(t, NULL) == 0);
  printf("%d\n", status);
}

static const struct test_case cases[] = {
    CASE(registers_and_flags), CASE(registers_beside_threads), CASE(six_arguments),
    CASE(multiplexed_sockets), CASE(multiplexed_ipc),          CASE(times_of_both_widths),
    CASE(handlers_of_both_kinds), CASE(old_mask_calls),        CASE(thread_blocks),
    CASE(fork_by_another_thread),
};
CASE_MAIN(cases)
