/* The way back from a handler: every register as it was, whatever comes meanwhile. */
#include "case.h"

#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>

#ifdef __x86_64__
enum { kGeneral = 14, kVectors = 16, kRedZone = 2 };
typedef uint64_t word;
#else
enum { kGeneral = 6, kVectors = 8, kRedZone = 0 };
typedef uint32_t word;
#endif

/* hold_registers fills the registers with the patterns, waits for `go` and stores what they hold then. */
struct held {
  volatile word go; /* 0 */
  word avx;
  word general[kGeneral];
  word flags;
  word red_zone[2];
  word wanted_flags;
  alignas(32) uint8_t vector[kVectors][32], pattern[kVectors][32];
  double ones; /* the sum of the eight of the x87 stack, which is full meanwhile */
};
void hold_registers(struct held* h);
void hold_spin(void), hold_spin_end(void);

enum { kFlags = 0x8d5, kDirection = 0x400 }; /* CF PF AF ZF SF OF; DF */
#define FULL_X87 "fninit\nfld1\nfld1\nfld1\nfld1\nfld1\nfld1\nfld1\nfld1\n"
#define SUM_X87 "faddp\nfaddp\nfaddp\nfaddp\nfaddp\nfaddp\nfaddp\nfstpl "

#ifdef __x86_64__
#define GENERAL(X) \
  X("rax", 0) X("rdx", 1) X("rbx", 2) X("rsi", 3) X("rdi", 4) X("rbp", 5) X("r8", 6) X("r9", 7) X("r10", 8) \
      X("r11", 9) X("r12", 10) X("r13", 11) X("r14", 12) X("r15", 13)
#define VECTORS(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define PATTERN(n) (0x123456789abcdef1u * (n + 1))
#define LOAD(reg, n) "movabsq $0x123456789abcdef1*(" #n "+1), %" reg "\n"
#define STORE(reg, n) "movq %" reg ", 16+8*" #n "(%rcx)\n"
__asm__(
    ".text\n.globl hold_registers, hold_spin, hold_spin_end\nhold_registers:\n"
    "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\npush %rdi\n"
    "leaq 672(%rdi), %rcx\ncmpq $0, 8(%rdi)\nje 1f\n"
#define Y(n) "vmovdqu 32*" #n "(%rcx), %ymm" #n "\n"
    VECTORS(Y)
#undef Y
    "jmp 2f\n1:\n"
#define Y(n) "movdqu 32*" #n "(%rcx), %xmm" #n "\n"
    VECTORS(Y)
#undef Y
    "2:\n" FULL_X87 "pushq 152(%rdi)\npopfq\n" GENERAL(LOAD)
    "movq %rax, -8(%rsp)\nmovq %rdx, -128(%rsp)\n"
    "hold_spin:\nmovq (%rsp), %rcx\nmovq (%rcx), %rcx\njrcxz hold_spin\nhold_spin_end:\n"
    "movq (%rsp), %rcx\n" GENERAL(STORE)
    "movq -8(%rsp), %rax\nmovq %rax, 136(%rcx)\nmovq -128(%rsp), %rax\nmovq %rax, 144(%rcx)\n"
    "pushfq\npopq 128(%rcx)\ncld\n" SUM_X87 "1184(%rcx)\ncmpq $0, 8(%rcx)\nje 1f\n"
#define Y(n) "vmovdqu %ymm" #n ", 160+32*" #n "(%rcx)\n"
    VECTORS(Y)
#undef Y
    "vzeroupper\njmp 2f\n1:\n"
#define Y(n) "movdqu %xmm" #n ", 160+32*" #n "(%rcx)\n"
    VECTORS(Y)
#undef Y
    "2:\npop %rdi\npop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n");
