// The test program's main LWKT is the one that cr_init adopts. What would be a death without a word says where it was,
// and who sent it if somebody did: of a race that shows once in thousands of runs there is only this one report. (A
// fault in libcr or in a raw LWKT, which blocks all signals, ends the process without one: that says so much.)
#define CATCH_CONFIG_RUNNER
#define CATCH_CONFIG_EXTERNAL_INTERFACES
#define CATCH_CONFIG_NO_POSIX_SIGNALS
#include <catch2/catch.hpp>

#include <libcr/thread.h>

#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <ucontext.h>
#include <unistd.h>

namespace {

char running[256] = "no test";

struct Names : Catch::TestEventListenerBase {
  using TestEventListenerBase::TestEventListenerBase;
  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    snprintf(running, sizeof running, "%s", info.name.c_str());
  }
};

uintptr_t counter(const void* context) {
  const auto* registers = static_cast<const ucontext_t*>(context)->uc_mcontext.gregs;
#ifdef __x86_64__
  return static_cast<uintptr_t>(registers[REG_RIP]);
#else
  return static_cast<uintptr_t>(registers[REG_EIP]);
#endif
}

// The signal comes again when this returns, and ends the process.
void on_fatal(int sig, siginfo_t* info, void* context) {
  if (info->si_code <= 0) {
    dprintf(STDERR_FILENO, "signal %d was sent by process %d (this is %d) in \"%s\"\n", sig, info->si_pid, getpid(), running);
    raise(sig);
    return;
  }
  uintptr_t pc = counter(context);
  Dl_info where{};
  dladdr(reinterpret_cast<void*>(pc), &where);
  dprintf(STDERR_FILENO, "signal %d (code %d) at address %p, instruction %p = %s + 0x%zx %s, in \"%s\"\n", sig, info->si_code,
          info->si_addr, reinterpret_cast<void*>(pc), where.dli_fname != nullptr ? where.dli_fname : "?",
          static_cast<size_t>(pc - reinterpret_cast<uintptr_t>(where.dli_fbase)),
          where.dli_sname != nullptr ? where.dli_sname : "", running);
}

}  // namespace

CATCH_REGISTER_LISTENER(Names)

int main(int argc, char** argv) {
  if (cr_init() != 0) return 1;
  struct sigaction act{};
  act.sa_sigaction = on_fatal;
  act.sa_flags = SA_SIGINFO | SA_RESETHAND;
  for (int sig : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) sigaction(sig, &act, nullptr);
  return Catch::Session().run(argc, argv);
}
