// Kernel and processor features, tried out one by one.
//
// Debian 12's kernel headers (6.1) are older than some of the features: their numbers stand here,
// from the kernel's uapi headers named beside them.
#include <asm/ldt.h>
#include <elf.h>
#include <gnu/libc-version.h>
#include <linux/io_uring.h>
#include <linux/membarrier.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <system_error>

#include "../../arch/guest.h"
#include "probe.h"

namespace cr::tool {
namespace {

constexpr int kMadvGuardInstall = 102;         // asm-generic/mman-common.h, Linux 6.13
constexpr int kPrSetSyscallUserDispatch = 59;  // linux/prctl.h, Linux 5.11
constexpr unsigned long kHwcap2Fsgsbase = 1 << 1;  // asm/hwcap2.h

std::string error_name() { return std::system_category().message(errno); }

// A private mapping of one page that goes away with the object.
class Page {
 public:
  Page(int protection, int flags, int fd) : size_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    address_ = mmap(nullptr, size_, protection, flags, fd, 0);
  }
  ~Page() {
    if (mapped()) munmap(address_, size_);
  }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

  bool mapped() const { return address_ != MAP_FAILED; }
  bool protect(int protection) { return mprotect(address_, size_, protection) == 0; }
  bool advise(int advice) { return madvise(address_, size_, advice) == 0; }
  volatile char* bytes() { return static_cast<volatile char*>(address_); }

 private:
  size_t size_;
  void* address_;
};

Check probe_kernel() {
  struct utsname name;
  uname(&name);
  const bool ok = std::string(name.machine) == "x86_64";
  return {"kernel", ok, true, std::string(name.sysname) + " " + name.release + " " + name.machine,
          "libcr is built for Linux on x86_64"};
}

Check probe_glibc() {
  int major = 0;
  int minor = 0;
  const char* version = gnu_get_libc_version();
  const bool ok = sscanf(version, "%d.%d", &major, &minor) == 2 &&
                  (major > 2 || (major == 2 && minor >= 34));
  return {"glibc", ok, true, version, "libcr needs glibc 2.34 or later"};
}

// The gate's step: a private page of program text made writable, changed, made executable again.
// SELinux's execmod and some hardening modules refuse it.
Check probe_text_rewriting() {
  Check check{"text-rewriting", false, true, "", "no call that glibc makes inside itself can be caught"};
  FILE* self = fopen("/proc/self/exe", "re");
  if (!self) {
    check.detail = "/proc/self/exe: " + error_name();
    return check;
  }
  Page page(PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(self));
  fclose(self);
  if (!page.mapped()) {
    check.detail = "mapping text: " + error_name();
  } else if (!page.protect(PROT_READ | PROT_WRITE)) {
    check.detail = "mprotect to writable: " + error_name();
  } else {
    page.bytes()[0] = 0x7e;
    check.ok = page.protect(PROT_READ | PROT_EXEC);
    check.detail = check.ok ? "private text pages can be changed"
                            : "mprotect to executable: " + error_name();
  }
  return check;
}

Check probe_fsgsbase() {
  const bool ok = getauxval(AT_HWCAP2) & kHwcap2Fsgsbase;
  return {"fsgsbase", ok, false, ok ? "wrfsbase and wrgsbase allowed" : "not enabled (AT_HWCAP2)",
          "a switch sets the TLS register by arch_prctl, a trap each"};
}

// arch/x86_64/context.h asks the same at start.
Check probe_trap_rcx() {
  uint64_t off = 0;
  long nr = SYS_getpid;
  asm volatile("syscall\n0:\tleaq 0b(%%rip), %%r11\n\tsubq %%r11, %%rcx"
               : "+a"(nr), "+c"(off)
               :
               : "r11", "memory", "cc");
  return {"trap-rcx", off == 0, false, off == 0 ? "a trap leaves its return address in %rcx" : "a trap leaves %rcx alone",
          "a signal at the very instruction of a trap ends a call with EINTR though it need not have waited"};
}

Check probe_io_uring() {
  Check check{"io_uring", false, false, "", "cr run falls back to the epoll engine: reads that are not cached keep a kernel thread"};
  struct io_uring_params parameters {};
  const long fd = syscall(SYS_io_uring_setup, 4, &parameters);
  if (fd >= 0) {
    close(static_cast<int>(fd));
    check.ok = true;
    check.detail = "io_uring_setup works";
    return check;
  }
  check.detail = "io_uring_setup: " + error_name();
  std::string disabled;
  if (std::ifstream("/proc/sys/kernel/io_uring_disabled") >> disabled && disabled != "0") {
    check.detail += " (kernel.io_uring_disabled = " + disabled + ")";
  }
  return check;
}

// What the runtime will choose when the first thread has to wait (src/async/engine.cc).
Check probe_engine(const Check& io_uring) {
  const char* wish = getenv("LIBCR_ENGINE");
  const std::string asked = wish ? wish : "";
  const bool choose = asked.empty() || asked == "auto";
  Check check{"engine", true, false, "", "each blocking call keeps a kernel thread"};
  const int fd = epoll_create1(EPOLL_CLOEXEC);
  const std::string no_epoll = fd < 0 ? "epoll_create1: " + error_name() : "";
  if (fd >= 0) close(fd);
  if ((choose || asked == "uring") && io_uring.ok && fd >= 0) {
    check.detail = "uring: files by io_uring, the rest by epoll";
  } else if ((choose || asked == "epoll") && fd >= 0) {
    check.detail = "epoll";
    if (choose) check.detail += ", since " + io_uring.detail;
  } else {
    check.ok = asked == "none";
    check.detail = "none";
    if (asked == "uring" && !io_uring.ok) check.detail += ", since " + io_uring.detail;
    if (fd < 0) check.detail += ", since " + no_epoll;
  }
  if (!choose) check.detail += " (LIBCR_ENGINE=" + asked + ")";
  return check;
}

Check probe_exact_waits() {
  struct timespec none {};
  struct epoll_event event;
  const int fd = epoll_create1(EPOLL_CLOEXEC);
  const bool ok = fd >= 0 && syscall(SYS_epoll_pwait2, fd, &event, 1, &none, nullptr, 0) == 0;
  Check check{"exact-waits", ok, false, ok ? "epoll_pwait2 works" : "epoll_pwait2: " + error_name(),
              "sleeps end up to a millisecond late, and data wait for up to 2 ms beside threads that compute"};
  if (fd >= 0) close(fd);
  return check;
}

Check probe_lightweight_guards() {
  Page page(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  const bool ok = page.mapped() && page.advise(kMadvGuardInstall);
  return {"lightweight-guards", ok, false,
          ok ? "MADV_GUARD_INSTALL works" : "MADV_GUARD_INSTALL: " + error_name(),
          "stack guards are made by mprotect, two maps a stack"};
}

// Armed with the selector at "allow", which changes nothing, and disarmed at once.
Check probe_syscall_user_dispatch() {
  char selector = 0;  // SYSCALL_DISPATCH_FILTER_ALLOW
  const bool ok = prctl(kPrSetSyscallUserDispatch, 1 /* ON */, 0, 0, &selector) == 0;
  const std::string detail = ok ? "PR_SET_SYSCALL_USER_DISPATCH works"
                                : "PR_SET_SYSCALL_USER_DISPATCH: " + error_name();
  if (ok) prctl(kPrSetSyscallUserDispatch, 0 /* OFF */, 0, 0, 0);
  return {"syscall-user-dispatch", ok, false, detail,
          "no catch-all: traps from code that can't be rewritten (JITs) go straight to the kernel"};
}

Check probe_membarrier() {
  const long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  Check check{"membarrier-sync-core", false, false, "",
              "text is rewritten only while the process has one thread"};
  if (commands < 0) {
    check.detail = "membarrier: " + error_name();
  } else if (!(commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)) {
    check.detail = "the kernel has no PRIVATE_EXPEDITED_SYNC_CORE";
  } else {
    check.ok = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) == 0;
    check.detail = check.ok ? "registration works" : "registration: " + error_name();
  }
  return check;
}

// With a clocksource that the vdso can't read, it falls back to a trap for every reading.
Check probe_vdso_clock() {
  std::string source = "unknown clocksource";
  std::ifstream("/sys/devices/system/clocksource/clocksource0/current_clocksource") >> source;
  constexpr int kReadings = 1000;
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  for (int i = 0; i < kReadings; ++i) (void)Clock::now();
  const auto elapsed = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin);
  // The names in struct vdso_data's clock modes: arch/x86/include/asm/vdso/clocksource.h.
  const bool readable = source == "tsc" || source == "kvm-clock" || source.starts_with("hyperv");
  const bool ok = getauxval(AT_SYSINFO_EHDR) != 0 && readable;
  return {"vdso-clock", ok, false,
          source + ", " + std::to_string(elapsed.count() / kReadings) + " ns a reading",
          "each clock reading is a trap, natively and under libcr; timers and timeouts cost more"};
}

}  // namespace

