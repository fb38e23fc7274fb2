// Signals that come while the runtime reads the clock. The vdso's part is played by a function
// here: like the vdso it is no text of libcr's.
#include <catch2/catch.hpp>

#include <link.h>
#include <linux/time_types.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/time.h>
#include <time.h>

#include "../../arch/abi.h"
#include "../../src/lwkt/clock.h"
#include "../../src/signal/signal.h"
#include "live.h"

using namespace live;

namespace {

uint32_t handler_ran;
bool ran_in_clock;

void on_alarm(int) { set(handler_ran, 1u); }

// Comes back when the signal has come, be it delivered or kept for later.
int slow_clock(int, __kernel_timespec* ts) {
  while (get(handler_ran) == 0 && get(cr::mygd()->gd_ast) == 0) {
  }
  ran_in_clock = get(handler_ran) != 0;
  *ts = {1, 0};
  return 0;
}

// The few tables that cr::clock_init reads.
struct FakeVdso {
  ElfW(Ehdr) eh{};
  ElfW(Phdr) ph[2]{};
  ElfW(Dyn) dyn[3]{};
  ElfW(Sym) sym{};
  char strings[32] = "";

  FakeVdso() {
    auto at = [&](const void* p) {
      return reinterpret_cast<uintptr_t>(p) - reinterpret_cast<uintptr_t>(this);
    };
    eh.e_phoff = at(ph);
    eh.e_phnum = 2;
    ph[0].p_type = PT_LOAD;
    ph[1].p_type = PT_DYNAMIC;
    ph[1].p_offset = at(dyn);
    dyn[0] = {DT_STRTAB, {at(strings)}};
    dyn[1] = {DT_SYMTAB, {at(&sym)}};
    __builtin_memcpy(strings + 1, cr::kVdsoClockGettime, sizeof cr::kVdsoClockGettime);
    sym.st_name = 1;
    sym.st_info = ELF32_ST_INFO(STB_GLOBAL, STT_FUNC);
    sym.st_shndx = 1;
    sym.st_value = reinterpret_cast<uintptr_t>(&slow_clock) - reinterpret_cast<uintptr_t>(this);
  }
};

}  // namespace

TEST_CASE("live: a signal that comes while the scheduler reads the clock waits for the way out") {
  static FakeVdso fake;  // the symbols end where the strings begin
  cr::ksigaction act{};  // stays: an alarm may still be on its way at the end
  act.handler = reinterpret_cast<uintptr_t>(&on_alarm);
  REQUIRE(cr::sig_action(SIGALRM, &act, nullptr) == 0);
  cr::clock_init(&fake);
  itimerval soon{{0, 0}, {0, 10000}};
  REQUIRE(setitimer(ITIMER_REAL, &soon, nullptr) == 0);
  CHECK(cr::clock_monotonic() == cr::kSecond);
  cr::clock_init(reinterpret_cast<void*>(getauxval(AT_SYSINFO_EHDR)));
  CHECK_FALSE(ran_in_clock);
  // The next call delivers it; the next signal does where calls are the kernel's.
  REQUIRE(setitimer(ITIMER_REAL, &soon, nullptr) == 0);
  while (get(handler_ran) == 0) {
  }
}
