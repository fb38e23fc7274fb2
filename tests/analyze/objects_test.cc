// The analyser on the libraries of this system, with objdump as an independent judge.
#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>

#include "src/gate/analyze/analyze.h"
#include "src/gate/analyze/code.h"

namespace {

// Where the loader finds a library, or "".
std::string library(const char* soname) {
  void* handle = dlopen(soname, RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) return "";
  link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) return "";
  return map->l_name;
}

std::string loader() { return library("ld-linux-x86-64.so.2"); }

struct Disassembly {
  std::set<uint64_t> starts;
  std::vector<uint64_t> traps;
  std::set<uint64_t> locks;
};

Disassembly disassemble(const std::string& object) {
  const std::string command = std::string(OBJDUMP) + " -d --no-show-raw-insn '" + object + "'";
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  Disassembly d;
  std::array<char, 512> line{};
  while (std::fgets(line.data(), line.size(), pipe) != nullptr) {
    char* end = nullptr;
    const uint64_t addr = std::strtoull(line.data(), &end, 16);
    if (end == line.data() || *end != ':' || end[1] != '\t') continue;
    d.starts.insert(addr);
    const std::string_view insn(end + 2);
    if (insn.starts_with("syscall") || (insn.starts_with("int ") && insn.find("$0x80") != insn.npos))
      d.traps.push_back(addr);
    if (std::string_view(end + 2).starts_with("lock ")) d.locks.insert(addr);
  }
  CHECK(pclose(pipe) == 0);
  return d;
}

void lists_locks_as_objdump(const std::string& path) {
  INFO(path);
  const cr::AnalyzeResult r = cr::analyze_object(path);
  std::set<uint64_t> expected = disassemble(path).locks;
  for (const cr::Site& s : r.sites) {
    const uint64_t start = s.trap - s.pre;
    expected.erase(expected.lower_bound(start), expected.lower_bound(s.trap + 2 + s.post));
  }
  CHECK(expected.size() > 100);
  CHECK(expected == std::set<uint64_t>(r.locks.begin(), r.locks.end()));
  CHECK(std::is_sorted(r.locks.begin(), r.locks.end()));
}

void agrees_with_objdump(const std::string& object) {
  INFO(object);
  const cr::AnalyzeResult result = cr::analyze_object(object);
  const Disassembly d = disassemble(object);
  const cr::ElfObject elf(object);
  const cr::Code code(elf);
  std::set<uint64_t> table;
  uint64_t floor = 0;
  for (const cr::Site& s : result.sites) {
    INFO(std::hex << s.trap);
    table.insert(s.trap);
    CHECK(d.starts.count(s.trap));
    CHECK(d.starts.count(s.trap - s.pre));
    CHECK(d.starts.count(s.trap + 2 + s.post));
    CHECK(s.trap - s.pre >= floor);
    floor = s.trap + 2 + s.post;
    for (int f = 0; f < s.nfixups; f++) {
      const uint64_t start = s.trap - s.pre;
      CHECK(d.starts.count(start + s.fixups[f].end));
      CHECK(s.fixups[f].at + 4 <= s.fixups[f].end);
    }
  }
  for (uint64_t trap : d.traps) {
    INFO(std::hex << trap);
    if (code.containing(trap) != cr::Code::kNone) CHECK(table.count(trap));
  }
}

struct Census {
  size_t p = 0, a = 0, b = 0, x = 0, skip = 0;
};

Census census(const cr::AnalyzeResult& r) {
  Census c;
  for (const cr::Site& s : r.sites) {
    switch (static_cast<cr::SiteRule>(s.rule)) {
      case cr::SiteRule::kP: c.p++; break;
      case cr::SiteRule::kA: c.a++; break;
      case cr::SiteRule::kB: c.b++; break;
      case cr::SiteRule::kX: c.x++; break;
      case cr::SiteRule::kSkip: c.skip++; break;
    }
  }
  return c;
}

}  // namespace

TEST_CASE("every trap that objdump shows in a function is in the table") {
  for (const char* name : {"libc.so.6", "libgomp.so.1", "liburing.so.2", "libitm.so.1"})
    if (const std::string path = library(name); !path.empty()) agrees_with_objdump(path);
  agrees_with_objdump(loader());
  agrees_with_objdump(STATIC_OBJECT);
}

TEST_CASE("libc, the loader and a static program leave no site over") {
  for (const std::string& path : {library("libc.so.6"), loader(), std::string(STATIC_OBJECT)}) {
    INFO(path);
    const cr::AnalyzeResult r = cr::analyze_object(path);
    const Census c = census(r);
    CHECK(r.residual == 0);
    CHECK(c.x == 0);
    CHECK(c.skip == 1);
    CHECK(c.p > r.sites.size() * 9 / 10);
    CHECK(!r.build_id.empty());
  }
}

TEST_CASE("32-bit libraries' traps are found, and no jump is too long for any in libc") {
  // libc makes its other calls through the thread block, and returns from signals outside functions.
  const std::string libc = "/lib32/libc.so.6", loader32 = "/lib32/ld-linux.so.2";
  for (const std::string& path : {libc, loader32, std::string("/usr/lib32/libgomp.so.1")})
    if (std::filesystem::exists(path)) agrees_with_objdump(path);
  if (!std::filesystem::exists(libc)) return;
  const cr::AnalyzeResult r = cr::analyze_object(libc);
  CHECK(r.machine == EM_386);
  CHECK(r.sites.size() == 3);  // vfork, clone, clone3
  CHECK(census(r).p == 3);
  for (const cr::Site& s : r.sites) CHECK(s.kind == static_cast<uint8_t>(cr::TrapKind::kInt80));
  lists_locks_as_objdump(libc);
  CHECK(census(cr::analyze_object(loader32)).p > 40);
}

TEST_CASE("libc's lock prefixes are those that objdump shows, outside the windows") {
  lists_locks_as_objdump(library("libc.so.6"));
}

TEST_CASE("no object but libc has its lock prefixes listed") {
  CHECK(cr::analyze_object(loader()).locks.empty());
  CHECK(cr::analyze_object(STATIC_OBJECT).locks.empty());
}

TEST_CASE("glibc's exit loops are sites") {
  const Census c = census(cr::analyze_object(library("libc.so.6")));
  CHECK(c.b == 2);
}

TEST_CASE("the P-256 table in libcrypto's text is no site") {
  const std::string path = library("libcrypto.so.3");
  if (path.empty()) return;
  CHECK(cr::analyze_object(path).sites.empty());
}

TEST_CASE("an object without trap bytes has an empty table") {
  CHECK(cr::analyze_object(library("libm.so.6")).sites.empty());
}
