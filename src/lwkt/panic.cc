#include "assert.h"

#include <stddef.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"

namespace cr {

namespace {

size_t put(char* out, size_t at, size_t max, const char* s) {
  while (*s != '\0' && at < max) out[at++] = *s++;
  return at;
}

}  // namespace

void panic(const char* what, const char* file, int line) {
  char text[512];
  size_t n = put(text, 0, sizeof text, "libcr: assertion failed: ");
  n = put(text, n, sizeof text, what);
  n = put(text, n, sizeof text, " at ");
  n = put(text, n, sizeof text, file);
  char digits[16];
  int k = 0;
  for (int v = line; v > 0; v /= 10) digits[k++] = static_cast<char>('0' + v % 10);
  n = put(text, n, sizeof text, ":");
  while (k > 0 && n < sizeof text) text[n++] = digits[--k];
  n = put(text, n, sizeof text, "\n");
  raw3(SYS_write, 2, reinterpret_cast<long>(text), static_cast<long>(n));
  for (;;) asm volatile("int3");
}

}  // namespace cr
