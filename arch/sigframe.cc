#include "sigframe.h"

extern "C" {
[[gnu::visibility("hidden")]] uintptr_t cr_xsave_size = 576;
}

namespace cr {

uint64_t xfeatures = 3;  // x87 and SSE until XCR0 says more

void fpu_save(uintptr_t at, uint64_t parts) {
  __builtin_memset(reinterpret_cast<void*>(at + kXsaveLegacySize), 0, kXsaveHeaderSize);  // xsave wants it so
  fpu_xsave(at, static_cast<uint32_t>(parts), static_cast<uint32_t>(parts >> 32));
}

void fpu_load(uintptr_t at, uint64_t parts) {
  fpu_xrstor(at, static_cast<uint32_t>(parts), static_cast<uint32_t>(parts >> 32));
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
