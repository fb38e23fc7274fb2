// x86_64 trap site rules over Zydis; see siterules.h.
//
// Provenance of the rules: measured on glibc 2.36, libgomp, liburing and the sanitizers (GCC 12,
// Debian 12), where P, A and B leave no site over. The lea/mov/xor forms seen before a trap are
// those in rr's Monkeypatcher.cc.
#include "arch/x86_64/siterules.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>

namespace cr {
namespace {

constexpr uint64_t kJumpLen = 5;  // e9 rel32

const ZydisDecoder& decoder(Isa isa) {
  static const std::array<ZydisDecoder, 2> d = [] {
    std::array<ZydisDecoder, 2> made;
    ZydisDecoderInit(&made[0], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisDecoderInit(&made[1], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    return made;
  }();
  return d[static_cast<size_t>(isa)];
}

// Extensions whose instructions have general registers only: no need to decode operands.
bool scalar_extension(ZydisISAExt ext) {
  switch (ext) {
    case ZYDIS_ISA_EXT_BASE:
    case ZYDIS_ISA_EXT_LONGMODE:
    case ZYDIS_ISA_EXT_ADOX_ADCX:
    case ZYDIS_ISA_EXT_BMI1:
    case ZYDIS_ISA_EXT_BMI2:
    case ZYDIS_ISA_EXT_CET:
    case ZYDIS_ISA_EXT_LZCNT:
    case ZYDIS_ISA_EXT_PAUSE:
    case ZYDIS_ISA_EXT_RDTSCP:
    case ZYDIS_ISA_EXT_RDWRFSGS:
    case ZYDIS_ISA_EXT_X87:
      return true;
    default:
      return false;
  }
}

// Instructions that save or restore the register file at once. False: not one of them.
bool read_whole_file(const ZydisDecodedInstruction& in, Insn& out) {
  switch (in.mnemonic) {
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
      out.def = out.touch = kVectorXmm;
      return true;
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64:
      out.def = out.touch = kVectorAll;
      return true;
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
      out.use = out.touch = kVectorXmm;
      return true;
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
      out.use = out.touch = kVectorAll;
      return true;
    default:
      return false;
  }
}

// Results that do not depend on the register's old value although the encoding reads it.
bool zero_idiom(const ZydisDecodedInstruction& in, const ZydisDecodedOperand* ops) {
  switch (in.mnemonic) {
    case ZYDIS_MNEMONIC_PXOR:
    case ZYDIS_MNEMONIC_XORPS:
    case ZYDIS_MNEMONIC_XORPD:
    case ZYDIS_MNEMONIC_PSUBB:
    case ZYDIS_MNEMONIC_PSUBD:
    case ZYDIS_MNEMONIC_PCMPEQB:
    case ZYDIS_MNEMONIC_PCMPEQW:
    case ZYDIS_MNEMONIC_PCMPEQD:
      return ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER && ops[0].reg.value == ops[1].reg.value;
    case ZYDIS_MNEMONIC_VPXOR:
    case ZYDIS_MNEMONIC_VPXORD:
    case ZYDIS_MNEMONIC_VPXORQ:
    case ZYDIS_MNEMONIC_VXORPS:
    case ZYDIS_MNEMONIC_VXORPD:
    case ZYDIS_MNEMONIC_VPCMPEQB:
    case ZYDIS_MNEMONIC_VPCMPEQW:
    case ZYDIS_MNEMONIC_VPCMPEQD:
      return in.operand_count_visible == 3 && ops[2].type == ZYDIS_OPERAND_TYPE_REGISTER &&
             ops[1].reg.value == ops[2].reg.value;
    default:
      return false;
  }
}

// A legacy SSE write of fewer than 128 bits that clears the rest of the xmm register.
bool clears_rest(const ZydisDecodedInstruction& in, const ZydisDecodedOperand* ops) {
  switch (in.mnemonic) {
    case ZYDIS_MNEMONIC_MOVD:
    case ZYDIS_MNEMONIC_MOVQ:
      return true;
    case ZYDIS_MNEMONIC_MOVSS:
    case ZYDIS_MNEMONIC_MOVSD:
      return ops[1].type == ZYDIS_OPERAND_TYPE_MEMORY;
    default:
      return false;
  }
}

struct VectorReg {
  VectorSet low;    // what an access of the register's own width touches
  VectorSet whole;  // the register with everything above it
};

VectorReg vector_reg(ZydisRegister reg) {
  const auto id = static_cast<unsigned>(std::max<ZyanI8>(ZydisRegisterGetId(reg), 0));
  switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_XMM:
      if (id >= 16) return {1ull << (16 + id), 1ull << (16 + id)};
      return {1ull << id, 0x10001ull << id};
    case ZYDIS_REGCLASS_YMM:
    case ZYDIS_REGCLASS_ZMM:
      if (id >= 16) return {1ull << (16 + id), 1ull << (16 + id)};
      return {0x10001ull << id, 0x10001ull << id};
    case ZYDIS_REGCLASS_MASK:
      return {1ull << (48 + id), 1ull << (48 + id)};
    default:
      return {0, 0};
  }
}

void read_vectors(const ZydisDecodedInstruction& in, const ZydisDecoderContext& ctx, Isa isa,
                  Insn& out) {
  if (in.mnemonic == ZYDIS_MNEMONIC_VZEROUPPER || in.mnemonic == ZYDIS_MNEMONIC_VZEROALL) {
    out.def = out.touch = kVectorUpper;
    if (in.mnemonic == ZYDIS_MNEMONIC_VZEROALL) out.def = out.touch = kVectorUpper | kVectorXmm;
    return;
  }
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> ops;
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&decoder(isa), &ctx, &in, ops.data(), in.operand_count))) {
    out.use = out.touch = kVectorAll;
    return;
  }
  const bool legacy = in.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
  const bool zeroing = in.operand_count_visible >= 2 && zero_idiom(in, ops.data());
  for (size_t i = 0; i < in.operand_count; i++) {
    const ZydisDecodedOperand& op = ops[i];
    if (op.type == ZYDIS_OPERAND_TYPE_MEMORY) {  // VSIB
      const VectorReg index = vector_reg(op.mem.index);
      out.use |= index.whole;
      out.touch |= index.whole;
      continue;
    }
    if (op.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
    if (op.encoding == ZYDIS_OPERAND_ENCODING_MASK && op.reg.value == ZYDIS_REGISTER_K0)
      continue;  // EVEX for "no mask"
    const VectorReg reg = vector_reg(op.reg.value);
    if (reg.low == 0) continue;
    out.touch |= reg.low;
    const bool reads = (op.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
    const bool writes = (op.actions & ZYDIS_OPERAND_ACTION_WRITE) != 0;
    if (reads && !zeroing) out.use |= reg.low;
    if (zeroing && i == 0) {
      out.def |= legacy ? reg.low : reg.whole;
    } else if (writes && !reads && !(op.actions & ZYDIS_OPERAND_ACTION_CONDWRITE)) {
      if (!legacy) {
        out.def |= reg.whole;
      } else if (op.size >= 128 || clears_rest(in, ops.data())) {
        out.def |= reg.low;
      }
    }
  }
}

Flow flow_of(const ZydisDecodedInstruction& in) {
  const bool direct = in.raw.imm[0].is_relative;
  switch (in.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
      return direct ? Flow::kBranch : Flow::kNext;
    case ZYDIS_CATEGORY_UNCOND_BR:
      return direct ? Flow::kJump : Flow::kIndirectJump;
    case ZYDIS_CATEGORY_CALL:
      return direct ? Flow::kCall : Flow::kIndirectCall;
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_SYSRET:
      return Flow::kReturn;
    default:
      break;
  }
  switch (in.mnemonic) {
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_HLT:
      return Flow::kStop;
    default:
      return direct ? Flow::kBranch : Flow::kNext;  // xbegin and what else is relative
  }
}

bool movable(const ZydisDecodedInstruction& in, Flow flow) {
  if (flow != Flow::kNext) return false;
  switch (in.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_CET:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_IO:
    case ZYDIS_CATEGORY_IOSTRINGOP:
      return false;
    default:
      break;
  }
  switch (in.mnemonic) {
    case ZYDIS_MNEMONIC_ENDBR64:
    case ZYDIS_MNEMONIC_ENDBR32:
    case ZYDIS_MNEMONIC_XABORT:
    case ZYDIS_MNEMONIC_XEND:
      return false;
    default:
      return true;
  }
}

bool sse_opcode(uint8_t op) {
  return (op >= 0x10 && op <= 0x17) || (op >= 0x28 && op <= 0x2f) || (op >= 0x38 && op <= 0x3a) ||
         (op >= 0x50 && op <= 0x7f) || op == 0xae || op == 0xc2 || (op >= 0xc4 && op <= 0xc7) ||
         op >= 0xd0;
}

bool add_fixup(Site& site, const Insn& insn, uint64_t start) {
  if (insn.disp_at == 0) return true;
  if (site.nfixups == std::size(site.fixups)) return false;
  const auto base = static_cast<uint8_t>(insn.addr - start);
  site.fixups[site.nfixups++] = {static_cast<uint8_t>(base + insn.disp_at),
                                 static_cast<uint8_t>(base + insn.len)};
  return true;
}

// Whole movable instructions insns[first, last) that follow each other without a gap.
bool displaceable(std::span<const Insn> insns, size_t first, size_t last, Site& site,
                  uint64_t start) {
  site.nfixups = 0;
  for (size_t i = first; i < last; i++) {
    if (!insns[i].movable || !add_fixup(site, insns[i], start)) return false;
    if (i + 1 < insns.size() && insns[i].end() != insns[i + 1].addr) return false;
  }
  return true;
}

bool claim_before(std::span<const Insn> insns, size_t at, const TargetSet& targets, uint64_t floor,
                  uint64_t need, SiteRule rule, Site& site) {
  const Insn& trap = insns[at];
  size_t first = at;
  while (first > 0 && trap.addr - insns[first].addr < need) {
    first--;
    if (!insns[first].movable) return false;
  }
  const uint64_t start = insns[first].addr;
  const uint64_t pre = trap.addr - start;
  if (pre < need || start < floor || pre + trap.len > kMaxWindow) return false;
  if (!displaceable(insns, first, at, site, start)) return false;
  if (targets.any_in(start + 1, trap.end() - 1)) return false;
  site.rule = static_cast<uint8_t>(rule);
  site.pre = static_cast<uint8_t>(pre);
  return true;
}

bool claim_after(std::span<const Insn> insns, size_t at, const TargetSet& targets, uint64_t floor,
                 Site& site) {
  const Insn& trap = insns[at];
  if (trap.addr < floor) return false;
  size_t last = at + 1;
  uint64_t end = trap.end();
  while (end - trap.addr < kJumpLen) {
    if (last == insns.size() || insns[last].addr != end || !insns[last].movable) return false;
    end = insns[last++].end();
  }
  if (end - trap.addr > kMaxWindow) return false;
  if (!displaceable(insns, at + 1, last, site, trap.addr)) return false;
  if (targets.any_in(trap.addr + 1, end - 1)) return false;
  site.rule = static_cast<uint8_t>(SiteRule::kA);
  site.post = static_cast<uint8_t>(end - trap.end());
  return true;
}

}  // namespace

bool decode_insn(std::span<const uint8_t> bytes, uint64_t addr, Isa isa, Insn& out) {
  ZydisDecodedInstruction in;
  ZydisDecoderContext ctx;
  if (!ZYAN_SUCCESS(
          ZydisDecoderDecodeInstruction(&decoder(isa), &ctx, bytes.data(), bytes.size(), &in)))
    return false;
  out = Insn{};
  out.addr = addr;
  out.len = in.length;
  out.flow = flow_of(in);
  out.movable = movable(in, out.flow);
  const bool is32 = isa == Isa::kI386;
  out.trap = is32 ? in.mnemonic == ZYDIS_MNEMONIC_INT && in.raw.imm[0].value.u == 0x80
                  : in.mnemonic == ZYDIS_MNEMONIC_SYSCALL;
  out.locked = bytes[0] == 0xf0;
  if (in.raw.imm[0].is_relative)
    out.target = addr + in.length + static_cast<uint64_t>(in.raw.imm[0].value.s);
  if (!is32 && (in.attributes & ZYDIS_ATTRIB_HAS_MODRM) && in.raw.modrm.mod == 0 && in.raw.modrm.rm == 5) {
    out.disp_at = in.raw.disp.offset;
    if (in.raw.disp.size != 32 || in.address_width != 64) out.movable = false;
  }
  // b8 imm32 or 48 c7 c0 imm32: the two forms that libgcc and gdb know. i386 has two such calls.
  const ZyanU64 number = in.raw.imm[0].value.u;
  const bool returns = is32 ? number == 119 || number == 173 : number == 15;
  out.sigreturn = in.mnemonic == ZYDIS_MNEMONIC_MOV && returns &&
                  (in.opcode == 0xb8 || (in.opcode == 0xc7 && in.raw.modrm.mod == 3 &&
                                         in.raw.modrm.rm == 0)) &&
                  in.raw.rex.B == 0 && in.operand_width >= 32;
  // The saves are asked first: fxsave counts as a base instruction.
  if (!read_whole_file(in, out) && !scalar_extension(in.meta.isa_ext)) read_vectors(in, ctx, isa, out);
  return true;
}

bool may_touch_vectors(std::span<const uint8_t> b) {
  for (size_t i = 0; i + 2 < b.size(); i++) {
    const uint8_t c = b[i];
    if (c == 0x0f && sse_opcode(b[i + 1])) return true;
    if (c == 0xc5 && (sse_opcode(b[i + 2]) || (b[i + 2] & 0xf0) == 0x40 || (b[i + 2] & 0xf0) == 0x90))
      return true;
    if (c == 0xc4 && (b[i + 1] & 0x1f) >= 1 && (b[i + 1] & 0x1f) <= 3) return true;
    if (c == 0x62 && (b[i + 1] & 0x08) == 0) return true;
  }
  return false;
}

TargetSet::TargetSet(std::vector<uint64_t> addrs) : addrs_(std::move(addrs)) {
  std::sort(addrs_.begin(), addrs_.end());
  addrs_.erase(std::unique(addrs_.begin(), addrs_.end()), addrs_.end());
}

bool TargetSet::any_in(uint64_t first, uint64_t last) const {
  const auto it = std::lower_bound(addrs_.begin(), addrs_.end(), first);
  return it != addrs_.end() && *it <= last;
}

Site choose_site(std::span<const Insn> insns, size_t at, const TargetSet& targets, uint64_t floor,
                 Isa isa) {
  Site site{};
  site.trap = insns[at].addr;
  site.kind = static_cast<uint8_t>(trap_kind(isa));
  if (at > 0 && insns[at - 1].sigreturn && insns[at - 1].end() == insns[at].addr) {
    site.rule = static_cast<uint8_t>(SiteRule::kSkip);
    return site;
  }
  if (claim_before(insns, at, targets, floor, kJumpLen, SiteRule::kP, site)) return site;
  if (claim_after(insns, at, targets, floor, site)) return site;
  if (claim_before(insns, at, targets, floor, kJumpLen - insns[at].len, SiteRule::kB, site))
    return site;
  site.nfixups = 0;
  std::fill(std::begin(site.fixups), std::end(site.fixups), SiteFixup{});
  site.rule = static_cast<uint8_t>(SiteRule::kX);
  return site;
}

SiteVector vector_class(VectorSet live) {
  if (live & ~kVectorXmm) return SiteVector::kXsave;
  if (live & ~kVectorFew) return SiteVector::kSse;
  return live ? SiteVector::kFew : SiteVector::kNone;
}

}  // namespace cr
