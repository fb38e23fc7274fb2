// The `count` shim: how often the program made each system call, printed at exit.
//
// One counter for each number, bumped without a lock prefix (a lost count under heavy
// parallelism is cheaper than a slow call; with one cpu none is lost). A forked child starts
// from zero. Output goes to standard error by raw calls, since the program may have closed or
// buffered anything.

#include <libcr/shim.h>
#include <stdint.h>
#include <unistd.h>

namespace {

constexpr uint32_t kMax = 1024;

struct lwkt_port port;
uint64_t counts[kMax];

int count(struct lwkt_port* self, struct lwkt_msg* msg) {
  uint32_t nr = reinterpret_cast<struct sysmsg*>(msg)->sm_nr;
  if (nr < kMax) counts[nr]++;
  return cr_shim_forward(self, msg);
}

struct Line {
  char text[96];
  size_t n = 0;
  void put(const char* s) {
    while (*s != '\0' && n < sizeof text) text[n++] = *s++;
  }
  void number(uint64_t v, size_t width) {
    char digits[24];
    size_t k = 0;
    do {
      digits[k++] = static_cast<char>('0' + v % 10);
      v /= 10;
    } while (v != 0);
    for (size_t i = k; i < width; i++) put(" ");
    while (k > 0 && n < sizeof text) text[n++] = digits[--k];
  }
  void flush() {
    put("\n");
    if (write(2, text, n) < 0) return;
    n = 0;
  }
};

}  // namespace

extern "C" int cr_shim_init(void) {
  lwkt_initport_putonly(&port, count);
  return cr_shim_push(&port);
}

extern "C" void cr_shim_exit(void) {
  uint64_t total = 0;
  Line line;
  for (;;) {
    // Largest first; a count that was printed is cleared.
    uint32_t best = kMax;
    for (uint32_t i = 0; i < kMax; i++) {
      if (counts[i] != 0 && (best == kMax || counts[i] > counts[best])) best = i;
    }
    if (best == kMax) break;
    line.number(counts[best], 12);
    line.put("  ");
    const char* name = cr_syscall_name(best);
    line.put(name);
    line.flush();
    total += counts[best];
    counts[best] = 0;
  }
  line.number(total, 12);
  line.put("  total");
  line.flush();
}
