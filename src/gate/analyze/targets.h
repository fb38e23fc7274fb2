// Where control may arrive, near trap sites, and who calls whom.
//
// The targets are a superset, found without trusting that all code was decoded:
//   - every e8, e9, 0f 80-8f or c7 f8 with its rel32, at every byte of the executable segments;
//   - every rel8 form at every byte near a site that lies in no function;
//   - all direct branches of the functions that were decoded (sites and their neighbours);
//   - every aligned word of the other segments: relocation addends, RELR slots, symbol values,
//     tables of absolute addresses;
//   - every int32 table that a RIP-relative lea points at: jump tables of position-independent
//     code. i386 has its tables relative to the GOT: there every word counts as such an offset, too;
//   - symbols, function starts, landing pads.
// One pass over the object's bytes: about 6 ms for libc.so.6.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "src/gate/analyze/code.h"

namespace cr {

struct Edge {
  uint32_t from;  // function that calls or jumps, by index
  uint32_t to;    // function that begins at the target
};

struct Targets {
  std::vector<uint64_t> addrs;  // not sorted
  std::vector<Edge> edges;      // ascending by `from`
  std::vector<uint64_t> cases;  // where jump tables lead, near a trap or not; sorted, unique
};

// How far from a trap a window, or a rel8 branch into it, can lie.
inline constexpr uint64_t kNearWindow = kMaxWindow;
inline constexpr uint64_t kNearBranch = kMaxWindow + 130;

// `traps` ascending.
Targets find_targets(const ElfObject& elf, const Code& code, const std::vector<uint64_t>& traps);

}  // namespace cr
