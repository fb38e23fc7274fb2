// fork, vfork, exec and their kin.
//
// fork: the child has the calling LWKT alone. The kernel thread that forked is its only one; it
// takes cpu 0 and everything the others had is forgotten (their stacks stay allocated in the
// child's copy, as natively).
//
// vfork, and any clone that shares our memory without being a thread: the child gets a
// pass-through area behind the per-cpu register, so that its calls trap in place and touch nothing of ours
// (arch/x86_64/gate.S). The parent's frame is kept outside the stack meanwhile.

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../arch/context.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/async/engine.h"
#include "../src/async/fdtable.h"
#include "../src/async/timer.h"
#include "../src/gate/buslock.h"
#include "../src/gate/object.h"
#include "../src/gate/start.h"
#include "../src/lwkt/assert.h"
#include "../src/lwkt/ipiq.h"
#include "../src/lwkt/large.h"
#include "../src/lwkt/reserve.h"
#include "../src/lwkt/rfork.h"
#include "../src/lwkt/slab.h"
#include "../src/lwkt/stats.h"
#include "../src/mem/arena.h"
#include "../src/mem/shared.h"
#include "../src/shim/report.h"
#include "../src/shim/shim.h"
#include "../src/signal/broadcast.h"
#include "../src/signal/preempt.h"
#include "../src/signal/signal.h"
#include "../src/sysport/callstack.h"
#include "../src/sysport/deadlock.h"
#include "../src/sysport/process.h"
#include "../src/sysport/schedclass.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "../src/sysport/worker.h"
#include "cred.h"
#include "futex.h"
#include "process.h"
#include "ptrace.h"
#include "seccomp.h"
#include "sysent.h"
#include "threadsched.h"

extern "C" {
void gate_passthru();
[[noreturn]] void gate_vfork(cr::trapframe* copy, cr::globaldata* gd);
}

