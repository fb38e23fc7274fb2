// The steps of the analysis; see analyze.h.
#include "src/gate/analyze/analyze.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "arch/x86_64/siterules.h"
#include "src/gate/analyze/code.h"
#include "src/gate/analyze/elf.h"
#include "src/gate/analyze/liveness.h"
#include "src/gate/analyze/targets.h"

namespace cr {
namespace {

class Stopwatch {
 public:
  double lap_ms() {
    const auto now = std::chrono::steady_clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

std::string hex(uint64_t v) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

// Addresses in executable segments where the bytes of a trap stand, code or not.
std::vector<uint64_t> trap_bytes(const ElfObject& elf) {
  std::vector<uint64_t> found;
  const auto& trap = kTrapBytes[static_cast<size_t>(elf.isa())];
  for (const Segment& s : elf.segments()) {
    if (!s.exec || s.bytes.size() < 2) continue;
    const uint8_t* begin = s.bytes.data();
    const uint8_t* end = begin + s.bytes.size();
    for (const uint8_t* p = begin + 1; p < end; p++) {
      p = static_cast<const uint8_t*>(std::memchr(p, trap[1], static_cast<size_t>(end - p)));
      if (p == nullptr) break;
      if (p[-1] == trap[0]) found.push_back(s.addr + static_cast<uint64_t>(p - 1 - begin));
    }
  }
  return found;
}

// wrgsbase %r64 stands in an executable segment: five bytes of which four bits are free, so hardly by chance.
bool writes_gs(const ElfObject& elf) {
  if (elf.isa() != Isa::kX86_64) return false;
  for (const Segment& s : elf.segments()) {
    if (!s.exec) continue;
    const uint8_t* begin = s.bytes.data();
    const uint8_t* end = begin + s.bytes.size();
    for (const uint8_t* p = begin; p < end; p++) {
      p = static_cast<const uint8_t*>(std::memchr(p, 0xae, static_cast<size_t>(end - p)));  // the rarest of them
      if (p == nullptr || end - p < 2) break;
      if (p - begin >= 3 && p[-3] == 0xf3 && (p[-2] & 0xfe) == 0x48 && p[-1] == 0x0f && (p[1] & 0xf8) == 0xd8) return true;
    }
  }
  return false;
}

// Functions that hold `bytes`, ascending. Bytes that no function holds are data, or code whose
// bounds are unknown: neither is touched.
std::vector<size_t> holders(Code& code, const std::vector<uint64_t>& bytes,
                            AnalyzeResult& result) {
  std::vector<size_t> fns;
  for (uint64_t addr : bytes) {
    if (code.containing(addr) == Code::kNone) code.claim_gap(addr);
    const size_t i = code.containing(addr);
    if (i == Code::kNone) {
      result.notes.push_back("bytes of a trap at " + hex(addr) + " lie in no function: left alone");
    } else if (fns.empty() || fns.back() != i) {
      fns.push_back(i);
    }
  }
  return fns;
}

// The functions with traps and those close enough to hold a rel8 branch into a window.
std::vector<size_t> with_neighbours(const Code& code, const std::vector<size_t>& fns) {
  std::vector<size_t> all;
  for (size_t i : fns) {
    const FunctionRange& r = code.range(i);
    size_t first = i, last = i;
    while (first > 0 && code.range(first - 1).end + kNearBranch > r.start) first--;
    while (last + 1 < code.count() && code.range(last + 1).start < r.end + kNearBranch) last++;
    for (size_t j = std::max(first, all.empty() ? 0 : all.back() + 1); j <= last; j++)
      all.push_back(j);
  }
  return all;
}

struct Trap {
  size_t function;
  uint32_t index;
  uint64_t addr;
};

std::vector<Trap> find_traps(Code& code, const std::vector<size_t>& fns, AnalyzeResult& result) {
  std::vector<Trap> traps;
  for (size_t i : fns) {
    const Function& fn = code.function(i);
    if (fn.reached_only)
      result.notes.push_back("data among the code of the function at " + hex(fn.range.start) +
                             ": only what its branches reach was read");
    for (uint32_t at = 0; at < fn.insns.size(); at++)
      if (fn.insns[at].trap) traps.push_back({i, at, fn.insns[at].addr});
  }
  return traps;
}

// Adds what the decoded functions know: their branches, short ones too, and landing pads.
void add_decoded_targets(Code& code, const std::vector<size_t>& fns, std::vector<uint64_t>& addrs) {
  for (size_t i : fns) {
    const Function& fn = code.function(i);
    addrs.insert(addrs.end(), fn.pads.begin(), fn.pads.end());
    for (const Insn& insn : fn.insns)
      if (insn.target != 0) addrs.push_back(insn.target);
  }
}

// A trap in a signal trampoline: unwinders and debuggers know it by its bytes.
Site skipped(uint64_t trap, Isa isa) {
  Site site{};
  site.trap = trap;
  site.kind = static_cast<uint8_t>(trap_kind(isa));
  site.rule = static_cast<uint8_t>(SiteRule::kSkip);
  return site;
}

void fill_bytes(const ElfObject& elf, Site& site) {
  const size_t size = size_t{site.pre} + 2 + site.post;
  const std::span<const uint8_t> text = elf.at(site.trap - site.pre);
  std::copy_n(text.begin(), std::min(size, text.size()), site.bytes);
}

void choose_sites(const ElfObject& elf, Code& code, const std::vector<Trap>& traps,
                  const TargetSet& targets, AnalyzeResult& result) {
  uint64_t floor = 0;
  for (const Trap& t : traps) {
    const Function& fn = code.function(t.function);
    Site site = choose_site(fn.insns, t.index, targets, floor, elf.isa());
    if (fn.range.signal_frame) site = skipped(site.trap, elf.isa());
    fill_bytes(elf, site);
    site.narrow = elf.go() ? 1 : 0;
    floor = site.trap + 2 + site.post;
    if (site.rule == static_cast<uint8_t>(SiteRule::kX)) {
      result.residual++;
      result.notes.push_back("no window fits the trap at " + hex(site.trap) + ": rule X");
    }
    result.sites.push_back(site);
  }
}

// glibc's own two objects, by the names that every distribution gives them.
bool is_libc(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with("libc.so.") || name.starts_with("libc-2.");
}

bool is_glibc(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return is_libc(path) || name.starts_with("ld-linux") || name.starts_with("ld-2.");
}

// A prefix that names a segment stands here: another one before it would be ambiguous.
bool is_override(uint8_t byte) {
  return byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x64 || byte == 0x65;
}

// An instruction that may be locked begins here, as far as three bytes tell.
bool may_be_locked(const uint8_t* p, const uint8_t* end) {
  if (p < end && *p == 0x66) p++;
  if (p < end && (*p & 0xf0) == 0x40) p++;
  if (p >= end) return false;
  const uint8_t op = *p;
  if (op == 0x0f) return true;                                // cmpxchg, xadd, bts ...
  if (op < 0x38) return (op & 7) < 4;                         // add to xor
  return (op & 0xfc) == 0x80 || (op & 0xfe) == 0xfe || (op & 0xfe) == 0xf6 || (op & 0xfe) == 0x86;
}

// The lock prefixes of libc, for a process that runs on one cpu (src/gate/buslock.h). Those in a
// window are left out: other bytes stand there once the window is rewritten.
void find_locks(const ElfObject& elf, Code& code, AnalyzeResult& result) {
  size_t last = Code::kNone;
  for (const Segment& s : elf.segments()) {
    if (!s.exec) continue;
    const uint8_t* begin = s.bytes.data();
    const uint8_t* end = begin + s.bytes.size();
    for (const uint8_t* p = begin; p < end; p++) {
      p = static_cast<const uint8_t*>(std::memchr(p, 0xf0, static_cast<size_t>(end - p)));
      if (p == nullptr) break;
      if (!may_be_locked(p + 1, end)) continue;
      const size_t i = code.containing(s.addr + static_cast<uint64_t>(p - begin));
      if (i == Code::kNone || i == last) continue;
      last = i;
      for (const Insn& insn : code.function(i).insns)
        if (insn.locked && insn.addr <= UINT32_MAX && !is_override(elf.at(insn.addr)[1]))
          result.locks.push_back(static_cast<uint32_t>(insn.addr));
    }
  }
  const auto in_window = [&](uint32_t at) {
    return std::any_of(result.sites.begin(), result.sites.end(), [at](const Site& site) {
      return at >= site.trap - site.pre && at < site.trap + 2 + site.post;
    });
  };
  std::sort(result.locks.begin(), result.locks.end());
  std::erase_if(result.locks, in_window);
}

void classify_vectors(Code& code, const Targets& targets, const std::vector<Trap>& traps,
                      bool integer_traps, AnalyzeResult& result) {
  std::vector<size_t> fns;
  for (const Trap& t : traps)
    if (fns.empty() || fns.back() != t.function) fns.push_back(t.function);
  VectorLiveness liveness(code, targets, fns, integer_traps);
  std::vector<VectorSet> after;
  for (size_t n = 0; n < traps.size(); n++) {
    if (n == 0 || traps[n].function != traps[n - 1].function)
      after = liveness.live_after(traps[n].function);
    result.sites[n].vector = static_cast<uint8_t>(vector_class(after[traps[n].index]));
  }
}

}  // namespace

AnalyzeResult analyze_object(const std::filesystem::path& object) {
  Stopwatch watch;
  AnalyzeResult result;
  const ElfObject elf(object);
  result.machine = elf.machine();
  result.build_id.assign(elf.build_id().begin(), elf.build_id().end());
  result.writes_gs = writes_gs(elf);
  if (result.writes_gs) result.notes.push_back("sets %gs, which is libcr's: it can't go on once it does");
  const std::vector<uint64_t> bytes = trap_bytes(elf);
  if (bytes.empty()) {
    result.timing.load_ms = watch.lap_ms();
    return result;
  }
  Code code(elf);
  result.timing.load_ms = watch.lap_ms();

  const std::vector<Trap> traps = find_traps(code, holders(code, bytes, result), result);
  if (traps.empty()) return result;
  std::vector<size_t> fns;
  std::vector<uint64_t> addrs;
  for (const Trap& t : traps) {
    addrs.push_back(t.addr);
    if (fns.empty() || fns.back() != t.function) fns.push_back(t.function);
  }
  fns = with_neighbours(code, fns);
  for (size_t i : fns) code.function(i);
  result.timing.decode_ms = watch.lap_ms();

  Targets targets = find_targets(elf, code, addrs);
  add_decoded_targets(code, fns, targets.addrs);
  choose_sites(elf, code, traps, TargetSet(std::move(targets.addrs)), result);
  result.timing.targets_ms = watch.lap_ms();

  classify_vectors(code, targets, traps, is_glibc(object), result);
  if (is_libc(object)) find_locks(elf, code, result);
  result.timing.vector_ms = watch.lap_ms();
  return result;
}

}  // namespace cr
