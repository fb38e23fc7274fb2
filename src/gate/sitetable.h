// The site table: what the analyser (out of process, `cr analyze`) writes and what the
// gate (inside the program) reads. One file for each ELF object, named by build-id.
//
// The file is an image of these structs: little-endian, no padding left to chance, mapped
// read-only by the gate. The gate trusts nothing in it: it checks the magic, the size, the
// file's owner, and compares `bytes` with the text before it touches a site.
//
// Included by code below the boundary and by ordinary C++: plain types only.
#pragma once

#include <stdint.h>

namespace cr {

inline constexpr uint32_t kSiteTableMagic = 0x54535243;  // "CRST"
inline constexpr uint16_t kSiteTableVersion = 6;
inline constexpr uint32_t kMaxWindow = 48;  // longest window, in bytes, that a rule may claim

enum class SiteRule : uint8_t {
  kP = 1,  // instructions before the trap are displaced; the trap instruction stays in place
  kA = 2,  // the trap and instructions after it are displaced
  kB = 3,  // instructions before the trap, and the trap, are displaced
  kX = 4,  // int3 over the first byte of the trap
  kSkip = 5,  // a trap that must stay untouched (rt_sigreturn in __restore_rt)
};

enum class SiteVector : uint8_t {
  kNone = 0,   // no vector register is live across the trap
  kSse = 1,    // xmm0-15 may be live
  kXsave = 2,  // wider state (ymm, zmm, mask) may be live
  kFew = 3,    // xmm0-3 may be live: what most calls of local functions leave in doubt
};

enum class TrapKind : uint8_t {
  kSyscall = 0,   // 0f 05
  kInt80 = 1,     // cd 80
  kSysenter = 2,  // 0f 34
};

// A RIP-relative displacement inside the window: the 4 bytes at `at` (from the window's start)
// are relative to the address `end` (from the window's start) of the instruction's end.
struct SiteFixup {
  uint8_t at;
  uint8_t end;
};

// One trap site. Addresses are the object's own (p_vaddr space): add the load bias.
struct Site {
  uint64_t trap;    // address of the trap instruction
  uint8_t rule;     // SiteRule
  uint8_t vector;   // SiteVector
  uint8_t kind;     // TrapKind
  uint8_t pre;      // bytes of whole instructions before the trap that the window holds (P, B)
  uint8_t post;     // bytes of whole instructions after the trap that the window holds (A)
  uint8_t nfixups;  // used entries of fixups
  uint8_t narrow;   // 1: there may be a few hundred bytes below the stack pointer at the trap (Go)
  uint8_t reserved;
  SiteFixup fixups[4];
  uint8_t bytes[kMaxWindow];  // the window as found: pre bytes, the trap (2 bytes), post bytes
};
static_assert(sizeof(Site) == 72);

struct SiteTableHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t machine;      // ELF e_machine
  uint32_t nsites;       // 0 is a valid answer: "analysed, holds no trap"
  uint32_t residual;     // trap instructions that no rule but X took
  uint8_t build_id[32];  // zero padded; all zero where the object has none
  uint32_t build_id_len;
  uint32_t checksum;     // FNV-1a over everything after the header
  uint32_t nlocks;       // lock prefixes listed: of libc alone, else 0
  uint32_t writes_gs;    // 1: wrgsbase is among the code. The gate's per-cpu register is not the program's to set
  // Site sites[nsites], ascending by trap
  // uint32_t locks[nlocks]: addresses of lock prefixes outside all windows, ascending
};
static_assert(sizeof(SiteTableHeader) == 64);

}  // namespace cr
