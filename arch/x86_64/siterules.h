// x86_64 and i386 rules for trap sites: how an instruction is read, and which window of whole
// instructions a site may claim. Ordinary hosted C++; runs out of the program's process.
//
// The decoder is Zydis: a home-made one mis-sizes SSE sooner or later (SaBRe put its jmp two
// bytes into a movups of ld.so). One decode costs about 100 ns, so callers decode only the
// functions they have a question about.
//
// Rules, in the order they are tried; each takes the fewest instructions that give 5 bytes:
//   P  instructions before the trap; the trap stays in place
//   A  the trap and instructions after it
//   B  instructions before the trap, and the trap
//   X  the trap alone (int3): the residue
// An instruction may be displaced when it means the same at another address: no branch, call,
// return, trap or endbr; RIP-relative only with a fix-up. No branch target, symbol or function
// start may lie inside a window after its first byte, and for P none on the trap itself: the
// code that jumps there would run the trap unseen.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/gate/sitetable.h"

namespace cr {

// A set of vector registers: bits 0-15 the low halves of ymm0-15 (xmm), 16-31 everything above
// bit 127 of the same registers, 32-47 zmm16-31 whole, 48-55 k0-7.
using VectorSet = uint64_t;
inline constexpr VectorSet kVectorXmm = 0xffff;
inline constexpr VectorSet kVectorUpper = 0xffff0000;
inline constexpr VectorSet kVectorArgs = 0xff;  // xmm0-7
inline constexpr VectorSet kVectorReturn = 3;   // xmm0-1
inline constexpr VectorSet kVectorFew = 0xf;    // xmm0-3: SiteVector::kFew
inline constexpr VectorSet kVectorAll = (1ull << 56) - 1;

// Whose code it is.
enum class Isa : uint8_t {
  kX86_64,  // traps by syscall
  kI386,    // traps by int $0x80
};

enum class Flow : uint8_t {
  kNext,
  kBranch,        // conditional, direct
  kJump,          // direct
  kIndirectJump,  //
  kCall,          // direct
  kIndirectCall,  //
  kReturn,        //
  kStop,          // ud2, hlt: no way on
};

struct Insn {
  uint64_t addr = 0;
  uint64_t target = 0;  // of kBranch, kJump and kCall
  VectorSet use = 0;    // vector registers read
  VectorSet def = 0;    // wholly overwritten, no matter what they held
  VectorSet touch = 0;  // read or written, even in part
  uint8_t len = 0;
  uint8_t disp_at = 0;  // offset of a RIP-relative disp32 in the instruction, or 0
  Flow flow = Flow::kNext;
  bool movable = false;
  bool trap = false;       // syscall, int $0x80
  bool sigreturn = false;  // the number goes to %eax
  bool locked = false;     // begins with a lock prefix, which some code jumps past

  uint64_t end() const { return addr + len; }
};

// Reads the instruction at the start of `bytes`, which lie at address `addr`.
// False when they are no instruction.
bool decode_insn(std::span<const uint8_t> bytes, uint64_t addr, Isa isa, Insn& out);

// True when `bytes` can hold an instruction that touches a vector register. A cheap filter:
// false is certain, true is not.
bool may_touch_vectors(std::span<const uint8_t> bytes);

// Addresses that control may reach other than by falling through. Sorted, unique.
class TargetSet {
 public:
  explicit TargetSet(std::vector<uint64_t> addrs);
  bool any_in(uint64_t first, uint64_t last) const;  // first and last inclusive

 private:
  std::vector<uint64_t> addrs_;
};

// Picks the rule for the trap insns[at] (ascending by address) and fills rule, pre, post and
// fix-ups. `floor` is the end of the window before: no window may begin below it.
Site choose_site(std::span<const Insn> insns, size_t at, const TargetSet& targets, uint64_t floor,
                 Isa isa);

// The trap instruction, two bytes in both, and how the site table names it.
inline constexpr uint8_t kTrapBytes[][2] = {{0x0f, 0x05}, {0xcd, 0x80}};
inline TrapKind trap_kind(Isa isa) {
  return isa == Isa::kI386 ? TrapKind::kInt80 : TrapKind::kSyscall;
}

// What a gate must save for the registers `live` after a trap.
SiteVector vector_class(VectorSet live);

}  // namespace cr
