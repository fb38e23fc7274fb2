// The test program's main LWKT is the one that cr_init adopts.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <libcr/thread.h>

int main(int argc, char** argv) {
  if (cr_init() != 0) return 1;
  return Catch::Session().run(argc, argv);
}
