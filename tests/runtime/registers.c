/* What a system call must leave alone: the red zone, every register but rax, rcx and r11, the
 * flags, the vectors. The calls go through libc's own (rewritten) `syscall`, whose caller-saved
 * registers the C ABI gives up, and through a trap of this program's own. What 32-bit code's own
 * trap leaves alone: i386_calls.c. */
#include "fifo.h"

#include <dlfcn.h>
#include <fenv.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>

#ifdef __x86_64__
/* libc's sched_yield site, called with everything set: returns a mask of what changed. */
static unsigned probe(void* fn) {
  unsigned changed = 0;
  uint64_t out[6];
  __asm__ volatile(
      "movq $0x1111, %%rbx\n movq $0x2222, %%r12\n movq $0x3333, %%r13\n"
      "movq $0x4444, %%r14\n movq $0x5555, %%r15\n movq $0x6666, %%r10\n"
      "movq $0x7777, %%r8\n movq $0x8888, %%r9\n"
      "subq $256, %%rsp\n call *%1\n addq $256, %%rsp\n"
      "movq %%rbx, 0(%0)\n movq %%r12, 8(%0)\n movq %%r13, 16(%0)\n movq %%r14, 24(%0)\n"
      "movq %%r15, 32(%0)\n movq %%r10, 40(%0)\n"
      : : "D"(out), "S"(fn)
      : "rbx", "r12", "r13", "r14", "r15", "r10", "r8", "r9", "rax", "rcx", "r11", "rdx", "memory",
        "cc");
  static const uint64_t want[6] = {0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666};
  for (int i = 0; i < 6; i++) changed |= (unsigned)(out[i] != want[i]) << i;
  return changed;
}
#endif
/* Not the wrapper that libcr exports, which is a C function like any other. */
static void* libc_yield(void) {
  void* fn = dlsym(dlopen("libc.so.6", RTLD_NOW), "sched_yield");
  CHECK(fn != NULL);
  return fn;
}

#ifdef __x86_64__
static void general_registers(void) {
  CHECK(probe(libc_yield()) == 0);
  puts("ok");
}

static volatile int stop;
static void* noise(void* arg) {
  volatile double x = 1;
  while (!stop) {
    for (int i = 0; i < 100; i++) x = x * 1.0001 + 0.1;
    sched_yield();
  }
  return arg;
}
#endif