namespace cr {

namespace {

// What a child on our memory runs with. `busy` while a child may use it.
struct PassThru {
  globaldata gd;
  thread td;
  trapframe frame;
  bool in_trap;   // the parent has offered its cpu
  bool vfork;     // the child is done with our memory when the parent goes on
  void* scratch;  // the environment of an exec
  uint64_t scratch_size;
};

PassThru* passthru_make(const trapframe* tf, bool vfork) {
  auto* p = static_cast<PassThru*>(slab_alloc(sizeof(PassThru)));
  if (p == nullptr) return nullptr;
  __builtin_memset(p, 0, sizeof *p);
  if (!percpu_arch_passthru(&p->gd.gd_arch, &p->gd)) {
    slab_free(p, sizeof *p);
    return nullptr;
  }
  p->gd.gd_self = &p->gd;
  p->gd.gd_curthread = &p->td;
  p->gd.gd_gate = gate_passthru;
  p->gd.gd_flags = GDF_PASSTHRU;
  p->gd.gd_pt_retpc = tf->pc;
  p->gd.gd_pt_parent = mygd();
  p->gd.gd_pt_frame = &p->frame;
  p->td.td_flags = TDF_PASSTHRU | TDF_NOTLS;
  p->td.td_slot = vfork ? curthread()->td_slot : kNoSlot;  // it may have its parent's call stack meanwhile
  uint64_t own = tf->desc->narrow != 0 ? callstack_top(curthread()) : 0;
  p->gd.gd_pt_stack = static_cast<uintptr_t>(own != 0 ? own : tf->sp - kRedZone);
  p->frame = *tf;
  return p;
}

[[noreturn]] void share_memory(const trapframe* tf, PassThru* p, bool vfork) {
  p->vfork = vfork;
  if (!vfork) deadlock_shared_memory();
  __atomic_add_fetch(&fd_forks, 1, __ATOMIC_SEQ_CST);
  if (!vfork || sched_others()) buslock_restore();
  // The child must start with the program's mask, and the parent must not take a signal with
  // the child's area in its register.
  sig_kernel_mask_set(curthread()->td_sigmask & ~sig_never_blocked());
  if (sched_others()) timer_slack_lend(curthread());
  threadsched_lend(curthread());
  p->in_trap = vfork && sched_others();
  if (p->in_trap) sched_trap_enter_handoff(mygd());
  gate_vfork(&p->frame, &p->gd);
}

void rebuild_child() {
  thread* td = curthread();
  slab_atfork_child();
  reserve_atfork_child();
  lwkt_atfork_child();
  ipiq_atfork_child();
  timer_atfork_child();
  engine_atfork_child();
  fd_atfork_child();
  shared_atfork_child();
  futex_atfork_child();
  td->td_flags |= TDF_MAIN;
  tls_atfork_child(td->td_tls);
  percpu_arch_atfork_child(mygd()->gd_arch);
  callstack_atfork_child(td);
  tid_atfork_child(td);
  worker_atfork_child();
  td->td_robust = 0;  // as the kernel: the child's list is empty until it says otherwise
  sched_atfork_child();
  schedclass_atfork_child();
  threadsched_atfork_child(td);
  deadlock_atfork_child();
  sysport_crowd(false);
  sig_atfork_child(td);
  seccomp_atfork_child();
  ptrace_tracee = false;
  cred_changed();  // it may be in another user namespace
  sig_leave(sig_fd_reads);  // other LWKTs had some of these open, perhaps
}

int fork_with(union sysunion* m, long nr, long a0, long a1, long a2, long a3, long a4) {
  uint64_t all = kBlockAll, old = 0;
  __atomic_add_fetch(&fd_forks, 1, __ATOMIC_SEQ_CST);
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&all), reinterpret_cast<long>(&old),
       8);
  bool others = sched_others();
  if (others) timer_slack_lend(curthread());
  // The kernel copies the pages one after the other while other cpus go on: what the child is to
  // find whole must stand still meanwhile. That nobody holds its lock just now is not enough.
  engine_lock();
  siglock.lock();
  preempt_lock();
  arena_lock();
  timer_lock();
  slab_lock();
  long r = raw6(nr, a0, a1, a2, a3, a4, 0);
  slab_unlock();
  timer_unlock();
  arena_unlock();
  preempt_unlock();
  siglock.unlock();
  engine_unlock();
  if (r == 0) {
    rebuild_child();
  } else if (others) {
    timer_slack_take();
  }
  if (r == 0) {
    sig_kernel_mask_restore();  // its rfork is the first one now
  } else {
    raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&old), 0, 8);
  }
  return sysport_result(m, r);
}

}  // namespace

extern "C" [[gnu::visibility("hidden")]] void gate_vfork_parent(trapframe* to, trapframe* from) {
  globaldata* pt = mygd();
  percpu_write(pt->gd_pt_parent);
  auto* p = reinterpret_cast<PassThru*>(pt);
  *to = *from;
  // What this kernel thread was lent for the child, before its LWKT may leave it for another one.
  if (sched_others()) timer_slack_take();
  threadsched_take();
  sig_kernel_mask_restore();
  if (p->in_trap) sched_trap_leave();
  if (p->scratch != nullptr) {
    raw2(SYS_munmap, reinterpret_cast<long>(p->scratch), static_cast<long>(p->scratch_size));
  }
  // A child that shares the memory for good keeps its area for good.
  bool failed = static_cast<intptr_t>(to->result) < 0;
  if (!p->vfork && !failed) return;
  percpu_arch_release(p->gd.gd_arch);
  slab_free(p, sizeof(PassThru));
}