_Static_assert(offsetof(struct held, general) == 16 && offsetof(struct held, flags) == 128, "");
_Static_assert(offsetof(struct held, red_zone) == 136 && offsetof(struct held, wanted_flags) == 152 && offsetof(struct held, vector) == 160, "");
_Static_assert(offsetof(struct held, pattern) == 672 && offsetof(struct held, ones) == 1184, "");
#else
#define GENERAL(X) X("eax", 0) X("edx", 1) X("ebx", 2) X("esi", 3) X("edi", 4) X("ebp", 5)
#define VECTORS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define PATTERN(n) (0x12345671u * (n + 1))
#define LOAD(reg, n) "movl $(0x12345671*(" #n "+1)) & 0xffffffff, %" reg "\n"
#define STORE(reg, n) "movl %" reg ", 8+4*" #n "(%ecx)\n"
__asm__(
    ".text\n.globl hold_registers, hold_spin, hold_spin_end\nhold_registers:\n"
    "movl 4(%esp), %ecx\npush %ebx\npush %ebp\npush %esi\npush %edi\npush %ecx\n"
    "cmpl $0, 4(%ecx)\nje 1f\n"
#define Y(n) "vmovdqu 320+32*" #n "(%ecx), %ymm" #n "\n"
    VECTORS(Y)
#undef Y
    "jmp 2f\n1:\n"
#define Y(n) "movdqu 320+32*" #n "(%ecx), %xmm" #n "\n"
    VECTORS(Y)
#undef Y
    "2:\n" FULL_X87 "pushl 44(%ecx)\npopfl\n" GENERAL(LOAD)
    "hold_spin:\nmovl (%esp), %ecx\nmovl (%ecx), %ecx\njecxz hold_spin\nhold_spin_end:\n"
    "movl (%esp), %ecx\n" GENERAL(STORE)
    "pushfl\npopl 32(%ecx)\ncld\n" SUM_X87 "576(%ecx)\ncmpl $0, 4(%ecx)\nje 1f\n"
#define Y(n) "vmovdqu %ymm" #n ", 64+32*" #n "(%ecx)\n"
    VECTORS(Y)
#undef Y
    "vzeroupper\njmp 2f\n1:\n"
#define Y(n) "movdqu %xmm" #n ", 64+32*" #n "(%ecx)\n"
    VECTORS(Y)
#undef Y
    "2:\npop %ecx\npop %edi\npop %esi\npop %ebp\npop %ebx\nret\n");
_Static_assert(offsetof(struct held, general) == 8 && offsetof(struct held, flags) == 32, "");
_Static_assert(offsetof(struct held, vector) == 64 && offsetof(struct held, wanted_flags) == 44 && offsetof(struct held, pattern) == 320, "");
_Static_assert(offsetof(struct held, ones) == 576, "");
#endif

static struct held held;

static void hold_and_check(word direction, int wide) {
  held.wanted_flags = 0x202 | kFlags | direction;
  held.avx = wide && __builtin_cpu_supports("avx");
  uint8_t* pattern = &held.pattern[0][0];
  for (size_t i = 0; i < sizeof held.pattern; i++) pattern[i] = (uint8_t)(i * 7 + 1);
  memset(held.vector, 0, sizeof held.vector);
  hold_registers(&held);
  for (int i = 0; i < kGeneral; i++) CHECK(held.general[i] == (word)PATTERN(i));
  CHECK((held.flags & (kFlags | kDirection)) == (kFlags | direction) && held.ones == 8);
  size_t width = held.avx ? 32 : 16;
  for (int i = 0; i < kVectors; i++) CHECK(memcmp(held.vector[i], held.pattern[i], width) == 0);
  for (int i = 0; i < kRedZone; i++) CHECK(held.red_zone[i] == (word)PATTERN(i));
  held.go = 0;
}

static void set_handler(int sig, void (*fn)(int, siginfo_t*, void*), int flags) {
  struct sigaction act = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags};
  CHECK(sigaction(sig, &act, NULL) == 0);
}

/* What a handler does to the registers that it need not keep. */
__attribute__((noinline)) static void use_registers(void) {
  volatile double a = 3.7;
  volatile long double three = 1.5L; /* by the x87 stack, which a handler finds empty */
  char text[64];
  three = three * 2;
  if (three != 3) _exit(98);
  for (int i = 0; i < 4; i++) a = a * 1.1 + 0.3;
  snprintf(text, sizeof text, "%f", a);
  memset(text, 0, sizeof text);
}

