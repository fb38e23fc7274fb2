// Assertions below the boundary: no stdio, no abort(). A failed one says where on stderr and
// dies by a breakpoint trap, so that a debugger or a core stands at the place.
#pragma once

namespace cr {

[[noreturn, gnu::cold]] void panic(const char* what, const char* file, int line);

}  // namespace cr

#define CR_PANIC(what) ::cr::panic(what, __FILE__, __LINE__)
// Always checked: what would corrupt the program if it did not hold.
#define CR_CHECK(cond)                                       \
  do {                                                       \
    if (__builtin_expect(!(cond), 0)) CR_PANIC(#cond);       \
  } while (0)
// Checked in debug builds: state machines and lock rules.
#ifdef CR_ASSERTIONS
#define KASSERT(cond) CR_CHECK(cond)
#else
#define KASSERT(cond) ((void)0)
#endif
