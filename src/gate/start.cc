// Start-up in an unmodified process: the constructor that ld.so runs before every other one
// (-z initfirst), or that of a program that has libcr.a linked in.
//
// Such a program carries a note (PT_NOTE, owner "libcr"). A preloaded libcr.so that finds it
// steps aside: two runtimes would fight for the per-cpu register.
//
// Above the boundary until the last line: libc may be used, there is one thread, and no call of
// the program has been seen. Order matters: the runtime first, the text of libc last.

#include "start.h"

#include <elf.h>
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
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../arch/abi.h"
#include "../../arch/context.h"
#include "../../arch/rawcall.h"
#include "../async/engine.h"
#include "../async/timer.h"
#include "../lwkt/clock.h"
#include "../lwkt/export.h"
#include "../lwkt/large.h"
#include "../lwkt/placement.h"
#include "../lwkt/rfork.h"
#include "../mem/arena.h"
#include "../shim/report.h"
#include "../shim/shim.h"
#include "../signal/signal.h"
#include "../sysport/deadlock.h"
#include "../sysport/hooks.h"
#include "../sysport/process.h"
#include "../sysport/sysport.h"
#include "../sysport/tid.h"
#include "object.h"
#include "vdso.h"

extern "C" {
[[gnu::visibility("hidden")]] bool cr_gate_ready;
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));
extern char __libc_single_threaded __attribute__((weak));
}

// The note of a program that has the runtime linked in.
asm(".pushsection .note.libcr, \"a\", @note\n"
    ".balign 4\n"
    ".long 6, 4, 1\n"  // the owner's length, the content's length, the type
    ".asciz \"libcr\"\n"
    ".balign 4\n"
    ".long 1\n"        // version of the linked-in ABI
    ".popsection");

namespace cr {

Options options;

void clone_init();

namespace {

inline constexpr uint32_t kRseqSig = 0x53053053;

CR_LARGE char analyser[4096 + 16];
bool initialised;

char** environment;

// Blind in a setuid program (that has libcr linked in): it must not load its user's shim.
const char* setting(const char* name) {
  if (getauxval(AT_SECURE) != 0) return nullptr;
  size_t n = strlen(name);
  for (char** e = environment; e != nullptr && *e != nullptr; e++) {
    if (strncmp(*e, name, n) == 0 && (*e)[n] == '=') return *e + n + 1;
  }
  return nullptr;
}

bool holds(const dl_phdr_info* info, uint64_t addr) {
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& p = info->dlpi_phdr[i];
    uint64_t lo = info->dlpi_addr + p.p_vaddr;
    if (p.p_type == PT_LOAD && addr >= lo && addr < lo + p.p_memsz) return true;
  }
  return false;
}

struct Arguments {
  int argc;
  char** argv;
  char** envp;
};

// Runs libc's init functions if `info` is libc.
int init_libc(dl_phdr_info* info, size_t, void* arg) {
  // By name: a symbol's address may be that of a copy in the program.
  const char* slash = info->dlpi_name != nullptr ? strrchr(info->dlpi_name, '/') : nullptr;
  if (slash == nullptr || strcmp(slash, "/libc.so.6") != 0) return 0;
  const ElfW(Dyn)* d = nullptr;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& p = info->dlpi_phdr[i];
    if (p.p_type == PT_DYNAMIC) d = reinterpret_cast<const ElfW(Dyn)*>(info->dlpi_addr + p.p_vaddr);
  }
  using Init = void (*)(int, char**, char**);
  const Init* array = nullptr;
  size_t n = 0;
  for (; d != nullptr && d->d_tag != DT_NULL; d++) {
    if (d->d_tag == DT_INIT_ARRAY) array = reinterpret_cast<const Init*>(info->dlpi_addr + d->d_un.d_ptr);
    if (d->d_tag == DT_INIT_ARRAYSZ) n = d->d_un.d_val / sizeof(Init);
  }
  auto* a = static_cast<Arguments*>(arg);
  for (size_t i = 0; i < n; i++) array[i](a->argc, a->argv, a->envp);
  return 1;
}

// The preload's constructor comes before libc's, which set environ and the arguments. A dlopen
// from here (a shim) would run them with what is there now, nothing, and the program would find no
// environment. So they are run first; ld.so runs them again, which does no harm (glibc 2.36: they
// store the same three words, and look at the FPU control word and the stdio tables).
void make_libc_ready(Arguments a) {
  if (environ == nullptr) dl_iterate_phdr(init_libc, &a);
}

bool flag(const char* name) {
  const char* v = setting(name);
  return v != nullptr && v[0] != '\0' && strcmp(v, "0") != 0;
}