int process_clone(union sysunion* m, uint64_t flags, const clone_args* args) {
  trapframe* tf = sysport_frame(m);
  const uint64_t* a = m->raw.arg;
  if ((flags & CLONE_VM) != 0) {
    bool vfork = (flags & CLONE_VFORK) != 0;
    PassThru* p = passthru_make(tf, vfork);
    if (p == nullptr) return ENOMEM;
    share_memory(tf, p, vfork);
  }
  // A stack of its own: the child's copy of the frame says so; the kernel is not told, because
  // the child has to come back through this very code.
  if (args != nullptr) {
    uint64_t stack = args->stack + args->stack_size;
    clone_args forks = *args;
    forks.stack = forks.stack_size = 0;
    auto size = static_cast<long>(a[1] < sizeof forks ? a[1] : sizeof forks);
    int error = fork_with(m, SYS_clone3, reinterpret_cast<long>(&forks), size, 0, 0, 0);
    if (error == 0 && m->sm.sm_result == 0 && stack != 0) tf->sp = stack;
    return error;
  }
  int error = fork_with(m, SYS_clone, static_cast<long>(flags), 0, static_cast<long>(a[2]),
                        static_cast<long>(a[3]), static_cast<long>(a[4]));
  if (error == 0 && m->sm.sm_result == 0 && a[1] != 0) tf->sp = a[1];
  return error;
}

int sys_fork(union sysunion* m) { return fork_with(m, SYS_fork, 0, 0, 0, 0, 0); }

int sys_vfork(union sysunion* m) {
  const trapframe* tf = sysport_frame(m);
  PassThru* p = passthru_make(tf, true);
  if (p == nullptr) return ENOMEM;
  share_memory(tf, p, true);
}

// ---- exec --------------------------------------------------------------------------------------

