#include "sigframe.h"

extern "C" {
[[gnu::visibility("hidden")]] uintptr_t cr_xsave_size = 576;
}

namespace cr {

uint64_t xfeatures = 3;  // x87 and SSE until XCR0 says more

namespace {
inline constexpr uint32_t kNarrow = 3;  // x87 and SSE: what is not saved must not be loaded, as PKRU's initial state
}

void fpu_save(uintptr_t at, bool wide) {
  constexpr uintptr_t kHeader = 512;  // xsave wants it zero
  __builtin_memset(reinterpret_cast<void*>(at + kHeader), 0, kXsaveHeaderSize);
  asm volatile("xsave (%0)" ::"r"(at), "a"(wide ? ~0u : kNarrow), "d"(wide ? ~0u : 0) : "memory");
}

void fpu_load(uintptr_t at, bool wide) {
  asm volatile("xrstor (%0)" ::"r"(at), "a"(wide ? ~0u : kNarrow), "d"(wide ? ~0u : 0) : "memory");
}

void sigframe_init() {
  uint32_t a = 1, b, c = 0, d;
  asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  if ((c & (1u << 27)) == 0) return;  // OSXSAVE: no XCR0 to read
  uint32_t lo, hi;
  asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  xfeatures = lo | static_cast<uint64_t>(hi) << 32;
  a = 0xd;
  c = 0;
  asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  cr_xsave_size = (b + 63u) & ~63u;
}

}  // namespace cr