void read_options() {
  if (const char* v = setting("LIBCR_CPUS")) options.cpus = atoi(v);
  if (const char* v = setting("LIBCR_STACK_SIZE")) options.stack_size = strtoull(v, nullptr, 10);
  options.shims = setting("LIBCR_SHIM");
  options.cache = setting("LIBCR_CACHE");
  options.home = setting("HOME");
  options.xdg_cache = setting("XDG_CACHE_HOME");
  options.engine = setting("LIBCR_ENGINE");
  options.on_deadlock = setting("LIBCR_ON_DEADLOCK");
  options.stats = flag("LIBCR_STATS");
  options.verbose = flag("LIBCR_VERBOSE");
  options.no_guard = flag("LIBCR_NO_GUARD_INSTALL");
  options.no_fsgsbase = flag("LIBCR_NO_FSGSBASE");
  options.no_trap_rcx = flag("LIBCR_NO_TRAP_RCX");
  options.no_placement = flag("LIBCR_NO_PLACEMENT");
  options.keep_locks = flag("LIBCR_KEEP_LOCKS");
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
  uint64_t area = tls_read().base + static_cast<uintptr_t>(__rseq_offset);
  const long sizes[] = {32, static_cast<long>(__rseq_size)};
  for (long size : sizes) {
    if (raw4(SYS_rseq, static_cast<long>(area), size, RSEQ_FLAG_UNREGISTER, kRseqSig) == 0) break;
  }
  reinterpret_cast<struct rseq*>(area)->cpu_id =
      static_cast<uint32_t>(RSEQ_CPU_ID_UNINITIALIZED);
}

struct Self {
  const char* path = nullptr;  // ours, as ld.so knows it; null: we are part of the program's own file
  bool other = false;      // the program has a runtime of its own linked in
};

bool has_note(const dl_phdr_info* info) {
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& p = info->dlpi_phdr[i];
    if (p.p_type != PT_NOTE) continue;
    uint64_t at = info->dlpi_addr + p.p_vaddr;
    uint64_t end = at + p.p_memsz;
    uint64_t align = p.p_align == 8 ? 7 : 3;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      auto* n = reinterpret_cast<const ElfW(Nhdr)*>(at);
      if (n->n_namesz == 6 && memcmp(n + 1, "libcr", 6) == 0) return true;
      uint64_t desc = (at + sizeof(*n) + n->n_namesz + align) & ~align;
      at = (desc + n->n_descsz + align) & ~align;
    }
  }
  return false;
}

// The first object is the program itself; in a static one there is no other. (dladdr would
// say the same, but a static program is not to drag in the loader.)
int find_self_in(dl_phdr_info* info, size_t, void* arg) {
  auto* self = static_cast<Self*>(arg);
  bool program = info->dlpi_name == nullptr || info->dlpi_name[0] == '\0';
  bool here = holds(info, reinterpret_cast<uintptr_t>(&find_self_in));
  if (program && !here && has_note(info)) self->other = true;
  if (!here) return 0;
  self->path = program ? nullptr : info->dlpi_name;
  return 1;
}

bool try_analyser(const char* dir, size_t dir_len, const char* name) {
  size_t name_len = strlen(name);
  if (dir_len == 0 || dir[0] != '/' || dir_len + name_len >= sizeof analyser) return false;
  memcpy(analyser, dir, dir_len);
  memcpy(analyser + dir_len, name, name_len + 1);
  if (access(analyser, X_OK) == 0) return true;
  analyser[0] = '\0';
  return false;
}

// `cr` makes the site tables that are not in the cache: named by the environment, at
// PREFIX/bin/cr for PREFIX/lib/MACHINE/libcr.so or PREFIX/lib/MACHINE/keep-gs/libcr.so,
// where this libcr was configured to be installed, or in PATH.
void find_analyser(const char* self) {
  const char* env = setting("LIBCR_ANALYSER");
  if (env != nullptr && try_analyser(env, strlen(env), "")) return;
  // Not before it is asked for: each directory in it is a call.
  CR_LARGE static char resolved[4096];
  size_t n = self != nullptr && realpath(self, resolved) != nullptr ? strlen(resolved) : 0;
  for (int i = 1; i <= 4 && n > 0; i++) {
    while (n > 0 && resolved[--n] != '/') {
    }
    if (i >= 3 && try_analyser(resolved, n, "/bin/cr")) return;
  }
#ifdef CR_INSTALLED_BIN
  if (try_analyser(CR_INSTALLED_BIN, strlen(CR_INSTALLED_BIN), "/cr")) return;
#endif
  const char* path = setting("PATH");
  while (path != nullptr && *path != '\0') {
    const char* end = strchrnul(path, ':');
    if (try_analyser(path, static_cast<size_t>(end - path), "/cr")) return;
    path = *end == '\0' ? end : end + 1;
  }
}

// Where glibc's thread descriptor keeps the main thread's id: pthread_join waits for it to be
// cleared. The kernel tells if it was built with CHECKPOINT_RESTORE. If not: two ints before the
// pointer to the previous entry and the robust list's head (glibc's struct pthread since 2.12: tid, pid, robust_prev, robust_head).
uint64_t main_tid_word(uint64_t robust) {
  uint64_t at = 0;
  if (raw2(SYS_prctl, PR_GET_TID_ADDRESS, reinterpret_cast<long>(&at)) == 0 && at != 0) return at;
  if (robust == 0) return 0;
  at = robust - kTidBeforeRobust;
  return *reinterpret_cast<const int32_t*>(at) == raw0(SYS_gettid) ? at : 0;
}

