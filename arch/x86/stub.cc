// Stubs for i386.
//
//   P   [pre copied]  push $desc   jmp *%fs:GD_GATE
//       The trap stays in the program: trappc is the site, retpc the instruction behind it.
//   A   push $desc   jmp *%fs:GD_GATE   trap: int $0x80   ret: [post copied]  jmp back
//   B   [pre copied]  push ...  jmp ...   trap: int $0x80   jmp back
//
// The trap destroys no register but %eax, so the descriptor goes on the program's stack, below
// which i386 has no red zone. The jump goes through the per-cpu area: a vfork child's points at
// gate_passthru.

#include "../../src/gate/stub.h"

namespace cr {

namespace {

struct Out {
  uint8_t* at;
  void byte(uint8_t b) { *at++ = b; }
  void u32(uint32_t v) {
    for (int i = 0; i < 4; i++) byte(static_cast<uint8_t>(v >> (8 * i)));
  }
  uint32_t pc() const { return reinterpret_cast<uintptr_t>(at); }
};

// Everything reaches everything: a displacement wraps around.
void rel32(Out& o, uint32_t target) { o.u32(target - (o.pc() + 4)); }

// No address of code is relative to the program counter but in branches, which are not copied.
void copy(Out& o, const Site& s, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) o.byte(s.bytes[i]);
}

void enter(Out& o, const sitedesc* desc) {
  o.byte(0x68);  // push $desc
  o.u32(reinterpret_cast<uintptr_t>(desc));
  o.byte(0x64), o.byte(0xff), o.byte(0x25);  // jmp *%fs:GD_GATE
  o.u32(GD_GATE);
}

void jump(Out& o, uint32_t target) {
  o.byte(0xe9);
  rel32(o, target);
}

}  // namespace

StubResult stub_write(const Site& s, uint64_t trap64, uint8_t* out, sitedesc* desc) {
  Out o{out};
  auto trap = static_cast<uint32_t>(trap64);
  auto rule = static_cast<SiteRule>(s.rule);
  *desc = sitedesc{};
  desc->vector = s.vector;
  desc->narrow = s.narrow;
  desc->rule = s.rule;
  desc->unwindpc = trap + 2;
  if (rule != SiteRule::kA) copy(o, s, 0, s.pre);
  auto reenter = static_cast<uint32_t>(o.at - out);
  enter(o, desc);
  if (rule == SiteRule::kP) {
    desc->trappc = trap;
    desc->retpc = trap + 2;
  } else {
    desc->trappc = o.pc();
    o.byte(0xcd), o.byte(0x80);
    desc->retpc = o.pc();
    if (rule == SiteRule::kA) {
      copy(o, s, 2, 2u + s.post);
      jump(o, trap + 2 + s.post);
    } else {
      jump(o, trap + 2);
      desc->retpc = trap + 2;
    }
  }
  return {static_cast<size_t>(o.at - out), reenter};
}

}  // namespace cr
