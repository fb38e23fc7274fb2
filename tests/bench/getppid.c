// The price of the gate: getppid as a bare trap, through libc's own trap site, and through the
// symbol that a preload may export. All three in one process, in interleaved rounds, minima.
//
//   bench_getppid [calls a round] [rounds]
//
// raw_ns      a `syscall` instruction on an anonymous page: no analysis of files can find and
//             rewrite it, so it stays a bare trap under the preload (unless every trap is caught).
//             In a 32-bit program a call of the vdso's entry, as libc makes it by its thread block
// site_ns     getppid as libc itself defines it, looked up in libc's handle and not in the global
//             scope: under the preload this is the rewritten site
// wrapper_ns  getppid as the program's symbol resolves: under the preload the exported wrapper
//
// All are called through a pointer, so that the call costs the same. wrapper_interposed says
// whether the last two differ; natively they are one function.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

typedef pid_t (*getppid_fn)(void);

enum { kRaw, kSite, kWrapper, kDoors };

static getppid_fn make_raw_trap(void) {
#ifdef __i386__
  static uint32_t entry;
  entry = getauxval(AT_SYSINFO);
  unsigned char code[] = {
      0xb8, 0x40, 0x00, 0x00, 0x00,        // mov $64 (getppid), %eax
      0xff, 0x15, 0x00, 0x00, 0x00, 0x00,  // call *entry
      0xc3,                                // ret
  };
  const uint32_t at = (uint32_t)(uintptr_t)&entry;
  memcpy(code + 7, &at, sizeof(at));
#else
  static const unsigned char code[] = {
      0xb8, 0x6e, 0x00, 0x00, 0x00,  // mov $110 (getppid), %eax
      0x0f, 0x05,                    // syscall
      0xc3,                          // ret
  };
#endif
  void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    bench_fail("mmap", errno);
  }
  memcpy(page, code, sizeof(code));
  if (mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0) {
    bench_fail("mprotect", errno);
  }
  return (getppid_fn)(uintptr_t)page;
}

static getppid_fn find_libc_getppid(void) {
  void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
  void *found = libc != NULL ? dlsym(libc, "getppid") : NULL;
  if (found == NULL) {
    fprintf(stderr, "no getppid in libc.so.6: %s\n", dlerror());
    exit(1);
  }
  return (getppid_fn)(uintptr_t)found;
}

static __attribute__((noinline)) double time_calls(getppid_fn call, unsigned long calls) {
  const uint64_t start = bench_now_ns();
  for (unsigned long i = 0; i < calls; i++) {
    call();
  }
  return (double)(bench_now_ns() - start) / (double)calls;
}

int main(int argc, char **argv) {
  const unsigned long calls = bench_count(argc, argv, 1, 20000, 1);
  const unsigned long rounds = bench_count(argc, argv, 2, 50, 1);
  const getppid_fn doors[kDoors] = {make_raw_trap(), find_libc_getppid(), getppid};
  double best[kDoors] = {1e18, 1e18, 1e18};

  const pid_t parent = doors[kRaw]();
  for (int door = 0; door < kDoors; door++) {
    if (doors[door]() != parent) {
      bench_fail("the doors disagree on getppid", EINVAL);
    }
  }
  for (unsigned long round = 0; round < rounds; round++) {
    for (int door = 0; door < kDoors; door++) {
      const double ns = time_calls(doors[door], calls);
      best[door] = ns < best[door] ? ns : best[door];
    }
  }

  printf(
      "{\"bench\":\"getppid\",\"raw_ns\":%.2f,\"site_ns\":%.2f,\"wrapper_ns\":%.2f,"
      "\"site_over_raw_ns\":%.2f,\"wrapper_over_raw_ns\":%.2f,\"wrapper_interposed\":%d,"
      "\"ops\":%lu}\n",
      best[kRaw], best[kSite], best[kWrapper], best[kSite] - best[kRaw],
      best[kWrapper] - best[kRaw], doors[kSite] != doors[kWrapper], calls * rounds);
  return 0;
}
