// Function bounds of Go's code: its runtime's own table, which is in every executable, also in one without symbols.
//
// Go's compiler writes no .eh_frame. Source: runtime/symtab.go and debug/gosym/pclntab.go of Go, versions 1.2 to 1.24.
#include <elf.h>

#include "src/gate/analyze/elf.h"
#include "src/gate/analyze/reader.h"

namespace cr {
namespace {

enum Magic : uint32_t { kGo12 = 0xfffffffb, kGo116 = 0xfffffffa, kGo118 = 0xfffffff0, kGo120 = 0xfffffff1 };

// Where the table of functions is, and what its addresses are relative to.
struct Table {
  uint64_t at = 0;  // from the header
  uint64_t count = 0;
  uint64_t text = 0;
  bool offsets = false;  // of 4 bytes, from `text`
};

}  // namespace

// A linker may have put the table among other data.
std::vector<uint64_t> ElfObject::go_functions() const {
  if (pclntab_ != 0) return go_functions_at(pclntab_);
  if (!go_) return {};
  constexpr size_t kAlign = 8;
  int looks = 64;  // at what begins like one
  for (const Segment& s : segments_) {
    for (size_t i = 0; !s.exec && i + kAlign <= s.bytes.size(); i += kAlign) {
      const uint8_t* b = s.bytes.data() + i;
      if (b[0] < 0xf0 || b[1] != 0xff || b[2] != 0xff || b[3] != 0xff || b[4] != 0 || b[5] != 0 || b[6] != 1) continue;
      if (looks-- == 0) return {};
      std::vector<uint64_t> found = go_functions_at(s.addr + i);
      if (!found.empty()) return found;
    }
  }
  return {};
}

uint64_t ElfObject::relocated(uint64_t addr) const {
  for (const std::span<const uint8_t>& table : relocations_) {
    for (Reader r(table, 0); r.left() >= sizeof(Elf64_Rela);) {
      const auto rela = r.get<Elf64_Rela>();
      if (rela.r_offset == addr && ELF64_R_TYPE(rela.r_info) == R_X86_64_RELATIVE) return static_cast<uint64_t>(rela.r_addend);
    }
  }
  return 0;
}

std::vector<uint64_t> ElfObject::go_functions_at(uint64_t table) const {
  const std::span<const uint8_t> bytes = at(table);
  Reader r(bytes, table, is32_);
  const auto word = [this](Reader& from) { return is32_ ? from.get<uint32_t>() : from.get<uint64_t>(); };
  const auto magic = r.get<uint32_t>();
  const auto zeros = r.get<uint16_t>();
  const auto quantum = r.get<uint8_t>();
  const auto pointer = r.get<uint8_t>();
  if (r.bad() || zeros != 0 || quantum != 1 || pointer != (is32_ ? 4 : 8)) return {};
  Table t;
  t.count = word(r);
  if (magic == kGo12) {
    t.at = 8 + pointer;
  } else if (magic == kGo116) {
    r.skip(uint64_t{5} * pointer);  // files, then offsets of names, units, files, programs
    t.at = word(r);
  } else if (magic == kGo118 || magic == kGo120) {
    r.skip(pointer);  // files
    const uint64_t moved = relocated(r.addr());
    const uint64_t said = word(r);
    t.text = moved != 0 ? moved : said;
    t.offsets = true;
    r.skip(uint64_t{4} * pointer);
    t.at = word(r);
  } else {
    return {};
  }
  const size_t entry = t.offsets ? 8 : size_t{2} * pointer;
  if (r.bad() || t.count == 0 || t.at > bytes.size() || t.count > (bytes.size() - t.at) / entry) return {};
  Reader f(bytes.subspan(t.at), table + t.at, is32_);
  // Each one ends where the next begins; the last entry is the end of all.
  std::vector<uint64_t> starts;
  for (uint64_t i = 0; i <= t.count; i++) {
    const uint64_t start = t.offsets ? t.text + f.get<uint32_t>() : word(f);
    if (f.bad() || (!starts.empty() && start < starts.back())) return {};
    starts.push_back(start);
    if (i < t.count) f.skip(entry - (t.offsets ? 4 : pointer));
  }
  // All of it is in one stretch of code, or it is not what it says.
  const uint64_t first = starts.front();
  if (!executable(first) || starts.back() - first > at(first).size()) return {};
  return starts;
}

}  // namespace cr
