// The functions of an object, decoded when first asked for. A decode costs more than any other
// step of the analysis, so each function is decoded once and most are never.
//
// A function is decoded straight from its start. If that meets bytes which are no instruction, or
// a branch of the function lands inside an instruction, there is data among the code: then only
// what control flow reaches from the start and the landing pads counts.
//
// The FDE of a signal trampoline may begin one byte early, in the padding (glibc, for unwinders
// that look up pc-1); the trampoline's own bytes tell.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "arch/x86_64/siterules.h"
#include "src/gate/analyze/elf.h"

namespace cr {

struct Function {
  FunctionRange range;
  std::vector<Insn> insns;         // ascending by address
  std::vector<uint32_t> next;      // index of the instruction that follows, or kNone
  std::vector<uint32_t> taken;     // index of the branch target inside the function, or kNone
  std::vector<uint64_t> pads;      // landing pads
  VectorSet touched = 0;           // by any instruction
  VectorSet written = 0;
  bool reached_only = false;       // data among the code: decoded by control flow

  static constexpr uint32_t kNone = ~0u;
  uint32_t index_of(uint64_t addr) const;  // instruction that starts at addr, or kNone
};

class Code {
 public:
  explicit Code(const ElfObject& elf);

  // glibc's clone ends its FDE at the `syscall` (there is no caller to unwind to in the child) and
  // begins the next one behind the child's first test. If `addr` lies in such a gap and control
  // falls into the gap from the function before it, that function grows by what is reached.
  // Call it before anything else asks about the addresses between.
  void claim_gap(uint64_t addr);

  size_t count() const { return ranges_.size(); }
  const FunctionRange& range(size_t i) const { return ranges_[i]; }
  std::span<const uint8_t> bytes(size_t i) const;

  static constexpr size_t kNone = ~size_t{0};
  size_t containing(uint64_t addr) const;    // function that holds addr, or kNone
  size_t starting_at(uint64_t addr) const;   // function that begins at addr, or kNone

  const Function& function(size_t i);
  bool may_touch_vectors(size_t i);  // cheap, may say yes wrongly
  size_t decoded() const { return decoded_; }

 private:
  void decode(Function& fn) const;
  bool decode_linear(Function& fn) const;
  void decode_reached(Function& fn) const;

  const ElfObject& elf_;
  std::vector<FunctionRange> ranges_;
  std::vector<std::unique_ptr<Function>> functions_;
  std::vector<int8_t> vectors_;  // -1: not asked yet
  size_t decoded_ = 0;
};

}  // namespace cr