__attribute__((target("avx"))) static void ymm_round(void) {
  double in[4] = {1.5, 2.5, 3.5, 4.5}, out[4] = {0};
  /* Yield through libc's rewritten site with ymm7 live: the kernel would keep it. */
#ifdef __x86_64__
  __asm__ volatile(
      "subq $256, %%rsp\n" /* the call's return address stays out of our red zone */
      "vmovupd (%0), %%ymm7\n call *%2\n vmovupd %%ymm7, (%1)\n vzeroupper\n"
      "addq $256, %%rsp\n"
      : : "b"(in), "r"(out), "r"(libc_yield())
      : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm7", "memory", "cc");
#else
  __asm__ volatile("vmovupd (%0), %%ymm7\n call *%2\n vmovupd %%ymm7, (%1)\n vzeroupper\n"
                   : : "b"(in), "D"(out), "S"(libc_yield()) : "eax", "ecx", "edx", "xmm7", "memory", "cc");
#endif
  CHECK(memcmp(in, out, sizeof in) == 0);
}
static void ymm_over_a_call(void) {
  if (__builtin_cpu_supports("avx")) {
    for (int i = 0; i < 1000; i++) ymm_round();
  }
  puts("ok");
}

#ifdef __x86_64__
__attribute__((noinline)) static long red_zone_round(void) {
  long bad = 0;
  /* The program's own `syscall`, with 128 bytes below the stack pointer in use. */
  __asm__ volatile(
      "movq $1, -8(%%rsp)\n movq $2, -64(%%rsp)\n movq $3, -128(%%rsp)\n"
      "movl $24, %%eax\n syscall\n"
      "cmpq $1, -8(%%rsp)\n jne 1f\n cmpq $2, -64(%%rsp)\n jne 1f\n cmpq $3, -128(%%rsp)\n je 2f\n"
      "1: movq $1, %0\n 2:\n"
      : "+r"(bad) : : "rax", "rcx", "r11", "memory", "cc");
  return bad;
}
static void red_zone(void) {
  for (int i = 0; i < 1000; i++) CHECK(red_zone_round() == 0);
  puts("ok");
}

static void flags(void) {
  uint64_t before = 0, after = 0;
  __asm__ volatile(
      "subq $256, %%rsp\n"
      "movq $-1, %%rcx\n addq $1, %%rcx\n stc\n pushfq\n popq %0\n"
      "movl $39, %%eax\n syscall\n pushfq\n popq %1\n addq $256, %%rsp\n"
      : "=&r"(before), "=&r"(after) : : "rax", "rcx", "r11", "memory", "cc");
  CHECK((before & 0xcd5) == (after & 0xcd5));
  puts("ok");
}
#endif

static void* rounding_body(void* arg) {
  int mode = (intptr_t)arg % 2 ? FE_UPWARD : FE_DOWNWARD;
  CHECK(fesetround(mode) == 0);
  for (int i = 0; i < 500; i++) {
    sched_yield();
    CHECK(fegetround() == mode);
  }
  return arg;
}
static void rounding_mode_is_the_threads(void) {
  pthread_t t[8];
  for (intptr_t i = 0; i < 8; i++) CHECK(pthread_create(&t[i], NULL, rounding_body, (void*)i) == 0);
  for (int i = 0; i < 8; i++) pthread_join(t[i], NULL);
  CHECK(fegetround() == FE_TONEAREST);
  puts("ok");
}

#ifdef __x86_64__
static void registers_beside_threads(void) {
  pthread_t t[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&t[i], NULL, noise, NULL) == 0);
  for (int i = 0; i < 300; i++) {
    CHECK(probe(libc_yield()) == 0);
    CHECK(red_zone_round() == 0);
  }
  stop = 1;
  for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
  puts("ok");
}
#endif

/* A wake-up by a trap of the program's own, with the first four vectors live over it or others. Each is a function of
 * its own: what is live is reckoned for whole functions. */