static volatile int begun, handled;
static void on_twentieth_go(int sig, siginfo_t* info, void* uc) {
  (void)sig, (void)info, (void)uc;
  begun++;
  use_registers();
  if (++handled % 20 == 0) held.go = 1;
}

static pthread_t held_thread;
static volatile int stop;
static void* keep_sending(void* arg) {
  while (!stop) {
    int before = begun;
    int64_t end = now_ms() + 2;
    if (held.go == 0) pthread_kill(held_thread, SIGUSR1);
    /* the next may interrupt its handler, but they must not fill the stack */
    while (begun == before && !stop && now_ms() < end) sched_yield();
  }
  return arg;
}
static pthread_t start_sending(void) {
  pthread_t t;
  held_thread = pthread_self();
  CHECK(pthread_create(&t, NULL, keep_sending, NULL) == 0);
  return t;
}
static void stop_sending(pthread_t t) {
  stop = 1;
  CHECK(pthread_join(t, NULL) == 0);
}
static void under_signals(int flags) {
  set_handler(SIGUSR1, on_twentieth_go, flags);
  pthread_t t = start_sending();
  for (int i = 0; i < 20; i++) hold_and_check(i % 2 ? kDirection : 0, 1);
  stop_sending(t);
  puts("ok");
}
static void registers_over_handlers(void) { under_signals(0); }
static void registers_over_nested_handlers(void) { under_signals(SA_NODEFER); }
static void registers_over_handlers_on_the_alternate_stack(void) {
  stack_t ss = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
  CHECK(sigaltstack(&ss, NULL) == 0);
  under_signals(SA_ONSTACK);
}

/* ---- a signal at each instruction of the way back ----------------------------------------------- */

static void stop_for_tracer(int sig, siginfo_t* info, void* uc) {
  (void)sig, (void)info, (void)uc;
  use_registers();
  __asm__ volatile("int3");
}
static void let_go(int sig, siginfo_t* info, void* uc) {
  (void)sig, (void)info, (void)uc;
  use_registers();
  held.go = 1;
}
static void* wait_for_ever(void* arg) {
  for (;;) pause();
  return arg;
}
static void start_another(void) {
  sigset_t all, old;
  pthread_t t;
  sigfillset(&all);
  CHECK(pthread_sigmask(SIG_SETMASK, &all, &old) == 0 && pthread_create(&t, NULL, wait_for_ever, NULL) == 0);
  CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
}
static void hold_again_and_again(int beside_another) {
  if (beside_another) start_another();
  CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
  set_handler(SIGUSR1, stop_for_tracer, 0);
  set_handler(SIGUSR2, let_go, 0);
  for (;;) {
    __asm__ volatile("int3");
    hold_and_check(0, 1);
  }
}

static void resume(pid_t child, int how, int sig) { CHECK(ptrace(how, child, NULL, (void*)(intptr_t)sig) == 0); }
static int stop_of(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  if (!WIFSTOPPED(status)) printf("the child has ended: %#x\n", status);
  CHECK(WIFSTOPPED(status));
  return WSTOPSIG(status);
}
/* Signals that are not this program's reach the child, too: those by which its threads take turns. */
static void wait_for(pid_t child, int how, int expected) {
  for (int sig; (sig = stop_of(child)) != expected;) {
    CHECK(sig != SIGUSR1 && sig != SIGUSR2 && sig != SIGTRAP && sig != SIGSEGV);
    resume(child, how, sig);
  }
}
static void goes_on_until(pid_t child, int how, int deliver, int expected) {
  resume(child, how, deliver);
  wait_for(child, how, expected);
}
static int in_spin(pid_t child) {
  struct user_regs_struct regs;
  CHECK(ptrace(PTRACE_GETREGS, child, NULL, &regs) == 0);
#ifdef __x86_64__
  word pc = regs.rip;
#else
  word pc = (word)regs.eip;
#endif
  return pc >= (uintptr_t)hold_spin && pc < (uintptr_t)hold_spin_end;
}

