// Which vector registers may hold something the program still needs after each trap.
//
// The kernel keeps vector registers over a system call, so a compiler may leave values in them
// around an inline `syscall`. Backward data-flow over each function with traps:
//   - the ABI lets a call destroy every vector register; before a call its arguments are live
//     (xmm0-7 that the function touches, or that the callee reads first);
//   - at a return only xmm0-1 are live, and only where the function touches them;
//   - at an indirect jump what is live at any case of the function's jump tables is; where no
//     table was found, everything the function touches.
// GCC's -fipa-ra breaks the first rule on purpose: a caller may keep values in registers that a
// local callee is known not to write. So what is live after a direct call is also live at the
// returns of the callee, down to the traps below it. Only functions from which a trap can be
// reached by direct calls are looked at, and of those only the ones with vector code.
//
// The answer errs towards "live": that costs the gate four stores or sixteen (SiteVector).
#pragma once

#include <unordered_map>
#include <vector>

#include "src/gate/analyze/code.h"
#include "src/gate/analyze/targets.h"

namespace cr {

class VectorLiveness {
 public:
  // `trap_functions`: indices of the functions that hold traps, ascending.
  // `integer_traps`: no function that holds a trap passes or returns vector values (glibc's
  // libc and ld.so: a zeroed xmm0 before a trap must not count as somebody's result).
  VectorLiveness(Code& code, const Targets& targets, const std::vector<size_t>& trap_functions,
                 bool integer_traps);

  // Registers live after each instruction of function `i`, by instruction index.
  std::vector<VectorSet> live_after(size_t i);

 private:
  enum class Mode {
    kSite,    // what may be live at a trap of this function: widest
    kCaller,  // what is kept across calls: must not drown the callees
    kLeaf,    // what the function reads on entry, its callees aside
  };

  void find_reaching(const std::vector<Edge>& edges, const std::vector<size_t>& trap_functions);
  void follow_callers();
  void push_to_callees(size_t i);
  std::vector<VectorSet> flow(size_t i, Mode mode);
  VectorSet live_out(const Function& fn, size_t i, uint32_t at, Mode mode,
                     const std::vector<VectorSet>& in);
  VectorSet outside(const Function& fn, size_t i, uint32_t at, uint64_t target, Mode mode);
  VectorSet indirect(const Function& fn, size_t i, uint32_t at, Mode mode,
                     const std::vector<VectorSet>& in);
  VectorSet arguments(const Function& fn, size_t i, uint32_t at, Mode mode);
  VectorSet entry_reads(size_t i, uint64_t addr);
  VectorSet clobbered(size_t i, int depth);

  Code& code_;
  const std::vector<uint64_t>& cases_;
  const bool integer_traps_;
  std::vector<bool> reaches_;          // a trap is reachable by direct calls
  std::vector<VectorSet> return_live_; // kept by a caller across the call
  std::vector<size_t> work_;
  std::unordered_map<size_t, std::vector<VectorSet>> leaf_;
  std::unordered_map<size_t, VectorSet> clobbered_;
  std::unordered_map<size_t, std::vector<VectorSet>> pending_;  // by function and instruction
};

}  // namespace cr