// %es has a selector of the LDT then (arch/x86_64/percpu.h).
Check probe_keep_gs() {
  Check check{"keep-gs", false, false, "", "programs that set %gs crash: run them without cr"};
  if (!probe_fsgsbase().ok) {
    check.detail = "no FSGSBASE instructions";
    return check;
  }
  struct user_desc entry {};
  entry.seg_not_present = entry.read_exec_only = 1;  // an empty one
  check.ok = syscall(SYS_modify_ldt, 0x11, &entry, sizeof entry) == 0;
  check.detail = check.ok ? "FSGSBASE instructions and modify_ldt" : "modify_ldt: " + error_name();
  return check;
}

// src/lwkt/placement.h
Check probe_placement() {
  if (!guest_with_stolen_time()) return {"placement", true, false, "the kernel finds processors that idle by itself", ""};
  const bool ok = prctl(PR_GET_SECCOMP) == 0;
  return {"placement", ok, false,
          ok ? "a guest of KVM with stolen time: who wakes a kernel thread keeps it off its own processor"
             : "a guest of KVM with stolen time, and a filter (seccomp)",
          "kernel threads that wake each other may stay on one processor while another idles"};
}

std::vector<Check> probe_features() {
  const Check io_uring = probe_io_uring();
  return {probe_kernel(),     probe_glibc(), probe_text_rewriting(),
          probe_fsgsbase(),   probe_keep_gs(), io_uring,      probe_engine(io_uring), probe_lightweight_guards(),
          probe_exact_waits(), probe_membarrier(), probe_syscall_user_dispatch(), probe_trap_rcx(), probe_vdso_clock(),
          probe_placement()};
}

}  // namespace cr::tool