struct AttachTotals {
  int objects = 0, sites = 0, failed = 0;
};

int attach_one(dl_phdr_info* info, size_t, void* arg) {
  auto* totals = static_cast<AttachTotals*>(arg);
  CR_LARGE static char exe[4096];
  const char* path = info->dlpi_name;
  bool program = path == nullptr || path[0] == '\0';
  bool here = holds(info, reinterpret_cast<uintptr_t>(&attach_one));
  if (program) {
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return 0;
    exe[n] = '\0';
    path = exe;
  }
  // The vdso has no file, and the kernel may have sealed it. Our own library is no program.
  if (path[0] != '/' || (here && !program)) return 0;
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

const char* analyser_path;

int start(char** envp) {
  if (initialised) return 0;
  Self self;
  dl_iterate_phdr(find_self_in, &self);
  if (self.other) return 0;  // that one starts, or has started; our wrappers trap
  // Kernel threads from before us have no per-cpu register: their calls can't be messages.
  if (&__libc_single_threaded != nullptr && __libc_single_threaded == 0) {
    dprintf(2, "libcr: threads were made before it could start: they stay the kernel's\n");
    return EBUSY;
  }
  initialised = true;
  environment = envp;
  read_options();
  auto* vdso = reinterpret_cast<void*>(getauxval(AT_SYSINFO_EHDR));
  const char* missing =
      arch_init({getauxval(AT_HWCAP2), vdso, getauxval(AT_SYSINFO), options.no_fsgsbase, options.no_trap_rcx});
  if (missing != nullptr) {
    dprintf(2, "libcr: %s: the program's threads stay the kernel's\n", missing);
    if (options.shims != nullptr) _exit(126);
    return 0;
  }
  clock_init(vdso);
  find_analyser(self.path);
  if (analyser[0] != '\0') analyser_path = analyser;
  process_init(envp);
  drop_rseq();

  static thread main_td;
  main_td.td_timer = -1;
  main_td.td_slack = main_td.td_slackdef = timer_slack_inherited();
  main_td.td_flags = TDF_MAIN | TDF_NPTL;
  main_td.td_tls = tls_read();
  lwkt_initport_thread(&main_td.td_msgport, &main_td);
  main_td.td_sysmsg.raw.sm.sm_lmsg.ms_flags = MSGF_DONE;
  main_td.td_sysmsg.raw.sm.sm_lmsg.ms_reply_port = &main_td.td_msgport;
  hooks_init();
  if (!engine_choose(options.engine)) {
    dprintf(2, "libcr: LIBCR_ENGINE=%s: no such engine; auto is used\n", options.engine);
  }
  if (!deadlock_init(options.on_deadlock)) {
    dprintf(2, "libcr: LIBCR_ON_DEADLOCK=%s: not report, abort or ignore; report is used\n",
            options.on_deadlock);
  }
  sched_init(count_cpus(), &main_td);
  tid_init(&main_td);
  long filters = raw1(SYS_prctl, PR_GET_SECCOMP);
  peers_init(filters);
  // What the kernel holds for the first thread, for when another kernel thread runs it.
  uint64_t robust = 0, size = 0;
  raw3(SYS_get_robust_list, 0, reinterpret_cast<long>(&robust), reinterpret_cast<long>(&size));
  main_td.td_robust = robust;
  main_td.td_cleartid = main_tid_word(robust);
  arena_init(options.no_guard);
  clone_init();
  sysport_init();
  sig_init(&main_td, sysport_terminal_masked);
  if (filters == SECCOMP_MODE_FILTER) sig_expect_filters();
  if (filters == SECCOMP_MODE_DISABLED && !options.no_placement) placement_allow();
  set_default_stack();
  if (options.shims != nullptr || options.stats) report_open();
  if (options.shims != nullptr && !shim_load_all(options.shims)) _exit(126);

  AttachTotals totals;
  dl_iterate_phdr(attach_one, &totals);
  if (totals.sites == 0) {
    // Without libc's sites NPTL would make kernel threads behind our back, and their calls
    // through the wrappers would find no per-cpu register: the gate stays shut.
    dprintf(2, "libcr: no system call site could be rewritten%s: the program's threads stay the "
               "kernel's\n",
            analyser[0] == '\0' ? " (no cr to analyse libc; set LIBCR_ANALYSER)" : "");
    if (options.shims != nullptr) _exit(126);  // a shim that sees nothing is not what was asked for
    return 0;
  }
  cr_gate_ready = true;
  sysport_head_changed();
  arch_open_gate();
  vdso_redirect();
  if (options.verbose) {
    dprintf(2, "libcr: %d sites in %d objects, %d cpus\n", totals.sites, totals.objects, ncpus);
  }
  return 0;
}

}  // namespace cr

extern "C" {

CR_API int cr_init(void) { return cr::start(environ); }

// 101: before the program's own when linked in.
[[gnu::constructor(101)]] static void cr_constructor(int argc, char** argv, char** envp) {
  int before = errno;  // 0: a program may rely on it
  cr::make_libc_ready({argc, argv, envp});
  cr::start(envp);
  errno = before;
}

}  // extern "C"