/* From the end of a lap to the end of the handler that interrupts the next. */
static void to_the_handlers_end(pid_t child) {
  do {
    resume(child, PTRACE_CONT, 0);
    CHECK(syscall(SYS_tgkill, child, child, SIGUSR1) == 0);
    wait_for(child, PTRACE_CONT, SIGUSR1);
  } while (!in_spin(child));
  goes_on_until(child, PTRACE_CONT, SIGUSR1, SIGTRAP);
}
static void step(pid_t child) { goes_on_until(child, PTRACE_SINGLESTEP, 0, SIGTRAP); }
static void to_the_laps_end(pid_t child) {
  CHECK(syscall(SYS_tgkill, child, child, SIGUSR2) == 0);
  goes_on_until(child, PTRACE_CONT, 0, SIGUSR2);
  goes_on_until(child, PTRACE_CONT, SIGUSR2, SIGTRAP);
}

static void signal_at_each_step(int beside_another) {
  pid_t child = fork();
  if (child == 0) hold_again_and_again(beside_another);
  wait_for(child, PTRACE_CONT, SIGTRAP);
  int length = 0;
  for (int i = 0; i < 5; i++) { /* a signal that is not ours may lengthen one */
    int steps = 0;
    to_the_handlers_end(child);
    for (; !in_spin(child) && (steps < length || i == 0); steps++) step(child);
    to_the_laps_end(child);
    if (steps < length || i == 0) length = steps;
  }
  for (int at = length > 150 ? length - 150 : 0; at <= length; at++) {
    to_the_handlers_end(child);
    for (int i = 0; i < at; i++) step(child);
    to_the_laps_end(child);
  }
  kill(child, SIGKILL);
  CHECK(waitpid(child, NULL, 0) == child);
  puts("ok");
}

static void a_signal_at_each_step_of_the_way_back(void) { signal_at_each_step(0); }
static void a_signal_at_each_step_of_the_way_back_beside_another(void) { signal_at_each_step(1); }

/* ---- a handler that changes where it goes back to ---------------------------------------------- */

#ifdef __x86_64__
__attribute__((used)) static void called_in_between(void) {
  use_registers();
  held.go = 1;
}
void as_if_called(void);
__asm__(
    ".text\nas_if_called:\n"
    "pushfq\npush %rax\npush %rcx\npush %rdx\npush %rsi\npush %rdi\npush %r8\npush %r9\npush %r10\npush %r11\n"
    "push %rbp\nmovq %rsp, %rbp\nsubq $4096, %rsp\nandq $-64, %rsp\ncld\n"
    "fxsave64 (%rsp)\nfninit\nsubq $32, %rsp\ncall called_in_between\naddq $32, %rsp\nfxrstor64 (%rsp)\n"
    "movq %rbp, %rsp\npop %rbp\n"
    "pop %r11\npop %r10\npop %r9\npop %r8\npop %rdi\npop %rsi\npop %rdx\npop %rcx\npop %rax\npopfq\nret $128\n");
/* As runtimes with code of their own do: what was interrupted seems to have called a function. */
static void call_in_between(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info;
  greg_t* regs = ((ucontext_t*)context)->uc_mcontext.gregs;
  if (regs[REG_RIP] < (greg_t)hold_spin || regs[REG_RIP] >= (greg_t)hold_spin_end) return;
  regs[REG_RSP] -= 136;
  *(greg_t*)regs[REG_RSP] = regs[REG_RIP];
  regs[REG_RIP] = (greg_t)as_if_called;
}
static void handlers_that_push_a_call(void) {
  set_handler(SIGUSR1, call_in_between, 0);
  pthread_t t = start_sending();
  for (int i = 0; i < 50; i++) hold_and_check(0, 0); /* as_if_called keeps no more of the vectors */
  stop_sending(t);
  puts("ok");
}
#endif

static const struct test_case cases[] = {
    CASE(registers_over_handlers), CASE(registers_over_nested_handlers),
    CASE(registers_over_handlers_on_the_alternate_stack), CASE(a_signal_at_each_step_of_the_way_back),
    CASE(a_signal_at_each_step_of_the_way_back_beside_another),
#ifdef __x86_64__
    CASE(handlers_that_push_a_call),
#endif
};
CASE_MAIN(cases)