namespace {

CR_LARGE char preload[4096];    // the LD_PRELOAD word that names libcr.so, "" if linked in
char** initial_env;
bool preload_serves_others;

bool starts(const char* s, const char* prefix) {
  while (*prefix != '\0') {
    if (*s++ != *prefix++) return false;
  }
  return true;
}

const char* find(const char* s, const char* word) {
  for (; *s != '\0'; s++) {
    if (starts(s, word)) return s;
  }
  return nullptr;
}

size_t length(const char* s) {
  size_t n = 0;
  while (s[n] != '\0') n++;
  return n;
}

// The file's ELF class, following #! lines; 0: unknown.
int elf_class(const char* path, int depth = 0) {
  long fd = raw4(SYS_openat, -100 /* AT_FDCWD */, reinterpret_cast<long>(path), 02000000 /* O_CLOEXEC */, 0);
  if (raw_failed(fd)) return 0;
  char buf[256];
  long n = raw3(SYS_read, fd, reinterpret_cast<long>(buf), sizeof buf - 1);
  raw1(SYS_close, fd);
  if (n < 5) return 0;
  buf[n] = '\0';
  if (buf[0] == 0x7f && buf[1] == 'E') return static_cast<unsigned char>(buf[4]);
  if (buf[0] != '#' || buf[1] != '!' || depth > 3) return 0;
  char* at = buf + 2;
  while (*at == ' ' || *at == '\t') at++;
  char* end = at;
  while (*end != '\0' && *end != ' ' && *end != '\t' && *end != '\n') end++;
  *end = '\0';
  return elf_class(at, depth + 1);
}

// The first word of an LD_PRELOAD (between colons or blanks) that ends in libcr.so, and its length; null: none.
const char* library_word(const char* list, size_t* length_of_it) {
  for (const char* s = list; *s != '\0';) {
    const char* end = s;
    while (*end != '\0' && *end != ':' && *end != ' ') end++;
    *length_of_it = static_cast<size_t>(end - s);
    if (*length_of_it >= 8 && starts(end - 8, "libcr.so")) return s;
    s = *end == '\0' ? end : end + 1;
  }
  return nullptr;
}

// Whether the word in LD_PRELOAD names a library for programs of that class: ld.so expands $LIB to
// the class's own directory.
bool preload_serves(int elf_class_of_program) {
  return elf_class_of_program == 0 || elf_class_of_program == kElfClass || preload_serves_others;
}

bool find_other_library() {
  CR_LARGE static char path[sizeof preload + sizeof kOtherLibrary];
  const char* token = find(preload, "$LIB");
  if (token == nullptr) return false;
  // A shim is of one class, unless it is named the same way: a program of the other could not start.
  for (const char* s = options.shims; s != nullptr && *s != '\0';) {
    const char* end = s;
    while (*end != '\0' && *end != ':') end++;
    const char* both = find(s, "$LIB");
    if (both == nullptr || both >= end) return false;
    s = *end == ':' ? end + 1 : end;
  }
  char* w = path;
  for (const char* s = preload; s != token;) *w++ = *s++;
  for (const char* s = kOtherLibrary; *s != '\0';) *w++ = *s++;
  for (const char* s = token + 4; *s != '\0';) *w++ = *s++;
  *w = '\0';
  return raw2(SYS_access, reinterpret_cast<long>(path), 4 /* R_OK */) == 0;
}

struct Env {
  void* memory = nullptr;
  uint64_t size = 0;
  char** envp = nullptr;
};

// The new image's environment: the program's, with libcr's LD_PRELOAD in it (or out of it, for
// a program of a class that has no libcr).
bool build_env(char* const* env, bool keep, Env* out) {
  size_t n = 0, preload_at = ~0ul;
  for (; env[n] != nullptr; n++) {
    if (starts(env[n], "LD_PRELOAD=")) preload_at = n;
  }
  const char* old = preload_at != ~0ul ? env[preload_at] + 11 : "";
  const char* present = find(old, preload);
  size_t other;
  if (keep && present == nullptr && library_word(old, &other) != nullptr) return true;  // another libcr.so, then
  if (keep == (present != nullptr)) return true;  // as it should be
  bool bare = preload_at == ~0ul;
  size_t extra = 1;
  if (keep && bare) {
    // A scrubbed environment lost our options too.
    for (char** e = initial_env; *e != nullptr; e++) extra += starts(*e, "LIBCR_") ? 1 : 0;
  }
  size_t text = 11 + length(preload) + 1 + length(old) + 1;
  uint64_t size = (n + extra + 1) * sizeof(char*) + text;
  long p = raw_mmap(0, static_cast<long>(size), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw_failed(p)) return false;
  out->memory = reinterpret_cast<void*>(p);
  out->size = size;
  out->envp = reinterpret_cast<char**>(p);
  char* str = reinterpret_cast<char*>(out->envp + n + extra + 1);
  char* w = str;
  for (const char* s = "LD_PRELOAD="; *s != '\0';) *w++ = *s++;
  if (keep) {
    for (const char* s = preload; *s != '\0';) *w++ = *s++;
    if (*old != '\0') *w++ = ':';
    for (const char* s = old; *s != '\0';) *w++ = *s++;
  } else {
    for (const char* s = old; *s != '\0';) {
      if (s == present) {
        s += length(preload);
        if (*s == ':') s++;
        continue;
      }
      *w++ = *s++;
    }
  }
  *w = '\0';
  size_t k = 0;
  for (size_t i = 0; i < n; i++) {
    if (i == preload_at) {
      if (keep || str[11] != '\0') out->envp[k++] = str;
    } else {
      out->envp[k++] = env[i];
    }
  }
  if (keep && bare) {
    out->envp[k++] = str;
    for (char** e = initial_env; *e != nullptr; e++) {
      if (starts(*e, "LIBCR_")) out->envp[k++] = *e;
    }
  }
  out->envp[k] = nullptr;
  return true;
}

// Makes the exec with its environment completed. *env is what may have to be unmapped.
long exec_with(long nr, const uint64_t args[6], Env* env) {
  int at = nr == SYS_execveat ? 3 : 2;
  auto* envp = reinterpret_cast<char* const*>(args[at]);
  uint64_t a[5];
  for (int i = 0; i < 5; i++) a[i] = args[i];
  uint32_t probe;
  bool readable = envp != nullptr && user_load32(&probe, reinterpret_cast<const uint32_t*>(envp)) == 0;
  static char* const empty[] = {nullptr};
  if (preload[0] != '\0' && (readable || envp == nullptr)) {
    bool keep = nr != SYS_execve || preload_serves(elf_class(reinterpret_cast<const char*>(args[0])));
    if (build_env(envp != nullptr ? envp : empty, keep, env) && env->envp != nullptr) {
      a[at] = reinterpret_cast<uintptr_t>(env->envp);
    }
  }
  return raw6(nr, static_cast<long>(a[0]), static_cast<long>(a[1]), static_cast<long>(a[2]),
              static_cast<long>(a[3]), static_cast<long>(a[4]), 0);
}

}  // namespace

