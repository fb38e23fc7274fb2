// Stubs: the code a rewritten site jumps to. arch/*/stub.cc encodes them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../../arch/frame.h"
#include "sitetable.h"

namespace cr {

// Stubs begin at multiples of 16 bytes.
inline size_t stub_step(size_t size) { return (size + 15) & ~static_cast<size_t>(15); }
// Most bytes that the stub of `s` can take: what is displaced, and the code around it.
inline size_t stub_room(const Site& s) { return stub_step(static_cast<size_t>(s.pre) + s.post + 32); }

struct StubResult {
  size_t size;      // bytes written; 0: the displacements do not reach
  uint32_t reenter; // offset of the code that enters the gate, behind the displaced instructions
};

// Writes the stub for `s` (trap at address `trap`) at `out`, which will be executed there, and
// fills `desc`, which will stand at its own address.
StubResult stub_write(const Site& s, uint64_t trap, uint8_t* out, sitedesc* desc);

// Writes the jump to `stub` over the window whose bytes are at `text` (the window's first byte);
// for rule X an int3, whose signal goes to the stub (src/signal/kernel.cc).
void stub_patch(const Site& s, uint64_t window, uint8_t* text, uint64_t stub);

// The window: its first address and its length.
inline uint64_t site_window(const Site& s, uint64_t trap) {
  return trap - (static_cast<SiteRule>(s.rule) == SiteRule::kA ? 0 : s.pre);
}
inline size_t site_window_size(const Site& s) {
  switch (static_cast<SiteRule>(s.rule)) {
    case SiteRule::kP: return s.pre;
    case SiteRule::kA: return 2u + s.post;
    case SiteRule::kX: return 1;
    default: return 2u + s.pre;
  }
}

}  // namespace cr
