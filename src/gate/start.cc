// Start-up in an unmodified process: the constructor that ld.so runs before every other one
// (-z initfirst), or cr_init in a program that links libcr.
//
// Above the boundary until the last line: libc may be used, there is one thread, and no call of
// the program has been seen. Order matters: the runtime first, the text of libc last.

#include "start.h"

#include <dlfcn.h>
#include <errno.h>
#include <libcr/thread.h>
#include <link.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../arch/x86_64/context.h"
#include "../../arch/x86_64/rawcall.h"
#include "../async/timer.h"
#include "../lwkt/clock.h"
#include "../lwkt/export.h"
#include "../lwkt/rfork.h"
#include "../mem/arena.h"
#include "../shim/shim.h"
#include "../signal/broadcast.h"
#include "../signal/signal.h"
#include "../sysport/process.h"
#include "../sysport/sysport.h"
#include "../sysport/tid.h"
#include "object.h"

extern "C" {
[[gnu::visibility("hidden")]] bool cr_have_fsgsbase;
[[gnu::visibility("hidden")]] bool cr_gate_ready;
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));
}

namespace cr {

Options options;
char self_path[4096];

void clone_init();

namespace {

inline constexpr unsigned long kHwcap2Fsgsbase = 1ul << 1;
inline constexpr uint32_t kRseqSig = 0x53053053;

char analyser[4096 + 16];
bool initialised;

bool flag(const char* name) {
  const char* v = getenv(name);
  return v != nullptr && v[0] != '\0' && strcmp(v, "0") != 0;
}

void read_options() {
  if (const char* v = getenv("LIBCR_CPUS")) options.cpus = atoi(v);
  if (const char* v = getenv("LIBCR_STACK_SIZE")) options.stack_size = strtoull(v, nullptr, 10);
  options.shims = getenv("LIBCR_SHIM");
  options.cache = getenv("LIBCR_CACHE");
  options.home = getenv("HOME");
  options.xdg_cache = getenv("XDG_CACHE_HOME");
  options.stats = flag("LIBCR_STATS");
  options.verbose = flag("LIBCR_VERBOSE");
  options.no_guard = flag("LIBCR_NO_GUARD_INSTALL");
  options.no_fsgsbase = flag("LIBCR_NO_FSGSBASE");
}

int count_cpus() {
  if (options.cpus >= 1) return options.cpus < kMaxCpus ? options.cpus : kMaxCpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  int n = CPU_COUNT(&set);
  return n < 1 ? 1 : (n > kMaxCpus ? kMaxCpus : n);
}

// The first thread's registration would make the kernel write into its TCB from whatever
// kernel thread runs it; afterwards sys_rseq answers.
void drop_rseq() {
  if (&__rseq_size == nullptr || &__rseq_offset == nullptr || __rseq_size == 0) return;
  uint64_t area = read_fsbase() + static_cast<uint64_t>(__rseq_offset);
  const long sizes[] = {32, static_cast<long>(__rseq_size)};
  for (long size : sizes) {
    if (raw4(SYS_rseq, static_cast<long>(area), size, RSEQ_FLAG_UNREGISTER, kRseqSig) == 0) break;
  }
  reinterpret_cast<struct rseq*>(area)->cpu_id =
      static_cast<uint32_t>(RSEQ_CPU_ID_UNINITIALIZED);
}

void find_self() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&find_self), &info) != 0 && info.dli_fname != nullptr) {
    if (realpath(info.dli_fname, self_path) == nullptr) self_path[0] = '\0';
  }
  const char* env = getenv("LIBCR_ANALYSER");
  if (env != nullptr && env[0] == '/') {
    snprintf(analyser, sizeof analyser, "%s", env);
    return;
  }
  // PREFIX/lib/x86_64-linux-gnu/libcr.so -> PREFIX/bin/cr
  char prefix[4096];
  snprintf(prefix, sizeof prefix, "%s", self_path);
  for (int i = 0; i < 3; i++) {
    char* slash = strrchr(prefix, '/');
    if (slash == nullptr) return;
    *slash = '\0';
  }
  snprintf(analyser, sizeof analyser, "%s/bin/cr", prefix);
  if (access(analyser, X_OK) != 0) analyser[0] = '\0';
}

struct AttachTotals {
  int objects = 0, sites = 0, failed = 0;
};

int attach_one(dl_phdr_info* info, size_t, void* arg) {
  auto* totals = static_cast<AttachTotals*>(arg);
  static char exe[4096];
  const char* path = info->dlpi_name;
  if (path == nullptr || path[0] == '\0') {
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return 0;
    exe[n] = '\0';
    path = exe;
  }
  // The vdso has no file, and the kernel may have sealed it. Our own library is no program.
  if (path[0] != '/' || strcmp(path, self_path) == 0) return 0;
  ObjectView o{path, info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum, nullptr, 0};
  object_find_build_id(&o);
  int n = object_attach(o);
  totals->objects++;
  if (n < 0) {
    totals->failed++;
    if (options.verbose) dprintf(2, "libcr: %s: not rewritten: %s\n", path, strerror(-n));
  } else {
    totals->sites += n;
    if (options.verbose && n > 0) dprintf(2, "libcr: %s: %d sites\n", path, n);
  }
  return 0;
}

void set_default_stack() {
  if (options.stack_size == 0) return;
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  if (pthread_attr_setstacksize(&attr, options.stack_size) == 0) pthread_setattr_default_np(&attr);
  pthread_attr_destroy(&attr);
}

}  // namespace

const char* analyser_path() { return analyser[0] != '\0' ? analyser : nullptr; }

int start(char** envp) {
  if (initialised) return 0;
  initialised = true;
  read_options();
  cr_have_fsgsbase = (getauxval(AT_HWCAP2) & kHwcap2Fsgsbase) != 0 && !options.no_fsgsbase;
  clock_init(reinterpret_cast<void*>(getauxval(AT_SYSINFO_EHDR)));
  find_self();
  process_init(envp);
  drop_rseq();

  static thread main_td;
  main_td.td_timer = -1;
  main_td.td_flags = TDF_MAIN | TDF_NPTL;
  main_td.td_fsbase = read_fsbase();
  lwkt_initport_thread(&main_td.td_msgport, &main_td);
  main_td.td_sysmsg.raw.sm.sm_lmsg.ms_flags = MSGF_DONE;
  main_td.td_sysmsg.raw.sm.sm_lmsg.ms_reply_port = &main_td.td_msgport;
  sched_hooks = {sig_threads_start, sig_route, sig_set_rfork_mask, broadcast_serve, timer_next, timer_expire};
  sched_init(count_cpus(), &main_td);
  tid_init(&main_td);
  // What the kernel holds for the first thread, for when another kernel thread runs it.
  uint64_t robust = 0, size = 0;
  raw3(SYS_get_robust_list, 0, reinterpret_cast<long>(&robust), reinterpret_cast<long>(&size));
  main_td.td_robust = robust;
  arena_init(options.no_guard);
  clone_init();
  sysport_init();
  sig_init(&main_td);
  set_default_stack();
  if (options.shims != nullptr && !shim_load_all(options.shims)) _exit(126);

  AttachTotals totals;
  dl_iterate_phdr(attach_one, &totals);
  cr_gate_ready = true;
  if (options.verbose) {
    dprintf(2, "libcr: %d sites in %d objects, %d cpus\n", totals.sites, totals.objects, ncpus);
  }
  return 0;
}

}  // namespace cr

extern "C" {

CR_API int cr_init(void) { return cr::start(environ); }

[[gnu::constructor]] static void cr_constructor(int, char**, char** envp) { cr::start(envp); }

}  // extern "C"