long process_passthru_call(trapframe* tf) {
  uint64_t args[6];
  frame_args(tf, args);
  if (tf->nr == SYS_rt_sigaction) return sig_child_action(args);
  sig_child_exec();
  Env env;
  long r = exec_with(static_cast<long>(tf->nr), args, &env);
  // Failed: the child may try another path. The parent frees what a success leaves behind.
  if (env.memory != nullptr) raw2(SYS_munmap, reinterpret_cast<long>(env.memory), static_cast<long>(env.size));
  return r;
}

namespace {
int exec_call(union sysunion* m) {
  thread* td = curthread();
  Env env;
  rfork_exec_begin();
  sig_prepare_exec(td);
  bool others = sched_others();
  if (others) timer_slack_lend(td);
  threadsched_lend(td);
  long r = exec_with(m->sm.sm_nr, m->raw.arg, &env);
  if (others) timer_slack_take();
  threadsched_take();
  sig_unprepare_exec();
  rfork_exec_failed();
  if (env.memory != nullptr) {
    raw2(SYS_munmap, reinterpret_cast<long>(env.memory), static_cast<long>(env.size));
  }
  return sysport_result(m, r);
}
}  // namespace

int sys_execve(union sysunion* m) { return exec_call(m); }
int sys_execveat(union sysunion* m) { return exec_call(m); }

void process_init(char** envp) {
  initial_env = envp;
  for (char** e = envp; *e != nullptr; e++) {
    if (!starts(*e, "LD_PRELOAD=")) continue;
    size_t n = 0;
    const char* s = library_word(*e + 11, &n);
    if (s == nullptr || n >= sizeof preload) continue;
    for (size_t i = 0; i < n; i++) preload[i] = s[i];
    preload[n] = '\0';
    preload_serves_others = find_other_library();
    return;
  }
}

// What a thread shares with its siblings or not belongs to kernel threads, and LWKTs change theirs: once
// there are others than the first none can have a directory or a namespace of its own.
int sys_unshare(union sysunion* m) {
  constexpr uint64_t kHarmless = CLONE_SYSVSEM | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
  bool refused = (m->raw.arg[0] & ~kHarmless) != 0 && monitor_running();
  if (refused) return EINVAL;
  int error = sysport_trap(m);
  cred_changed();
  return error;
}

// Another namespace for the only LWKT is one for all kernel threads: its threads to be run there.
int sys_setns(union sysunion* m) {
  if (sched_others()) return EINVAL;
  int error = sysport_trap(m);
  if (error == 0 && monitor_running()) broadcast_call(m->sm.sm_nr, m->raw.arg);
  cred_changed();
  return error;
}

// The reports' own calls pass no shim, and leave the message of the exit alone.
void process_report_at_exit() {
  thread* td = curthread();
  td->td_flags |= TDF_INPORT;
  shim_at_exit();
  if (options.stats) stats_print(report_fd(), sites_rewritten, engine->name);
  td->td_flags &= ~TDF_INPORT;
}

}  // namespace cr
