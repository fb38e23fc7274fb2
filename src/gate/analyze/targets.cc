// Branch target superset and call edges; see targets.h.
#include "src/gate/analyze/targets.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace cr {
namespace {

constexpr size_t kMaxTable = 65536;  // entries of one jump table

// One bit for each byte of the executable segments.
class AddressBits {
 public:
  explicit AddressBits(const ElfObject& elf) {
    for (const Segment& s : elf.segments())
      if (s.exec) parts_.push_back({s.addr, s.bytes.size(), std::vector<uint64_t>(s.bytes.size() / 64 + 1)});
  }
  void set(uint64_t first, uint64_t last) {
    for (Part& p : parts_)
      for (uint64_t a = std::max(first, p.addr); a <= last && a - p.addr < p.size; a++)
        p.bits[(a - p.addr) / 64] |= 1ull << ((a - p.addr) % 64);
  }
  bool test(uint64_t addr) const {
    for (const Part& p : parts_) {
      const uint64_t i = addr - p.addr;
      if (i < p.size) return p.bits[i / 64] >> (i % 64) & 1;
    }
    return false;
  }

 private:
  struct Part {
    uint64_t addr, size;
    std::vector<uint64_t> bits;
  };
  std::vector<Part> parts_;
};

template <class T>
T load(const uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

class Finder {
 public:
  Finder(const ElfObject& elf, const Code& code, const std::vector<uint64_t>& traps)
      : elf_(elf), code_(code), near_(elf), starts_(elf) {
    for (uint64_t t : traps) near_.set(t - std::min(t, kNearWindow), t + kNearWindow);
    for (size_t i = 0; i < code.count(); i++) starts_.set(code.range(i).start, code.range(i).start);
  }

  Targets run(const std::vector<uint64_t>& traps) {
    for (const Segment& s : elf_.segments()) {
      if (s.exec) {
        scan_text(s);
      } else {
        scan_words(s);
      }
    }
    scan_tables();
    for (uint64_t t : traps) scan_gaps(t);
    for (size_t i = 0; i < code_.count(); i++) add(code_.range(i).start);
    for (uint64_t v : elf_.symbol_values()) add(v);
    return std::move(out_);
  }

 private:
  void add(uint64_t addr) {
    if (near_.test(addr)) out_.addrs.push_back(addr);
  }

  void branch(uint64_t from, uint64_t target) {
    add(target);
    if (!starts_.test(target)) return;
    while (at_ < code_.count() && code_.range(at_).end <= from) at_++;
    if (at_ == code_.count() || code_.range(at_).start > from) return;
    out_.edges.push_back(
        {static_cast<uint32_t>(at_), static_cast<uint32_t>(code_.starting_at(target))});
  }

  void scan_text(const Segment& s) {
    const uint8_t* b = s.bytes.data();
    const size_t n = s.bytes.size();
    const auto rel32 = [&](size_t pos, size_t disp) {
      if (disp + 4 > n) return;
      branch(s.addr + pos, s.addr + disp + 4 + static_cast<uint64_t>(int64_t{load<int32_t>(b + disp)}));
    };
    for (size_t i = 0; i + 5 <= n; i++) {
      const uint8_t c = b[i];
      if ((c & 0xfe) == 0xe8) {
        rel32(i, i + 1);
      } else if (c == 0x0f && (b[i + 1] & 0xf0) == 0x80) {
        rel32(i, i + 2);
      } else if (c == 0xc7 && b[i + 1] == 0xf8) {
        rel32(i, i + 2);
      } else if (c == 0x8d && (b[i + 1] & 0xc7) == 0x05 && i + 6 <= n &&
                 elf_.isa() == Isa::kX86_64) {
        const uint64_t at = s.addr + i + 6 + static_cast<uint64_t>(int64_t{load<int32_t>(b + i + 2)});
        if (!elf_.executable(at)) tables_.push_back(at);
      }
    }
  }

  // What a lea points at may be a table of int32 offsets from its own start, as compilers make for
  // a switch. It ends where the next thing that a lea points at begins, or at the first offset
  // that leads to no code.
  void scan_tables() {
    std::sort(tables_.begin(), tables_.end());
    tables_.erase(std::unique(tables_.begin(), tables_.end()), tables_.end());
    for (size_t i = 0; i < tables_.size(); i++)
      table(tables_[i], i + 1 < tables_.size() ? tables_[i + 1] : ~uint64_t{0});
    std::sort(out_.cases.begin(), out_.cases.end());
    out_.cases.erase(std::unique(out_.cases.begin(), out_.cases.end()), out_.cases.end());
  }

  void table(uint64_t addr, uint64_t end) {
    const std::span<const uint8_t> bytes = elf_.at(addr);
    const uint64_t room = std::min<uint64_t>(bytes.size(), end - addr);
    for (size_t i = 0; i < kMaxTable && 4 * i + 4 <= room; i++) {
      const uint64_t target =
          addr + static_cast<uint64_t>(int64_t{load<int32_t>(bytes.data() + 4 * i)});
      if (!elf_.executable(target)) return;
      add(target);
      out_.cases.push_back(target);
    }
  }

  void scan_words(const Segment& s) {
    if (elf_.isa() == Isa::kI386) return scan_words32(s);
    size_t i = static_cast<size_t>(-s.addr & 7);
    for (; i + 8 <= s.bytes.size(); i += 8) add(load<uint64_t>(s.bytes.data() + i));
  }

  // The tables of position-independent code hold offsets from the GOT.
  void scan_words32(const Segment& s) {
    for (size_t i = static_cast<size_t>(-s.addr & 3); i + 4 <= s.bytes.size(); i += 4) {
      const uint32_t word = load<uint32_t>(s.bytes.data() + i);
      add(word);
      const uint64_t target = (elf_.got() + word) & 0xffffffff;
      if (!elf_.executable(target)) continue;
      add(target);
      out_.cases.push_back(target);
    }
  }

  // Bytes near a trap that no function owns are not decoded: take every short branch form there.
  void scan_gaps(uint64_t trap) {
    for (uint64_t a = trap - std::min(trap, kNearBranch); a < trap + kNearBranch; a++) {
      const std::span<const uint8_t> b = elf_.at(a);
      if (b.size() < 2) continue;
      const bool rel8 = (b[0] & 0xf0) == 0x70 || b[0] == 0xeb || (b[0] & 0xfc) == 0xe0;
      if (rel8 && code_.containing(a) == Code::kNone)
        add(a + 2 + static_cast<uint64_t>(int64_t{static_cast<int8_t>(b[1])}));
    }
  }

  const ElfObject& elf_;
  const Code& code_;
  AddressBits near_;
  AddressBits starts_;
  Targets out_;
  std::vector<uint64_t> tables_;  // data that a RIP-relative lea points at
  size_t at_ = 0;  // function that the text scan is in
};

}  // namespace

Targets find_targets(const ElfObject& elf, const Code& code, const std::vector<uint64_t>& traps) {
  return Finder(elf, code, traps).run(traps);
}

}  // namespace cr
