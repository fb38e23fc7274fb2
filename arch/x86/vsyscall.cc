// The entry's bytes as Linux has them since 4.4 (arch/x86/entry/vdso/vdso32/system_call.S):
//
//   51 52 55                push %ecx, %edx, %ebp
//   89 e5 0f 34             mov %esp,%ebp; sysenter       Intel
//   89 cd 0f 05             mov %ecx,%ebp; syscall        AMD
//   (neither)               old processors
//   cd 80                   int $0x80: what a restart runs
//   5d 5a 59 c3             pop %ebp, %edx, %ecx; ret

#include "vsyscall.h"

extern "C" {
[[gnu::visibility("hidden")]] extern char __start_crtext[], __stop_crtext[];
void cr_int80();
void cr_trap_after();
void cr_trap_unbegun();
void cr_trap_begun();
void gate_sleep_after();
void gate_sleep_unbegun();
void gate_sleep_begun();
void cr_sigreturn_sysenter();
void cr_sigreturn_syscall();
void cr_sigreturn_insn();
}

namespace cr {

namespace {

const uint8_t* entry;   // null: cr_int80
uint32_t trap_at;       // the int $0x80 in it
void (*sigreturn)() = cr_sigreturn_insn;
inline constexpr uint32_t kPushes = 3;
inline constexpr uint32_t kTail = 4;  // what follows the trap

bool same(const uint8_t* p, const uint8_t* bytes, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    if (p[i] != bytes[i]) return false;
  }
  return true;
}

template <typename T>
uint32_t addr(T* p) {
  return reinterpret_cast<uintptr_t>(p);
}

uint32_t word(uint32_t address) { return *reinterpret_cast<const uint32_t*>(address); }

}  // namespace

void vsyscall_init(const void* vdso, uint32_t sysinfo) {
  static constexpr uint8_t kHead[] = {0x51, 0x52, 0x55};
  static constexpr uint8_t kIntel[] = {0x89, 0xe5, 0x0f, 0x34};
  static constexpr uint8_t kAmd[] = {0x89, 0xcd, 0x0f, 0x05};
  static constexpr uint8_t kEnd[] = {0xcd, 0x80, 0x5d, 0x5a, 0x59, 0xc3};
  if (vdso == nullptr || sysinfo == 0) return;
  const auto* p = reinterpret_cast<const uint8_t*>(sysinfo);
  if (!same(p, kHead, sizeof kHead)) return;
  uint32_t at = sizeof kHead;
  bool intel = same(p + at, kIntel, sizeof kIntel), amd = same(p + at, kAmd, sizeof kAmd);
  if (intel || amd) at += sizeof kIntel;
  if (!same(p + at, kEnd, sizeof kEnd)) return;
  if (intel || amd) sigreturn = intel ? cr_sigreturn_sysenter : cr_sigreturn_syscall;
  trap_at = at;
  entry = p;
}

void (*vsyscall_entry())() {
  return entry != nullptr ? reinterpret_cast<void (*)()>(reinterpret_cast<uintptr_t>(entry)) : cr_int80;
}

void (*vsyscall_sigreturn())() { return sigreturn; }

// The entry has another trap for the first time.
bool trap_tells() { return sigreturn != cr_sigreturn_insn; }

VsyscallPlace vsyscall_place(const kucontext* uc) {
  VsyscallPlace v;
  uint32_t pc = uc->mc.ip;
  auto start = reinterpret_cast<uintptr_t>(vsyscall_entry());
  uint32_t offset = pc - start;
  uint32_t trap = entry != nullptr ? trap_at : 0;
  uint32_t pushes = entry != nullptr ? kPushes : 0;
  if (offset > trap + 2 + (entry != nullptr ? kTail - 1 : 0)) return v;
  v.inside = true;
  v.before = offset <= trap;
  v.at_trap = offset == trap;
  uint32_t n = v.before ? (offset < pushes ? offset : pushes) : pushes - (offset - trap - 2);
  v.depth = 4 * n;
  v.caller = word(uc->mc.sp + v.depth);
  return v;
}

namespace {
bool is_ours(const VsyscallPlace& v) {
  return v.inside && v.caller >= addr(__start_crtext) && v.caller < addr(__stop_crtext);
}
}  // namespace

bool context_in_own_entry(const kucontext* uc) { return is_ours(vsyscall_place(uc)); }

bool context_in_entry(kucontext* uc) {
  VsyscallPlace v = vsyscall_place(uc);
  if (!is_ours(v)) return false;
  bool sleeps = v.caller == addr(gate_sleep_after);
  if (v.before && (sleeps || v.caller == addr(cr_trap_after))) {
    // As it was before the call. The entry has its own use for %ebp once it is saved.
    if (v.depth == 4 * kPushes) uc->mc.bp = word(uc->mc.sp);
    uc->mc.sp += v.depth + 4;
    uc->mc.ip = sleeps ? addr(v.at_trap ? gate_sleep_begun : gate_sleep_unbegun)
                       : addr(v.at_trap ? cr_trap_begun : cr_trap_unbegun);
  }
  return true;
}

}  // namespace cr
