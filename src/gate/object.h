// Objects of the process: which are there, and rewriting the trap sites of one.
#pragma once

#include <link.h>
#include <stddef.h>
#include <stdint.h>

#include "../../arch/frame.h"
#include "sitetable.h"

namespace cr {

struct ObjectView {
  const char* path;          // what to hand to the analyser
  uint64_t bias;             // load address minus p_vaddr
  const ElfW(Phdr) * phdr;
  int phnum;
  const uint8_t* build_id;   // null: none
  uint32_t build_id_len;
};

// What is live over a call from the site. None: a handler is about to begin.
inline SiteVector site_vector(const sitedesc* desc) {
  return desc != nullptr ? static_cast<SiteVector>(desc->vector) : SiteVector::kNone;
}

// Rewrites the object's trap sites from its table (made on the spot if there is none yet).
// Returns how many sites were rewritten, or a negative errno (the object then traps as ever).
int object_attach(const ObjectView& o);

// Finds the build-id note among the object's program headers.
void object_find_build_id(ObjectView* o);

// Sites in [addr, addr+length) are gone.
void object_forget(uint64_t addr, uint64_t length);

// A site by the address after its trap, or by its trap: for signal frames. Null: none.
struct PatchedSite {
  uint64_t trap;
  const sitedesc* desc;
  uint64_t reenter;  // enters the gate anew with the registers as they stand
};
const PatchedSite* site_by_trap(uint64_t trap);
// True if pc lies in a stub.
bool pc_in_stub(uint64_t pc);

extern uint32_t sites_rewritten;

}  // namespace cr
