// Stubs for x86_64.
//
//   P   [pre copied]  lea desc(%rip),%r11   jmp gate
//       The trap stays in the program: trappc is the site, retpc the instruction behind it.
//   A   lea desc(%rip),%r11   jmp gate   trap: syscall   ret: [post copied]  jmp back
//   B   [pre copied]  lea ...  jmp ...   trap: syscall   jmp back
//
// %r11 and %rcx are free because the trap destroys them. The jump goes through the per-cpu
// area: a vfork child's points at gate_passthru. One instruction reads that by %gs; where %gs is the program's
// (percpu.h) the jump is to gate_stub.

#include "../../src/gate/stub.h"

#ifdef CR_KEEP_GS
extern "C" [[gnu::visibility("hidden")]] void gate_stub();
#endif

namespace cr {

namespace {

struct Out {
  uint8_t* at;
  void byte(uint8_t b) { *at++ = b; }
  void u32(uint32_t v) {
    for (int i = 0; i < 4; i++) byte(static_cast<uint8_t>(v >> (8 * i)));
  }
#ifdef CR_KEEP_GS
  void u64(uint64_t v) {
    u32(static_cast<uint32_t>(v));
    u32(static_cast<uint32_t>(v >> 32));
  }
#endif
  uint64_t pc() const { return reinterpret_cast<uint64_t>(at); }
};

bool reaches(int64_t d) { return d == static_cast<int32_t>(d); }

bool rel32(Out& o, uint64_t target) {
  auto d = static_cast<int64_t>(target - (o.pc() + 4));
  o.u32(static_cast<uint32_t>(d));
  return reaches(d);
}

// Copies window bytes [from, to) and re-aims their RIP-relative displacements.
bool copy(Out& o, const Site& s, uint64_t window, size_t from, size_t to) {
  uint8_t* start = o.at;
  for (size_t i = from; i < to; i++) o.byte(s.bytes[i]);
  for (int i = 0; i < s.nfixups; i++) {
    const SiteFixup& f = s.fixups[i];
    if (f.at < from || f.at + 4u > to) continue;
    uint8_t* p = start + (f.at - from);
    int32_t old = 0;
    __builtin_memcpy(&old, p, 4);
    uint64_t target = window + f.end + static_cast<int64_t>(old);
    uint64_t end = reinterpret_cast<uint64_t>(start) + (f.end - from);
    auto d = static_cast<int64_t>(target - end);
    if (!reaches(d)) return false;
    auto d32 = static_cast<int32_t>(d);
    __builtin_memcpy(p, &d32, 4);
  }
  return true;
}

bool enter(Out& o, const sitedesc* desc) {
  o.byte(0x4c), o.byte(0x8d), o.byte(0x1d);  // lea desc(%rip), %r11
  bool ok = rel32(o, reinterpret_cast<uint64_t>(desc));
#ifndef CR_KEEP_GS
  o.byte(0x65), o.byte(0xff), o.byte(0x24), o.byte(0x25);  // jmp *%gs:GD_GATE
  o.u32(GD_GATE);
#else
  o.byte(0x48), o.byte(0xb9);  // movabs $gate_stub, %rcx
  o.u64(reinterpret_cast<uint64_t>(&gate_stub));
  o.byte(0xff), o.byte(0xe1);  // jmp *%rcx
#endif
  return ok;
}

bool jump(Out& o, uint64_t target) {
  o.byte(0xe9);
  return rel32(o, target);
}

}  // namespace

StubResult stub_write(const Site& s, uint64_t trap, uint8_t* out, sitedesc* desc) {
  Out o{out};
  auto rule = static_cast<SiteRule>(s.rule);
  uint64_t window = site_window(s, trap);
  bool ok = true;
  *desc = sitedesc{};
  desc->vector = s.vector;
  desc->narrow = s.narrow;
  desc->rule = s.rule;
  desc->unwindpc = trap + 2;
  if (rule != SiteRule::kA) ok = copy(o, s, window, 0, s.pre);
  auto reenter = static_cast<uint32_t>(o.at - out);
  ok = enter(o, desc) && ok;
  if (rule == SiteRule::kP) {
    desc->trappc = trap;
    desc->retpc = trap + 2;
  } else {
    desc->trappc = o.pc();
    o.byte(0x0f), o.byte(0x05);
    desc->retpc = o.pc();
    if (rule == SiteRule::kA) {
      ok = copy(o, s, window, 2, 2u + s.post) && ok;
      ok = jump(o, trap + 2 + s.post) && ok;
    } else {
      ok = jump(o, trap + 2) && ok;
      desc->retpc = trap + 2;
    }
  }
  return {ok ? static_cast<size_t>(o.at - out) : 0, reenter};
}

}  // namespace cr
