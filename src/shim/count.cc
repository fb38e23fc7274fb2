// The `count` shim: how often the program made each system call, printed at exit.
//
// One counter for each number, bumped without a lock prefix (a lost count under heavy
// parallelism is cheaper than a slow call; with one cpu none is lost). A forked child starts
// from zero. Output goes to standard error in one write, so that the lists of processes that end
// together don't mix; not through stdio, which the program may have closed.

#include <libcr/shim.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr uint32_t kMax = 1024;

struct lwkt_port port;
uint64_t counts[kMax];

int count(struct lwkt_port* self, struct lwkt_msg* msg) {
  uint32_t nr = reinterpret_cast<struct sysmsg*>(msg)->sm_nr;
  if (nr < kMax) counts[nr]++;
  int error = cr_shim_forward(self, msg);
  bool forks = nr == SYS_fork || nr == SYS_clone || nr == SYS_clone3;
  if (forks && error == 0 && reinterpret_cast<struct sysmsg*>(msg)->sm_result == 0) {
    for (uint64_t& c : counts) c = 0;
  }
  return error;
}

struct Report {
  char text[kMax * 40];
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
  void line(uint64_t v, const char* what) {
    number(v, 12);
    put("  ");
    put(what);
    put("\n");
  }
};
Report report;

}  // namespace

extern "C" int cr_shim_init(void) {
  lwkt_initport_putonly(&port, count);
  return cr_shim_push(&port);
}

extern "C" void cr_shim_exit(void) {
  uint64_t total = 0;
  for (;;) {
    // Largest first; a count that was printed is cleared.
    uint32_t best = kMax;
    for (uint32_t i = 0; i < kMax; i++) {
      if (counts[i] != 0 && (best == kMax || counts[i] > counts[best])) best = i;
    }
    if (best == kMax) break;
    report.line(counts[best], cr_syscall_name(best));
    total += counts[best];
    counts[best] = 0;
  }
  report.line(total, "total");
  if (write(cr_shim_report_fd(), report.text, report.n) < 0) return;
}
