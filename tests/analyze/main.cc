// The test program's main; see the other files of this folder.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
