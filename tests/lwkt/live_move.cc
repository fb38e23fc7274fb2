// LWKTs that move to another cpu.
#include <catch2/catch.hpp>

#include "live.h"

using namespace live;

namespace {

struct Hog {
  uint32_t runs = 0, stop = 0, gave_up = 0;

  // Makes no call that libcr would see.
  static void run(void* arg) {
    auto* h = static_cast<Hog*>(arg);
    set(h->runs, 1u);
    uint64_t begin = now_ns();
    while (get(h->stop) == 0 && get(h->gave_up) == 0) {
      if (now_ns() - begin > 10'000'000'000) set(h->gave_up, 1u);
    }
  }
};

}  // namespace

TEST_CASE("live: an LWKT moves to a cpu whose LWKT computes") {
  static Hog hogs[2];
  for (int i = 0; i < 2; i++) {
    Lwkt l(Hog::run, &hogs[i]);  // the first or the second begins where we aren't
    yield_until([&] { return get(hogs[i].runs) != 0; });
    for (int to = 0; to < lwkt_ncpus(); to++) CHECK(lwkt_setcpu_self(to) == 0);
    set(hogs[i].stop, 1u);
    l.join();
    CHECK(hogs[i].gave_up == 0);
  }
}
