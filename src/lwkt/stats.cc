// The runtime's counters. Each cpu has its own (struct cpu), bumped by its holder without a lock;
// they are added up here. In a fork's child they start from zero.
#include "stats.h"

#include <stddef.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "sched.h"

namespace cr {

namespace {

struct Text {
  char data[1024];
  size_t n = 0;

  void put(const char* s) {
    while (*s != '\0' && n < sizeof data) data[n++] = *s++;
  }
  void word(const char* v, const char* what) {
    size_t k = 0;
    while (v[k] != '\0') k++;
    put("libcr: ");
    for (; k < 14; k++) put(" ");
    put(v);
    put("  ");
    put(what);
    put("\n");
  }
  void line(uint64_t v, const char* what) {
    char digits[24];
    size_t k = 0;
    do {
      digits[k++] = static_cast<char>('0' + v % 10);
      v /= 10;
    } while (v != 0);
    put("libcr: ");
    for (size_t i = k; i < 14; i++) put(" ");
    while (k > 0 && n < sizeof data) data[n++] = digits[--k];
    put("  ");
    put(what);
    put("\n");
  }
};

}  // namespace

void stats_print(int fd, uint64_t sites, const char* engine) {
  uint64_t made = 0, switches = 0, steals = 0, handoffs = 0, used = 0;
  for (int i = 0; i < ncpus; i++) {
    const cpu* c = cpus[i];
    if (c->c_state != CPU_OFF) used++;
    made += c->c_nmade;
    switches += c->c_nswitch;
    steals += c->c_nsteal;
    handoffs += c->c_nhandoff;
  }
  Text t;
  t.line(static_cast<uint64_t>(ncpus), "cpus");
  t.line(used, "cpus that ran");
  t.line(made, "LWKTs made");
  t.line(switches, "switches");
  t.line(steals, "LWKTs stolen by an idle cpu");
  t.line(handoffs, "cpus handed off while their holder sat in a trap");
  t.line(sites, "sites rewritten");
  t.word(engine, "engine for calls that wait");
  raw3(SYS_write, fd, reinterpret_cast<long>(t.data), static_cast<long>(t.n));
}

}  // namespace cr
