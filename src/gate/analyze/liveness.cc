// Vector liveness; see liveness.h.
#include "src/gate/analyze/liveness.h"

#include <algorithm>

namespace cr {
namespace {

constexpr int kClobberDepth = 3;   // calls followed to learn what a callee writes
constexpr uint32_t kArgLookback = 64;  // instructions searched for a pending argument

// Argument registers whose last access before insns[at] is a write: loaded, and not used yet.
VectorSet pending(const Function& fn, uint32_t at) {
  VectorSet open = fn.touched & kVectorArgs;
  VectorSet found = 0;
  for (uint32_t n = 0; open != 0 && n < kArgLookback && n < at; n++) {
    const Insn& insn = fn.insns[at - 1 - n];
    found |= open & insn.touch & ~insn.use;
    open &= ~insn.touch;
  }
  return found;
}

}  // namespace

VectorLiveness::VectorLiveness(Code& code, const Targets& targets,
                               const std::vector<size_t>& trap_functions, bool integer_traps)
    : code_(code),
      cases_(targets.cases),
      integer_traps_(integer_traps),
      reaches_(code.count()), return_live_(code.count()) {
  find_reaching(targets.edges, trap_functions);
  follow_callers();
}

std::vector<VectorSet> VectorLiveness::live_after(size_t i) {
  const Function& fn = code_.function(i);
  const std::vector<VectorSet> in = flow(i, Mode::kSite);
  std::vector<VectorSet> after(in.size());
  for (uint32_t at = 0; at < in.size(); at++) after[at] = live_out(fn, i, at, Mode::kSite, in);
  return after;
}

void VectorLiveness::find_reaching(const std::vector<Edge>& edges,
                                   const std::vector<size_t>& trap_functions) {
  std::vector<std::vector<uint32_t>> callers(code_.count());
  for (const Edge& e : edges) callers[e.to].push_back(e.from);
  std::vector<size_t> todo = trap_functions;
  for (size_t i : todo) reaches_[i] = true;
  while (!todo.empty()) {
    const size_t i = todo.back();
    todo.pop_back();
    for (uint32_t from : callers[i]) {
      if (reaches_[from]) continue;
      reaches_[from] = true;
      todo.push_back(from);
    }
  }
}

// Ends: a function is queued again only when its set grows.
void VectorLiveness::follow_callers() {
  for (size_t i = 0; i < code_.count(); i++)
    if (reaches_[i] && code_.may_touch_vectors(i) && code_.function(i).touched != 0)
      work_.push_back(i);
  while (!work_.empty()) {
    const size_t i = work_.back();
    work_.pop_back();
    push_to_callees(i);
  }
}

void VectorLiveness::push_to_callees(size_t i) {
  const Function& fn = code_.function(i);
  const std::vector<VectorSet> in = flow(i, Mode::kCaller);
  for (uint32_t at = 0; at < fn.insns.size(); at++) {
    const Insn& insn = fn.insns[at];
    VectorSet kept = 0;
    if (insn.flow == Flow::kCall) {
      kept = fn.next[at] == Function::kNone ? 0 : in[fn.next[at]];
    } else if ((insn.flow == Flow::kJump || insn.flow == Flow::kBranch) &&
               fn.taken[at] == Function::kNone) {
      kept = return_live_[i];
    }
    if (kept == 0) continue;
    const size_t callee = code_.containing(insn.target);
    if (callee == Code::kNone || !reaches_[callee]) continue;
    if ((kept & ~return_live_[callee]) == 0) continue;
    return_live_[callee] |= kept;
    work_.push_back(callee);
  }
}

// Registers live before each instruction.
std::vector<VectorSet> VectorLiveness::flow(size_t i, Mode mode) {
  const Function& fn = code_.function(i);
  std::vector<VectorSet> in(fn.insns.size());
  for (bool changed = true; changed;) {
    changed = false;
    for (uint32_t at = static_cast<uint32_t>(fn.insns.size()); at-- > 0;) {
      const Insn& insn = fn.insns[at];
      if (insn.flow == Flow::kNext && fn.next[at] != Function::kNone && insn.touch == 0) {
        in[at] = in[fn.next[at]];  // most instructions
        continue;
      }
      const VectorSet live = insn.use | (live_out(fn, i, at, mode, in) & ~insn.def);
      if (live == in[at]) continue;
      in[at] |= live;
      changed = true;
    }
  }
  return in;
}

VectorSet VectorLiveness::live_out(const Function& fn, size_t i, uint32_t at, Mode mode,
                                   const std::vector<VectorSet>& in) {
  const Insn& insn = fn.insns[at];
  const auto following = [&] {
    if (fn.next[at] != Function::kNone) return in[fn.next[at]];
    return insn.flow == Flow::kNext ? outside(fn, i, at, insn.end(), mode) : VectorSet{0};
  };
  const auto taken = [&] {
    return fn.taken[at] != Function::kNone ? in[fn.taken[at]]
                                           : outside(fn, i, at, insn.target, mode);
  };
  switch (insn.flow) {
    case Flow::kNext:
      return following();
    case Flow::kBranch:
      return following() | taken();
    case Flow::kJump:
      return taken();
    case Flow::kIndirectJump:
      return indirect(fn, i, at, mode, in) | (mode == Mode::kLeaf ? 0 : return_live_[i]);
    case Flow::kReturn:
      if (mode == Mode::kLeaf) return 0;
      return return_live_[i] | (arguments(fn, i, at, mode) & kVectorReturn);
    case Flow::kIndirectCall:
      return arguments(fn, i, at, mode);
    case Flow::kCall: {
      VectorSet live = arguments(fn, i, at, mode);
      const size_t callee = code_.starting_at(insn.target);
      if (callee == Code::kNone || mode == Mode::kLeaf) return live;
      const VectorSet after = following();
      if (after != 0) live |= after & ~clobbered(callee, kClobberDepth);
      if (mode == Mode::kSite && !integer_traps_ && code_.may_touch_vectors(callee))
        live |= entry_reads(callee, insn.target) & kVectorArgs;
      return live;
    }
    case Flow::kStop:
      return 0;
  }
  return 0;
}

// Live when control leaves the function for `target`: a tail call, or the cold part of the same
// source function, which a stripped object does not tell apart.
VectorSet VectorLiveness::outside(const Function& fn, size_t i, uint32_t at, uint64_t target,
                                  Mode mode) {
  const size_t other = code_.containing(target);
  VectorSet live = arguments(fn, i, at, mode);
  if (mode == Mode::kLeaf) {
    if (other != Code::kNone && code_.may_touch_vectors(other))
      live |= code_.function(other).touched;
    return live;
  }
  live |= return_live_[i];
  if (!integer_traps_ && other != Code::kNone && code_.may_touch_vectors(other)) {
    live |= entry_reads(other, target);
  }
  return live;
}

VectorSet VectorLiveness::indirect(const Function& fn, size_t i, uint32_t at, Mode mode,
                                   const std::vector<VectorSet>& in) {
  VectorSet live = arguments(fn, i, at, mode);
  auto it = std::lower_bound(cases_.begin(), cases_.end(), fn.range.start);
  if (it == cases_.end() || *it >= fn.range.end) return fn.touched;
  for (; it != cases_.end() && *it < fn.range.end; ++it)
    if (const uint32_t to = fn.index_of(*it); to != Function::kNone) live |= in[to];
  return live;
}

VectorSet VectorLiveness::arguments(const Function& fn, size_t i, uint32_t at, Mode mode) {
  if (mode == Mode::kSite) return integer_traps_ ? 0 : fn.touched & kVectorArgs;
  if ((fn.touched & kVectorArgs) == 0) return 0;
  std::vector<VectorSet>& known = pending_[i];
  if (known.empty()) {
    known.resize(fn.insns.size());
    for (uint32_t n = 0; n < known.size(); n++)
      if (fn.insns[n].flow != Flow::kNext) known[n] = pending(fn, n);
  }
  return known[at];
}

VectorSet VectorLiveness::entry_reads(size_t i, uint64_t addr) {
  auto it = leaf_.find(i);
  if (it == leaf_.end()) it = leaf_.emplace(i, flow(i, Mode::kLeaf)).first;
  const uint32_t at = code_.function(i).index_of(addr);
  return at == Function::kNone ? code_.function(i).touched : it->second[at];
}

// What a compiler that sees the callee knows it to write. Too little is the safe side.
VectorSet VectorLiveness::clobbered(size_t i, int depth) {
  if (depth == 0) return 0;
  if (const auto it = clobbered_.find(i); it != clobbered_.end()) return it->second;
  clobbered_[i] = 0;
  const Function& fn = code_.function(i);
  VectorSet all = fn.written;
  for (uint32_t at = 0; at < fn.insns.size() && all != kVectorAll; at++) {
    const Insn& insn = fn.insns[at];
    const bool leaves = insn.flow == Flow::kCall ||
                        (insn.flow == Flow::kJump && fn.taken[at] == Function::kNone);
    if (insn.flow == Flow::kIndirectCall) all = kVectorAll;
    if (!leaves) continue;
    const size_t callee = code_.starting_at(insn.target);
    all |= callee == Code::kNone ? (insn.flow == Flow::kCall ? kVectorAll : 0)
                                 : clobbered(callee, depth - 1);
  }
  return clobbered_[i] = all;
}

}  // namespace cr
