// Each decision of the analyser on code made for it (fixture.S). Sites are looked up by the
// entry of section trap_marks.
#include <elf.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <string>

#include "src/gate/analyze/analyze.h"
#include "tests/analyze/scratch.h"

namespace {

std::map<std::string, uint64_t> trap_marks() {
  const std::string file = slurp(FIXTURE_OBJECT);
  Elf64_Ehdr eh;
  std::memcpy(&eh, file.data(), sizeof eh);
  std::vector<Elf64_Shdr> sections(eh.e_shnum);
  std::memcpy(sections.data(), file.data() + eh.e_shoff, eh.e_shnum * sizeof(Elf64_Shdr));
  const uint64_t names = sections.at(eh.e_shstrndx).sh_offset;
  std::map<std::string, uint64_t> found;
  for (const Elf64_Shdr& s : sections) {
    if (std::string(file.data() + names + s.sh_name) != "trap_marks") continue;
    for (size_t at = 0; at < s.sh_size; at += 32) {
      int32_t offset;
      std::memcpy(&offset, file.data() + s.sh_offset + at, sizeof offset);
      found[file.data() + s.sh_offset + at + 4] = s.sh_addr + at + static_cast<uint64_t>(int64_t{offset});
    }
  }
  return found;
}

const std::map<std::string, uint64_t>& marks() {
  static const auto table = trap_marks();
  return table;
}

const cr::AnalyzeResult& fixture() {
  static const cr::AnalyzeResult result = cr::analyze_object(FIXTURE_OBJECT);
  return result;
}

const cr::Site* find(const std::string& name) {
  const uint64_t addr = marks().at(name);
  for (const cr::Site& s : fixture().sites)
    if (s.trap == addr) return &s;
  return nullptr;
}

const cr::Site& site(const std::string& name) {
  const cr::Site* s = find(name);
  INFO(name);
  REQUIRE(s != nullptr);
  return *s;
}

cr::SiteRule rule(const std::string& name) { return static_cast<cr::SiteRule>(site(name).rule); }
cr::SiteVector vec(const std::string& name) { return static_cast<cr::SiteVector>(site(name).vector); }

}  // namespace

TEST_CASE("a site takes the first rule that fits") {
  CHECK(rule("plain_before") == cr::SiteRule::kP);
  CHECK(site("plain_before").pre == 5);
  CHECK(rule("two_before") == cr::SiteRule::kP);
  CHECK(site("two_before").pre == 5);
  CHECK(rule("jump_to_trap") == cr::SiteRule::kA);
  CHECK(site("jump_to_trap").post == 6);
  CHECK(rule("nothing_fits") == cr::SiteRule::kX);
  CHECK(rule("sigreturn_stub") == cr::SiteRule::kSkip);
}

TEST_CASE("an exit loop is displaced together with its trap") {
  CHECK(rule("exit_loop") == cr::SiteRule::kB);
  CHECK(site("exit_loop").pre == 4);
}

TEST_CASE("a RIP-relative instruction carries an exact fix-up") {
  const cr::Site& s = site("rip_relative");
  CHECK(s.rule == static_cast<uint8_t>(cr::SiteRule::kP));
  REQUIRE(s.nfixups == 1);
  CHECK(s.fixups[0].at == 3);
  CHECK(s.fixups[0].end == 7);
}

TEST_CASE("no window is claimed that something jumps into") {
  CHECK(rule("jumped_into") == cr::SiteRule::kA);
  CHECK(rule("switch_case") == cr::SiteRule::kA);
}

TEST_CASE("windows of neighbouring sites do not overlap") {
  CHECK(rule("twins") == cr::SiteRule::kP);
  CHECK(site("twins").post == 0);
  CHECK(rule("twins_second") == cr::SiteRule::kA);
}

TEST_CASE("an endbr stays where it is") { CHECK(rule("endbr_before") == cr::SiteRule::kA); }

TEST_CASE("an FDE that ends at the trap is carried on over it") {
  CHECK(rule("fde_ends_at_trap") == cr::SiteRule::kP);
}

TEST_CASE("data is never a site") {
  CHECK(rule("table_among_code") == cr::SiteRule::kP);
  CHECK(fixture().sites.size() == marks().size());
}

TEST_CASE("bytes of a site are the window as found") {
  const cr::Site& s = site("plain_before");
  const uint8_t expect[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0};
  CHECK(std::memcmp(s.bytes, expect, sizeof expect) == 0);
}

TEST_CASE("vector registers that live across a trap are seen") {
  CHECK(vec("plain_before") == cr::SiteVector::kNone);
  CHECK(vec("xmm_live") == cr::SiteVector::kSse);
  CHECK(vec("xmm_dead") == cr::SiteVector::kNone);
  CHECK(vec("ymm_live") == cr::SiteVector::kXsave);
  CHECK(vec("mask_live") == cr::SiteVector::kXsave);
  CHECK(vec("returned_double") == cr::SiteVector::kFew);
}

TEST_CASE("a caller compiled with -fipa-ra keeps xmm over a local callee's trap") {
  CHECK(vec("ipa_callee") == cr::SiteVector::kSse);
}
