// Go's code: functions by its own table, and sites that have little room below the stack pointer.
#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "src/gate/analyze/analyze.h"
#include "src/gate/analyze/elf.h"
#include "tests/analyze/scratch.h"

namespace {

// By version: 0, 12, 116, 118, 120, 1200 (gofuncs.S).
std::vector<std::string> go_objects() {
  std::vector<std::string> all;
  std::istringstream in(GO_OBJECTS);
  for (std::string path; std::getline(in, path, ':');) all.push_back(path);
  return all;
}

}  // namespace

TEST_CASE("Go's functions are found by its table, of each version, and their traps are narrow") {
  const std::vector<std::string> objects = go_objects();
  REQUIRE(objects.size() == 6);
  for (size_t i = 1; i < objects.size(); i++) {
    INFO(objects[i]);
    const cr::AnalyzeResult r = cr::analyze_object(objects[i]);
    REQUIRE(r.sites.size() == 2);
    CHECK(r.sites[0].trap == 0x1005);
    CHECK(r.sites[1].trap == 0x1025);
    for (const cr::Site& s : r.sites) {
      CHECK(s.narrow == 1);
      CHECK(static_cast<cr::SiteRule>(s.rule) == cr::SiteRule::kP);
    }
  }
}

TEST_CASE("code of unknown bounds is left alone") { CHECK(cr::analyze_object(go_objects()[0]).sites.empty()); }

TEST_CASE("no object of C's has narrow sites") {
  for (const cr::Site& s : cr::analyze_object(FIXTURE_OBJECT).sites) CHECK(s.narrow == 0);
}

TEST_CASE("damage in Go's table is survived") {
  Scratch dir;
  std::mt19937 random(20261130);
  const std::vector<std::string> objects = go_objects();
  for (size_t i = 1; i < objects.size(); i++) {
    const std::string original = slurp(objects[i]);
    // From the magic on: the header, and the table behind it.
    const std::string magic = std::string(1, "\xfb\xfa\xf0\xf1\xf1"[i - 1]) + "\xff\xff\xff";
    const size_t at = original.find(magic);
    REQUIRE(at != std::string::npos);
    for (int round = 0; round < 200; round++) {
      std::string bytes = original;
      for (int k = 0; k < 1 << round % 5; k++) bytes[at + random() % 96] = static_cast<char>(random());
      std::ofstream(dir / "g", std::ios::binary | std::ios::trunc) << bytes;
      try {
        for (const cr::Site& s : cr::analyze_object(dir / "g").sites)
          REQUIRE((s.trap == 0x1005 || s.trap == 0x1025));
      } catch (const cr::AnalyzeError& e) {
        CHECK(std::string(e.what()).find("/g") != std::string::npos);
      }
    }
  }
}

TEST_CASE("code that sets %gs is told from code that does not") {
  CHECK(cr::analyze_object(GS_OBJECT).writes_gs);
  CHECK_FALSE(cr::analyze_object(FIXTURE_OBJECT).writes_gs);
  CHECK_FALSE(cr::analyze_object(STATIC_OBJECT).writes_gs);
}
