// Decoding of functions; see code.h.
#include "src/gate/analyze/code.h"

#include <algorithm>
#include <unordered_set>

namespace cr {
namespace {

constexpr uint64_t kMaxGap = 64;  // bytes between two FDEs that code may fall through

bool is_sigreturn(const Function& fn) {
  for (size_t i = 1; i < fn.insns.size(); i++)
    if (fn.insns[i].trap && fn.insns[i - 1].sigreturn) return true;
  return false;
}

}  // namespace

uint32_t Function::index_of(uint64_t addr) const {
  const auto it = std::lower_bound(insns.begin(), insns.end(), addr,
                                   [](const Insn& i, uint64_t a) { return i.addr < a; });
  if (it == insns.end() || it->addr != addr) return kNone;
  return static_cast<uint32_t>(it - insns.begin());
}

Code::Code(const ElfObject& elf)
    : elf_(elf), ranges_(elf.functions()), functions_(ranges_.size()), vectors_(ranges_.size(), -1) {}

std::span<const uint8_t> Code::bytes(size_t i) const {
  const FunctionRange& r = ranges_[i];
  return elf_.at(r.start).first(r.end - r.start);
}

size_t Code::containing(uint64_t addr) const {
  auto it = std::upper_bound(ranges_.begin(), ranges_.end(), addr,
                             [](uint64_t a, const FunctionRange& r) { return a < r.start; });
  if (it == ranges_.begin()) return kNone;
  --it;
  return addr < it->end ? static_cast<size_t>(it - ranges_.begin()) : kNone;
}

size_t Code::starting_at(uint64_t addr) const {
  const size_t i = containing(addr);
  return i != kNone && ranges_[i].start == addr ? i : kNone;
}

bool Code::may_touch_vectors(size_t i) {
  if (vectors_[i] < 0) vectors_[i] = cr::may_touch_vectors(bytes(i));
  return vectors_[i] != 0;
}

const Function& Code::function(size_t i) {
  if (!functions_[i]) {
    functions_[i] = std::make_unique<Function>();
    functions_[i]->range = ranges_[i];
    decode(*functions_[i]);
    decoded_++;
  }
  return *functions_[i];
}

void Code::claim_gap(uint64_t addr) {
  auto it = std::upper_bound(ranges_.begin(), ranges_.end(), addr,
                             [](uint64_t a, const FunctionRange& r) { return a < r.start; });
  if (it == ranges_.begin()) return;
  const size_t i = static_cast<size_t>(it - ranges_.begin()) - 1;
  uint64_t end = ranges_[i].end;
  const uint64_t limit = std::min(it == ranges_.end() ? ~uint64_t{0} : it->start, end + kMaxGap);
  if (addr < end) return;
  const Function& fn = function(i);
  if (fn.reached_only || fn.insns.empty()) return;
  Insn insn = fn.insns.back();
  while (insn.flow == Flow::kNext || insn.flow == Flow::kBranch) {
    const std::span<const uint8_t> text = elf_.at(end);
    if (end >= limit || !decode_insn(text.first(std::min<uint64_t>(text.size(), limit - end)), end, elf_.isa(), insn))
      break;
    end = insn.end();
  }
  if (end == ranges_[i].end) return;
  ranges_[i].end = end;
  functions_[i].reset();
  vectors_[i] = -1;
}

// False when the function is not a plain run of instructions.
bool Code::decode_linear(Function& fn) const {
  const std::span<const uint8_t> text = elf_.at(fn.range.start);
  const uint64_t size = fn.range.end - fn.range.start;
  for (uint64_t pos = 0; pos < size;) {
    Insn insn;
    if (!decode_insn(text.subspan(pos, size - pos), fn.range.start + pos, elf_.isa(), insn)) return false;
    fn.insns.push_back(insn);
    pos += insn.len;
  }
  for (const Insn& insn : fn.insns) {
    if (insn.target <= fn.range.start || insn.target >= fn.range.end) continue;
    if (fn.index_of(insn.target) != Function::kNone) continue;
    // `je 1f; lock; 1: cmpxchg`: glibc jumps past the prefix when there is one thread.
    const uint32_t before = fn.index_of(insn.target - 1);
    if (before == Function::kNone || !fn.insns[before].locked) return false;
  }
  return true;
}

void Code::decode_reached(Function& fn) const {
  const std::span<const uint8_t> text = elf_.at(fn.range.start);
  const uint64_t size = fn.range.end - fn.range.start;
  std::vector<uint64_t> work = fn.pads;
  work.push_back(fn.range.start);
  std::unordered_set<uint64_t> seen;
  while (!work.empty()) {
    const uint64_t addr = work.back();
    work.pop_back();
    if (addr < fn.range.start || addr >= fn.range.end || !seen.insert(addr).second) continue;
    const uint64_t pos = addr - fn.range.start;
    Insn insn;
    if (!decode_insn(text.subspan(pos, size - pos), addr, elf_.isa(), insn)) continue;
    fn.insns.push_back(insn);
    if (insn.flow == Flow::kBranch || insn.flow == Flow::kJump) work.push_back(insn.target);
    if (insn.flow != Flow::kJump && insn.flow != Flow::kIndirectJump &&
        insn.flow != Flow::kReturn && insn.flow != Flow::kStop)
      work.push_back(insn.end());
  }
  std::sort(fn.insns.begin(), fn.insns.end(),
            [](const Insn& a, const Insn& b) { return a.addr < b.addr; });
}

void Code::decode(Function& fn) const {
  fn.pads = elf_.landing_pads(fn.range);
  fn.insns.reserve((fn.range.end - fn.range.start) / 4 + 1);
  bool linear = decode_linear(fn);
  if (fn.range.signal_frame && !is_sigreturn(fn)) {
    Function inner;
    inner.range = fn.range;
    inner.range.start++;
    if (decode_linear(inner) && is_sigreturn(inner)) {
      fn.insns = std::move(inner.insns);
      linear = true;
    }
  }
  if (!linear) {
    fn.insns.clear();
    fn.reached_only = true;
    decode_reached(fn);
  }
  fn.next.assign(fn.insns.size(), Function::kNone);
  fn.taken.assign(fn.insns.size(), Function::kNone);
  for (uint32_t i = 0; i < fn.insns.size(); i++) {
    const Insn& insn = fn.insns[i];
    fn.touched |= insn.touch;
    fn.written |= insn.touch & ~insn.use;
    fn.written |= insn.def;
    if (i + 1 < fn.insns.size() && fn.insns[i + 1].addr == insn.end()) {
      fn.next[i] = i + 1;
    } else {
      fn.next[i] = fn.index_of(insn.end());
    }
    if (insn.target < fn.range.start || insn.target >= fn.range.end) continue;
    if (insn.flow != Flow::kBranch && insn.flow != Flow::kJump) continue;
    fn.taken[i] = fn.index_of(insn.target);
    if (fn.taken[i] == Function::kNone) fn.taken[i] = fn.index_of(insn.target - 1);
  }
}

}  // namespace cr
