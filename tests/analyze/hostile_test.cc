// Damaged objects: a clear error or a table, never a crash. The generator is seeded, so a failure
// repeats.
#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <random>
#include <string>

#include "src/gate/analyze/analyze.h"
#include "src/gate/analyze/elf.h"
#include "tests/analyze/scratch.h"

namespace {

std::string libc_bytes() {
  link_map* map = nullptr;
  REQUIRE(dlinfo(dlopen("libc.so.6", RTLD_LAZY), RTLD_DI_LINKMAP, &map) == 0);
  return slurp(map->l_name);
}

// True when a table came out; false on a clear error. Anything else fails the test.
bool survives(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  try {
    const cr::AnalyzeResult r = cr::analyze_object(path);
    for (const cr::Site& s : r.sites) {
      REQUIRE(size_t{s.pre} + 2 + s.post <= cr::kMaxWindow);
      REQUIRE(s.bytes[s.pre] == 0x0f);
      REQUIRE(s.bytes[s.pre + 1] == 0x05);
    }
    return true;
  } catch (const cr::AnalyzeError& e) {
    REQUIRE(std::string(e.what()).find(path.string()) != std::string::npos);
    return false;
  }
}

}  // namespace

TEST_CASE("truncated objects are survived") {
  Scratch dir;
  const std::string libc = libc_bytes();
  for (size_t cut : {0, 1, 4, 16, 63, 64, 65, 500}) CHECK_FALSE(survives(dir / "t", libc.substr(0, cut)));
  for (int part = 1; part < 20; part++) survives(dir / "t", libc.substr(0, libc.size() * part / 20));
}

TEST_CASE("random damage is survived") {
  Scratch dir;
  std::mt19937 random(20261121);
  for (const std::string& original : {slurp(FIXTURE_OBJECT), libc_bytes()}) {
    const bool small = original.size() < 100000;
    for (int round = 0; round < (small ? 600 : 150); round++) {
      std::string bytes = original;
      const int flips = 1 << random() % 8;
      for (int i = 0; i < flips; i++) {
        // Half of the damage goes to the headers, where it hurts most.
        const size_t range = random() % 2 ? std::min<size_t>(bytes.size(), 1024) : bytes.size();
        bytes[random() % range] = static_cast<char>(random());
      }
      survives(dir / "m", bytes);
    }
  }
}

TEST_CASE("damage in .eh_frame is survived") {
  Scratch dir;
  std::mt19937 random(7);
  const std::string original = slurp(STATIC_OBJECT);
  Elf64_Ehdr eh;
  std::memcpy(&eh, original.data(), sizeof eh);
  for (int n = 0; n < eh.e_shnum; n++) {
    Elf64_Shdr sh, names;
    std::memcpy(&sh, original.data() + eh.e_shoff + n * sizeof sh, sizeof sh);
    std::memcpy(&names, original.data() + eh.e_shoff + eh.e_shstrndx * sizeof sh, sizeof sh);
    if (std::string(original.data() + names.sh_offset + sh.sh_name) != ".eh_frame") continue;
    for (int round = 0; round < 100; round++) {
      std::string bytes = original;
      for (int i = 0; i < 1 << round % 10; i++)
        bytes[sh.sh_offset + random() % sh.sh_size] = static_cast<char>(random());
      survives(dir / "e", bytes);
    }
  }
}

TEST_CASE("what is neither an x86_64 nor an i386 object is refused with its name") {
  Scratch dir;
  CHECK_FALSE(survives(dir / "text", "#!/bin/sh\n" + std::string(200, 'x')));
  CHECK_THROWS_AS(cr::analyze_object(dir / "missing"), cr::AnalyzeError);
  CHECK_THROWS_AS(cr::analyze_object(dir / "."), cr::AnalyzeError);
}