#ifdef __x86_64__
#define TRAP "syscall\n"
#define WAKE(word) "a"(SYS_futex), "D"(word), "S"(FUTEX_WAKE_PRIVATE), "d"(1), [in] "b"(lanes), [out] "r"(out)
#define TRAP_CLOBBERS "rcx", "r11", "memory"
#define LAST "xmm15"
#else
#define TRAP "int $0x80\n"
#define WAKE(word) "a"(SYS_futex), "b"(word), "c"(FUTEX_WAKE_PRIVATE), "d"(1), [in] "S"(lanes), [out] "D"(out)
#define TRAP_CLOBBERS "memory"
#define LAST "xmm7"
#endif
static const uint64_t lanes[4] = {0x1111, 0x2222, 0x3333, 0x4444};
__attribute__((noinline, target("sse2"))) static int wake_with_few(uint32_t* word) {
  uint64_t out[4] = {0};
  long r;
  __asm__ volatile(
      "movq (%[in]), %%xmm0\n movq 8(%[in]), %%xmm1\n movq 16(%[in]), %%xmm2\n movq 24(%[in]), %%xmm3\n" TRAP
      "movq %%xmm0, (%[out])\n movq %%xmm1, 8(%[out])\n movq %%xmm2, 16(%[out])\n movq %%xmm3, 24(%[out])\n"
      : "=a"(r) : WAKE(word) : TRAP_CLOBBERS, "xmm0", "xmm1", "xmm2", "xmm3");
  return r >= 0 && memcmp(lanes, out, sizeof out) == 0;
}
__attribute__((noinline, target("sse2"))) static int wake_with_others(uint32_t* word) {
  uint64_t out[4] = {0};
  long r;
  __asm__ volatile(
      "movq (%[in]), %%xmm0\n movq 8(%[in]), %%xmm4\n movq 16(%[in]), %%xmm6\n movq 24(%[in]), %%" LAST "\n" TRAP
      "movq %%xmm0, (%[out])\n movq %%xmm4, 8(%[out])\n movq %%xmm6, 16(%[out])\n movq %%" LAST ", 24(%[out])\n"
      : "=a"(r) : WAKE(word) : TRAP_CLOBBERS, "xmm0", "xmm4", "xmm6", LAST);
  return r >= 0 && memcmp(lanes, out, sizeof out) == 0;
}
enum { WAKES = 200 };
static uint32_t wakes;
__attribute__((target("sse2"))) static void* fill_vectors_when_woken(void* arg) {
  for (uint32_t i = 0; i < WAKES; i++) {
    while (__atomic_load_n(&wakes, __ATOMIC_SEQ_CST) == i) syscall(SYS_futex, &wakes, FUTEX_WAIT_PRIVATE, i, NULL);
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n movdqa %%xmm0, %%xmm1\n movdqa %%xmm0, %%xmm2\n movdqa %%xmm0, %%xmm3\n"
                     "movdqa %%xmm0, %%xmm4\n movdqa %%xmm0, %%xmm6\n movdqa %%xmm0, %%" LAST "\n"
                     : : : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm6", LAST);
  }
  return arg;
}
static int wake_each_time(void) {
  int kept = 1;
  for (uint32_t i = 0; i < WAKES; i++) {
    __atomic_store_n(&wakes, i + 1, __ATOMIC_SEQ_CST);
    kept = kept && (i % 2 ? wake_with_few(&wakes) : wake_with_others(&wakes));
    if (i % 5 == 4) sched_yield();
  }
  return kept;
}
static void xmm_over_a_wake(void) {
  pthread_t t;
  CHECK(pthread_create(&t, NULL, fill_vectors_when_woken, NULL) == 0);
  CHECK(wake_each_time() && pthread_join(t, NULL) == 0);
  puts("ok");
}
/* The woken one runs before the call has returned. */
static void xmm_over_a_wake_of_a_higher_one(void) {
  if (!be_fifo(10)) return;
  pthread_t t = new_fifo(20, fill_vectors_when_woken, NULL);
  CHECK(wake_each_time() && pthread_join(t, NULL) == 0);
  puts("ok");
}

static void bad_call_numbers(void) {
  static const long numbers[] = {-1, 100000, 335, 1000, 0x7fffffff, -100, 512, 547};
  for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    errno = 0;
    long r = syscall(numbers[i], 0, 0, 0, 0, 0, 0);
    printf("%ld: %ld %d\n", numbers[i], r, errno);
  }
}

/* Threads that are preempted keep everything: a computation with known vectors and registers. */
static void* compute_body(void* arg) {
  double s = 0;
  uint64_t h = 1;
  for (int r = 0; r < 40; r++) {
    s = 0;
    for (int i = 1; i < 200000; i++) s += 1.0 / i;
    for (int i = 0; i < 100000; i++) h = h * 6364136223846793005ull + 1442695040888963407ull;
  }
  static double first;
  static uint64_t first_h;
  static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&m);
  if (first == 0) first = s, first_h = h;
  CHECK(first == s && first_h == h);
  pthread_mutex_unlock(&m);
  return arg;
}
static void preempted_computations(void) {
  pthread_t t[6];
  for (int i = 0; i < 6; i++) CHECK(pthread_create(&t[i], NULL, compute_body, NULL) == 0);
  for (int i = 0; i < 6; i++) pthread_join(t[i], NULL);
  puts("ok");
}

static const struct test_case cases[] = {
#ifdef __x86_64__
    CASE(general_registers), CASE(red_zone), CASE(flags), CASE(registers_beside_threads),
#endif
    CASE(ymm_over_a_call), CASE(rounding_mode_is_the_threads), CASE(bad_call_numbers),
    CASE(xmm_over_a_wake), CASE(xmm_over_a_wake_of_a_higher_one),
    CASE(preempted_computations),
};
CASE_MAIN(cases)
